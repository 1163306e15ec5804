"""From masks to volumes: a stack of slices at end-diastole and end-systole, the ejection fraction, a whole beat.

A volume is the sum of discs, "Simpson's rule" in the clinic's language: each slice's area times the height that it
stands for, half-way to its neighbours on both sides (SCMR: Schulz-Menger et al. 2020,
doi:10.1186/s12968-020-00610-6). Heights come from ImagePositionPatient, projected on the slices' normal.
"""

import numpy as np
import pandas as pd

LEAST_SLICES = 3     # fewer tell no volume
MOST_GAP_MM = 25.0   # slices further apart than this are no stack
VOLUMES = ["patient", "phase", "slices", "height_mm", "volume_ml"]
FUNCTION = ["patient", "edv_ml", "esv_ml", "sv_ml", "ef_percent"]


def discs_mm(position_mm):
    """Return the height, mm, that each slice of a stack stands for: half-way to its neighbours, the ends alike."""
    position = np.asarray(position_mm, float)
    order = np.argsort(position, kind="stable")
    gaps = np.diff(position[order])
    heights = np.empty(len(position))
    heights[order] = (np.append(gaps[:1], gaps) + np.append(gaps, gaps[-1:])) / 2
    return heights


def volumes(table, area_mm2):
    """Return the cavity's volume of each patient and phase whose slices form a stack.

    table : a SliceSet's table (patient, phase, position_mm); area_mm2 : (n,)
    Columns: patient, phase, slices, height_mm (median), volume_ml. Left out: unknown patients and phases, fewer than
    three positions, two slices at one position, gaps over 25 mm, unknown areas.
    """
    rows = []
    known = table.assign(area_mm2=np.asarray(area_mm2, float))
    for (patient, phase), stack in known[(known.patient != "") & (known.phase != "")].groupby(["patient", "phase"],
                                                                                               sort=False):
        gaps = np.diff(np.sort(stack.position_mm.to_numpy(float)))
        if len(stack) >= LEAST_SLICES and stack.area_mm2.notna().all() and (gaps > 0.1).all() and (
                gaps <= MOST_GAP_MM).all():
            heights = discs_mm(stack.position_mm)
            rows.append((patient, phase, len(stack), float(np.median(heights)),
                         float((stack.area_mm2 * heights).sum() / 1000)))
    return pd.DataFrame(rows, columns=VOLUMES)


def function(volumes):
    """Return one row a patient with both phases: patient, edv_ml, esv_ml, sv_ml (stroke volume), ef_percent."""
    rows = []
    for patient, own in volumes.groupby("patient", sort=False):
        by_phase = own.set_index("phase").volume_ml
        if {"ED", "ES"} <= set(by_phase.index) and by_phase["ED"] > 0:
            ed, es = by_phase["ED"], by_phase["ES"]
            rows.append((patient, ed, es, ed - es, 100 * (1 - es / ed)))
    return pd.DataFrame(rows, columns=FUNCTION)


def compare_function(table, truth_mm2, prediction_mm2):
    """Return each patient's function by the truth and by the prediction side by side: ef_percent_true, …_pred."""
    true, predicted = (function(volumes(table, area)) for area in (truth_mm2, prediction_mm2))
    return true.merge(predicted, on="patient", suffixes=("_true", "_pred"))


def beat(table, area_mm2):
    """Return the volume over one heartbeat of each patient of a cine: patient, time_ms, slices, volume_ml.

    table : as of `volumes`, with time_ms; the frames of one position are put in the order of their time, and the
    n-th frames of all positions make a volume. Positions with fewer frames than most are left out.
    """
    known = table.assign(area_mm2=np.asarray(area_mm2, float), place=table.position_mm.round(1))
    rows = []
    for patient, own in known[(known.patient != "") & known.place.notna() & known.time_ms.notna()].groupby(
            "patient", sort=False):
        own = own.sort_values(["place", "time_ms"], kind="stable")
        counts = own.groupby("place").size()
        own = own[own.place.isin(counts.index[counts == counts.max()])]
        own = own.assign(frame=own.groupby("place").cumcount())
        for _, stack in own.groupby("frame"):
            if len(stack) >= LEAST_SLICES and stack.area_mm2.notna().all():
                volume = (stack.area_mm2 * discs_mm(stack.place)).sum() / 1000
                rows.append((patient, float(stack.time_ms.median()), len(stack), float(volume)))
    return pd.DataFrame(rows, columns=["patient", "time_ms", "slices", "volume_ml"])


def phases_of(curve):
    """Return (time of end-diastole, time of end-systole) of one patient's `beat`, ms: most and least volume."""
    return (float(curve.time_ms[curve.volume_ml.idxmax()]), float(curve.time_ms[curve.volume_ml.idxmin()]))
