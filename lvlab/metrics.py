"""Overlap of two binary masks: precision, recall, Dice, Jaccard, and the area in mm².

Every function takes one pair of masks, (h, w) or (h, w, 1), and returns a float, or a stack of
pairs, (n, h, w) or (n, h, w, 1), and returns a float64 array (n,). Anything above 0 is inside.
One rule for empty masks: both empty gives NaN (there was nothing to find and nothing was found);
only one of them empty gives 0.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Score = float | NDArray[np.float64]

NAMES = ("precision", "recall", "dice", "jaccard")


def precision(truth: ArrayLike, prediction: ArrayLike) -> Score:
    """Return |A∩B| / |B|: the share of the predicted pixels that are right."""
    hit, inside, predicted = _counts(truth, prediction)
    return _ratio(hit, predicted, inside + predicted)


def recall(truth: ArrayLike, prediction: ArrayLike) -> Score:
    """Return |A∩B| / |A|: the share of the true pixels that were found."""
    hit, inside, predicted = _counts(truth, prediction)
    return _ratio(hit, inside, inside + predicted)


def dice(truth: ArrayLike, prediction: ArrayLike) -> Score:
    """Return the Dice coefficient 2|A∩B| / (|A|+|B|). Dice 1945, doi:10.2307/1932409."""
    hit, inside, predicted = _counts(truth, prediction)
    return _ratio(2 * hit, inside + predicted, inside + predicted)


def jaccard(truth: ArrayLike, prediction: ArrayLike) -> Score:
    """Return the Jaccard index |A∩B| / |A∪B|. Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x."""
    hit, inside, predicted = _counts(truth, prediction)
    return _ratio(hit, inside + predicted - hit, inside + predicted)


def area_mm2(mask: ArrayLike, row_spacing_mm: ArrayLike, col_spacing_mm: ArrayLike) -> Score:
    """Return the area inside a mask in mm²: pixels times the two spacings (mm; NaN gives NaN)."""
    return _sum(_as_stack(mask)) * row_spacing_mm * col_spacing_mm


def _counts(truth, prediction):
    truth, prediction = _as_stack(truth), _as_stack(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}: they must be equal")
    return _sum(truth & prediction), _sum(truth), _sum(prediction)


def _as_stack(mask):
    mask = np.asarray(mask)
    if mask.ndim >= 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim not in (2, 3):
        raise ValueError(f"a mask has shape {mask.shape}: (h, w), (h, w, 1), (n, h, w) or (n, h, w, 1) is needed")
    return mask > 0


def _sum(stack):
    return stack.sum(axis=(-2, -1), dtype=np.float64)


def _ratio(numerator, denominator, total):
    """Divide; where the denominator is 0: NaN if both masks are empty (total 0), else 0."""
    empty = np.where(np.asarray(total) > 0, 0.0, np.nan)
    value = np.divide(numerator, denominator, out=empty, where=np.asarray(denominator) > 0)
    return float(value) if value.ndim == 0 else value
