"""Files through the network in one stream: decoded ahead, in full batches across files, written as they are done.

What comes back of each file is a row for the journal: small facts, by which masks are reviewed and stacks are found.
"""

import hashlib
import os
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lvlab import evaluation
from lvlab.backend import choose_precision
from lvlab.clinic import dicom_seg, review
from lvlab.errors import CourseError
from lvlab.slices import SIZE, SliceSet
from lvlab.store import dicom, folder, nifti
from lvlab.store.files import one_line, whole_file
from lvlab.store.masks import read_mask, uncrop, write_mask
from lvlab.store.quiet import quietly
from lvlab.store.runs import fingerprint
from lvlab.store.shipped import SHIPPED

LONGEST_NAME = 255  # bytes of a file's name, on nearly every disk
WITH_PICTURE = ("MR", "screenshot", "localiser")
AHEAD, AHEAD_BYTES = 2 * evaluation.BATCH, 2**25  # files that wait for the network, at most; always one
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|b'.*")


class Source(NamedTuple):
    """An image file, absolute, and its mask's name below the output folder."""

    path: str
    target: str


class Task(NamedTuple):
    """What every file of a segmentation has in common.

    run : a Run, its path None for the shipped weights, wherever a worker has them; weights : their fingerprint
    out, scratch : folders of the masks, and of temporaries, absolute
    """

    run: object
    weights: str
    out: Path
    scratch: Path


@dataclass
class Item:
    """A file on its way: its journal row, and for each slice what the network sees and how its mask fits the frame."""

    row: dict
    seen: list = field(default_factory=list)
    frames: list = field(default_factory=list)
    volume: object = None


def arithmetic(precision):
    """Return "float32" or "bfloat16", as suits the machine that this runs on."""
    _choose_library()
    with quietly():
        return choose_precision(precision)


def _choose_library():
    """Let TensorFlow, not yet imported, multiply by oneDNN.

    Its other library rounds a slice by the slice's place in the batch and by the number of threads.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def segment_files(task, sources):
    """Return `rows` as a list: one job of a pool."""
    return list(rows(task, sources))


def rows(task, sources):
    """Write the masks of files; yield a journal row for each, in order."""
    for item, masks, sure in _through_network(task, _decoded(sources)):
        yield _written(task, item, masks, sure)


def _decoded(sources):
    """Yield an Item for each file, decoded in a thread of its own while the network works."""
    waiting, weight = deque(), 0
    with ThreadPoolExecutor(1) as thread:
        for source in sources:
            size = os.stat(source.path).st_size if os.path.exists(source.path) else 0
            while waiting and (len(waiting) >= AHEAD or weight + size > AHEAD_BYTES):
                future, first = waiting.popleft()
                weight -= first
                yield future.result()
            waiting.append((thread.submit(decode, source), size))
            weight += size
        while waiting:
            yield waiting.popleft()[0].result()


def decode(source):
    """Return the Item of a file: what the network shall see, or in its row why there is nothing."""
    item = Item({"file": source.target})
    try:
        about = os.stat(source.path)
        item.row["stat"] = [about.st_size, about.st_mtime_ns]
        images = _images(source, item)
        if images and images[0].kind not in WITH_PICTURE:
            raise dicom.NoPicture("", images[0].kind)
        for image, name in zip(images, slice_names(source.target, len(images), item.volume), strict=True):
            _prepare(item, image, name, source.target)
        longest = mask_names(source.target, 1 if item.volume else len(images))[-1:]
        if any(len(os.fsencode(Path(name).name)) > LONGEST_NAME for name in longest):
            raise CourseError(f"{source.path}: its name is too long for a mask's; give it a shorter one")
    except dicom.NoPicture as error:
        item.row["left out"] = error.holds
    except CourseError as error:
        item.row["failed"] = reason(error, source.path)
    except OSError as error:
        item.row["failed"] = f"cannot be read ({error.strerror})"
    except Exception as error:  # what no file should lead to must not end the work on the others
        item.row["failed"] = f"cannot be prepared for the network ({type(error).__name__}); export it again"
    if "failed" in item.row or "left out" in item.row:
        item.row.pop("slices", None)  # of the frames before
        return Item(item.row)
    item.row["masks"] = 1 if item.volume else len(item.seen)
    return item


def _images(source, item):
    if not nifti.is_nifti(source.path):
        return dicom.read_frames(source.path)
    item.volume = nifti.read(source.path)
    return item.volume.slices()


def reason(error, path):
    """Return a CourseError's line without the file, and without what a library quotes from it."""
    text = one_line(" ".join(str(error).split()))
    return QUOTED.sub("…", text.removeprefix(f"{one_line(path)}: "))


def mask_names(target, count):
    """Return the names of a file's masks: one, or for a DICOM file of several frames one a frame."""
    if count == 1:
        return [target]
    stem = target.removesuffix(".png")
    return [f"{stem}_f{number:04d}.png" for number in range(1, count + 1)]


def slice_names(target, count, volume=None):
    """Return what review.csv calls the slices of a file: their masks, or places in a volume's mask."""
    if volume is None:
        return mask_names(target, count)
    stem = target.removesuffix(".nii.gz")
    return [f"{stem}_s{level + 1:02d}_im{frame + 1:04d}" for level, frame in np.ndindex(volume.pixels.shape[:2])]


def _prepare(item, image, name, target):
    """Add a slice to its file's Item: all that is needed of it later, but not its pixels."""
    seen, spacing_mm, crop, blank = folder.as_seen(image, SIZE)
    known = folder.NAME_PATTERN.match(dicom.stem_of(image.path))
    study, whose = _belongs(image, known, target)
    place = image.position_mm if image.position_mm == image.position_mm else int(known["level"]) if known else None
    item.seen.append(seen)
    item.frames.append((crop, image.pixels.shape, np.nan_to_num(spacing_mm, nan=1)))
    item.row["study"] = study
    item.row.setdefault("slices", []).append({
        "mask": name, "patient": whose, "phase": known["phase"] or "" if known else "", "kind": image.kind,
        "place": None if place is None else round(place, 1),
        "plane": [round(float(each), 3) for each in image.normal if each == each],
        "said": folder.remarks(image, crop, whose != "", blank, SIZE)})


def _belongs(image, known, target):
    """Return (study, patient) of a slice: a hash of the study's UID, or names of files; of a PatientID nothing."""
    uids = dict(each.split(":", 1) for each in image.evidence)
    study = _hash(uids["StudyInstanceUID"]) if "StudyInstanceUID" in uids else ""
    if known:
        return study, Path(target).with_name(folder.readable(known["patient"])).as_posix()
    beside = Path(target).parent.as_posix() if uids else target if nifti.is_nifti(target) else ""
    return study, study or beside


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _through_network(task, items):
    """Yield (Item, masks, how sure each is), the network's batches always full, whatever the files' sizes."""
    waiting, crops, done = deque(), [], []
    for item in items:
        waiting.append(item)
        crops += item.seen
        while len(crops) >= evaluation.BATCH:
            done += _predicted(task, crops[:evaluation.BATCH])
            del crops[:evaluation.BATCH]
        yield from _complete(waiting, done)
    done += _predicted(task, crops) if crops else []
    yield from _complete(waiting, done)


def _complete(waiting, done):
    while waiting and len(waiting[0].seen) <= len(done):
        item = waiting.popleft()
        own = done[:len(item.seen)]
        del done[:len(item.seen)]
        yield item, [mask for mask, _ in own], [sure for _, sure in own]


def _predicted(task, crops):
    """Return [(mask, how sure it is)] of at most a batch of crops.

    The batch is filled up with black: libraries choose their order of summing by its size, and a mask must not depend
    on how many others were made beside it.
    """
    run = loaded(task.run, task.weights)
    images = np.zeros((evaluation.BATCH, SIZE, SIZE, 1), np.float32)
    images[:len(crops), ..., 0] = crops
    probability = evaluation.predict(run, SliceSet(images, None, pd.DataFrame()))[:len(crops)]
    masks = evaluation.masks_of(probability, run.recipe.threshold, run.recipe.parts)
    return list(zip(masks[..., 0] > 0, review.confidence(probability, masks).tolist(), strict=True))


@lru_cache(maxsize=1)
def loaded(run, weights):
    """Return a Run whose network stays in memory; raise where its weights are not those of the segmentation."""
    _choose_library()
    run = run if run.path else replace(run, path=SHIPPED)
    if fingerprint(Path(run.path)) != weights:
        raise CourseError(f"{run.path}: holds other weights than this segmentation was begun with; restore them, or "
                          "install the same lvlab everywhere")
    return run


def _written(task, item, masks, sure):
    """Write a file's masks, each whole or not at all; return its row, with what the masks look like."""
    frames = []
    for mask, (crop, shape, spacing_mm), confidence, about in zip(
            masks, item.frames, sure, item.row.get("slices", []), strict=True):
        top, left, rows, cols = crop
        frames.append(folder.mask_at(uncrop(mask, (top, left), (rows, cols)), shape))
        flags, area, y, x = review.shape_of(mask)
        centre = [] if area == 0 else [round(y * float(spacing_mm[0]), 2), round(x * float(spacing_mm[1]), 2)]
        about |= {"confidence": round(confidence, 6), "flags": flags, "area": area, "centre": centre}
    if item.volume:
        like = item.volume
        nifti.write_mask(task.out / item.row["file"], np.reshape(frames, like.pixels.shape), like, task.scratch)
    else:
        for name, frame in zip(mask_names(item.row["file"], len(frames)), frames, strict=True):
            with whole_file(task.out / name, task.scratch) as temporary:
                write_mask(temporary, frame)
    return item.row


class _MasksOnDisk:
    """A stack's masks, read when they are asked for."""

    def __init__(self, out, targets):
        self.out, self.targets = out, targets

    def __getitem__(self, row):
        return read_mask(self.out / self.targets[row])


def write_stacks(task, study, sources):
    """Write the DICOM SEG objects of one study's files, from the masks on disk.

    Returns the study's hash, the objects' names and the names of the files that tell no place.
    """
    files, targets = [Path(each.path) for each in sources], [each.target for each in sources]
    names, without = dicom_seg.write(task.out, files, _MasksOnDisk(task.out, targets), targets, task.scratch)
    return study, names, [file.name for file in without]
