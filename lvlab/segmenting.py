"""`lvlab segment`: masks in the original frame for DICOM files without ground truth."""

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from lvlab import evaluation, folder
from lvlab.files import CourseError, find, refuse_full, whole_file
from lvlab.slices import uncrop

DICOM_MARK = slice(128, 132)


def gather(paths):
    """Return [(DICOM file, relative output path)] of files and folders, folders searched deeply.

    Inside folders a file counts as DICOM by its ending or by the letters DICM after its preamble.
    """
    found = []
    for path in map(find, paths):
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.is_file() and is_dicom(file)]
            found += [(file, file.relative_to(path).with_suffix(".png")) for file in inside]
            if not inside:
                raise CourseError(f"{path}: holds no DICOM file; name the folder that does")
        elif path.is_file():
            found.append((path, path.with_suffix(".png").relative_to(path.parent)))
        else:
            raise CourseError(f"{path}: no such file or folder")
    targets = [target for _, target in found]
    for target in targets:
        if targets.count(target) > 1:
            raise CourseError(f"{target}: two inputs would write this mask; segment them into two folders")
    return found


def is_dicom(path):
    """Tell a DICOM file by its ending or by its mark."""
    if path.suffix.lower() in folder.IMAGE_ENDINGS:
        return True
    with open(path, "rb") as file:
        return file.read(132)[DICOM_MARK] == b"DICM"


def write_masks(run, files, out, quiet=False):
    """Segment each file and write its mask, 0/255, in the original frame; return how many."""
    refuse_full(out)
    slices = folder.load_images([file for file, _ in files])
    masks = evaluation.segment(run, slices)
    for mask, crop, (_, target) in tqdm(list(zip(masks[..., 0], slices.table.crop, files, strict=True)),
                                        unit="slice", disable=quiet):
        top, left, rows, cols = crop
        frame = uncrop(mask > 0, (top, left), (rows, cols))
        with whole_file(out / target) as temporary:
            Image.fromarray(np.uint8(255) * frame).save(temporary, format="PNG")
    return len(files)
