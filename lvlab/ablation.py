"""`make ablation`: leave one ingredient of LAB out at a time, and see what it was worth."""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lvlab import folder, runs
from lvlab.evaluation import evaluate
from lvlab.files import output, write_csv
from lvlab.recipes import LAB, LAB_FROM_PHANTOM

SHORT = replace(LAB, epochs=8)  # two fifths of LAB: enough to rank the ingredients
VARIANTS = {
    "LAB, shortened": SHORT,
    "no augmentation": replace(SHORT, augmentation="none"),
    "strong augmentation": replace(SHORT, augmentation="strong"),
    "Dice loss only": replace(SHORT, loss="dice"),
    "constant step size": replace(SHORT, schedule="constant"),
    "Glorot initial weights": replace(SHORT, kernel_initializer="glorot_uniform"),
    "from the shipped weights": LAB_FROM_PHANTOM,
}


def ablation(course, out, seeds=(0, 1, 2), variants=VARIANTS, quiet=False):
    """Train every variant with every seed in `out`; return one row a training.

    Columns: variant, seed, n, dice_mean, dice_sd, dice_worst (on the test patients), val_dice, train_seconds.
    """
    from lvlab.training import train_or_open

    rows = []
    for seed in seeds:
        training, validation = course.training.split_by_patient(LAB.validation_fraction, seed)
        for name, recipe in variants.items():
            path = Path(out) / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            run = train_or_open(training, validation, recipe, path, seed=seed, quiet=quiet)
            dice = evaluate(run, course.test).dice
            rows.append((name, seed, dice.count(), dice.mean(), dice.std(ddof=0), dice.min(),
                         run.record["val_dice"], run.record["train_seconds"]))
    return pd.DataFrame(rows, columns=["variant", "seed", "n", "dice_mean", "dice_sd", "dice_worst", "val_dice",
                                       "train_seconds"])


def main():
    """Write the table of the ablation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=None, help="a course folder (default: the course's)")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--table", type=Path, default=Path("docs/ablation.csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    course = folder.load(args.data or folder.course_folder())
    table = ablation(course, output(args.out), args.seeds)
    write_csv(output(args.table), table.round(4))
    means = table.groupby("variant", sort=False)[["dice_mean", "dice_worst", "train_seconds"]].mean()
    print(means.round(3).to_string())
    print(f"lvlab {runs.versions()['lvlab']}; wrote {args.table}")


if __name__ == "__main__":
    main()
