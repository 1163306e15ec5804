"""`lvlab deidentify`: a copy of DICOM images, and of their masks, that does not say whose they are."""

import contextlib
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from lvlab.errors import CourseError
from lvlab.store import dicom
from lvlab.store.deidentify import Cleaner
from lvlab.store.files import find, refuse_full, shorten, walk, whole_folder
from lvlab.store.folder import NAME_PATTERN, PARTS, evidence_of, joined, list_files, part_folder
from lvlab.store.masks import read_labels

PICTURES = ("MR", "screenshot", "localiser")
MOST_DIGITS = 4  # of a level or frame in a name: a longer number may be somebody's


class Header(NamedTuple):
    """What a file tells before its pixels: `evidence` of whose it is (never shown), its kind, burnt-in text."""

    path: Path
    evidence: tuple
    kind: str
    burnt: bool


def write(source, out, quiet=False):
    """Write the images of a folder or a file without what identifies a person; return lines that tell what was done.

    A course folder stays one: its masks come along, its names keep level and phase. Written whole, or not at all.
    """
    source, out = find(source), Path(out)
    _refuse_inside(source, out)
    refuse_full(out)
    parts, masks, others = _files(source)
    headers = {path: _header(path) for path in tqdm(sorted(parts), desc="reading", disable=quiet, delay=2)}
    left_out = defaultdict(list, {"neither image nor mask of one": others})
    for path in [path for path, header in headers.items() if header.kind not in PICTURES]:
        left_out[f"no MR image but {headers.pop(path).kind or 'other data'}"].append(path)
        left_out["mask of such a file"] += [masks.pop(path)] if path in masks else []
    if not headers:
        raise CourseError(f"{source}: holds no MR image as DICOM; name a folder of them")
    patients, cleaner = _patients(list(headers.values())), Cleaner()
    targets = _targets(headers, parts, patients)
    with whole_folder(out) as place:
        for path, target in tqdm(targets.items(), desc="writing", unit="image", disable=quiet, delay=2):
            _write_image(path, place / target, cleaner, patients[path])
            if path in masks:
                _write_mask(masks[path], place / _mask_target(target))
    return [*_told(headers.values(), patients, cleaner, masks),
            *(f"Left out, {reason} ({len(what)}): {shorten([path.name for path in what])}"
              for reason, what in left_out.items() if what)]


def _refuse_inside(source, out):
    if not source.exists():
        raise CourseError(f"{source}: no such file or folder; name DICOM files or a folder of them")
    folder = (source if source.is_dir() else source.parent).resolve()
    if out.resolve().is_relative_to(folder):
        raise CourseError(f"{out}: lies in the folder with the names; name a folder elsewhere", ["out"])


def _files(source):
    """Return {image: part or ""}, {image: mask} and what is neither."""
    if source.is_file():
        return {source: ""}, {}, []
    parts, masks, seen = {}, {}, set()
    for part in PARTS:
        if part_folder(source, part):
            files = list_files(source, part)
            parts |= dict.fromkeys(files.images.values(), part)
            masks |= {path: files.masks[name] for name, path in files.images.items() if name in files.masks}
            seen |= {*files.images.values(), *masks.values(), *files.litter}
    rest = [path for path in walk(source) if path not in seen]
    parts |= {path: "" for path in rest if dicom.is_dicom(path)}
    return parts, masks, [path for path in rest if path not in parts]


def _header(path):
    with _in_one_line(path):
        dataset = dicom.open_dataset(path, header=True)
        kind = dicom.kind_of(dataset)
        burnt = kind == "screenshot" or dataset.get("BurnedInAnnotation") == "YES"
        return Header(path, dicom.evidence(dataset), kind, burnt)


@contextlib.contextmanager
def _in_one_line(path):
    """Turn what pydicom raises on a damaged file into one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (CourseError, OSError):
        raise
    except Exception as error:  # pydicom raises nearly every kind on damaged bytes
        raise CourseError(f"{path}: cannot be read as DICOM; export it again, or take it out") from error


def _patients(headers):
    """Return {path: pseudonym}: one patient is whoever shares a PatientID, a study or a name that lvlab wrote."""
    evidence = zip(evidence_of(headers), headers, strict=True)
    groups = joined([own or [f"folder:{header.path.parent}"] for own, header in evidence])
    digits = max(2, len(str(len(groups))))
    return {headers[row].path: f"patient-{number:0{digits}d}"
            for number, rows in enumerate(groups, start=1) for row in rows}


def _targets(headers, parts, patients):
    """Return {path: where it goes}: level, phase and frame as names that lvlab wrote tell them, else a count."""
    count, targets, taken = Counter(), {}, set()
    for path in headers:
        patient, known = patients[path], NAME_PATTERN.match(dicom.stem_of(path))
        count[patient] += 1
        counted = name = f"{patient}_{count[patient]:04d}.dcm"
        if known and max(len(known["level"]), len(known["instance"])) <= MOST_DIGITS:
            words = [patient, f"s{known['level']}", known["phase"], f"im{known['instance']}"]
            name = "_".join(filter(None, words)) + ".dcm"
        folder = Path(parts[path] or patient)
        targets[path] = folder / (counted if folder / name in taken else name)
        taken.add(targets[path])
    return targets


def _mask_target(target):
    folder = target.parent / "GT" if target.parent.name == "test" else target.parent
    return folder / f"{target.stem}.png"


def _write_image(path, target, cleaner, patient):
    target.parent.mkdir(parents=True, exist_ok=True)
    with _in_one_line(path):
        cleaner.clean(path, dicom.open_dataset(path), patient).save_as(target)


def _write_mask(path, target):
    """Write a mask's values anew: an image file may hold texts."""
    labels = read_labels(path)
    values = labels if labels.max() < 256 else (labels > 0) * 255
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(target, format="PNG")


def _told(headers, patients, cleaner, masks):
    yield f"{len(headers)} images of {len(set(patients.values()))} patients, {len(masks)} masks"
    if cleaner.damaged:
        yield f"Warning: damaged elements are left out: {shorten(sorted(cleaner.damaged))}"
    burnt = sum(header.burnt for header in headers)
    if burnt:
        yield f"Warning: {burnt} images are screenshots or say that text is burnt into them"
    yield "The pixels are as they were: look at every picture for names and dates before you share it"
