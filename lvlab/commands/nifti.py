"""NIfTI data sets with expert masks, such as ACDC and M&Ms, in folders or zips → a course folder.

Found are pairs NAME.nii.gz and NAME_gt.nii.gz. ACDC (Bernard et al. 2018, doi:10.1109/TMI.2018.2837502): one file a
phase, PATIENT_frame01, and Info.cfg beside it; cavity 3. M&Ms (Campello et al. 2021, doi:10.1109/TMI.2021.3090082): one
file a heartbeat, CODE_sa, labelled at two frames which a CSV names; cavity 1. M&Ms-2: CODE_SA_ED and CODE_SA_ES.
"""

import contextlib
import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from lvlab.errors import CourseError
from lvlab.store import nifti
from lvlab.store.downloads import as_text, default_test, items_in
from lvlab.store.files import find, one_line, refuse_full, shorten, whole_folder
from lvlab.store.masks import write_mask
from lvlab.store.writing import Plane, mr_image

TRUTH = re.compile(r"(.+)_gt(\.nii(?:\.gz)?)$", re.IGNORECASE)
PATIENT = re.compile(r"(.+?)(?:_frame\d+|_4d|_sa|_sax|_short_axis|_ed|_es)*$", re.IGNORECASE)
FRAME, PHASE = re.compile(r"_frame0*(\d+)", re.IGNORECASE), re.compile(r"_(ed|es)(?:_|$)", re.IGNORECASE)
LONG_AXIS = re.compile(r"_(la|lax|long_axis|[234]ch)(?:_frame\d+|_4d|_ed|_es)*$", re.IGNORECASE)
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LARGEST_VOLUME = 2**29  # bytes, packed
WALL, CAVITIES = 2, (3, 1)  # the muscle's label in both; the cavity's in ACDC, in M&Ms
GROUPS = {"NOR": "normal", "MINF": "infarct", "DCM": "dilated", "HCM": "hypertrophic", "RV": "right overload"}
CODES, PATHOLOGIES = ("external code", "subject_code"), ("pathology", "disease")


class Known(NamedTuple):
    """What the tables of a data set tell of a patient: its group, and the numbers of its phases' frames."""

    group: str = ""
    phases: Mapping = MappingProxyType({})  # {frame, counted from 0: phase}


class Labelled(NamedTuple):
    """A patient's labelled frame: (levels, rows, cols) of pixels and labels, and where it comes from."""

    volume: nifti.Volume
    labels: np.ndarray
    number: int    # of the frame, counted from 0
    column: int    # of the frame in the volume
    phase: str


def write(source, out, test_patients=(), cavity=None, quiet=False):
    """Write the labelled slices of a NIfTI data set as a course folder; return lines telling what was done.

    source : the data set's folder, a zip of it, or a folder of zips
    cavity : the label of the left ventricle's cavity; by default the one that the muscle's label (2) goes round
    """
    nifti.need_nibabel()
    refuse_full(out)
    if cavity is not None and cavity < 1:
        raise CourseError(f"the label {cavity} is what lies outside of everything; name the cavity's", ["cavity"])
    left_out = defaultdict(list)
    with contextlib.ExitStack() as stack:
        items = list(items_in(find(source), stack))
        pairs, known = _pairs(source, items, left_out), _tables(items)
        patients = defaultdict(list)
        for patient, image, truth in tqdm(pairs, desc="volumes", unit="volume", disable=quiet, delay=2):
            try:
                patients[patient] += _labelled(patient, image, truth, known)
            except CourseError as error:
                left_out["unusable"].append(str(error))
        patients = {patient: _with_phases(frames) for patient, frames in sorted(patients.items()) if frames}
        if not patients:
            raise CourseError(next(iter(left_out["unusable"]), f"{source}: no mask has a labelled pixel"))
        label = cavity or _cavity([frame.labels for frames in patients.values() for frame in frames])
        return [*_write(source, out, patients, label, known, test_patients, left_out),
                *(f"Left out: {reason} ({len(what)}): {shorten(sorted(what))}"
                  for reason, what in left_out.items() if what)]


def _pairs(source, items, left_out):
    """Return [(patient, image, truth)] as Items, by name; raise where there is none."""
    volumes = {item.path: item for item in items if nifti.is_nifti(item.path)}
    stems = {path.with_name(nifti.stem_of(path)): item for path, item in volumes.items()}
    pairs, taken = [], {}
    for path, truth in sorted(volumes.items()):
        if not (match := TRUTH.match(path.name)):
            continue
        image, patient = stems.get(path.with_name(match[1])), PATIENT.match(match[1])[1]
        if image is None:
            left_out["mask without an image"].append(path.name)
        elif LONG_AXIS.search(match[1]):
            left_out["long-axis view"].append(one_line(path.name))
        elif not SAFE.fullmatch(patient):
            left_out["name that is no file name"].append(one_line(path.name))
        elif other := taken.get(match[1].lower()):
            if not all(map(_same, (image, truth), other)):
                raise CourseError(f"{path} and {other[1].path}: two hearts of one name; import one folder at a time, "
                                  "or rename the files of one")
            left_out["there twice, taken once"].append(one_line(path.name))
        else:
            taken[match[1].lower()] = image, truth
            pairs.append((patient, image, truth))
    if not pairs:
        found = f"{len(volumes)} NIfTI files" if volumes else "no NIfTI file"
        raise CourseError(f"{source}: holds {found}, and no pair NAME.nii.gz and NAME_gt.nii.gz; name the folder of "
                          "ACDC or M&Ms that holds the patients' folders")
    return pairs


def _same(item, other):
    """Tell whether two files hold the same volume, however packed."""
    one, two = (nifti.read(each.path, each.read(LARGEST_VOLUME)) for each in (item, other))
    return np.allclose(one.affine, two.affine) and np.array_equal(one.pixels, two.pixels)


def _tables(items):
    """Return {patient: Known} of ACDC's Info.cfg and of M&Ms' CSV."""
    known = {}
    for item in items:
        if item.path.name.lower() == "info.cfg":
            lines = [line.partition(":") for line in as_text(item.read()).splitlines()]
            info = {key.strip().lower(): value.strip() for key, _, value in lines}
            frames = {int(info[name]) - 1: name.upper() for name in ("ed", "es") if info.get(name, "").isdecimal()}
            known[item.path.parent.name] = Known(GROUPS.get(info.get("group", "").upper(), ""), frames)
        elif item.path.suffix.lower() == ".csv":
            for row in csv.DictReader(io.StringIO(as_text(item.read()))):
                row = {str(key).strip().lower(): str(value).strip() for key, value in row.items()}
                code = next((row[key] for key in CODES if row.get(key)), "")
                group = next((row[key] for key in PATHOLOGIES if row.get(key)), "")
                frames = {int(row[name]): name.upper() for name in ("ed", "es") if row.get(name, "").isdecimal()}
                known.setdefault(code, Known(GROUPS.get(group.upper(), ""), frames if len(frames) == 2 else {}))
    return known


def _labelled(patient, image, truth, known):
    """Return the Labelled frames of one pair."""
    volume, masks = (nifti.read(item.path, item.read(LARGEST_VOLUME)) for item in (image, truth))
    if masks.stored.shape != volume.stored.shape:
        raise CourseError(f"{truth.path}: has the size {masks.stored.shape}, its image {volume.stored.shape}; fetch "
                          "both again")
    if not np.allclose(masks.stored.affine, volume.stored.affine, atol=1e-2):
        raise CourseError(f"{truth.path}: lies elsewhere than its image (their affines differ); fetch both again")
    labels = np.rint(masks.pixels)
    if not np.isfinite(labels).all() or np.abs(labels - masks.pixels).max() > 0.01:  # scaled integers are off by less
        raise CourseError(f"{truth.path}: its labels are no whole numbers; export the mask without interpolation")
    stem = nifti.stem_of(image.path)
    named, numbered = PHASE.search(stem), FRAME.search(stem)
    frames = []
    for column in range(volume.pixels.shape[1]):
        if labels[:, column].any():
            number = int(numbered[1]) - 1 if numbered else column
            phase = named[1].upper() if named else known.get(patient, Known()).phases.get(number, "")
            frames.append(Labelled(volume, labels[:, column], number, column, phase))
    return frames


def _cavity(volumes):
    """Return the label that lies within the muscle's: most of whose border is muscle."""
    borders = {}
    for label in CAVITIES:
        count = Counter()
        for labels in volumes:
            inside = labels == label
            for axis in (1, 2):
                for step in (1, -1):
                    beside = np.roll(labels, step, axis)[inside & (np.roll(labels, step, axis) != label)]
                    count["wall"] += int((beside == WALL).sum())
                    count["all"] += beside.size
        borders[label] = count["wall"] / count["all"] if count["all"] else 0.0
    best = max(borders, key=borders.get)
    if borders[best] < 0.5:
        raise CourseError("no label of the masks lies within the muscle's (2); name the cavity's", ["cavity"])
    return best


def _with_phases(frames):
    """Return one patient's frames with a phase each: told ones, else ED is where most is labelled."""
    if len(frames) == 2 and {frame.phase for frame in frames} != {"ED", "ES"}:
        frames = sorted(frames, key=lambda frame: -np.count_nonzero(frame.labels != WALL) + np.count_nonzero(
            frame.labels == 0))
        frames = [frame._replace(phase=phase) for frame, phase in zip(frames, ("ED", "ES"), strict=True)]
    return sorted(frames, key=lambda frame: frame.number)


def _write(source, out, patients, label, known, test_patients, left_out):
    """Write the course folder; yield what was done."""
    patients = {patient: frames for patient, frames in patients.items()
                if any((frame.labels == label).any() for frame in frames)}
    if not patients:
        why = f" ({left_out['unusable'][0]})" if left_out["unusable"] else ""
        raise CourseError(f"{source}: no mask has a pixel of the label {label}{why}; name the cavity's", ["cavity"])
    if unknown := set(test_patients) - patients.keys():
        raise CourseError(f"{', '.join(sorted(unknown))}: no such patient here; there are "
                          f"{shorten(sorted(patients), 8)}", ["test_patients"])
    tested = set(test_patients) or set(default_test(list(patients)))
    count = 0
    with whole_folder(out) as folder:
        for patient, frames in patients.items():
            part = folder / ("test" if patient in tested else "training")
            count += _write_patient(part, patient, frames, label, known.get(patient, Known()).group, left_out)
    yield (f"{count} pairs of {len(patients)} patients, the cavity is label {label}; for the test: "
           f"{', '.join(sorted(tested)) or 'none'}")


def _write_patient(folder, patient, frames, label, group, left_out):
    """Write one patient's labelled slices, level 1 at the base; return how many."""
    masks = folder / "GT" if folder.name == "test" else folder
    masks.mkdir(parents=True, exist_ok=True)
    places = _places(frames)
    last = max(map(max, places))
    area = np.zeros(last + 1)
    for frame, own in zip(frames, places, strict=True):
        np.add.at(area, own, (frame.labels == label).sum((1, 2)))
    half = len(area) // 2
    backwards = area[:half].sum() < area[-half:].sum() if half else False  # the apex is the narrow end
    count = 0
    for frame, own in zip(frames, places, strict=True):
        for number, place in sorted(enumerate(own), key=lambda each: -each[1] if backwards else each[1]):
            level = 1 + (last - place if backwards else place)
            stem = "_".join(filter(None, (f"{patient}_s{level:02d}", frame.phase, f"im{frame.number + 1:04d}")))
            inside = frame.labels[number] == label
            if not inside.any():
                left_out["slice without cavity"].append(stem)
                continue
            volume = frame.volume
            if (folder / f"{stem}.dcm").exists():
                raise CourseError(f"{volume.path}: would give {stem} a second time; import one volume of each frame")
            plane = Plane(volume.spacing_mm, volume.across, volume.down, volume.corner_mm(number))
            image = mr_image(_as_grey(volume.pixels[number, frame.column]), patient, plane,
                             f"{(last + 1) * frame.number + level}", ("lvlab nifti", patient))
            if np.isfinite(volume.frame_ms):
                image.TriggerTime = f"{frame.number * volume.frame_ms:.1f}"
            image.AdmittingDiagnosesDescription = group
            image.save_as(folder / f"{stem}.dcm", enforce_file_format=True)
            write_mask(masks / f"{stem}.png", inside)
            count += 1
    return count


def _places(frames):
    """Return for each frame the places of its planes along the stack, from 0: a frame may begin a plane later.

    Where the frames' planes are not the same ones, their numbers are their places.
    """
    first = frames[0].volume
    step = abs(first.affine[:3, 2] @ first.normal)
    along = [np.array([frame.volume.corner_mm(number) @ first.normal for number in range(len(frame.labels))]) / step
             for frame in frames]
    along = [own - min(map(min, along)) for own in along]
    whole = [np.rint(own).astype(int) for own in along]
    alike = all(np.abs(own - places).max() < 0.2 and (np.abs(np.diff(places)) == 1).all() and len({*places}) == len(own)
                for own, places in zip(along, whole, strict=True))
    longest = max(map(len, whole))
    if alike and max(map(max, whole)) < 1.5 * longest:
        return [places.tolist() for places in whole]
    return [list(range(len(own))) for own in whole]


def _as_grey(pixels):
    """Return pixels as uint16: as they are where they fit, else stretched to 0..4095."""
    pixels = np.nan_to_num(np.asarray(pixels, np.float64))
    if pixels.min() >= 0 and pixels.max() < 2**16 and pixels.max() >= 64:
        return np.rint(pixels).astype(np.uint16)
    low, high = pixels.min(), pixels.max()
    return np.rint((pixels - low) * (4095 / max(high - low, 1e-12))).astype(np.uint16)
