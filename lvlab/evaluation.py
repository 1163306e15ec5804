"""Prediction, and the score table with its summary."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from lvlab import metrics
from lvlab.errors import CourseError
from lvlab.slices import SliceSet

BATCH = 20


def predict(run: Any, slices: SliceSet) -> NDArray[np.float32]:
    """Return the probability of the cavity in each pixel: float32 (n, h, w, 1) in [0, 1]; 0 in an image all 0.

    run : anything with a Keras `model`, such as a Run. Raises CourseError where the sizes differ.
    """
    size, wanted = slices.images.shape[1], run.model.input_shape[1]
    if size != wanted:
        raise CourseError(f"{run.path}: its network takes {wanted} × {wanted} pixels, these slices are {size} × "
                          f"{size}; load them with size={wanted}, or train anew")
    batches = [run.model.predict_on_batch(slices.images[at:at + BATCH]) for at in range(0, len(slices), BATCH)]
    probability = np.concatenate([*batches, np.zeros((0, size, size, 1), np.float32)])
    return probability * slices.images.any(axis=(1, 2, 3), keepdims=True)


def masks_of(probability: np.ndarray, threshold: float = 0.5, parts: str = "all") -> NDArray[np.float32]:
    """Return float32 masks in {0, 1}: 1 where the probability is at least `threshold`.

    parts : "all", or "largest": of each mask (n, h, w, 1) only the connected part that holds most probability
    """
    masks = np.asarray(probability >= threshold, np.float32)
    for plane, mask in zip(probability[..., 0], masks[..., 0], strict=True) if parts == "largest" else ():
        labels, count = ndimage.label(mask)
        if count > 1:
            mask[labels != 1 + np.argmax(ndimage.sum(plane, labels, range(1, count + 1)))] = 0
    return masks


def segment(run: Any, slices: SliceSet) -> NDArray[np.float32]:
    """Return the masks that a run predicts by its own recipe's threshold and parts: float32 (n, h, w, 1) in {0, 1}."""
    return masks_of(predict(run, slices), run.recipe.threshold, run.recipe.parts)


def evaluate(run: Any, slices: SliceSet) -> pd.DataFrame:
    """Return the score table of a run on slices with ground truth; see `score`."""
    return score(slices, segment(run, slices))


def score(slices: SliceSet, prediction: np.ndarray) -> pd.DataFrame:
    """Return a DataFrame, one row per slice, comparing predicted masks with the ground truth.

    Columns: name, patient, phase, level, precision, recall, dice, jaccard, area_true_mm2,
    area_pred_mm2, flag, and the pixels inside: pixels_true, pixels_pred, pixels_common. Where truth and
    prediction are both empty the four metrics are NaN and the flag says so; it also names an empty
    prediction and an empty truth.
    """
    if slices.masks is None:
        raise ValueError("these slices have no ground truth to compare with")
    table = slices.table[["name", "patient", "phase", "level"]].copy()
    for name in metrics.NAMES:
        table[name] = getattr(metrics, name)(slices.masks, prediction)
    spacing = slices.table.row_spacing_mm.to_numpy(), slices.table.col_spacing_mm.to_numpy()
    table["area_true_mm2"] = metrics.area_mm2(slices.masks, *spacing)
    table["area_pred_mm2"] = metrics.area_mm2(prediction, *spacing)
    no_truth, no_prediction = (~masks.any(axis=(1, 2, 3)) for masks in (slices.masks, prediction))
    table["flag"] = np.select([no_truth & no_prediction, no_truth, no_prediction],
                              ["both empty", "empty truth", "empty prediction"], "")
    for name, masks in (("true", slices.masks), ("pred", prediction), ("common", slices.masks * prediction)):
        table[f"pixels_{name}"] = (masks > 0).sum(axis=(1, 2, 3))
    return table


def by_volume(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the Dice of each volume: all slices of one patient and phase (and seed) taken as one body.

    Columns: (seed,) patient, phase, slices, dice. Challenges report it; large slices count more in it, so it hides
    what fails at the apex. Slices of unknown patient or phase, and tables without `score`'s columns, are left out.
    """
    if not {"patient", "phase", "pixels_common"} <= set(scores):
        return pd.DataFrame({"patient": [], "phase": [], "slices": [], "dice": []})
    known = scores[(scores.patient != "") & (scores.phase != "")]
    keys = [name for name in ("seed", "patient", "phase") if name in known]
    groups = known.groupby(keys, sort=False)
    sums = groups[["pixels_true", "pixels_pred", "pixels_common"]].sum()
    dice = 2 * sums.pixels_common / (sums.pixels_true + sums.pixels_pred)  # 0/0, both empty, is NaN
    return pd.DataFrame({"slices": groups.size(), "dice": dice}).reset_index()


def summarise(scores: pd.DataFrame) -> dict[str, Any]:
    """Return {n, both_empty, precision, recall, dice, jaccard, dice_per_volume, names} of a score table.

    Each metric has mean, sd (population), median (lower middle), worst, best over the slices that are not
    both empty, dice_per_volume over the volumes (and their number n); names are those of the best, the
    median (lower middle) and the worst Dice.
    """
    counted = scores[scores.dice.notna()]
    result: dict[str, Any] = {"n": len(scores), "both_empty": len(scores) - len(counted)}
    for name in metrics.NAMES:
        result[name] = _statistics(counted[name])
    volumes = by_volume(scores).dice.dropna()
    result["dice_per_volume"] = {"n": len(volumes), **_statistics(volumes)}
    result["names"] = {key: scores.name[row] for key, row in ranked(scores).items()}
    return result


def _statistics(values):
    """Return mean, sd, median (the lower middle), worst and best of a column, NaN each where it is empty."""
    numbers = np.sort(values.to_numpy(float))
    of = {"mean": np.mean, "sd": np.std, "median": lambda each: each[(len(each) - 1) // 2], "worst": np.min,
          "best": np.max}
    return {name: float(statistic(numbers)) if len(numbers) else float("nan") for name, statistic in of.items()}


def ranked(scores: pd.DataFrame) -> dict[str, Any]:
    """Return {best, median, worst: row label} by Dice, the median being the lower middle; {} if none counts."""
    order = scores.dice.dropna().sort_values(kind="stable").index
    if len(order) == 0:
        return {}
    return {"best": order[-1], "median": order[(len(order) - 1) // 2], "worst": order[0]}
