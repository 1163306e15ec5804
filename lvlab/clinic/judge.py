"""A run, judged: overlap, distances in mm, how sure, how plausible; then all of it in one summary."""

import numpy as np
import pandas as pd
from scipy import ndimage

from lvlab import metrics
from lvlab.clinic import agreement, heart, review, surface
from lvlab.evaluation import masks_of, predict, score
from lvlab.slices import mask_offset

MEASURES = (*metrics.NAMES, *surface.MEASURES)


def judge(run, slices):
    """Return (score table, probability, masks) of a run on slices with ground truth.

    The table is `evaluation.score`'s and, in this order: hd95_mm, assd_mm, confidence (0..1), implausible (text).
    """
    probability = predict(run, slices)
    prediction = masks_of(probability, run.recipe.threshold)
    return judged(slices, probability, prediction), probability, prediction


def judged(slices, probability, prediction):
    """Return the score table of given probabilities and masks; see `judge`."""
    scores = score(slices, prediction)
    spacing = slices.table.row_spacing_mm.to_numpy(), slices.table.col_spacing_mm.to_numpy()
    scores["hd95_mm"], scores["assd_mm"] = surface.both(slices.masks, prediction, *spacing)
    scores["confidence"] = review.confidence(probability, prediction)
    scores["implausible"] = review.implausible(slices.table, prediction)
    return scores


def summary(scores, table):
    """Return what a clinic and a reviewer ask, as plain values: patients, intervals by patient, distances, areas, EF.

    scores : of `judged`; table : the SliceSet's. EF (%) and volumes (ml) are there for each patient whose slices form
    a stack at both phases (`heart.volumes`), else the list is empty.
    """
    counted = scores[scores.dice.notna()]
    known = [name for name in MEASURES if name in scores]
    function = heart.compare_function(table, scores.area_true_mm2, scores.area_pred_mm2)
    patients = int(scores.patient[scores.patient != ""].nunique())
    distances = {name: {"mean": counted[name].mean(), "sd": counted[name].std(ddof=0), "median": counted[name].median(),
                        "worst": counted[name].max(), "best": counted[name].min()} for name in surface.MEASURES}
    return {
        "patients": patients,
        "caution": agreement.caution(patients),
        "missed": int((counted.flag == "empty prediction").sum()),
        "invented": int((counted.flag == "empty truth").sum()),
        **{name: {key: float(value) for key, value in own.items()} for name, own in distances.items()},
        "good_contours": surface.good_contours(counted.assd_mm),
        "intervals": {name: agreement.interval(scores[name], scores.patient)._asdict() for name in known},
        "area_cm2": agreement.bland_altman(scores.area_true_mm2 / 100, scores.area_pred_mm2 / 100)._asdict(),
        "ejection_fraction": agreement.bland_altman(function.ef_percent_true, function.ef_percent_pred)._asdict(),
        "function": [{key: value if isinstance(value, str) else float(value) for key, value in row.items()}
                     for row in function.to_dict("records")],
        "review": _review(scores),
    }


def placement(slices, prediction):
    """Return how many pixels the true masks lie off the edges in their images, and what Dice owes to it.

    down, right : of `slices.mask_offset`; dice_if_moved : the mean Dice of the prediction, moved by as much
    """
    down, right = mask_offset(slices.images, slices.masks)
    moved = ndimage.shift(np.asarray(prediction, float), (0, down, right, 0), order=1) >= 0.5
    dice = pd.Series(metrics.dice(slices.masks, moved))
    return {"down": down, "right": right, "dice_if_moved": float(dice.mean())}


def _review(scores, shares=(0.1, 0.2)):
    """Return how many slices under Dice 0.7 are among the least sure 10 and 20 %."""
    order = review.review_score(scores.confidence, scores.implausible)
    failures = review.caught(scores.dice, order)[1]
    return {"under_0.7": failures, **{f"caught_in_{share:.0%}": review.caught(scores.dice, order, share)[0]
                                      for share in shares}}


def table_of(summary):
    """Return the report's table: one row a measure, with mean, SD, 95 % interval, median, worst; rounded text."""
    rows = {}
    for name in MEASURES:
        own, ends = summary[name], summary["intervals"][name]
        low, high = (_rounded(name, ends[end]) for end in ("low", "high"))
        texts = [_rounded(name, own[key]) for key in ("mean", "sd", "median", "worst")]
        texts.insert(2, "-" if "-" in (low, high) else f"{low} to {high}")
        rows[LABELS[name]] = dict(zip(COLUMNS, texts, strict=True))
    return rows


def _rounded(name, value):
    return "-" if np.isnan(value) else f"{value:.{1 if name in surface.MEASURES else 3}f}"


LABELS = {"precision": "Precision", "recall": "Recall", "dice": "Dice", "jaccard": "Jaccard", "hd95_mm": "HD95 (mm)",
          "assd_mm": "ASSD (mm)"}
COLUMNS = ("Mean", "SD", "95 % interval", "Median", "Worst")
