"""`lvlab segment`: masks in the original frame for DICOM files without ground truth."""

import logging
import re
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lvlab import evaluation
from lvlab.clinic import dicom_seg, review
from lvlab.errors import CourseError
from lvlab.slices import uncrop
from lvlab.store import dicom, folder, nifti
from lvlab.store.files import find, refuse_full, shorten, walk, whole_folder, write_csv
from lvlab.store.masks import write_mask

notes = logging.getLogger(__name__)
IS_MASK = re.compile(r"_(gt|seg|mask|labels?)$", re.IGNORECASE)
WITH_PICTURE = ("MR", "screenshot", "localiser")


def gather(paths):
    """Return [(DICOM file, relative output path)] of files and folders, folders searched deeply.

    Inside folders a file counts as DICOM by its ending or its first bytes, as NIfTI by its ending, unless its name says
    that it is a mask. What holds no picture (reports,
    segmentations) and what is no MR image is left out and said. A DICOMDIR stands for its folder.
    """
    found = []
    for path in map(find, paths):
        path = path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
        if path.is_dir():
            every = walk(path, odd=True)
            if odd := [file.name for file in every if not file.is_file()]:
                notes.warning("Note: %d links to nothing, pipes or devices left out: %s.", len(odd), shorten(odd))
            volumes = [file for file in every if file.is_file() and _is_volume(file)]
            images = [file for file in every if file.is_file() and dicom.is_dicom(file)]
            inside = _images(images, path) if images or not volumes else []
            found += [(file, _target(file.relative_to(path))) for file in sorted(inside + volumes)]
        elif path.is_file():
            inside = [path] if nifti.is_nifti(path) else _images([path], path)
            found += [(file, _target(Path(file.name))) for file in inside]
        else:
            raise CourseError(f"{path}: no such file or folder; name DICOM files or folders of them")
    found = list({file.resolve(): (file, target) for file, target in reversed(found)}.values())[::-1]
    twice = [target for target, count in Counter(target for _, target in found).items() if count > 1]
    if twice:
        raise CourseError(f"{twice[0]}: two inputs would write this mask; segment them into two folders")
    return found


def _is_volume(file):
    """Tell a NIfTI image; a mask beside it is called NAME_gt, _seg, _mask or _label."""
    return nifti.is_nifti(file) and not IS_MASK.search(nifti.stem_of(file))


def _target(path):
    """Return the mask's name."""
    if nifti.is_nifti(path):
        return path.with_name(f"{nifti.stem_of(path)}.nii.gz")
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

    A file of several frames, such as a cine, gives one mask a frame: NAME_f0001.png … A NIfTI volume gives one of its
    own size, NAME.nii.gz. Beside the masks, review.csv lists them (of a volume each slice), those first that a person
    should look at: the least sure, and what no heart does.
    """
    refuse_full(out)
    images, targets, volumes = [], [], {}
    for file, target in files:
        if nifti.is_nifti(file):
            volumes[target] = nifti.read(file)
        own, names = _volume_slices(volumes[target], target) if target in volumes else _frames(file, target)
        images, targets = images + own, targets + names
    if as_dicom and volumes:
        raise CourseError(f"{next(iter(volumes.values())).path}: a DICOM SEG refers to DICOM files, and this is NIfTI; "
                          "its mask is written as NIfTI", ["dicom_seg"])
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
            if not nifti.is_nifti(image.path):
                write_mask(written / target, frames[-1])
        for target, volume in volumes.items():
            own = [frame for frame, image in zip(frames, images, strict=True) if image.path == volume.path]
            nifti.write_mask(written / target, np.reshape(own, volume.pixels.shape), volume)
        _write_review(written / "review.csv", targets, sure, review.implausible(slices.table, masks))
        if as_dicom and not dicom_seg.write(written, [image.path for image in images], frames):
            raise CourseError("no file tells where it lies in the patient, so there is no DICOM SEG; write PNG masks "
                              "only", ["dicom_seg"])
    return len(targets)


def _frames(file, target):
    """Return the frames of a DICOM file and their masks' names."""
    frames = dicom.read_frames(file)
    return frames, [target] if len(frames) == 1 else [
        target.with_name(f"{target.stem}_f{number:04d}.png") for number in range(1, len(frames) + 1)]


def _volume_slices(volume, target):
    """Return the slices of a NIfTI volume and what review.csv calls them."""
    stem = nifti.stem_of(target)
    return volume.slices(), [target.with_name(f"{stem}_s{level + 1:02d}_im{frame + 1:04d}")
                             for level, frame in np.ndindex(volume.pixels.shape[:2])]
