"""Every figure and table of the report, by name, into one folder."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import pandas as pd

from lvlab import pictures
from lvlab.clinic import charts, judge, review
from lvlab.evaluation import masks_of, predict, summarise
from lvlab.store.files import PROJECT, output, whole_file, write_csv, write_json
from lvlab.store.masks import direction
from lvlab.store.runs import versions

#: The same picture gives the same file, and a $ in a file's name is a $.
STEADY = {"svg.hashsalt": "lvlab", "svg.fonttype": "path", "text.parse_math": False}


class Evidence(NamedTuple):
    """A run on slices with ground truth, and all that its figures are drawn from."""

    run: Any
    slices: Any
    probability: Any
    prediction: Any
    scores: Any
    summary: dict


class Picture(NamedTuple):
    """A figure of the report: who draws it from the Evidence, its caption, and what a blind reader is told."""

    function: Callable
    draw: Callable
    caption: str
    alt: str
    needed: Callable = lambda evidence: True


def ranked(place):
    """Return the Picture of the best, median or worst slice."""
    return Picture(
        pictures.triptych,
        lambda e: pictures.ranked_triptychs(e.slices, e.prediction, e.scores)[place],
        f"The slice with the {place} Dice of {{n}}: the image, the ground truth, and the prediction (dashed) over it.",
        f"Three panels of one slice, the one with the {place} Dice: image, truth and prediction.",
        lambda e: bool(e.summary["names"]))


PICTURES = {
    **{place: ranked(place) for place in ("best", "median", "worst")},
    "learning_curves": Picture(
        pictures.learning_curves, lambda e: pictures.learning_curves(e.run.history),
        "Loss and Dice over the epochs, of the training slices and of the validation slices, if any were held out.",
        "Two line charts over the epochs: loss on the left, Dice on the right."),
    "overlay_grid": Picture(
        pictures.overlay_grid, lambda e: pictures.overlay_grid(e.slices, e.prediction, e.scores),
        "All {n} slices with the outlines of truth and prediction, from the worst Dice to the best.",
        "A grid of all slices, each with two outlines and its Dice, sorted from worst to best."),
    "dice_by_area": Picture(
        charts.dice_by_area, lambda e: charts.dice_by_area(e.scores),
        "Each slice's Dice against the area of its true cavity: small cavities are the hard ones.",
        "A scatter plot of Dice against the true area of the cavity, end-diastole and end-systole marked apart."),
    "strata": Picture(
        charts.strata_plot, lambda e: charts.strata_plot(review.strata(e.scores, e.slices.table)),
        "Dice by level, phase, size of the cavity, disease group and patient, where they are known: mean and worst "
        "slice.",
        "A dot chart with one row for each part of the slices: the mean Dice, and a line down to the worst slice.",
        lambda e: bool(e.summary["names"])),
    "failures": Picture(
        charts.failure_gallery,
        lambda e: charts.failure_gallery(e.slices, e.prediction, review.failures(e.scores)),
        "The slices that cost most: by the area missed and invented, with the reason in words.",
        "A gallery of the eight slices with the largest wrong area, each with two outlines and a reason."),
    "area_agreement": Picture(
        charts.bland_altman_plot,
        lambda e: charts.bland_altman_plot(e.scores.area_true_mm2 / 100, e.scores.area_pred_mm2 / 100, "cm²",
                                           "area of the cavity"),
        "Agreement of the areas, slice by slice (Bland and Altman): bias and 95 % limits of agreement.",
        "A Bland-Altman plot of the predicted minus the true area against their mean.",
        lambda e: e.scores.area_true_mm2.notna().any()),
    "ejection_fraction": Picture(
        charts.bland_altman_plot,
        lambda e: charts.bland_altman_plot(*(pd.DataFrame(e.summary["function"])[f"ef_percent_{who}"]
                                             for who in ("true", "pred")), "%", "ejection fraction"),
        "Agreement of the ejection fractions, patient by patient (Bland and Altman).",
        "A Bland-Altman plot of the predicted minus the true ejection fraction against their mean.",
        lambda e: len(e.summary["function"]) > 1),
    "reliability": Picture(
        charts.reliability_plot, lambda e: charts.reliability_plot(review.reliability(e.probability, e.slices.masks)),
        "Calibration: of the pixels with about the same predicted probability, the share that is inside.",
        "A line of the observed share of pixels inside against the predicted probability, beside the diagonal.",
        lambda e: bool((e.probability >= 0.01).any())),
    "review": Picture(
        charts.review_curve,
        lambda e: charts.review_curve(e.scores.dice, review.review_score(e.scores.confidence, e.scores.implausible)),
        "How many of the slices under Dice 0.7 one finds by looking at the least sure slices first.",
        "A step curve: share of the failures found against share of the slices looked at, beside the diagonal.",
        lambda e: e.summary["review"]["under_0.7"] > 0),
}


def judge_run(run, slices):
    """Evaluate and time; return the Evidence, whose summary has times, recipe, versions and fingerprint."""
    if hasattr(run, "model"):
        predict(run, slices.subset([0]))  # so that TensorFlow's start is not timed
    before = time.perf_counter()
    probability = run.predict(slices) if hasattr(run, "predict") else predict(run, slices)
    prediction = masks_of(probability, run.recipe.threshold, run.recipe.parts)
    seconds = time.perf_counter() - before
    scores = judge.judged(slices, probability, prediction)
    summary = {**summarise(scores), **judge.summary(scores, slices.table),
               "mask_offset": judge.placement(run, slices, probability),
               "train_seconds": run.record.get("train_seconds"), "predict_seconds": seconds,
               "recipe": run.recipe.as_dict(), "seed": run.record.get("seed"), "versions": versions(),
               "data_fingerprint": slices.fingerprint()}
    return Evidence(run, slices, probability, prediction, scores, summary)


def format_summary(summary):
    """Return the summary as a small table of text."""
    lines = [f"n = {summary['n']} slices of {summary['patients'] or 'unknown'} patients",
             pd.DataFrame(judge.table_of(summary)).T.to_string()]
    volumes, function = summary["dice_per_volume"], summary["ejection_fraction"]
    if volumes["n"]:
        lines.append(f"Dice of {volumes['n']} volumes (patient and phase): {volumes['mean']:.3f}, worst "
                     f"{volumes['worst']:.3f}")
    if function["n"]:
        limits = f", 95 % limits {function['low']:+.1f} to {function['high']:+.1f}" if function["n"] > 1 else ""
        lines.append(f"Ejection fraction, prediction - truth: {function['bias']:+.1f} points{limits} "
                     f"(n = {function['n']})")
    return "\n".join(filter(None, [*lines, placement_said(summary), summary["caution"]]))


def placement_said(summary):
    """Return where these masks, or those of the training, lie off the edges in their images, else ""."""
    placed = summary.get("mask_offset", {"down": 0, "right": 0, "learnt": [0, 0]})  # crossval has nothing to move
    here, learnt = (placed["down"], placed["right"]), tuple(placed["learnt"])
    off = "lie off the edges in their images (pixels: {})".format
    if here == learnt:
        return f"The masks {off(direction(here))}, as those of the training do." if any(here) else ""
    if not any(here):
        said = f"The masks of the training {off(direction(learnt))}; these do not, or not clearly."
    else:
        said = f"The masks {off(direction(here))}; of those of the training "
        said += f"the same was measured as {direction(learnt)}." if any(learnt) else "no such thing is known."
    return f"{said} The prediction, moved by the difference, has Dice {placed['dice_if_moved']:.3f}."


def write_scores(run, slices, out):
    """Score a run on slices with ground truth; write scores.csv and summary.json; return both."""
    evidence = judge_run(run, slices)
    write_tables(evidence.scores, evidence.summary, out)
    return evidence.scores, evidence.summary


def write_tables(scores, summary, out):
    """Write scores.csv and summary.json."""
    write_csv(Path(out) / "scores.csv", scores)
    write_json(Path(out) / "summary.json", summary)


def write_report(run, slices, out):
    """Write every table and picture of a run on slices into `out`, and manifest.json, which says what made them.

    Tables: scores.csv, summary.json, and the report's table as metrics.csv, .md and .tex. Pictures: NAME.png and
    NAME.svg. Returns the Evidence. What an earlier report wrote there is replaced, file by file.
    """
    out = output(out)
    evidence = judge_run(run, slices)
    with matplotlib.style.context(["default", STEADY]):  # whatever a matplotlibrc here or at home says
        drawn = {name: picture.draw(evidence) for name, picture in PICTURES.items() if picture.needed(evidence)}
        write_tables(evidence.scores, evidence.summary, out)
        _write_metrics(evidence.summary, out)
        for name, figure in drawn.items():
            for ending, about in (("png", {"Software": None}), ("svg", {"Date": None})):
                with whole_file(out / f"{name}.{ending}") as temporary:
                    figure.savefig(temporary, dpi=150, format=ending, metadata=about)
                figure.set_layout_engine(None)  # found by the first of the two, and slow to find
    write_json(out / "manifest.json", manifest(evidence, drawn))
    return evidence


def _write_metrics(summary, out):
    """Write the report's table for a spreadsheet, for a README and for a paper."""
    rows = judge.table_of(summary)
    table = pd.DataFrame(rows).T.rename_axis("Measure").reset_index()
    bars = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    latex = [*(" & ".join(row).replace("%", r"\%") + r" \\" for row in [table.columns, *table.to_numpy()])]
    texts = {"csv": table.to_csv(index=False), "md": "\n".join(f"| {' | '.join(row)} |" for row in bars) + "\n",
             "tex": "\n".join([r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}", r"\hline", latex[0],
                               r"\hline", *latex[1:], r"\hline", r"\end{tabular}", ""])}
    for ending, text in texts.items():
        with whole_file(out / f"metrics.{ending}") as temporary:
            temporary.write_text(text, encoding="utf-8")


def manifest(evidence, names):
    """Return what made each figure: function, caption, alt text; and data, recipe, versions, commit of all."""
    summary = evidence.summary
    return {
        "figures": {name: {"files": [f"{name}.png", f"{name}.svg"], "caption": caption(name, summary),
                           "alt": PICTURES[name].alt,
                           "function": f"{PICTURES[name].function.__module__}.{PICTURES[name].function.__name__}"}
                    for name in names},
        "tables": ["scores.csv", "summary.json", "metrics.csv", "metrics.md", "metrics.tex"],
        "commit": commit(), **{key: summary[key] for key in ("data_fingerprint", "recipe", "seed", "versions")}}


def caption(name, summary):
    """Return a figure's caption."""
    return PICTURES[name].caption.format(n=summary["n"])


def commit():
    """Return the commit of the source, "" where it is not a checkout."""
    try:
        return subprocess.run(["git", "-C", str(PROJECT), "rev-parse", "HEAD"], capture_output=True, text=True,
                              timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
