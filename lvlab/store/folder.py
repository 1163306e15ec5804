"""The course folder: `training/NAME.dcm` beside `training/NAME.png`; `test/NAME.dcm` with `test/GT/NAME.png`.

Images and masks are paired by name, never by position, and anything missing is an error.
"""

import logging
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lvlab.errors import CourseError
from lvlab.slices import COLUMNS, SIZE, SliceSet, centre_crop, concatenate, normalise
from lvlab.store.dicom import IMAGE_ENDINGS, read_dicom, size_of
from lvlab.store.files import PROJECT, find
from lvlab.store.png import read_mask

notes = logging.getLogger(__name__)
NAME_PATTERN = re.compile(r"(?P<patient>.+)_s(?P<level>\d+)_(?P<phase>ED|ES)_im(?P<instance>\d+)$")


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
        raise CourseError(f"{path}: no such folder; name a course folder (the command phantom writes one)")
    if not any((path / part).is_dir() for part in need):
        inside = [child for child in sorted(path.iterdir()) if any((child / part).is_dir() for part in need)]
        remedy = f"did you mean {inside[0]}?" if inside else "name the folder that holds training/ or test/"
        raise CourseError(f"{path}: has no folder named {' or '.join(need)}; {remedy}")
    return path


def load_images(paths, size=SIZE):
    """Read DICOM files without ground truth into a SliceSet (masks None)."""
    slices = [(read_dicom(path), None) for path in paths]
    return _slice_set(slices, pseudonyms([image for image, _ in slices]), size)


def pair_files(path, part):
    """Return [(image path, mask path)] of one part, by name, sorted; raise where a partner is missing."""
    images, masks, problems = list_pairs(path, part)
    if problems:
        more = f" (and {len(problems) - 1} more; the command check lists them)" if len(problems) > 1 else ""
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
                                f"add the PNG of the same name to {mask_folder.name}/, or take the image out"))
    for name in sorted(masks.keys() - images.keys()):
        problems.append(Problem(masks[name], "has no image", "add the DICOM of the same name, or take the mask out"))
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
            notes.warning("Note: %d of %d slices have %s.", number, len(rows), what)


def readable(name):
    """Return a file's name as text that can be written: bytes that are no UTF-8 become �."""
    return os.fsencode(name).decode("utf-8", "replace")
