"""The course folder: `training/NAME.dcm` beside `training/NAME.png`; `test/NAME.dcm` with `test/GT/NAME.png`.

Images and masks are paired by name, never by position, and anything missing is an error. What is spelt in another
way but can only mean one thing is read, too: train/ and Test/, masks/ for GT/, folders inside, no .dcm, .dcm.gz,
masks as TIFF, BMP or JPEG or called NAME_mask.png. Whatever else lies there is named.
"""

import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lvlab.errors import CourseError
from lvlab.slices import COLUMNS, SIZE, SliceSet, centre_crop, concatenate, normalise
from lvlab.store import masks
from lvlab.store.dicom import is_dicom, read_dicom, size_of, stem_of, what_is
from lvlab.store.files import PROJECT, find, shorten, walk, workplace

notes = logging.getLogger(__name__)
NAME_PATTERN = re.compile(r"(?P<patient>.+)_s(?P<level>\d+)(_(?P<phase>ED|ES))?_im(?P<instance>\d+)$")
PARTS = {"training": ("training", "train"), "test": ("test", "testing")}
MASK_FOLDERS = ("gt", "mask", "masks", "label", "labels", "groundtruth", "ground_truth", "ground truth")
MASK_WORD = re.compile(r"([-_. ](mask|gt|label|seg)|\.dcm|\.ima|\.dicom)$", re.IGNORECASE)
COPY = re.compile(r"( - copy|[ _]copy| \(\d+\)|-checkpoint)( \(\d+\)| \d+)?$", re.IGNORECASE)
LITTER = re.compile(r"(thumbs\.db|desktop\.ini|~\$.*|.*\.(tmp|part|partial|crdownload|download))$", re.IGNORECASE)
NOBODY = re.compile(r"(anon\w*|unknown|none|null|n/?a|no.?(id|name)|patient|removed|de-?identified|x+|[0. -]+)$", re.I)
NUMBERED = re.compile(r"PatientID:anon\w*\d\w*$", re.I)  # says somebody where there are several of them
LEAST_SIDE = 40     # pixels: a smaller image holds no heart and its surroundings
LEAST_SHARE = 0.1   # of the crop's pixels that must differ from the commonest value
USUAL_MM, WORKING_MM, MOST_ZOOM = (1.0, 2.0), 1.4, 4  # pixels outside of these are resampled to squares of 1.4 mm
MOST_RESAMPLED = 2**22
OTHER_PLANE = "lie in another plane than most of their patient: long axis?"
MOST_TURN = 30      # degrees between a slice's plane and that of most of its patient's


@dataclass(frozen=True)
class CourseFolder:
    """A course folder in memory: `training` and `test` are SliceSets, None where the folder has none."""

    path: Path
    training: SliceSet | None
    test: SliceSet | None

    def everyone(self):
        """Return the slices of training and test together."""
        parts = [part for part in (self.training, self.test) if part is not None]
        return parts[0] if len(parts) == 1 else concatenate(*parts)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file or folder, and the remedy."""

    path: Path
    what: str
    remedy: str

    def __str__(self):
        return f"{self.path}: {self.what}; {self.remedy}"


def course_folder():
    """Return the course folder that notebooks and `make` use.

    The environment variable LVLAB_DATA names it; else it is the one folder in data/ that is not the
    phantom's, such as data/lv_deeplearning; else data/phantom, in the user's own folder where nobody may write here.
    """
    if os.environ.get("LVLAB_DATA"):
        return find(os.environ["LVLAB_DATA"])
    data = PROJECT / "data"
    own = [path for path in sorted(data.glob("[!.]*/")) if path.name != "phantom" and part_folder(path, "training")]
    if len(own) > 1:
        names = ", ".join(path.name for path in own)
        raise CourseError(f"{data}: holds several course folders ({names}); set LVLAB_DATA to the one you mean")
    phantom = data / "phantom"
    return own[0] if own else phantom if phantom.is_dir() else workplace() / "data" / "phantom"


def load(path, size=SIZE, need=("training", "test")):
    """Read a course folder into SliceSets of size × size centre crops, normalised to [0, 1].

    `need` names the parts to read; one of them at least must be there. Raises CourseError, in one line,
    where the folder, a partner of a pair or a readable file is missing.
    """
    path = need_folder(path, need)
    slices = {part: [(name, read_dicom(image), mask) for name, (image, mask) in sound_pairs(path, part).items()]
              for part in need if part_folder(path, part)}
    known = pseudonyms([image for rows in slices.values() for _, image, _ in rows])
    sets = {part: _slice_set(rows, known, size) for part, rows in slices.items()}
    return CourseFolder(path, sets.get("training"), sets.get("test"))


def need_masks(training, validation, recipe):
    """Raise CourseError where there is nothing to learn from, or to validate on where a recipe holds slices out."""
    needed = {"training": training, "validation": validation}
    if recipe.validation_fraction == 0 and validation is not None and len(validation) == 0:
        del needed["validation"]
    for name, slices in needed.items():
        if slices is None or len(slices) == 0 or slices.masks is None:
            raise CourseError(f"the {name} slices are missing or have no masks; check the course folder")
    if not training.masks.any():
        raise CourseError("every training mask is empty inside the crop; check the course folder")


def need_folder(path, need=("training", "test")):
    """Return `path` as it exists; raise CourseError unless it is a folder with one of the parts in `need`."""
    path = find(path)
    if path.is_file():
        found = what_is(path)
        found = f" ({found})" if found else ""
        raise CourseError(f"{path}: is a file{found}; name the course folder (unpack it, if it is a zip)")
    if not path.is_dir():
        raise CourseError(f"{path}: no such folder; name a course folder (the command phantom writes one)")
    if not any(part_folder(path, part) for part in need):
        inside = [child for child in sorted(path.iterdir())
                  if child.is_dir() and any(part_folder(child, part) for part in need)]
        others = [child.name for child in sorted(path.iterdir()) if child.is_dir()]
        there = f" (there are {shorten(others)})" if others else ""
        remedy = f"did you mean {inside[0]}?" if inside else f"name the folder that holds training/ or test/{there}"
        raise CourseError(f"{path}: has no folder named {' or '.join(need)}; {remedy}")
    return path


def part_folder(path, part):
    """Return the folder of the part "training" or "test", however its name is spelt; None where there is none."""
    return _child(path, PARTS[part])


def _child(path, names):
    try:
        found = [child for child in sorted(path.iterdir()) if child.name.lower() in names and child.is_dir()]
    except OSError as error:
        raise CourseError(f"{path}: cannot be read ({error.strerror}); allow it, or name another folder") from error
    if len(found) > 1:
        raise CourseError(f"{path}: holds {found[0].name} and {found[1].name}, which mean the same; rename the one "
                          "that is not meant")
    return found[0] if found else None


def load_images(paths, size=SIZE):
    """Read DICOM files without ground truth into a SliceSet (masks None)."""
    return slice_set([read_dicom(path) for path in paths], size)


def slice_set(images, size=SIZE):
    """Return DicomSlices without ground truth as a SliceSet (masks None)."""
    return _slice_set([(stem_of(image.path), image, None) for image in images], pseudonyms(images), size)


def pair_files(path, part):
    """Return [(image path, mask path)] of one part, by name, sorted; raise where a partner is missing."""
    return list(sound_pairs(Path(path), part).values())


def sound_pairs(path, part):
    """Return {name: (image path, mask path)} of one part, sorted; raise where a partner is missing."""
    files = list_files(path, part)
    if files.problems:
        more = len(files.problems) - 1
        more = f" (and {more} more; the command check lists them)" if more else ""
        raise CourseError(f"{files.problems[0]}{more}")
    if files.others:
        notes.warning("Note: %d files in %s are neither image nor mask and are not read: %s.", len(files.others), part,
                      shorten([file.name for file in files.others]))
    return {name: (files.images[name], files.masks[name]) for name in sorted(files.images)}


class Files(NamedTuple):
    """The files of a part: {name: path} of images and of masks, Problems, what is neither, what systems leave."""

    images: dict
    masks: dict
    problems: list
    others: list
    litter: list


def list_files(path, part):
    """Return the Files of the part "training" or "test"."""
    folder = part_folder(Path(path), part) or Path(path) / part
    mask_folder = _child(folder, MASK_FOLDERS) or (folder / "GT" if part == "test" else folder)
    files = Files({}, {}, [], [], [])
    beside = mask_folder == folder or not mask_folder.is_dir()
    for file in walk(folder, odd=True) if folder.is_dir() else []:
        among_masks = beside or mask_folder in file.parents
        is_mask = file.suffix.lower() in masks.ENDINGS and among_masks
        if LITTER.match(file.name):
            files.litter.append(file)
        elif not file.is_file():
            what = "is no file" if file.exists() else "is a link to nothing"
            files.problems.append(Problem(file, what, "put the file itself there"))
        elif is_mask:
            _add(file, files.masks, mask_folder if not beside else folder, file.stem, files.problems)
        elif (beside or not among_masks) and is_dicom(file):
            _add(file, files.images, folder, stem_of(file), files.problems)
        else:
            files.others.append(file)
    _meet(files)
    _name_what_is_missing(files, folder, mask_folder)
    return files


def _add(file, found, folder, stem, problems):
    """Put a file where its name belongs: names in one Unicode form, since macOS writes another."""
    name = unicodedata.normalize("NFC", file.relative_to(folder).with_name(stem).as_posix())
    if name in found:
        problems.append(Problem(file, f"has the same name as {found[name].name}", "keep one of the two"))
    found.setdefault(name, file)


def _meet(files):
    """Give masks called NAME_mask or NAME.dcm the name of their image; lone copies that systems make pair with none."""
    for name in sorted(files.masks.keys() - files.images.keys()):
        meant = MASK_WORD.sub("", name)
        if meant != name and meant in files.masks:
            files.problems.append(Problem(files.masks.pop(name), f"is a second mask of {meant}", "keep the one that is "
                                          f"meant, this or {files.masks[meant].name}"))
        elif meant in files.images:
            files.masks[meant] = files.masks.pop(name)
    for own, partners in ((files.masks, files.images), (files.images, files.masks)):
        for name in sorted(own.keys() - partners.keys()):
            if COPY.sub("", name) != name and COPY.sub("", name) in own:
                files.others.append(own.pop(name))


def _name_what_is_missing(files, folder, mask_folder):
    if not files.images:
        other = next((file for file in files.others if what_is(file)), None)
        hint = f" ({other.name} is {what_is(other)})" if other else ""
        files.problems.append(Problem(folder, "holds no DICOM file (*.dcm)", f"put the images there{hint}"))
    for name in sorted(files.images.keys() - files.masks.keys()):
        files.problems.append(Problem(files.images[name], "has no mask", "add the PNG of the same name to "
                                      f"{mask_folder.name}/, or take the image out"))
    for name in sorted(files.masks.keys() - files.images.keys()):
        files.problems.append(Problem(files.masks[name], "has no image",
                                      "add the DICOM of the same name, or take the mask out"))


def pseudonyms(slices):
    """Return {(path, frame): (patient, phase, level)} for DicomSlices.

    One patient is whoever shares a PatientID, a StudyInstanceUID or the patient's part of a name that lvlab wrote:
    all evidence together. Who has no such name is called patient-01 …; levels count from the base. Where nothing
    tells: empty and 0.
    """
    names = [NAME_PATTERN.match(stem_of(each.path)) for each in slices]
    evidence, known, unnamed = evidence_of(slices), {}, 0
    for rows in joined(evidence):
        named = sorted({names[row]["patient"] for row in rows if names[row]})
        unnamed += bool(evidence[rows[0]]) and not named
        patient = readable(named[0]) if named else f"patient-{unnamed:02d}" if evidence[rows[0]] else ""
        places = [round(slices[row].position_mm, 1) for row in rows]
        order = {place: level for level, place in enumerate(sorted({p for p in places if p == p}), start=1)}
        if named or not patient:
            order = {place: int(names[row]["level"]) for place, row in zip(places, rows, strict=True) if names[row]}
        for place, row in zip(places, rows, strict=True):
            own = (names[row]["phase"] or "", int(names[row]["level"])) if names[row] else ("", order.get(place, 0))
            known[slices[row].path, slices[row].frame] = (patient, *own)
    return known


def evidence_of(slices):
    """Return for each DicomSlice what tells whose it is: tags that say something, and a name that lvlab wrote."""
    count = Counter(key for each in slices for key in each.evidence)
    studies = sum(key.startswith("StudyInstanceUID") for key in count)
    numbered = {key for key in count if NUMBERED.match(key)}

    def tells(key):
        tag, _, value = key.partition(":")
        word_for_all = studies > 1 and count[key] == len(slices) and not re.search(r"\d", value)
        return tag != "PatientID" or not (word_for_all or (NOBODY.match(value) and not (
            len(numbered) > 1 and key in numbered)))

    names = [NAME_PATTERN.match(stem_of(each.path)) for each in slices]
    return [[*filter(tells, each.evidence), *([f"name:{name['patient']}"] if name else [])]
            for each, name in zip(slices, names, strict=True)]


def joined(evidence):
    """Return lists of rows that any evidence joins, directly or through others, in order of appearance."""
    keys = {key: len(evidence) + k for k, key in enumerate(dict.fromkeys(key for own in evidence for key in own))}
    links = np.array([(row, keys[key]) for row, own in enumerate(evidence) for key in own], int).reshape(-1, 2)
    size = len(evidence) + len(keys)
    graph = coo_array((np.ones(len(links)), links.T), shape=(size, size))
    groups = defaultdict(list)
    for row, label in enumerate(connected_components(graph, directed=False)[1][:len(evidence)] if size else []):
        groups[label].append(row)
    return list(groups.values())


def _slice_set(rows, known, size):
    images, drawn, table, said = [], [], [], defaultdict(list)
    for name, image, mask_path in rows:
        seen, spacing_mm, crop, blank = as_seen(image, size)
        images.append(seen)
        whose = known[image.path, image.frame]
        if mask_path is not None:
            labels = _labels(mask_path, image)
            drawn.append(centre_crop(mask_at(labels > 0, crop[2:]), size)[0])
            for what, remedy in masks.oddities(labels):
                said[f"have a mask that {what.removeprefix('mask ')} ({remedy})", True].append(name)
        table.append((readable(name), *whose, *spacing_mm, image.slice_thickness_mm, crop,
                      image.position_mm, image.time_ms, image.group))
        for what, named in remarks(image, crop, whose[0] != "", blank, size):
            said[what, named].append(name)
    for (what, named), names in (said | _odd_ones([image for _, image, _ in rows], known)).items():
        some = f" ({shorten([readable(name) for name in names])})" if named else ""
        notes.warning("Note: %d of %d slices %s%s.", len(names), len(rows), what, some)
    stacked = np.stack(drawn)[..., None].astype(np.float32) if drawn else None
    return SliceSet(np.stack(images)[..., None], stacked, pd.DataFrame(table, columns=COLUMNS))


def as_seen(image, size=SIZE):
    """Return a DicomSlice as the network sees it: float32 (size, size), its (row, col) mm, `crop`, is it blank."""
    pixels, spacing_mm = at_working_scale(image)
    crop, corner = centre_crop(pixels, size)
    blank = is_blank(crop)
    return np.zeros_like(crop) if blank else normalise(crop), spacing_mm, (*corner, *pixels.shape), blank


def at_working_scale(image):
    """Return the pixels (h, w) of a DicomSlice as the network is used to them, and their (row, col) spacing in mm.

    Pixels under 1 mm or over 2 mm, and such as are far from square, are resampled to squares of 1.4 mm: the crop then
    shows as much of the chest as usual. Where the spacing is unknown or makes no sense the pixels stay as they are.
    """
    spacing_mm = np.array([image.row_spacing_mm, image.col_spacing_mm])
    usual = USUAL_MM[0] <= spacing_mm.min() and spacing_mm.max() <= USUAL_MM[1] and np.ptp(spacing_mm) < 0.3
    zoom = spacing_mm / WORKING_MM
    if usual or not (zoom <= MOST_ZOOM).all() or not (zoom >= 1 / MOST_ZOOM).all():  # false for NaN, too
        return image.pixels, tuple(spacing_mm)
    shape = np.maximum(1, np.round(zoom * image.pixels.shape)).astype(int)
    if shape.prod() > MOST_RESAMPLED:
        return image.pixels, tuple(spacing_mm)
    from skimage.transform import resize  # rarely needed, slow to import

    known = np.isfinite(image.pixels)
    filled = np.where(known, image.pixels, image.pixels[known].min() if known.any() else 0)
    pixels = resize(filled, shape, order=1, anti_aliasing=True).astype(np.float32)
    pixels[~mask_at(known, shape)] = np.nan
    return pixels, tuple(spacing_mm * image.pixels.shape / shape)


def mask_at(mask, shape):
    """Return a bool mask (h, w) resampled to another shape of the same field of view."""
    if mask.shape == tuple(shape):
        return mask
    from skimage.transform import resize

    return resize(mask.astype(np.float32), shape, order=1, anti_aliasing=True) >= 0.5


def is_blank(crop):
    """Tell a crop (h, w) that can hold no heart: hardly anything measured, or nearly all of it one value."""
    known = crop[np.isfinite(crop)]
    if known.size < LEAST_SIDE**2:
        return True
    return np.unique(known, return_counts=True)[1].max() > (1 - LEAST_SHARE) * known.size


def remarks(image, crop, known, blank, size=SIZE):
    """Return [(what is odd about one slice, whether such slices are named)]; known : does its patient have a name?"""
    resampled = crop[2:] != image.pixels.shape
    every = ((f"have pixels of unusual size: resampled to {WORKING_MM} mm for the network", False, resampled),
             ("have no pixel spacing: their areas in mm² are unknown", False, not image.row_spacing_mm > 0),
             ("have no patient that their name or tags tell", False, not known),
             (f"have a side under {size} pixels: padded", False, min(crop[2:]) < size),
             ("have no contrast in the crop or are too small for a heart: their mask stays empty", True, blank))
    return [(what, named) for what, named, holds in every if holds]


def _odd_ones(images, known):
    """Return {(what, True): names} of what does not belong among a stack of short-axis MR slices."""
    said, planes = defaultdict(list), []
    most = max(sum(image.kind == kind for image in images) for kind in {image.kind for image in images})
    for image in images:
        if image.kind != "MR" and (image.kind != "screenshot" or most < len(images)):
            said[f"are no MR slice but {article(image.kind)}", True].append(stem_of(image.path))
        planes.append((stem_of(image.path), known[image.path, image.frame][0], image.normal))
    if turned := in_another_plane(planes):
        said[OTHER_PLANE, True] = turned
    return said


def in_another_plane(planes):
    """Return the names, of [(name, patient, normal)], that lie in another plane than most of their patient."""
    normals = defaultdict(list)
    for name, patient, normal in planes:
        if len(normal) and np.isfinite(normal).all() and np.any(normal):
            normals[patient].append((name, np.array(normal)))
    found = []
    for own in normals.values():
        usual = np.median([normal for _, normal in own], axis=0)
        for name, normal in own:
            cosine = np.dot(usual, normal) / max(np.linalg.norm(usual) * np.linalg.norm(normal), 1e-9)
            if len(own) > 2 and cosine < np.cos(np.radians(MOST_TURN)):
                found.append(name)
    return found


def article(kind):
    """Return a kind of image in words: "a CT image", "a screenshot"."""
    return f"a {kind}" if kind.islower() else f"a {kind} image"


def _labels(mask_path, image):
    labels = masks.read_labels(mask_path)
    if labels.shape != image.pixels.shape:
        raise CourseError(f"{mask_path}: is {size_of(labels)}, its image {image.path.name} {size_of(image.pixels)} "
                          "(rows × columns); export the pair again")
    return labels


def readable(name):
    """Return a file's name as text that can be written: bytes that are no UTF-8 become �."""
    return os.fsencode(name).decode("utf-8", "replace")
