"""`lvlab segment`: masks in the original frame for DICOM files without ground truth."""

import logging
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from lvlab import evaluation
from lvlab.clinic import dicom_seg, review
from lvlab.errors import CourseError
from lvlab.slices import uncrop
from lvlab.store import dicom, folder
from lvlab.store.files import find, refuse_full, shorten, walk, whole_folder, write_csv
from lvlab.store.masks import write_mask

notes = logging.getLogger(__name__)
WITH_PICTURE = ("MR", "screenshot", "localiser")


def gather(paths):
    """Return [(DICOM file, relative output path)] of files and folders, folders searched deeply.

    Inside folders a file counts as DICOM by its ending or its first bytes. What holds no picture (reports,
    segmentations) and what is no MR image is left out and said. A DICOMDIR stands for its folder.
    """
    found = []
    for path in map(find, paths):
        path = path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
        if path.is_dir():
            every = walk(path, odd=True)
            if odd := [file.name for file in every if not file.is_file()]:
                notes.warning("Note: %d links to nothing, pipes or devices left out: %s.", len(odd), shorten(odd))
            inside = _images([file for file in every if file.is_file() and dicom.is_dicom(file)], path)
            found += [(file, _target(file.relative_to(path))) for file in inside]
        elif path.is_file():
            found += [(file, _target(Path(file.name))) for file in _images([path], path)]
        else:
            raise CourseError(f"{path}: no such file or folder; name DICOM files or folders of them")
    found = list({file.resolve(): (file, target) for file, target in reversed(found)}.values())[::-1]
    twice = [target for target, count in Counter(target for _, target in found).items() if count > 1]
    if twice:
        raise CourseError(f"{twice[0]}: two inputs would write this mask; segment them into two folders")
    return found


def _target(path):
    """Return the mask's name."""
    return path.with_name(f"{dicom.stem_of(path)}.png")


def _images(files, path):
    """Return the files that hold an MR image, and note what the others are; raise where none does."""
    kinds = defaultdict(list)
    for file in files:
        kinds[_kind(file)].append(file)
    inside = sorted(file for kind in WITH_PICTURE for file in kinds[kind])
    other = {kind: own for kind, own in kinds.items() if kind not in WITH_PICTURE}
    said = "; ".join(f"{kind} ({len(own)}): {shorten([file.name for file in own])}" for kind, own in other.items())
    if not inside:
        said = ", ".join(f"{kind} ({len(own)})" for kind, own in other.items())
        what = f"holds no MR image but {said}" if said else "holds no DICOM image"
        raise CourseError(f"{path}: {what}; name the {'folder' if path.is_dir() else 'file'} that does")
    if said:
        notes.warning("Note: %d of %d DICOM files hold no MR image; left out: %s.", len(files) - len(inside),
                      len(files), said)
    return inside


def _kind(file):
    """Return what a DICOM file shows, see `dicom.kind_of`; a damaged one counts as MR and is told where it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dicom.open_dataset(file, header=True)
            kind = dicom.kind_of(header) if "Rows" in header or "SOPClassUID" not in header else ""
            return kind or f"{dicom.what_holds(header)} without a picture"
    except Exception:  # pydicom raises nearly every kind on damaged bytes
        return "MR"


def _write_review(path, targets, sure, implausible):
    """Write one row a mask, in the order in which a person should look at them."""
    table = pd.DataFrame({"mask": [target.as_posix() for target in targets], "confidence": sure,
                          "implausible": implausible})
    write_csv(path, table.iloc[review.review_score(sure, implausible).argsort(kind="stable")])


def write_masks(run, files, out, quiet=False, as_dicom=False):
    """Segment each file and write its masks, 0/255, in the original frame, all or none; return how many.

    as_dicom : write them as DICOM Segmentation objects, too (`clinic.dicom_seg`), one a stack

    A file of several frames, such as a cine, gives one mask a frame: NAME_f0001.png … Beside the masks, review.csv
    lists them, those first that a person should look at: the least sure, and what no heart does.
    """
    refuse_full(out)
    images, targets = [], []
    for file, target in files:
        frames = dicom.read_frames(file)
        images += frames
        targets += [target] if len(frames) == 1 else [
            target.with_name(f"{target.stem}_f{number:04d}.png") for number in range(1, len(frames) + 1)]
    slices = folder.slice_set(images)
    probability = evaluation.predict(run, slices)
    masks = evaluation.masks_of(probability, run.recipe.threshold)
    frames, sure = [], review.confidence(probability, masks)
    with whole_folder(out) as written:
        rows = zip(masks[..., 0], slices.table.crop, images, targets, strict=True)
        for mask, crop, image, target in tqdm(rows, total=len(targets), unit="slice", disable=quiet, delay=2):
            top, left, rows, cols = crop
            frame = uncrop(mask > 0, (top, left), (rows, cols))
            frames.append(folder.mask_at(frame, image.pixels.shape))
            write_mask(written / target, frames[-1])
        _write_review(written / "review.csv", targets, sure, review.implausible(slices.table, masks))
        if as_dicom and not dicom_seg.write(written, [image.path for image in images], frames):
            raise CourseError("no file tells where it lies in the patient, so there is no DICOM SEG; write PNG masks "
                              "only", ["dicom_seg"])
    return len(targets)
