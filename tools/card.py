"""The model card of the shipped weights, docs/model-card.md, and its picture: every number is made here (`make card`).

After Mitchell et al. 2019, doi:10.1145/3287560.3287596.
"""

import argparse
import os
from pathlib import Path

from lvlab import phantom
from lvlab.clinic import agreement, charts, judge, review
from lvlab.slices import concatenate
from lvlab.store import folder, shipped
from lvlab.store.files import PROJECT, whole_file
from tools.stress import SEED, stress

CARD, PICTURE = PROJECT / "docs" / "model-card.md", PROJECT / "docs" / "model-card.png"
PATIENTS = 20
HARD = ("usual", "huge_rv", "obliterated", "outflow", "tiny_apex", "decoys")
TEXT = """# Model card: the weights that come with lvlab

Written by `make card`; every number below was measured by it. Weights {fingerprint}.

## What it is

A U-Net with {filters} filters on grid {grid} ({parameters:,} parameters), which takes a short-axis cine MR slice of
128 × 128 pixels and gives each pixel the probability of lying in the cavity of the left ventricle. Papillary muscles,
trabeculae and the outflow tract up to the aortic valve count as cavity.

## What it was trained on

{slices:,} computer-made slices (lvlab.phantom, "wild"), and no image of any patient; docs/measurements.md tells how.
Which of several networks ships was decided on further phantoms and on the slices of four patients of the five below.

## What it is for

To teach: as the network of notebooks 3 to 5, and as what a fine-tuning on a few patients starts from.

**It must not be used** for a diagnosis, for a measurement on which somebody decides, or without a person who looks at
every mask. It was not made for long-axis views, for other kinds of MR than cine (late enhancement, mapping, perfusion),
for CT or ultrasound, for children, for congenital hearts, or for any structure but this cavity. No regulator has seen
it.

## How well it does

Dice per slice; intervals draw patients. EF error: bias, and 95 % limits of agreement, of the ejection fractions.

| tested on | patients | n | Dice | 95 % interval | worst | under 0.5 | HD95 (mm) | good contours | EF error (points) |
|---|---|---|---|---|---|---|---|---|---|
{results}

{real}

### Parts of the phantom patients

{strata}

### Hearts that networks fail on

200 wild phantoms of each kind (100 without a heart); of images without a heart the share kept empty.

{stress}

### Does it know?

Of {hard_n} wild phantoms of the hard kinds {failed} have a Dice under 0.7. Looking at the least sure 10 % finds
{caught_10} of them, at 20 %: {caught_20}.

## Where it fails

The costliest slices of those phantoms, with the reason in words:

![Eight phantom slices with the outlines of truth and prediction](model-card.png)
"""


def stacks(patients=PATIENTS, seed=SEED):
    """Return new phantom patients, from base to apex at both phases, as one SliceSet."""
    sets = []
    for number in range(patients):
        anatomy, scanner, rng = phantom.course_patient(number, seed)
        sets.append(phantom.stack(anatomy, scanner, rng, f"phantom-{number + 1:02d}"))
    return concatenate(*sets)


def row(name, scores, summary):
    """Return a line of the table of results."""
    dice, ef = summary["intervals"]["dice"], summary["ejection_fraction"]
    counted = scores.dice.dropna()
    function = f"{ef['bias']:+.1f}, {ef['low']:+.1f} to {ef['high']:+.1f} (n = {ef['n']})" if ef["n"] > 1 else "-"
    return (f"| {name} | {summary['patients']} | {len(counted)} | {dice['mean']:.3f} ± {counted.std(ddof=0):.3f} | "
            f"{dice['low']:.3f} to {dice['high']:.3f} | {counted.min():.3f} | {(counted < 0.5).sum()} | "
            f"{summary['hd95_mm']['mean']:.1f} | {summary['good_contours']:.0%} | {function} |")


def markdown(table):
    """Return a DataFrame as a Markdown table."""
    rows = [table.columns, ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def card(real=None):
    """Return the card's text, and the Figure of its failures; `real`: a course folder of real patients."""
    run = shipped.shipped_run()
    patients = stacks()
    scores, _, _ = judge.judge(run, patients)
    results = [row("phantom patients, base to apex", scores, judge.summary(scores, patients.table))]
    about = "Real patients were not at hand when this was written."
    if real is not None:
        own = folder.load(real).everyone()
        found, _, _ = judge.judge(run, own)
        summary = judge.summary(found, own.table)
        results.append(row("real patients", found, summary))
        about = ("The real patients are five of the Sunnybrook Cardiac Data (data/README.md), none of which it was "
                 f"trained on; four of them had a say in which network ships. {agreement.caution(summary['patients'])}")
    parts = review.strata(scores, patients.table)
    parts = parts[parts.what != "patient"].assign(good=parts.good.map("{:.0%}".format)).round(3)
    hard = concatenate(*(phantom.random_slices(50, SEED + 1, kind=kind) for kind in HARD))
    hard_scores, _, prediction = judge.judge(run, hard)
    order = review.review_score(hard_scores.confidence, hard_scores.implausible)
    kinds = stress(run).rename_axis("kind").reset_index()
    for name, form in (("n", "{:.0f}"), ("under_0.5", "{:.0f}"), ("dice", "{:.3f}"), ("empty_kept_empty", "{:.2f}")):
        kinds[name] = kinds[name].map(form.format).replace("nan", "")
    record = run.record
    text = TEXT.format(
        fingerprint=shipped.fingerprint(), filters="-".join(map(str, run.recipe.filters)), grid=run.recipe.grid,
        parameters=record["parameters"], slices=record["training_slices"],
        results="\n".join(results), real=about, strata=markdown(parts), stress=markdown(kinds), hard_n=len(hard),
        failed=review.caught(hard_scores.dice, order)[1],
        **{f"caught_{share:.0f}": review.caught(hard_scores.dice, order, share / 100)[0] for share in (10, 20)})
    return text, charts.failure_gallery(hard, prediction, review.failures(hard_scores))


def main():
    """Write docs/model-card.md and its picture."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--real", type=Path, default=os.environ.get("LVLAB_REAL_DATA"))
    text, figure = card(parser.parse_args().real)
    with whole_file(PICTURE) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    with whole_file(CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
