"""Synthetic patients: the course folder on disk, whole heartbeats, and an endless stream for pre-training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator
from tqdm.auto import tqdm

from lvlab.phantom.anatomy import apical_share, cavity_radius_mm, chamber, exaggerate, sample_anatomy
from lvlab.phantom.drawing import one_thread, render, smooth_field
from lvlab.phantom.scanner import acquire, sample_scanner
from lvlab.slices import COLUMNS, SliceSet, normalise
from lvlab.store.files import whole_folder
from lvlab.store.masks import write_mask
from lvlab.store.writing import Plane, mr_image

LEVELS, FRAME, FRAMES, SYSTOLE_FRAME = 5, 192, 20, 8
CYCLE_MS, STACK_MM = 900, 10.0  # a heartbeat; from slice to slice, gap included (SCMR: doi:10.1186/s12968-020-00607-1)
# How far the ventricle has contracted over the beat: ejection, fast filling, rest, the atrium's kick (Mitchell and
# Wang 2014, doi:10.1152/advan.00123.2013).
_BEAT = PchipInterpolator([0, 0.08, 0.25, 0.4, 0.47, 0.58, 0.68, 0.85, 1], [0, 0.12, 0.75, 1, 0.93, 0.4, 0.2, 0.16, 0])
# Spawn keys that keep the patients of the course folder and of the stream apart, whatever the seeds.
_COURSE, _STREAM, _CINE = 1, 2, 3
_PHASES = {0.0: "ED", 1.0: "ES"}
_TURNS = ("normal", "infarct", "hypertrophic")
# What the stream shows, and how often: hearts as they come, and those that networks fail on.
KINDS = {"usual": 0.58, "huge_rv": 0.08, "obliterated": 0.08, "outflow": 0.08, "tiny_apex": 0.06,
         "decoys": 0.05, "off_centre": 0.03, "heart_free": 0.04}


def random_slices(n, seed, size=128, start=0, kind=None):
    """Return a SliceSet of `n` slices, named wild-SEED-I, each of a new wild patient.

    Images are normalised as the course's crops are; about one mask in twenty is empty. Slice i
    depends on `seed` and `start + i` only: chunks made apart equal one long run, whatever the number of threads.
    `kind`: one of `KINDS`, for slices that are all of it; else the stream mixes them.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind {kind!r}: choose one of {', '.join(KINDS)}")
    images = np.empty((n, size, size, 1), np.float32)
    masks = np.empty((n, size, size, 1), np.float32)
    rows = []
    for i in range(n):
        number = start + i
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM, number)))
        drawn = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
        images[i, ..., 0], masks[i, ..., 0], phase, scanner, anatomy = _random_slice(rng, size, drawn)
        name = f"wild-{seed}-{number}"
        rows.append((name, name, _PHASES.get(phase, ""), 0, scanner.spacing_mm, scanner.spacing_mm,
                     scanner.thickness_mm, (0, 0, size, size), np.nan, np.nan, anatomy.group))
    return SliceSet(images, masks, pd.DataFrame(rows, columns=COLUMNS))


def _random_slice(rng, size, kind):
    """Return the image (h, w), the mask (h, w), the phase, the scanner and the anatomy of one slice."""
    group = {"huge_rv": "right overload", "obliterated": "hypertrophic"}.get(kind)
    anatomy = exaggerate(rng, sample_anatomy(rng, "wild", group), kind)
    scanner = sample_scanner(rng, "wild")
    phase = 1.0 if kind == "obliterated" else float(rng.choice([0, 1, rng.random()]))
    if kind == "off_centre":
        edge = rng.uniform(-1, 1) + 1j * rng.choice([-1, 1])
        edge = rng.uniform(0.5, 0.95) * size / 2 * scanner.spacing_mm * edge
        anatomy = replace(anatomy, offset=edge * rng.choice([1, 1j]))
    if kind == "heart_free" and rng.random() < 0.35:
        return normalise(_empty_image(rng, size)), np.zeros((size, size), bool), phase, scanner, anatomy
    tissues, mask = render(anatomy, _depth(rng, anatomy, phase, kind, scanner.spacing_mm), phase, (size, size),
                           scanner.spacing_mm, scanner.thickness_mm, heart=kind != "heart_free")
    return normalise(acquire(scanner, tissues, rng)), mask, phase, scanner, anatomy


def _depth(rng, anatomy, phase, kind, spacing_mm):
    """Return the depth, mm, of a slice of this kind."""
    heart = chamber(anatomy, phase)
    if kind == "tiny_apex":
        share = apical_share(anatomy, phase, rng.uniform(0.8, 3.5) * spacing_mm)
    elif kind == "outflow":
        share = rng.uniform(0.01, 0.75) * anatomy.outflow.opens
    elif kind == "huge_rv":
        share = rng.uniform(0.05, 0.75)
    else:
        share = rng.choice([rng.uniform(0.05, 0.95), rng.uniform(-0.06, 0.2), rng.uniform(0.75, 0.98)],
                           p=[0.78, 0.15, 0.07])
    return heart.base + share * heart.length


@one_thread
def _empty_image(rng, size):
    """Nothing, one grey, or noise under a shading."""
    kind = rng.choice(["zero", "constant", "noise"], p=[0.2, 0.3, 0.5])
    if kind == "zero":
        return np.zeros((size, size))
    if kind == "constant":
        return np.full((size, size), rng.uniform(0, 1000))
    shading = np.exp(rng.uniform(0, 0.7) * smooth_field(rng, (size, size), rng.uniform(15, 50)))
    return np.abs(rng.normal(size=(size, size)) + rng.uniform(0, 3)) * shading


def stack(anatomy, scanner, rng, patient="phantom", shares=(0, SYSTOLE_FRAME / FRAMES), distance_mm=STACK_MM,
          shift_mm=0.0, size=128):
    """Return a SliceSet of one patient from base to apex, with truth: a slice every `distance_mm`, at each share of
    the heartbeat in `shares` (0 is end-diastole, 0.4 end-systole, which are called ED and ES).

    shift_mm : how much deeper the stack begins; who is scanned again lies a little differently
    """
    images, masks, rows = [], [], []
    for level, z_mm in enumerate(stack_positions_mm(anatomy, scanner.thickness_mm, distance_mm, shift_mm), start=1):
        for number, share in enumerate(shares, start=1):
            tissues, mask = render(anatomy, z_mm, float(_BEAT(share)), (size, size), scanner.spacing_mm,
                                   scanner.thickness_mm)
            images.append(normalise(acquire(scanner, tissues, rng)))
            masks.append(mask)
            rows.append((f"{patient}_s{level:02d}_im{number:04d}", patient, _phase_name(share), level,
                         scanner.spacing_mm, scanner.spacing_mm, scanner.thickness_mm, (0, 0, size, size), z_mm,
                         CYCLE_MS * share, anatomy.group))
    return SliceSet(np.stack(images)[..., None], np.stack(masks)[..., None].astype(np.float32),
                    pd.DataFrame(rows, columns=COLUMNS))


def scanned_twice(number, seed, shares=(0, SYSTOLE_FRAME / FRAMES)):
    """Return two SliceSets of one patient: the second time on another scanner, turned, moved, other planes."""
    anatomy, scanner, rng = course_patient(number, seed)
    first = stack(anatomy, scanner, rng, f"phantom-{number + 1:02d}", shares)
    moved = replace(anatomy, rotation=anatomy.rotation + rng.normal(0, 0.2),
                    offset=anatomy.offset + complex(*rng.normal(0, 5, 2)), seed=anatomy.seed + 1)
    again = stack(moved, sample_scanner(rng), rng, f"phantom-{number + 1:02d}", shares,
                  shift_mm=rng.uniform(0, STACK_MM) - STACK_MM / 2)
    return first, again


def stack_positions_mm(anatomy, thickness_mm, distance_mm=STACK_MM, shift_mm=0.0):
    """Depths of a stack that covers the whole ventricle at end-diastole, from base to apex."""
    first = thickness_mm / 2 + shift_mm
    return np.arange(first - distance_mm * np.floor(max(first, 0) / distance_mm), anatomy.length, distance_mm)


def _phase_name(share):
    return {0: "ED", SYSTOLE_FRAME / FRAMES: "ES"}.get(share, "")


def write(out, patients=8, seed=0, quiet=False, frames=0):
    """Write a course folder of phantom patients and return its path.

    Ten slices a patient: five levels, base (s01) to apex (s05), at end-diastole and end-systole. A
    quarter of the patients, at least one where there are several, goes to test/. The folder appears
    whole or not at all; one that is not empty is refused (CourseError).

    frames : above 0, the whole heartbeat in so many frames, too, from base to apex, with truth: cine/PATIENT/
    """
    if patients < 1:
        raise ValueError(f"{patients} patients: one is needed at least")
    tested = _test_patients(patients)
    with whole_folder(out) as folder:
        for part in ("training", "test/GT")[: 2 if tested else 1]:
            (folder / part).mkdir(parents=True)
        for number in tqdm(range(patients), desc="phantom patients", unit="patient", disable=quiet, delay=2):
            images, masks = (("test", "test/GT") if number in tested else ("training", "training"))
            _write_patient(folder / images, folder / masks, number, seed)
            if frames:
                _write_cine(folder / "cine" / f"phantom-{number + 1:02d}", number, seed, frames)
    return Path(out)


def _test_patients(patients):
    """Numbers of the patients to test on, spread over the disease groups."""
    count = max(1, patients // 4) if patients > 1 else 0
    return {int((k + 0.5) * patients / count) for k in range(count)}


def course_patient(number, seed):
    """Return anatomy, scanner and Generator of patient `number` (from 0); disease groups take turns.

    Six patients cannot teach what thousands can: in the course folder the muscle inside the cavity
    is shallower than in the stream, and no ejection fraction is above 0.65.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_COURSE, number)))
    drawn = sample_anatomy(rng, group=_TURNS[number % len(_TURNS)])
    anatomy = replace(
        drawn, ejection_fraction=min(drawn.ejection_fraction, 0.65), trabeculae=drawn.trabeculae / 2,
        filling=drawn.filling / 2, outline=0.4 + drawn.outline / 3,
        sponge=drawn.sponge._replace(height=drawn.sponge.height / 2),
        papillaries=tuple(p._replace(radius=0.7 * p.radius) for p in drawn.papillaries))
    return anatomy, sample_scanner(rng), rng


def level_positions_mm(anatomy, thickness_mm):
    """Depths of the five levels: from just below the base to where some cavity is left at end-systole."""
    depths = np.linspace(0, anatomy.length, 400)
    open_depths = depths[cavity_radius_mm(anatomy, depths, 1) > 8]
    return np.linspace(chamber(anatomy, 1).base + 0.5 * thickness_mm, open_depths[-1], LEVELS)


def _write_patient(images, masks, number, seed):
    anatomy, scanner, rng = course_patient(number, seed)
    patient = f"phantom-{number + 1:02d}"
    depths = level_positions_mm(anatomy, scanner.thickness_mm)
    for level, z_mm in enumerate(depths, start=1):
        for phase, name in ((0, "ED"), (1, "ES")):
            tissues, mask = render(anatomy, z_mm, phase, (FRAME, FRAME), scanner.spacing_mm,
                                   scanner.thickness_mm)
            instance = (level - 1) * FRAMES + (SYSTOLE_FRAME if phase else 1)
            stem = f"{patient}_s{level:02d}_{name}_im{instance:04d}"
            pixels = acquire(scanner, tissues, rng)
            slice_gap = depths[1] - depths[0]
            dataset = _dicom(pixels, patient, seed, scanner, z_mm, slice_gap, instance,
                             CYCLE_MS * phase * SYSTOLE_FRAME / FRAMES, anatomy.group)
            dataset.save_as(images / f"{stem}.dcm", enforce_file_format=True)
            write_mask(masks / f"{stem}.png", mask)


def _write_cine(folder, number, seed, frames):
    """Write a patient's whole heartbeat, from base to apex: NAME.dcm, with NAME.png beside."""
    anatomy, scanner, _ = course_patient(number, seed)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_CINE, number)))
    folder.mkdir(parents=True)
    depths = stack_positions_mm(anatomy, scanner.thickness_mm)
    for level, z_mm in enumerate(depths, start=1):
        for frame in range(frames):
            tissues, mask = render(anatomy, z_mm, float(_BEAT(frame / frames)), (FRAME, FRAME), scanner.spacing_mm,
                                   scanner.thickness_mm)
            instance = (level - 1) * frames + frame + 1
            dataset = _dicom(acquire(scanner, tissues, rng), folder.name, seed, scanner, z_mm, STACK_MM, instance,
                             CYCLE_MS * frame / frames, anatomy.group, "cine")
            stem = f"{folder.name}_s{level:02d}_im{instance:04d}"
            dataset.save_as(folder / f"{stem}.dcm", enforce_file_format=True)
            write_mask(folder / f"{stem}.png", mask)


def _dicom(pixels, patient, seed, scanner, z_mm, slice_gap_mm, instance, time_ms, group, series="series"):
    """Return one frame as an MR Image Storage data set; slices move along their normal, from base to apex."""
    across, down = np.array([0.6, 0.64, -0.48]), np.array([0.0, -0.6, -0.8])
    half = [(n - 1) / 2 * scanner.spacing_mm for n in pixels.shape]
    corner = z_mm * np.cross(across, down) - half[1] * across - half[0] * down
    plane = Plane((scanner.spacing_mm, scanner.spacing_mm, slice_gap_mm), across, down, corner)
    number = str(instance) if series == "series" else f"{series} {instance}"
    dataset = mr_image(pixels, patient, plane, number, ("lvlab phantom", str(seed), patient), series)
    dataset.SeriesNumber, dataset.StudyDate, dataset.StudyTime = 1 + (series == "cine"), "20000101", "120000"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "GR", "SS", "CG"
    dataset.MRAcquisitionType, dataset.EchoTrainLength = "2D", "1"
    dataset.RepetitionTime, dataset.EchoTime, dataset.FlipAngle = "3.2", "1.6", "50"
    dataset.TriggerTime, dataset.AdmittingDiagnosesDescription = f"{time_ms:.1f}", group
    dataset.SliceThickness, dataset.SliceLocation = f"{scanner.thickness_mm:.4f}", f"{z_mm:.4f}"
    return dataset
