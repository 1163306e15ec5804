"""Every figure and table of the report, by name, into one folder."""

import time
from pathlib import Path

import pandas as pd

from lvlab import metrics, pictures
from lvlab.evaluation import score, segment, summarise
from lvlab.store.files import output, whole_file, write_csv, write_json
from lvlab.store.runs import versions


def score_run(run, slices):
    """Evaluate and time: return (score table, summary with times, recipe, versions, fingerprint)."""
    run.model.predict_on_batch(slices.images[:1])
    before = time.perf_counter()
    prediction = segment(run, slices)
    seconds = time.perf_counter() - before
    table = score(slices, prediction)
    summary = {**summarise(table), "train_seconds": run.record.get("train_seconds"), "predict_seconds": seconds,
               "recipe": run.recipe.as_dict(), "seed": run.record.get("seed"), "versions": versions(),
               "data_fingerprint": slices.fingerprint()}
    return table, summary


def format_summary(summary):
    """Return the summary as a small table of text."""
    rows = pd.DataFrame({name: summary[name] for name in metrics.NAMES}).T
    volumes = summary["dice_per_volume"]
    per_volume = f"\nDice of {volumes['n']} volumes (patient and phase): {volumes['mean']:.3f}, worst " \
                 f"{volumes['worst']:.3f}" if volumes["n"] else ""
    return f"n = {summary['n']} slices\n{rows.round(3).to_string()}{per_volume}"


def write_scores(run, slices, out):
    """Score a run on slices with ground truth; write scores.csv and summary.json; return both."""
    scores, summary = score_run(run, slices)
    write_tables(scores, summary, out)
    return scores, summary


def write_tables(scores, summary, out):
    """Write scores.csv and summary.json."""
    write_csv(Path(out) / "scores.csv", scores)
    write_json(Path(out) / "summary.json", summary)


def write_report(run, slices, out):
    """Write scores.csv, summary.json and every picture of a run on slices into `out`.

    Returns (score table, summary). What an earlier report wrote there is replaced, file by file.
    """
    out = output(out)
    scores, summary = score_run(run, slices)
    drawn = figures(run, slices, scores)
    write_tables(scores, summary, out)
    for name, figure in drawn.items():
        with whole_file(out / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=150, format="png")
    return scores, summary


def figures(run, slices, scores):
    """Return {name: Figure} of the report."""
    prediction = segment(run, slices)
    return {
        **pictures.ranked_triptychs(slices, prediction, scores),
        "learning_curves": pictures.learning_curves(run.history),
        "overlay_grid": pictures.overlay_grid(slices, prediction, scores),
        "dice_by_area": pictures.dice_by_area(scores),
    }
