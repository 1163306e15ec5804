"""The pictures of this wing. Each function returns a matplotlib Figure."""

import textwrap

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.ticker import PercentFormatter

from lvlab import pictures
from lvlab.clinic.agreement import FEW_PATIENTS, bland_altman
from lvlab.pictures import PREDICTION, TRUTH, draw_slice, new_figure, tidy


def bland_altman_plot(reference, measured, unit, what, names=("truth", "prediction")):
    """Draw differences (measured - reference) against means, the bias and the 95 % limits of agreement."""
    figure, axis = new_figure(1, 1, 3.4, width=5)
    reference, measured = np.asarray(reference, float), np.asarray(measured, float)
    found = bland_altman(reference, measured)
    axis.axhline(0, color="0.8", linewidth=0.8)
    axis.scatter((reference + measured) / 2, measured - reference, s=30, color=PREDICTION, alpha=0.85)
    axis.axhline(found.bias, color=TRUTH, label=f"bias {found.bias:+.1f}")
    for limit in (found.low, found.high):
        if np.isfinite(limit):
            axis.axhline(limit, color=TRUTH, linestyle="--",
                         label=f"95 % limits {found.low:+.1f} to {found.high:+.1f}" if limit == found.low else None)
    tidy(axis, f"Mean of {names[0]} and {names[1]}: {what} ({unit})",
         f"{names[1].capitalize()} - {names[0]} ({'points' if unit == '%' else unit})")
    few = ": too few to trust the limits" if found.n < FEW_PATIENTS else ""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=8,
                  title=f"n = {found.n}{few}", title_fontsize=8)
    return figure


def dice_by_area(scores):
    """Draw each slice's Dice against the true cavity's area: small cavities are the hard ones."""
    figure, axis = new_figure(1, 1, 3.6, width=5.5)
    known = scores.area_true_mm2.notna().all()
    area = scores.area_true_mm2 / 100 if known else np.arange(len(scores))
    for phase, marker in (("ED", "o"), ("ES", "^"), ("", "s")):
        chosen = (scores.phase == phase).to_numpy()
        if chosen.any():
            axis.scatter(area[chosen], scores.dice[chosen], marker=marker, s=36, alpha=0.85,
                         color=PREDICTION if phase == "ES" else TRUTH, label=phase or "phase unknown")
    tidy(axis, "True cavity area (cm²)" if known else "Slice (its pixel spacing is unknown)", "Dice")
    axis.set_ylim(-0.02, 1.02)
    axis.legend(frameon=False, loc="lower right")
    return figure


def strata_plot(strata):
    """Draw the mean and the worst Dice of each part of `review.strata`."""
    figure, axis = new_figure(1, 1, max(2.4, 0.24 * len(strata) + 0.9), width=6)
    places = np.arange(len(strata))[::-1] + 0.0
    places += 0.6 * (strata.what.nunique() - 1 - strata.what.ne(strata.what.shift()).cumsum().to_numpy() + 1)
    axis.hlines(places, strata.worst, strata.dice, color="0.75")
    axis.scatter(strata.dice, places, color=TRUTH, s=36, label="mean", zorder=3)
    axis.scatter(strata.worst, places, color=PREDICTION, marker="|", s=90, label="worst slice", zorder=3)
    axis.set_yticks(places, [f"{row.part}  (n = {row.n})" for row in strata.itertuples()], fontsize=8)
    axis.set_xlim(-0.02, 1.02)
    tidy(axis, "Dice", "")
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def reliability_plot(table):
    """Draw predicted against observed probability (`review.reliability`): the diagonal is perfect calibration."""
    figure, axis = new_figure(1, 1, 3.4, width=3.6)
    axis.plot([0, 1], [0, 1], color="0.7", linestyle=":", label="perfect calibration")
    axis.plot(table.predicted, table.observed, "o-", color=PREDICTION, markersize=5, clip_on=False,
              label="this network")
    tidy(axis, "Predicted probability", "Share of pixels inside")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8)
    return figure


def review_curve(dice, score, under=0.7):
    """Draw how many failures (Dice under `under`) one finds by looking at the least sure slices first."""
    figure, axis = new_figure(1, 1, 3.4, width=4.6)
    failed = np.nan_to_num(np.asarray(dice, float), nan=1.0) < under
    order = np.argsort(score, kind="stable")
    looked = np.arange(len(failed) + 1) / len(failed)
    axis.plot(looked, looked, color="0.7", linestyle=":", label="in any order")
    if failed.any():
        found = np.append(0, np.cumsum(failed[order])) / failed.sum()
        axis.step(looked, found, where="post", color=PREDICTION, label="least sure first")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(PercentFormatter(1))
    tidy(axis, "Slices looked at", f"Slices under {under:g} found, of {failed.sum()}")
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def failure_gallery(slices, prediction, failures, columns=4):
    """Draw the costliest slices (`review.failures`) with both outlines and the reason in words."""
    figure, axes = new_figure(-(-len(failures) // columns), min(columns, len(failures)), 2.9)
    for axis, (row, score) in zip(np.ravel(axes), failures.iterrows(), strict=False):
        said = f"{score.cost_mm2 / 100:.1f} cm² wrong, Dice {score.dice:.2f}\n{textwrap.fill(score.reason, 34)}"
        title = f"{pictures.describe(slices.table.iloc[row])}\n{said}".rstrip()
        draw_slice(axis, slices.images[row], title, slices.masks[row], prediction[row], small=True)
    pictures.outline_legend(figure)
    return figure


def volume_curve(curves, names=("truth",)):
    """Draw the volume over the heartbeat (`heart.beat` of one patient), one curve a name; mark ED and ES."""
    figure, axis = new_figure(1, 1, 3.2, width=5.5)
    for curve, name, colour in zip(curves, names, (TRUTH, PREDICTION), strict=False):
        axis.plot(curve.time_ms, curve.volume_ml, color=colour, linestyle=pictures.LINES[colour], marker="o",
                  markersize=3, label=name)
    first = curves[0]
    for row, name in ((first.volume_ml.idxmax(), "ED"), (first.volume_ml.idxmin(), "ES")):
        axis.annotate(name, (first.time_ms[row], first.volume_ml[row]), xytext=(4, 6), textcoords="offset points")
    axis.set_ylim(0, 1.15 * max(curve.volume_ml.max() for curve in curves))
    tidy(axis, "Time after the R wave (ms)", "Cavity volume (ml)")
    axis.legend(frameon=False)
    return figure


def long_axis(table, radius_mm, names=("ED", "ES")):
    """Draw where the slices of one patient lie along the long axis, each as wide as its cavity: a stack from the side.

    table : position_mm, slice_thickness_mm and phase of one patient's slices; radius_mm : (n,), sqrt(area / π)
    """
    figure, axes = new_figure(1, len(names), 3.6, width=2.8)
    for axis, phase in zip(np.ravel(axes), names, strict=True):
        own = (table.phase == phase).to_numpy()
        place, half, width = table.position_mm[own], table.slice_thickness_mm[own] / 2, np.asarray(radius_mm)[own]
        axis.barh(place, 2 * width, left=-width, height=2 * half, color=TRUTH, alpha=0.75, edgecolor="white")
        axis.axvline(0, color="0.7", linewidth=0.8, linestyle=":")
        axis.set_ylim(table.position_mm.max() + 10, table.position_mm.min() - 10)
        axis.set_xlim(-1.15 * np.nanmax(radius_mm), 1.15 * np.nanmax(radius_mm))
        tidy(axis, "Width of the cavity (mm)", "Along the axis, base to apex (mm)" if phase == names[0] else "")
        axis.set_title(phase, fontsize=10)
    return figure


def beating(slices, level, interval_ms=60):
    """Return a matplotlib animation of one level of a cine: the heart beats, its cavity outlined where masks are."""
    chosen = slices.subset((slices.table.level == level).to_numpy())
    order = chosen.table.time_ms.argsort(kind="stable").to_numpy()
    figure, axis = new_figure(1, 1, 2.8, width=2.6)
    figure.set_dpi(72)  # twenty pictures travel inside of the notebook

    def draw(frame):
        axis.clear()
        row = order[frame]
        mask = None if chosen.masks is None else chosen.masks[row]
        draw_slice(axis, chosen.images[row], f"{chosen.table.time_ms[row]:.0f} ms", mask)

    draw(0)
    return FuncAnimation(figure, draw, frames=len(order), interval=interval_ms)
