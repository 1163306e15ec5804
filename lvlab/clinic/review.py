"""Which slices should a person look at, where does a run fail, and how sure is it when it is right?"""

import numpy as np
import pandas as pd
from scipy import ndimage

from lvlab.clinic.surface import GOOD_MM

PIECE = 0.1          # a second piece of more than this share of the mask is a fragment
AREA_JUMP = 2.5      # times its neighbours' area, or a part of it
CENTRE_JUMP_MM = 15  # from where its neighbours' centres say
GROWS = 1.15         # end-systolic area over end-diastolic
PENALTY = 0.15       # what each implausible thing takes from the confidence
LEVELS = ("base", "mid", "apex")
SMALL_CM2, LARGE_CM2 = 3.0, 12.0


def confidence(probability, masks):
    """Return for each slice the Dice that the network's own probabilities promise: float64 (n,) in [0, 1].

    It is 2 Σ p·m / (Σ p + Σ m), the expectation of Dice's parts if each pixel's probability were true; where the
    mask m is empty, 1 minus the largest probability. How far such promises hold: `reliability`.
    """
    p, m = (np.asarray(each, float).reshape(len(each), -1) for each in (probability, masks))
    inside = m.sum(1)
    promised = 2 * (p * m).sum(1) / np.maximum(p.sum(1) + inside, 1e-9)
    return np.where(inside > 0, promised, 1 - p.max(1, initial=0))


def implausible(table, masks):
    """Return for each slice what no heart does, as text ("" where nothing): a list (n,).

    table : a SliceSet's table; masks : predicted, (n, h, w, 1). A slice is compared with the levels above and below
    it and with the other phase of its level, where the table tells them.
    """
    known = table.reset_index(drop=True)
    shapes = pd.DataFrame([shape_of(mask) for mask in masks], columns=["flags", "area", "y", "x"])
    shapes["y"] *= known.row_spacing_mm.fillna(1)
    shapes["x"] *= known.col_spacing_mm.fillna(1)
    level = known.level.where(known.level > 0).astype(float)
    return implausible_stacks(shapes.assign(
        patient=known.patient, phase=known.phase,
        place=known.position_mm.round(1).where(known.position_mm.notna(), level)))


def implausible_stacks(facts):
    """Return what `implausible` returns, from small facts of each slice instead of its mask.

    facts : flags, a list; area in pixels and its centre y, x in mm, of `shape_of`; patient ("" where unknown), phase,
        and place along the stack, NaN where unknown
    """
    facts, flags = facts.reset_index(drop=True), [list(own) for own in facts["flags"]]
    facts["row"] = facts.index
    for _, stack in facts[facts.patient != ""].groupby(["patient", "phase"], sort=False):
        if stack.place.notna().all() and stack.place.is_unique:
            _along_the_stack(stack.sort_values("place"), flags)
    phased = facts[(facts.patient != "") & facts.place.notna() & facts.phase.isin(["ED", "ES"])]
    for _, pair in phased.groupby(["patient", "place"], sort=False):
        by_phase = pair.drop_duplicates("phase").set_index("phase")
        if {"ED", "ES"} <= set(by_phase.index) and by_phase.area["ES"] > GROWS * by_phase.area["ED"] > 0:
            flags[by_phase.row["ES"]].append("larger at end-systole than at end-diastole")
    return ["; ".join(dict.fromkeys(own)) for own in flags]


def shape_of(mask):
    """Return what is odd about a mask (h, w, 1) alone, a list of texts; its area; its centre's row and column."""
    inside = np.squeeze(mask) > 0
    rows, cols = np.nonzero(inside)
    centre = (rows.mean(), cols.mean()) if rows.size else (np.nan, np.nan)
    return [*_pieces(inside)], rows.size, *centre


def _pieces(mask):
    labels, count = ndimage.label(mask)
    if count:
        sizes = np.sort(np.bincount(labels.ravel())[1:])[::-1]
        if count > 1 and sizes[1] > PIECE * sizes.sum():
            yield f"in {(sizes > PIECE * sizes.sum()).sum()} pieces"
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        if edge.any():
            yield "reaches the image's edge"


def _along_the_stack(stack, flags):
    """Add to `flags` what the levels of one patient and phase, from base to apex, say of one another."""
    area, centre = stack.area.to_numpy(float), stack[["y", "x"]].to_numpy(float)
    filled = np.flatnonzero(area > 0)
    for here, row in enumerate(stack.row):
        beside = [k for k in (here - 1, here + 1) if 0 <= k < len(stack)]
        known = [k for k in beside if area[k] > 0]
        if not area[here]:
            if filled.size and filled.min() < here < filled.max():
                flags[row].append("empty between levels that are not")
            continue
        if not known:
            if len(beside) > 0:
                flags[row].append("nothing at the levels beside it")
            continue
        usual = area[known].mean()
        inner = len(beside) == 2
        if inner and not usual / AREA_JUMP <= area[here] <= usual * AREA_JUMP:
            flags[row].append("an area that jumps between levels")
        elif not inner and area[here] > usual * AREA_JUMP:
            flags[row].append("far larger than the level beside it")
        if np.hypot(*(centre[here] - centre[known].mean(0))) > CENTRE_JUMP_MM:
            flags[row].append("beside its neighbours' place")


def review_score(confidence, flags):
    """Return by what slices are put in the order of review, least sure first: float64 (n,)."""
    count = np.array([flag.count(";") + 1 if flag else 0 for flag in flags])
    return np.asarray(confidence) - PENALTY * count


def caught(dice, score, share=0.1, under=0.7):
    """Return (failures among the `share` of slices with the lowest score, failures in all); a failure: Dice < `under`.

    dice : NaN (both empty) is no failure.
    """
    dice, score = np.nan_to_num(np.asarray(dice, float), nan=1.0), np.asarray(score, float)
    looked_at = np.argsort(score, kind="stable")[:int(np.ceil(share * len(score)))]
    failed = dice < under
    return int(failed[looked_at].sum()), int(failed.sum())


def reliability(probability, truth, bins=10):
    """Return the reliability of the pixels' probabilities: predicted (mean), observed (share inside), pixels per bin.

    A calibrated network's predicted and observed values agree (Guo et al. 2017, arXiv:1706.04599). Pixels that are
    surely outside, probability under 0.01, are left out: they are nearly all there is.
    """
    p, inside = np.ravel(probability), np.ravel(truth) > 0
    inside, p = inside[p >= 0.01], p[p >= 0.01]
    place = np.minimum((p * bins).astype(int), bins - 1)
    groups = pd.DataFrame({"predicted": p, "observed": inside}).groupby(place)
    return groups.mean().assign(pixels=groups.size()).reset_index(drop=True)


def third_of(table):
    """Return "base", "mid" or "apex" for each slice: thirds of its patient's levels; "" where they are unknown."""
    level = table.level.where(table.level > 0)
    first, last = (level.groupby(table.patient).transform(how) for how in ("min", "max"))
    share = (level - first + 0.5) / (last - first + 1)
    known = level.notna() & (table.patient != "") & (last > first)
    return np.where(known, np.select([share < 1 / 3, share < 2 / 3], LEVELS[:2], LEVELS[2]), "")


def missed(scores):
    """Tell of each slice whether it has a cavity of which nothing was found: no mask, or one elsewhere."""
    return (scores.pixels_true > 0) & (scores.pixels_common == 0)


def strata(scores, table=None):
    """Return the scores of parts of the slices: what, part, n, dice (mean), worst, missed, good (share of contours).

    missed : slices with a cavity of which nothing was found

    scores : a score table, with assd_mm where it is known; table : the SliceSet's, for its disease groups
    """
    area = scores.area_true_mm2 / 100
    words = [f"under {SMALL_CM2:g} cm²", f"{SMALL_CM2:g} to {LARGE_CM2:g} cm²", f"over {LARGE_CM2:g} cm²"]
    sizes = np.select([area < SMALL_CM2, area < LARGE_CM2, area >= LARGE_CM2], words, "")
    groups = "" if table is None else table.group.to_numpy()
    parts = {"level": third_of(scores), "phase": scores.phase, "cavity": sizes, "group": groups,
             "patient": scores.patient}
    rows = []
    for what, names in parts.items():
        counted = scores.assign(part=names)[lambda each: (each.part != "") & each.dice.notna()]
        order = {"level": LEVELS, "cavity": words}.get(what) or sorted(counted.part.unique())
        for part in (part for part in order if (counted.part == part).any()):
            own = counted[counted.part == part]
            good = (own.assd_mm < GOOD_MM).mean() if "assd_mm" in own and own.assd_mm.notna().any() else np.nan
            rows.append((what, part, len(own), own.dice.mean(), own.dice.min(), int(missed(own).sum()), good))
    return pd.DataFrame(rows, columns=["what", "part", "n", "dice", "worst", "missed", "good"])


def reasons(scores):
    """Return for each slice in a few words how its prediction differs from the truth, as a person would say it."""
    thirds = third_of(scores)
    return [_reason(row, third) for row, third in zip(scores.itertuples(), thirds, strict=True)]


def _reason(row, third):
    small = row.pixels_true and row.area_true_mm2 < 100 * SMALL_CM2
    where = " (small cavity)" if small else f" at the {third}" if third in ("base", "apex") else ""
    if row.flag == "both empty":
        return "nothing to find, nothing found"
    if not row.pixels_pred:
        return f"missed{where}"
    if not row.pixels_true:
        return "found a cavity where there is none"
    if not row.pixels_common:
        return f"took something else for the cavity{where}"
    ratio = row.pixels_pred / row.pixels_true
    if ratio > 4:
        return f"took far more than the cavity{where}"
    if ratio < 0.8:
        return f"too small{where}: {ratio:.0%} of the area"
    if ratio > 1.25:
        return f"too large{where}: {ratio:.0%} of the area"
    return "right size, moved" if row.dice < 0.85 else "outline off here and there"


def failures(scores, most=8):
    """Return the rows of the costliest slices, by pixels missed and invented, with `reason` and `cost_mm2`."""
    pixel = (scores.area_true_mm2 / scores.pixels_true).fillna(scores.area_pred_mm2 / scores.pixels_pred)
    wrong = scores.pixels_true + scores.pixels_pred - 2 * scores.pixels_common
    table = scores.assign(cost_mm2=wrong * pixel.fillna(1), reason=reasons(scores))
    return table.sort_values("cost_mm2", ascending=False, kind="stable").head(most)
