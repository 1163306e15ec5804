"""A run, judged: overlap, distances in mm, how sure, how plausible; then all of it in one summary."""

import numpy as np
import pandas as pd
from scipy import ndimage

from lvlab import metrics
from lvlab.clinic import agreement, heart, review, surface
from lvlab.evaluation import masks_of, predict, score
from lvlab.store.masks import mask_offset
from lvlab.store.runs import learnt_offset

MEASURES = (*metrics.NAMES, *surface.MEASURES)


def judge(run, slices):
    """Return (score table, probability, masks) of a run on slices with ground truth.

    The table is `evaluation.score`'s and, in this order: hd95_mm, assd_mm, confidence (0..1), implausible (text).
    """
    probability = predict(run, slices)
    prediction = masks_of(probability, run.recipe.threshold, run.recipe.parts)
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

    scores : of `judged`, perhaps of several seeds (`seed`); table : the SliceSet's, in the same order. EF (%) and
    volumes (ml) are there for each patient whose slices form a stack at both phases (`heart.volumes`), else the list
    is empty; of several seeds, each has its row, and the agreement is of the mean over the seeds, once a patient.
    """
    counted = scores[scores.dice.notna()]
    known = [name for name in MEASURES if name in scores]
    stacks = table.patient
    if "seed" in scores and scores.seed.nunique() > 1:
        stacks = stacks + np.where(stacks == "", "", ", seed " + scores.seed.astype(str))
    function = heart.compare_function(table.assign(patient=stacks), scores.area_true_mm2, scores.area_pred_mm2)
    hearts = function.groupby(function.patient.map(dict(zip(stacks, table.patient, strict=True))), sort=False)[
        ["ef_percent_true", "ef_percent_pred"]].mean()
    patients = int(scores.patient[scores.patient != ""].nunique())
    distances = {name: {"mean": counted[name].mean(), "sd": counted[name].std(ddof=0), "median": counted[name].median(),
                        "worst": counted[name].max(), "best": counted[name].min()} for name in surface.MEASURES}
    return {
        "patients": patients,
        "caution": agreement.caution(patients),
        "missed": int(review.missed(counted).sum()),
        "invented": int((counted.flag == "empty truth").sum()),
        **{name: {key: float(value) for key, value in own.items()} for name, own in distances.items()},
        "good_contours": surface.good_contours(counted.assd_mm),
        "intervals": {name: agreement.interval(scores[name], scores.patient)._asdict() for name in known},
        "area_cm2": agreement.bland_altman(scores.area_true_mm2 / 100, scores.area_pred_mm2 / 100)._asdict(),
        "ejection_fraction": agreement.bland_altman(hearts.ef_percent_true, hearts.ef_percent_pred)._asdict(),
        "function": [{key: value if isinstance(value, str) else float(value) for key, value in row.items()}
                     for row in function.to_dict("records")],
        "review": _review(scores),
    }


def placement(run, slices, probability):
    """Return how many pixels the true masks lie off the edges in their images, and what that does to Dice.

    down, right : of these slices, see `store.masks.mask_offset`; learnt : of those that the run learnt from, where that
    is recorded; dice_if_moved : the mean Dice of the prediction, moved by the difference
    """
    offset, learnt = mask_offset(slices.images, slices.masks), learnt_offset(run)
    moved = ndimage.shift(np.asarray(probability, float), (0, *np.subtract(offset, learnt), 0), order=1)
    dice = pd.Series(metrics.dice(slices.masks, masks_of(moved, run.recipe.threshold, run.recipe.parts)))
    return {"down": offset[0], "right": offset[1], "learnt": list(learnt), "dice_if_moved": float(dice.mean())}


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
