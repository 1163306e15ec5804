"""The course folder: `training/NAME.dcm` beside `training/NAME.png`; `test/NAME.dcm` with `test/GT/NAME.png`.

Images and masks are paired by name, never by position, and anything missing is an error.
"""

import os
import re
import textwrap
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_rescale, get_decoder

from lvlab.slices import COLUMNS, SIZE, SliceSet, centre_crop, normalise
from lvlab.store.files import PROJECT, CourseError, find

NAME_PATTERN = re.compile(r"(?P<patient>.+)_s(?P<level>\d+)_(?P<phase>ED|ES)_im(?P<instance>\d+)$")
IMAGE_ENDINGS = (".dcm", ".dicom", ".ima")
MOST_PIXELS = 2**24
CODEC_HELP = ("its compressed pixels need a decoder: pip install 'lvlab[codecs]' for JPEG 2000, and for "
              "JPEG and JPEG-LS also pip install pylibjpeg-libjpeg (GPL-3)")


@dataclass(frozen=True)
class CourseFolder:
    """A course folder in memory: `training` and `test` are SliceSets, None where the folder has none."""

    path: Path
    training: SliceSet | None
    test: SliceSet | None


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file or folder, and the remedy."""

    path: Path
    what: str
    remedy: str

    def __str__(self):
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class DicomSlice:
    """One DICOM frame: `pixels` float32 (h, w), brighter is brighter, and what its tags tell (mm, or NaN)."""

    path: Path
    pixels: np.ndarray
    row_spacing_mm: float
    col_spacing_mm: float
    slice_thickness_mm: float
    patient_key: str = field(default="", repr=False)
    position_mm: float = float("nan")


def course_folder():
    """Return the course folder that notebooks and `make` use.

    The environment variable LVLAB_DATA names it; else it is the one folder in data/ that is not the
    phantom's, such as data/lv_deeplearning; else data/phantom.
    """
    if os.environ.get("LVLAB_DATA"):
        return find(os.environ["LVLAB_DATA"])
    data = PROJECT / "data"
    own = [path for path in sorted(data.glob("[!.]*/")) if path.name != "phantom" and (path / "training").is_dir()]
    if len(own) > 1:
        names = ", ".join(path.name for path in own)
        raise CourseError(f"{data}: holds several course folders ({names}); set LVLAB_DATA to the one you mean")
    return own[0] if own else data / "phantom"


def load(path, size=SIZE, need=("training", "test")):
    """Read a course folder into SliceSets of size × size centre crops, normalised to [0, 1].

    `need` names the parts to read; one of them at least must be there. Raises CourseError, in one line,
    where the folder, a partner of a pair or a readable file is missing.
    """
    path = need_folder(path, need)
    pairs = {part: pair_files(path, part) for part in need if (path / part).is_dir()}
    slices = {part: [(read_dicom(image), mask) for image, mask in rows] for part, rows in pairs.items()}
    known = pseudonyms([image for rows in slices.values() for image, _ in rows])
    sets = {part: _slice_set(rows, known, size) for part, rows in slices.items()}
    return CourseFolder(path, sets.get("training"), sets.get("test"))


def need_folder(path, need=("training", "test")):
    """Return `path` as it exists; raise CourseError unless it is a folder with one of the parts in `need`."""
    path = find(path)
    if path.is_file():
        raise CourseError(f"{path}: is a file; name the course folder (unpack it, if it is a zip)")
    if not path.is_dir():
        raise CourseError(f"{path}: no such folder; make one with: python -m lvlab phantom --out {path}")
    if not any((path / part).is_dir() for part in need):
        inside = [child for child in sorted(path.iterdir()) if any((child / part).is_dir() for part in need)]
        remedy = f"did you mean {inside[0]}?" if inside else "name the folder that holds it, see data/README.md"
        raise CourseError(f"{path}: has no folder named {' or '.join(need)}; {remedy}")
    return path


def check_data(training, validation):
    """Raise CourseError where there is nothing to learn from."""
    for name, slices in (("training", training), ("validation", validation)):
        if slices is None or len(slices) == 0 or slices.masks is None:
            raise CourseError(f"the {name} slices are missing or have no masks; see: python -m lvlab check")
    if not training.masks.any():
        raise CourseError("every training mask is empty inside the crop; see: python -m lvlab check")


def load_images(paths, size=SIZE):
    """Read DICOM files without ground truth into a SliceSet (masks None)."""
    slices = [(read_dicom(path), None) for path in paths]
    return _slice_set(slices, pseudonyms([image for image, _ in slices]), size)


def pair_files(path, part):
    """Return [(image path, mask path)] of one part, by name, sorted; raise where a partner is missing."""
    images, masks, problems = list_pairs(path, part)
    if problems:
        more = f" (and {len(problems) - 1} more; see: python -m lvlab check)" if len(problems) > 1 else ""
        raise CourseError(f"{problems[0]}{more}")
    return [(images[name], masks[name]) for name in sorted(images)]


def list_pairs(path, part):
    """Return ({name: image path}, {name: mask path}, [Problem]) of the part "training" or "test"."""
    folder = Path(path) / part
    mask_folder = folder / "GT" if part == "test" else folder
    images, problems = _by_name(folder, IMAGE_ENDINGS)
    masks, doubled = _by_name(mask_folder, (".png",))
    problems += doubled
    if not images:
        problems.append(Problem(folder, "holds no DICOM file (*.dcm)", "put the images there, not in subfolders"))
    for name in sorted(images.keys() - masks.keys()):
        problems.append(Problem(images[name], "has no mask",
                                f"add the PNG of the same name to {mask_folder.name}/, or remove the image"))
    for name in sorted(masks.keys() - images.keys()):
        problems.append(Problem(masks[name], "has no image", "add the DICOM of the same name, or remove the mask"))
    return images, masks, problems


def _by_name(folder, endings):
    """Return ({stem: file}, [Problem]); stems in one Unicode form, since macOS writes another."""
    found, problems = {}, []
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file.suffix.lower() not in endings or file.name.startswith(".") or file.is_dir():
            continue
        stem = unicodedata.normalize("NFC", file.stem)
        if not file.is_file():
            what = "is no file" if file.exists() else "is a link to nothing"
            problems.append(Problem(file, what, "put the file itself there"))
            continue
        if stem in found:
            problems.append(Problem(file, f"has the same name as {found[stem].name}", "keep one of the two"))
        found.setdefault(stem, file)
    return found, problems


def read_dicom(path, file=None):
    """Read one single-frame DICOM image, from the open binary `file` where one is given.

    Rescale slope and intercept are applied, MONOCHROME1 is inverted once, colour becomes its mean.
    Raises CourseError naming the file and the remedy for anything that is not one readable frame.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_dicom(path, file)
    except CourseError:
        raise
    except InvalidDicomError as error:
        raise CourseError(f"{path}: is not a DICOM file; remove it or export it again as DICOM") from error
    except Exception as error:  # pydicom and its decoders raise nearly every kind on damaged bytes
        raise CourseError(f"{path}: cannot be read as DICOM ({_short(error)}); export it again") from error


def _read_dicom(path, file):
    dataset = pydicom.dcmread(file or path)
    for tag in ("NumberOfFrames", "RescaleSlope", "RescaleIntercept"):
        if tag in dataset and dataset[tag].value in (None, ""):
            del dataset[tag]
    if "PixelData" not in dataset:
        raise CourseError(f"{path}: holds no image (no pixel data); remove it or export it again")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise CourseError(f"{path}: holds {frames} frames; the course needs one frame per file: export it so")
    if dataset.Rows * dataset.Columns > MOST_PIXELS:
        raise CourseError(f"{path}: is {dataset.Rows} × {dataset.Columns} pixels, no MR slice; export it again")
    pixels = _decoded(path, dataset)
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise CourseError(f"{path}: its pixels are not a finite 2-D image; export it again")
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = pixels.max() + pixels.min() - pixels
    spacing_mm = _numbers(dataset.get("PixelSpacing"), 2) + _numbers([dataset.get("SliceThickness")], 1)
    sound_mm = (number if 0 < number < 1000 else float("nan") for number in spacing_mm)
    return DicomSlice(path, pixels, *sound_mm, _patient_key(dataset), _position(dataset))


def _decoded(path, dataset):
    """Return a frame's pixels as float32, rescaled, colour as its mean."""
    try:
        pixels = dataset.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed and not get_decoder(syntax).is_available:
            raise CourseError(f"{path}: {syntax.name}: {CODEC_HELP}") from error
        raise
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    elif pixels.ndim == 3 and dataset.get("SamplesPerPixel") == 1:
        raise CourseError(f"{path}: holds {len(pixels)} frames; the course needs one frame per file: export it so")
    pixels = apply_rescale(pixels, dataset).astype(np.float32)
    return pixels.mean(-1) if pixels.ndim == 3 else pixels


def _numbers(value, count):
    """Return a tag's `count` floats; NaN each where it is missing or senseless."""
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError):
        numbers = []
    return numbers if len(numbers) == count else [float("nan")] * count


def _patient_key(dataset):
    """Return what slices of one patient share; used to group, never shown."""
    for tag in ("PatientID", "SeriesInstanceUID"):
        if str(dataset.get(tag) or "").strip():
            return f"{tag}:{dataset.get(tag)}"
    return ""


def _position(dataset):
    """Return the slice's place along its own normal in mm, NaN without geometry."""
    axes = _numbers(dataset.get("ImageOrientationPatient"), 6)
    return float(np.dot(np.cross(axes[:3], axes[3:]), _numbers(dataset.get("ImagePositionPatient"), 3)))


def read_mask(path):
    """Read a mask of any PNG kind as bool (h, w): 0 (black) is outside, anything above 0 inside.

    Transparency is ignored unless the colours say nothing. Raises CourseError naming the file.
    """
    return read_labels(path) > 0


def read_labels(path):
    """Read a mask as int64 (h, w): 0 is outside, and each other grey value or colour has its own number."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            if _is_deep_colour(path):
                raise CourseError(f"{path}: is a colour PNG of 16 bits; save the mask with 8 bits, or in grey")
            return _labels(image)
    except CourseError:
        raise
    except UnidentifiedImageError as error:
        raise CourseError(f"{path}: is not a PNG image; save the mask as PNG, whatever its name says") from error
    except Exception as error:  # damaged PNG bytes raise nearly every kind
        raise CourseError(f"{path}: cannot be read as a PNG mask ({_short(error)}); save it again") from error


def _is_deep_colour(path):
    """Tell a PNG of 16 bits a channel and several channels, of which Pillow keeps the high bytes only."""
    with open(path, "rb") as file:
        depth, colour_type = file.read(26)[24:26]
    return depth == 16 and colour_type in (2, 4, 6)


def _labels(image):
    if image.mode == "P" or ("transparency" in image.info and not image.mode.startswith("I")):
        colours, by_index = np.asarray(image.convert("RGBA")), np.asarray(image)
    else:
        colours = by_index = np.asarray(image)
    if colours.ndim == 2:
        return colours.astype(np.int64)
    opaque = 1 if colours.shape[-1] in (2, 4) else 0
    channels = colours.shape[-1] - opaque
    labels = sum(colours[..., k].astype(np.int64) << 8 * k for k in range(channels))
    if opaque and (labels > 0).all() == (labels > 0).any() and not colours[..., -1].all():
        return colours[..., -1].astype(np.int64)
    return by_index.astype(np.int64) if (labels > 0).all() and by_index.ndim == 2 else labels


def pseudonyms(slices):
    """Return {path: (patient, phase, level)} for DicomSlices.

    Names that lvlab writes carry all three. For others slices with one PatientID or series share a
    pseudonym (patient-01 …), and the level counts their positions; where nothing tells: empty and 0.
    """
    named = {s.path: NAME_PATTERN.match(s.path.stem) for s in slices}
    keys = list(dict.fromkeys(s.patient_key for s in slices if not named[s.path] and s.patient_key))
    levels = {key: sorted({round(s.position_mm, 1) for s in slices
                           if s.patient_key == key and s.position_mm == s.position_mm}) for key in keys}
    known = {}
    for s in slices:
        match = named[s.path]
        if match:
            known[s.path] = (readable(match["patient"]), match["phase"], int(match["level"]))
        elif s.patient_key:
            place = round(s.position_mm, 1)
            level = levels[s.patient_key].index(place) + 1 if place == place else 0
            known[s.path] = (f"patient-{keys.index(s.patient_key) + 1:02d}", "", level)
        else:
            known[s.path] = ("", "", 0)
    return known


def _slice_set(rows, known, size):
    images, masks, table = [], [], []
    for image, mask_path in rows:
        crop, corner = centre_crop(image.pixels, size)
        images.append(normalise(crop))
        if mask_path is not None:
            masks.append(_cropped_mask(mask_path, image, size))
        table.append((readable(image.path.stem), *known[image.path], image.row_spacing_mm, image.col_spacing_mm,
                      image.slice_thickness_mm, (*corner, *image.pixels.shape)))
    _say_what_is_unknown(rows, known, size)
    masks = np.stack(masks)[..., None].astype(np.float32) if masks else None
    return SliceSet(np.stack(images)[..., None], masks, pd.DataFrame(table, columns=COLUMNS))


def _cropped_mask(mask_path, image, size):
    mask = read_mask(mask_path)
    if mask.shape != image.pixels.shape:
        raise CourseError(f"{mask_path}: is {size_of(mask)}, its image {image.path.name} {size_of(image.pixels)} "
                          "(rows × columns); export the pair again")
    return centre_crop(mask, size)[0]


def _say_what_is_unknown(rows, known, size):
    count = Counter()
    for image, _ in rows:
        count["no pixel spacing: their areas in mm² are unknown"] += not image.row_spacing_mm > 0
        count["no patient that their name or tags tell"] += known[image.path][0] == ""
        count[f"a side under {size} pixels: padded"] += min(image.pixels.shape) < size
    for what, number in count.items():
        if number:
            print(f"Note: {number} of {len(rows)} slices have {what}.")


def readable(name):
    """Return a file's name as text that can be written: bytes that are no UTF-8 become �."""
    return os.fsencode(name).decode("utf-8", "replace")


def size_of(array):
    """Return rows × columns in words."""
    return " × ".join(map(str, array.shape))


def _short(error):
    return textwrap.shorten(str(error), 120, placeholder=" …") or type(error).__name__
