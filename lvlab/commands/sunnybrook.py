"""The public Sunnybrook release (DICOM and contour text files, in folders or zips) → a course folder.

Radau et al. 2009, hdl.handle.net/10380/3070; CC0. `SCD_IMAGES_0N/PATIENT/CINESAX_K/IM-K-NNNN.dcm` are
the images, `SCD_ManualContours/CASE/contours-manual/IRCCI-expert/IM-0001-NNNN-icontour-manual.txt`
the endocardial contours, and `scd_patientdata.csv` says which CASE is which PATIENT. In the layout of the
2009 challenge the images are `challenge_training/CASE/IM-K-NNNN.dcm`, and no table is needed.

The half-pixel convention. A contour is a list of x y in pixels, and the release does not say where the
first pixel's centre lies. Measured on four patients (see docs/measurements.md), the edge of the blood sits
0.9 px left of and 0.7 px above where a first centre at (0, 0) would put it. The usual conventions near
that are (0.5, 0.5), counted from the image's corner, and (1, 1); contrast prefers each in two patients.
Taken is (0.5, 0.5), which stays closer to the masks that others draw at (0, 0): their mean Dice with
these is 0.975, the smallest 0.923. `store.masks.filled` then draws them, its first centre being (0, 0).
"""

import contextlib
import csv
import io
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pydicom
from tqdm.auto import tqdm

from lvlab.errors import CourseError
from lvlab.store.dicom import plain_number, read_dicom
from lvlab.store.downloads import as_text, default_test, items_in
from lvlab.store.files import find, one_line, refuse_full, shorten, whole_folder
from lvlab.store.masks import filled, write_mask

SITE = "https://www.cardiacatlas.org/sunnybrook-cardiac-data/"
FIRST_CENTRE = 0.5
FRAMES_A_LEVEL = 20
PACKED = (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar")
CASE = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-(\d+)$", re.IGNORECASE)
CONTOUR = re.compile(r"IM-\d+-(\d+)-([io])contour-manual\.txt$", re.IGNORECASE)
IMAGE = re.compile(r"(IM-\d+)-(\d+)\.dcm$", re.IGNORECASE)
SERIES = re.compile(r"(^|/)[a-z0-9][a-z0-9-]*/CINESAX[^/]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """One labelled frame, ready to write; `moment` is its place in the heart's cycle, 0 to 1."""

    number: int
    level: int
    moment: float
    has_outer: bool
    dicom: bytes
    mask: np.ndarray


def write(release, out, test_patients=(), quiet=False):
    """Write the labelled frames of a release as a course folder; return lines telling what was done.

    release : the release's folder, one of its SCD_IMAGES folders, a zip, or a folder of zips
    test_patients : IDs such as SCD0000401 or SC-HF-I-5; by default every fifth, see `default_test`
    """
    left_out, frames = defaultdict(list), {}
    refuse_full(out)
    with contextlib.ExitStack() as stack:
        images, contours, names = read_release(find(release), stack)
        tested = {_patient_of(patient, images, names) for patient in test_patients}
        cases = {names.get(case, case): case for case in contours}
        left_out["case has contours but no images here"] = sorted(cases[p] for p in cases.keys() - images.keys())
        for patient in tqdm(sorted(images), desc="patients", unit="patient", disable=quiet, delay=2):
            own = contours[cases[patient]] if patient in cases else {}
            frames[patient] = labelled_frames(patient, images[patient], own, left_out)
    frames = {patient: own for patient, own in frames.items() if own}
    unusable = [str(what).rpartition("; ")[0] for what in left_out["unusable"]]
    left_out = {f"{reason} ({len(what)})": shorten(sorted(what)) for reason, what in left_out.items() if what}
    if not frames:
        why = "".join(f" ({reason})" for reason in unusable[:1])
        raise CourseError(f"{release}: nothing to import: {', '.join(left_out)}{why}; "
                          f"get SCD_IMAGES and SCD_ManualContours from {SITE}")
    if empty := tested - frames.keys():
        raise CourseError(f"--test-patients {', '.join(sorted(empty))}: no labelled frame here; name one of "
                          f"{', '.join(sorted(frames))}")
    tested = tested or set(default_test(list(frames)))
    with whole_folder(out) as folder:
        for patient, own in frames.items():
            _write_frames(folder / ("test" if patient in tested else "training"), patient, own)
    done = f"{sum(map(len, frames.values()))} pairs of {len(frames)} patients; for the test: "
    left_out = [f"Left out: {reason}: {what}" for reason, what in left_out.items()]
    done += ", ".join(sorted(tested)) or "none"
    return [done + (", and none to train on" if tested >= frames.keys() else ""), *left_out]


def read_release(release, stack):
    """Return (images {patient: {series: {number: Item}}}, contours {case: {(number, kind): Item}}, {case: patient})."""
    if not release.exists():
        raise CourseError(f"{release}: no such release; download it from {SITE}")
    items = list(items_in(release, stack))
    if re.fullmatch(r"SCD_IMAGES\w*", release.resolve().name, re.IGNORECASE) and release.is_dir():
        items += [item for item in items_in(release.resolve().parent, stack)
                  if CONTOUR.search(item.path.name) or item.path.name.lower() == "scd_patientdata.csv"]
    images, contours, table = defaultdict(lambda: defaultdict(dict)), defaultdict(dict), None
    for item in items:
        folders, name = item.path.parts[:-1], item.path.name
        case = next((canonical(part) for part in folders if CASE.match(part)), None)
        if (match := CONTOUR.match(name)) and case:
            contours[case].setdefault((int(match[1]), match[2].lower()), item)
        elif (match := IMAGE.match(name)) and SERIES.search("/".join(folders)):
            images[folders[-2].upper()][folders[-1]].setdefault(int(match[2]), item)
        elif match and folders and CASE.match(folders[-1]):
            images[canonical(folders[-1])][match[1]].setdefault(int(match[2]), item)
        elif name.lower() == "scd_patientdata.csv":
            table = table or item
    for what, found in (("image (SCD_IMAGES_01 …)", images), ("contour (SCD_ManualContours)", contours)):
        if not found:
            packed = [item.path.name for item in items if item.path.suffix.lower() in PACKED]
            remedy = f"unpack {packed[0]} first" if packed else f"download it from {SITE}"
            raise CourseError(f"{release}: holds no Sunnybrook {what}; {remedy}")
    if table is None and contours.keys() & images.keys():
        return images, contours, {}
    if table is None:
        raise CourseError(f"{release / 'scd_patientdata.csv'}: is missing; it tells which contours belong to which "
                          f"images: download it from {SITE}")
    return images, contours, _patients_by_case(table)


def canonical(case):
    """Return a case's name without leading zeros: SC-HF-I-05 and sc-hf-i-5 are SC-HF-I-5; other IDs in upper case."""
    match = CASE.match(case)
    return f"SC-{match[1].upper()}-{int(match[2])}" if match else case.upper()


def _patients_by_case(table):
    lines = as_text(table.read()).splitlines()
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    try:
        rows = [{str(key).strip().lower(): str(value).strip() for key, value in row.items()}
                for row in csv.DictReader(lines, delimiter=delimiter)]
    except csv.Error:
        rows = []
    names = {canonical(row["originalid"]): row["patientid"].upper() for row in rows
             if row.get("originalid") and row.get("patientid")}
    if not names:
        raise CourseError(f"{table.path}: has no columns PatientID and OriginalID; download it again from {SITE}")
    pairs = {(canonical(row["originalid"]), row["patientid"].upper()) for row in rows if row.get("originalid")}
    for column, name in ((0, "OriginalID"), (1, "PatientID")):
        for value, count in Counter(pair[column] for pair in pairs).items():
            if count > 1:
                raise CourseError(f"{table.path}: {name} {one_line(value)} stands for two patients; download it again "
                                  f"from {SITE}")
    return names


def _patient_of(wanted, images, names):
    patient = names.get(canonical(wanted), wanted.upper())
    if patient not in images:
        raise CourseError(f"--test-patients {wanted}: no such patient here; there are {', '.join(sorted(images))}")
    return patient


def labelled_frames(patient, series, contours, left_out):
    """Return the Frames of one patient; what cannot be used is added to `left_out` {reason: [what]}."""
    numbers = sorted(number for number, kind in contours if kind == "i")
    if not numbers:
        left_out["patient without contours"].append(patient)
        return []
    chosen = max(sorted(series), key=lambda name: (len(series[name].keys() & set(numbers)), len(series[name])))
    left_out["second short-axis series of a patient"] += [f"{patient}/{name}" for name in series.keys() - {chosen}]
    images, frames = series[chosen], []
    for number in numbers:
        if number not in images:
            left_out["contour without an image"].append(f"{patient} IM-{number:04d}")
            continue
        try:
            frames.append(_frame(number, images[number], contours[number, "i"], (number, "o") in contours))
        except CourseError as error:
            left_out["unusable"].append(str(error))
    left_out["frame without a contour"] += [f"{patient} IM-{number:04d}" for number in images.keys() - set(numbers)]
    return frames


def _frame(number, image, contour, has_outer):
    dicom = image.read()
    pixels = read_dicom(image.path, io.BytesIO(dicom)).pixels
    count = _frames_a_level(dicom)
    level, frame = divmod(number - 1, count)
    mask = filled(contour_points(contour, pixels.shape) - FIRST_CENTRE, pixels.shape)[..., 0] > 0
    if not mask.any():
        raise CourseError(f"{contour.path}: encloses no pixel; draw it again")
    return Frame(number, level + 1, frame / count, has_outer, dicom, mask)


def _frames_a_level(dicom):
    """Return how many frames of a heart beat a DICOM file tells of, the release's usual number where it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(dicom), specific_tags=["CardiacNumberOfImages"], stop_before_pixels=True)
        try:
            count = int(header.get("CardiacNumberOfImages") or 0)
        except (ValueError, TypeError):
            count = 0
    return count if count > 1 else FRAMES_A_LEVEL


def contour_points(contour, shape):
    """Return a contour's points (n, 2) as x, y in pixels; raise CourseError where it is damaged.

    Numbers may be parted by spaces, commas or semicolons and have decimal commas; a head line and a third column
    are passed over.
    """
    points = []
    for line_number, line in enumerate(as_text(contour.read()).splitlines(), start=1):
        if line.strip():
            try:
                points.append(_two_numbers(line))
            except ValueError as error:
                if line_number == 1 and re.search("[A-Za-z]", line):
                    continue
                raise CourseError(f"{contour.path}: line {line_number} is not two numbers; draw it again") from error
    points = np.array(points).reshape(-1, 2)
    if len(np.unique(points, axis=0)) < 3:
        raise CourseError(f"{contour.path}: has fewer than 3 different points; download it again")
    if not ((points >= 0) & (points <= shape[::-1])).all():  # false for NaN, too
        raise CourseError(f"{contour.path}: has points outside its {shape[0]} × {shape[1]} image; download it again")
    return points


def _two_numbers(line):
    parts = re.split(r"[;\s]+|,\s+", line.strip(" \t,;"))
    parts = parts[0].split(",") if len(parts) == 1 else parts
    x, y, *_ = map(plain_number, parts)
    if len(parts) > 3:
        raise ValueError("more than three columns")
    return x, y


def phases(frames):
    """Return "ED" or "ES" for each Frame of one patient, by the nearer in the heart's cycle.

    The moments are those of the larger and of the smaller contour, averaged over the levels by how much
    the two differ (near the apex they may swap). Where no level has two, an outer contour tells ED.
    """
    areas = pd.Series([float(frame.mask.sum()) for frame in frames])
    excess = areas - areas.groupby([frame.level for frame in frames]).transform("mean")
    turns = np.exp(2j * np.pi * np.array([frame.moment for frame in frames]))
    diastole, systole = (excess.clip(lower=0) * turns).sum(), (-excess.clip(upper=0) * turns).sum()
    if not abs(diastole * systole):
        return ["ED" if frame.has_outer else "ES" for frame in frames]
    nearer_diastole = (turns * np.conj(diastole / abs(diastole) - systole / abs(systole))).real >= 0
    return ["ED" if nearer else "ES" for nearer in nearer_diastole]


def _write_frames(folder, patient, frames):
    masks = folder / "GT" if folder.name == "test" else folder
    masks.mkdir(parents=True, exist_ok=True)
    for frame, phase in zip(frames, phases(frames), strict=True):
        stem = f"{patient}_s{frame.level:02d}_{phase}_im{frame.number:04d}"
        (folder / f"{stem}.dcm").write_bytes(frame.dicom)
        write_mask(masks / f"{stem}.png", frame.mask)
