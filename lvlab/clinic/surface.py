"""Distances between two outlines in mm: HD95 and ASSD, also called average perpendicular distance.

The convention, because public tools differ (Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z):

- An outline runs between the pixels' centres (marching squares), and each piece of it counts by its length in mm.
- A piece's distance is the one to the nearest piece of the other outline.
- HD95 is the larger of the two directed 95th percentiles; ASSD the mean over the pieces of both outlines.
- Both masks empty: NaN, there was nothing to find. Only one of them empty: the image's diagonal in mm, which no
  distance exceeds, so that a miss never improves a mean.

So does `surface-distance` (Nikolov et al. 2021, doi:10.2196/26151), against which this is tested.
"""

import numpy as np
from scipy.ndimage import distance_transform_edt

GOOD_MM = 5.0  # a contour is good under this ASSD: Radau et al. 2009, doi:10.54294/g80ruo
MEASURES = ("hd95_mm", "assd_mm")


def hd95_mm(truth, prediction, row_spacing_mm, col_spacing_mm):
    """Return the 95 % Hausdorff distance in mm; shapes as in `lvlab.metrics`, spacings mm (one, or one a pair)."""
    return _each(truth, prediction, row_spacing_mm, col_spacing_mm)[0]


def assd_mm(truth, prediction, row_spacing_mm, col_spacing_mm):
    """Return the average symmetric surface distance in mm; shapes as in `lvlab.metrics`, spacings mm."""
    return _each(truth, prediction, row_spacing_mm, col_spacing_mm)[1]


def both(truth, prediction, row_spacing_mm, col_spacing_mm):
    """Return (HD95, ASSD) in mm, each float64 (n,), of stacks of masks; NaN where a spacing is unknown."""
    return _each(truth, prediction, row_spacing_mm, col_spacing_mm)


def good_contours(assd):
    """Return the share of slices whose ASSD is under 5 mm, a missed one being none; NaN where nothing counts."""
    known = np.asarray(assd, float)
    known = known[~np.isnan(known)]
    return float((known < GOOD_MM).mean()) if known.size else float("nan")


def _each(truth, prediction, row_spacing_mm, col_spacing_mm):
    truth, prediction = np.asarray(truth) > 0, np.asarray(prediction) > 0
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}: they must be equal")
    if truth.shape[-1] == 1:
        truth, prediction = truth[..., 0], prediction[..., 0]
    stack = truth.reshape(-1, *truth.shape[-2:]), prediction.reshape(-1, *truth.shape[-2:])
    spacings = (np.broadcast_to(np.asarray(mm, float), len(stack[0])) for mm in (row_spacing_mm, col_spacing_mm))
    found = np.array([_pair(*masks, spacing) for *masks, spacing in zip(*stack, zip(*spacings, strict=True),
                                                                        strict=True)]).reshape(-1, 2)
    return tuple(float(column[0]) if truth.ndim == 2 else column for column in found.T)


def _pair(truth, prediction, spacing_mm):
    """Return (HD95, ASSD) of two masks (h, w)."""
    if not (truth.any() or prediction.any()) or not np.isfinite(spacing_mm).all():
        return np.nan, np.nan
    if not (truth.any() and prediction.any()):
        return (float(np.hypot(*np.multiply(truth.shape, spacing_mm))),) * 2
    pieces = [_outline(mask, spacing_mm) for mask in (truth, prediction)]
    ways = [_directed(*ordered, spacing_mm) for ordered in (pieces, pieces[::-1])]
    hd95 = max(distances[min(np.searchsorted(np.cumsum(lengths) / lengths.sum(), 0.95), len(distances) - 1)]
               for distances, lengths in ways)
    total = sum(lengths.sum() for _, lengths in ways)
    return float(hd95), float(sum((distances * lengths).sum() for distances, lengths in ways) / total)


def _outline(mask, spacing_mm):
    """Return the length in mm (h + 1, w + 1) of the outline's piece between each four neighbouring pixels' centres."""
    inside = np.pad(mask, 1).astype(int)
    code = 8 * inside[:-1, :-1] + 4 * inside[:-1, 1:] + 2 * inside[1:, :-1] + inside[1:, 1:]
    return _lengths(*spacing_mm)[code]


def _lengths(row_mm, col_mm):
    """Return the length in mm of the piece of each of the 16 patterns of four pixels (marching squares)."""
    corner = np.hypot(row_mm, col_mm) / 2  # cuts off one corner, half a pixel on each side
    lengths = np.zeros(16)
    lengths[[1, 2, 4, 8, 7, 11, 13, 14]] = corner
    lengths[[6, 9]] = 2 * corner
    lengths[[3, 12]] = col_mm
    lengths[[5, 10]] = row_mm
    return lengths


def _directed(start, goal, spacing_mm):
    """Return the sorted distances from each piece of one outline to the other outline, and the pieces' lengths."""
    there = start > 0
    distances, lengths = distance_transform_edt(goal == 0, sampling=spacing_mm)[there], start[there]
    order = np.argsort(distances, kind="stable")
    return distances[order], lengths[order]
