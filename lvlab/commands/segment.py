"""`lvlab segment`: masks in the original frame for DICOM files without ground truth."""

import logging
import warnings
from collections import Counter
from pathlib import Path

import pydicom
from tqdm.auto import tqdm

from lvlab import evaluation
from lvlab.errors import CourseError
from lvlab.slices import uncrop
from lvlab.store import folder
from lvlab.store.dicom import IMAGE_ENDINGS
from lvlab.store.files import find, refuse_full, walk, whole_folder
from lvlab.store.png import write_mask

notes = logging.getLogger(__name__)
DICOM_MARK = slice(128, 132)


def gather(paths):
    """Return [(DICOM file, relative output path)] of files and folders, folders searched deeply.

    Inside folders a file counts as DICOM by its ending or by the letters DICM after its preamble; a
    disc's table of contents (DICOMDIR) does not.
    """
    found = []
    for path in map(find, paths):
        if path.is_dir():
            every = [file for file in walk(path) if is_dicom(file)]
            inside = [file for file in every if _holds_image(file)]
            if len(inside) < len(every):
                notes.warning("Note: %d of %d DICOM files hold no image; left out.",
                              len(every) - len(inside), len(every))
            found += [(file, _target(file.relative_to(path))) for file in inside]
            if not inside:
                raise CourseError(f"{path}: holds no DICOM image; name the folder that does")
        elif path.is_file():
            found.append((path, _target(Path(path.name))))
        else:
            raise CourseError(f"{path}: no such file or folder; name DICOM files or folders of them")
    twice = [target for target, count in Counter(target for _, target in found).items() if count > 1]
    if twice:
        raise CourseError(f"{twice[0]}: two inputs would write this mask; segment them into two folders")
    return found


def _target(path):
    """Return the mask's name; digits after a dot, as in 1.2.840.3, are part of a name."""
    stem = path.stem if path.suffix.lower() in IMAGE_ENDINGS else path.name
    return path.with_name(f"{stem}.png")


def is_dicom(path):
    """Tell a DICOM file by its ending or by its mark."""
    if path.suffix.lower() in IMAGE_ENDINGS:
        return True
    with open(path, "rb") as file:
        return file.read(132)[DICOM_MARK] == b"DICM" and path.name.upper() != "DICOMDIR"


def _holds_image(path):
    """Tell whether a DICOM file describes an image; reports and the like do not. Damaged files count as images."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, specific_tags=["Rows", "SOPClassUID"], stop_before_pixels=True)
    except Exception:  # told where the file is read
        return True
    return "Rows" in header or "SOPClassUID" not in header


def write_masks(run, files, out, quiet=False):
    """Segment each file and write its mask, 0/255, in the original frame, all or none; return how many."""
    refuse_full(out)
    slices = folder.load_images([file for file, _ in files])
    masks = evaluation.segment(run, slices)
    with whole_folder(out) as written:
        for mask, crop, (_, target) in tqdm(list(zip(masks[..., 0], slices.table.crop, files, strict=True)),
                                            unit="slice", disable=quiet, delay=2):
            top, left, rows, cols = crop
            frame = uncrop(mask > 0, (top, left), (rows, cols))
            write_mask(written / target, frame)
    return len(files)
