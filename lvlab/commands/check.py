"""`lvlab check`: read a course folder as a careful colleague would, and say what to put right."""

import hashlib
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from lvlab.errors import CourseError
from lvlab.slices import SIZE, centre_crop, normalise
from lvlab.store import dicom, folder, masks
from lvlab.store.dicom import size_of
from lvlab.store.files import shorten, walk
from lvlab.store.folder import NAME_PATTERN

PLAUSIBLE_MM = (0.2, 5)
NOTHING = "Nothing to put right."
TEXTS = (".txt", ".md", ".csv", ".json", ".pdf", ".html", ".rst")  # beside a course's data, and no data
#: Beside all names (PN): what DICOM PS3.15 (table E.1-1) has blanked or replaced and what says who somebody is.
PERSONAL = ("PatientID", "PatientBirthDate", "PatientBirthTime", "PatientAddress", "PatientTelephoneNumbers",
            "OtherPatientIDs", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
            "AccessionNumber", "PatientComments", "IssuerOfPatientID", "MilitaryRank", "CountryOfResidence")
RECORD_NUMBER = re.compile(r"\d[\d\s./-]{4,}$")  # five digits or more and no letter, as hospitals number people


class Finding(NamedTuple):
    """What is wrong with some files, and the remedy. `level` is "error" or "warning"."""

    level: str
    what: str
    files: tuple
    remedy: str

    def __str__(self):
        count = f" ({len(self.files)})" if len(self.files) > 1 else ""
        return f"{self.level}: {self.what}{count}: {shorten(self.files)}; {self.remedy}"


class Audit(NamedTuple):
    """What a course folder holds, in lines, and the Findings; print it."""

    lines: list
    findings: list

    @property
    def errors(self):
        """The findings that must be put right."""
        return [finding for finding in self.findings if finding.level == "error"]

    def __str__(self):
        warned = len(self.findings) - len(self.errors)
        total = f"{_count(len(self.errors), 'error')}, {_count(warned, 'warning')}" if self.findings else NOTHING
        return "\n".join([*self.lines, "", *map(str, self.findings), total])


@dataclass(frozen=True)
class Pair:
    """One readable pair of the folder: `label` is its path there, `values` the mask's labels."""

    part: str
    label: str
    mask_label: str
    image: dicom.DicomSlice
    values: np.ndarray
    tags: tuple


def audit(path):
    """Audit a course folder: return an Audit. Raises CourseError where there is no course folder."""
    path = folder.need_folder(path)
    found, pairs, counts, seen = defaultdict(list), {}, {}, set()
    for part in ("training", "test"):
        place = folder.part_folder(path, part)
        if place is None:
            continue
        files = folder.list_files(path, part)
        for problem in files.problems:
            found["error", problem.what, problem.remedy].append(problem.path.relative_to(path))
        for file in files.others:
            found["warning", "is neither image nor mask and is not read", "see that nothing is missing"].append(
                file.relative_to(path))
        counts[part] = f"  {place.name}: {len(files.images)} images, {len(files.masks)} masks"
        if files.litter:
            counts[part] += f"; not read: {shorten([file.name for file in files.litter])}"
        pairs[part] = list(_read_pairs(path, part, files.images, files.masks, found))
        seen.update(walk(place))
    images = [pair.image for own in pairs.values() for pair in own]
    known = folder.pseudonyms(images)
    lines = [path.resolve().name]
    for part, own in pairs.items():
        lines += [counts[part], *_description(own, known)]
        if own and not any(pair.values.any() for pair in own):
            found["error", "every mask is empty", "export the masks again"].append(part)
        for pair in own:
            _judge(pair, found)
    _compare([pair for own in pairs.values() for pair in own], known, found)
    if tags := {key.partition(":")[0] for own in folder.evidence_of(images) for key in own}:
        lines.append(f"  slices of one patient share: {', '.join(sorted(tags, key=str.lower))}")
    for file in sorted(set(walk(path)) - seen):
        if file.suffix.lower() not in TEXTS and not folder.LITTER.match(file.name):
            found["warning", "lies outside of training/ and test/ and is not read",
                  "move it there, if it belongs to the course"].append(file.relative_to(path))
    findings = [Finding(level, what, tuple(files), remedy) for (level, what, remedy), files in found.items()]
    return Audit(lines, sorted(findings, key=lambda finding: finding.level))


def _read_pairs(path, part, images, drawn, found):
    """Yield the readable Pairs of a part; the others go to `found`."""
    for name in tqdm(sorted(images.keys() & drawn.keys()), desc=f"check {part}", unit="pair", delay=2, leave=False):
        label, mask_label = (file.relative_to(path) for file in (images[name], drawn[name]))
        read = []
        for reader, file in ((dicom.read_dicom, images[name]), (masks.read_labels, drawn[name])):
            try:
                read.append(reader(file))
            except CourseError as error:
                what, _, remedy = str(error).removeprefix(f"{file}: ").rpartition("; ")
                found["error", what, remedy].append(file.relative_to(path))
        if len(read) == 2:
            image, values = read
            if values.shape == image.pixels.shape:
                yield Pair(part, str(label), str(mask_label), image, values, identifying_tags(images[name]))
            else:
                found["error", "mask and image differ in size (rows × columns)", "export the pair again"].append(
                    f"{mask_label} ({size_of(values)}, its image {size_of(image.pixels)})")


def _description(pairs, known):
    """Yield the lines that tell what a part's readable pairs are like."""
    if not pairs:
        return
    patients, phases = (Counter(known[pair.image.path, pair.image.frame][k] for pair in pairs) for k in (0, 1))
    named = [f"{patient or 'unknown'} ({count})" for patient, count in patients.items()]
    yield f"    {_count(len(patients), 'patient')}: {shorten(named, 6)}"
    sizes = sorted({size_of(pair.values) for pair in pairs})
    size = sizes[0] if len(sizes) == 1 else f"of {len(sizes)} sizes, {sizes[0]} to {sizes[-1]}"
    phase = "".join(f", {name} {phases[name]}" for name in ("ED", "ES") if phases[name])
    yield (f"    frames {size} px, pixels {_millimetres(pairs, 'row_spacing_mm', 'col_spacing_mm')}, "
           f"slices {_millimetres(pairs, 'slice_thickness_mm')} thick{phase}")


def _count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def _millimetres(pairs, *names):
    values = [value for pair in pairs for value in (getattr(pair.image, name) for name in names) if value == value]
    low, high = (f"{value:.3g}" for value in (min(values), max(values))) if values else ("unknown", "unknown")
    return f"{low} mm" if low == high else f"{low} to {high} mm"


def _judge(pair, found):
    """Add what one readable pair alone tells."""
    def warn(what, remedy, label=pair.label):
        found["warning", what, remedy].append(label)

    pixels, _ = folder.at_working_scale(pair.image)
    inside = folder.mask_at(pair.values > 0, pixels.shape)
    if np.unique(pixels[np.isfinite(pixels)]).size < 2:
        warn("image has one grey value only", "export it again, or take the pair out of the folder")
    elif folder.is_blank(centre_crop(pixels)[0]):
        warn("image has no contrast in its crop", "its prediction stays empty: centre the heart, or take the pair out")
    if min(pixels.shape) < SIZE:
        warn(f"image is smaller than the {SIZE} × {SIZE} crop", "it will be padded; nothing to do if that is right")
    if not pair.image.row_spacing_mm > 0:
        warn("image has no PixelSpacing of two lengths", "areas in mm² will be unknown; export it as MR Image")
    elif not all(PLAUSIBLE_MM[0] <= side <= PLAUSIBLE_MM[1] for side in (pair.image.row_spacing_mm,
                                                                        pair.image.col_spacing_mm)):
        warn("image has pixels of an implausible size", "areas will be wrong: mend PixelSpacing, which is in mm")
    elif pixels.shape != pair.image.pixels.shape:
        warn("image has pixels of unusual size", f"resampled to {folder.WORKING_MM} mm; nothing to do if that is right")
    if not inside.any():
        warn("mask is empty", "right only where the slice shows no cavity; else draw it", pair.mask_label)
    elif inside.mean() > 0.5:
        warn("mask covers more than half of the image", "the cavity must be white on black: invert it", pair.mask_label)
    else:
        cut = 1 - centre_crop(inside)[0].sum() / inside.sum()
        if cut > 0:
            warn(f"mask reaches outside the central {SIZE} × {SIZE} crop",
                 "what lies outside is not learnt: centre the heart, or accept it",
                 f"{pair.mask_label} ({max(cut, 0.01):.0%} cut off)")
    for what, remedy in masks.oddities(pair.values):
        warn(what, remedy, pair.mask_label)
    if pair.image.kind != "MR":
        warn(f"is no MR image but {folder.article(pair.image.kind)}", "see that it belongs here")
    for tag in pair.tags:
        warn(f"tag {tag} may identify a person", "blank it before you share the files (the command deidentify does)")


def identifying_tags(path):
    """Return the names of a DICOM file's filled tags that may identify a person; the values stay here.

    Of PS3.15's list those of `PERSONAL` and every person's name. Left out are zeros and blanks, what the file's own
    name begins with, a PatientID that is more than a number, a one-word name that equals it or holds a digit, and
    the patient's name where PatientIdentityRemoved says YES.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dicom.open_dataset(path, header=True)
        try:
            tags = [element.keyword or str(element.tag) for element in dataset.iterall()
                    if _identifies(element, dataset, Path(path).stem.lower())]
        except Exception:  # pydicom raises several kinds on a damaged tag
            tags = ["(damaged)"]
    return tuple(dict.fromkeys(tags))


def _identifies(element, dataset, stem):
    value = str(element.value or "").strip(" 0^")
    if not value or not (element.VR == "PN" or element.keyword in PERSONAL):
        return False
    if element.keyword in ("PatientName", "PatientID") and stem.startswith(value.lower()):
        return False
    if element.keyword == "PatientID":
        return bool(RECORD_NUMBER.match(value))
    if element.keyword == "PatientName" and dataset.get("PatientIdentityRemoved") == "YES":
        return False
    pseudonym = value == str(dataset.get("PatientID") or "").strip() or re.search(r"\d", value)
    return not (element.VR == "PN" and pseudonym and not re.search(r"[\^\s]", value))


def _compare(pairs, known, found):
    """Add what only the whole folder tells: patients and images on both sides, images twice."""
    sides, copies, names, numbers = defaultdict(set), defaultdict(list), defaultdict(set), defaultdict(set)
    for pair in pairs:
        patient = known[pair.image.path, pair.image.frame][0]
        sides[patient].add(pair.part)
        ids, studies = ([key for key in pair.image.evidence if key.startswith(tag)] for tag in ("Pat", "Study"))
        for study in studies:
            numbers[patient, study].update(ids)
        names[patient].update(match["patient"] for match in [NAME_PATTERN.match(Path(pair.label).stem)] if match)
        copies[size_of(pair.values), hashlib.sha256(pair.image.pixels.tobytes()).digest()].append(pair)
    for patient in sorted(patient for patient, parts in sides.items() if patient and len(parts) > 1):
        found["warning", "patient is in training and in test", "keep each patient on one side, or scores will be "
              "too good to be true"].append(patient)
    for several in (sorted(own) for own in names.values() if len(own) > 1):
        found["warning", "several names share a PatientID or study and count as one patient",
              "see that each file carries the tags of its own patient"].append(" = ".join(several))
    for patient, count in sorted((patient, len(own)) for (patient, _), own in numbers.items() if len(own) > 1):
        found["warning", "several PatientIDs share a StudyInstanceUID and count as one patient",
              "see that each file carries the tags of its own patient"].append(f"{patient} ({count})")
    for same in (same for same in copies.values() if len(same) > 1):
        across = len({pair.part for pair in same}) > 1
        what = "image is in training and in test" if across else "image is there twice"
        found["warning", what, "keep one of the two"].append(" = ".join(pair.label for pair in same))
    for part in sorted({pair.part for pair in pairs}):
        own = [pair for pair in pairs if pair.part == part]
        own = own[::-(-len(own) // masks.MOST_PAIRS)]
        frames = [folder.at_working_scale(pair.image)[0] for pair in own]
        offset = masks.mask_offset((normalise(centre_crop(pixels)[0]) for pixels in frames),
                                   (centre_crop(folder.mask_at(pair.values > 0, pixels.shape))[0]
                                    for pair, pixels in zip(own, frames, strict=True)))
        if any(offset):
            resampled = any(pixels.shape != pair.image.pixels.shape for pixels, pair in zip(frames, own, strict=True))
            found["warning", "masks lie off the edges in their images", "see how their outlines were counted: from the "
                  "first pixel's centre or from its corner, from 0 or from 1 (data/README.md)"].append(
                f"{part}, pixels{f' of {folder.WORKING_MM} mm' * resampled}: {masks.direction(offset)}")
    unknown = [pair.label for pair in pairs if not known[pair.image.path, pair.image.frame][0]]
    if unknown:
        found["warning", "patient is unknown", "name the files PATIENT_sLEVEL_PHASE_imNNNN, else slices of one patient "
              "may land on both sides"] += unknown
