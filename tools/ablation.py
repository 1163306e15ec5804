"""`make ablation`: change one ingredient of LAB at a time, and see what it was worth."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from lvlab.evaluation import masks_of, predict, score, segment
from lvlab.recipes import LAB, LAB_FROM_PHANTOM
from lvlab.store import folder
from lvlab.store.files import PROJECT, output, write_csv

TABLE = PROJECT / "lvlab" / "teach" / "ablation.csv"
SHORT = replace(LAB, epochs=8)  # a third of LAB: enough to rank the ingredients
FINE_TUNED = "from the shipped weights"
#: As `LAB_FROM_PHANTOM` was when the table was made: every layer learns, and half of what it learnt is kept.
ALL_LAYERS = replace(LAB_FROM_PHANTOM, layers="all", learning_rate=5e-4, epochs=8, passes=5, augmentation="gentle",
                     blend=0.5)
VARIANTS = {
    "LAB, shortened": SHORT,
    "no augmentation": replace(SHORT, augmentation="none"),
    "strong augmentation": replace(SHORT, augmentation="strong"),
    "Dice loss only": replace(SHORT, loss="dice"),
    "constant step size": replace(SHORT, schedule="constant"),
    "Glorot initial weights": replace(SHORT, kernel_initializer="glorot_uniform"),
    "half the filters": replace(SHORT, filters=tuple(count // 2 for count in SHORT.filters)),
    "batches of 16": replace(SHORT, batch_size=16),
    "shipped weights, not blended": replace(ALL_LAYERS, blend=1.0),
    FINE_TUNED: ALL_LAYERS,
}
COLUMNS = ["variant", "seed", "n", "dice_mean", "dice_sd", "dice_worst", "val_dice", "train_seconds", "predict_seconds"]


def turned_and_mirrored(run, slices):
    """Return the masks of the mean probability over a square's eight symmetries (test-time augmentation)."""
    total = 0
    for turns in range(4):
        for mirror in (1, -1):
            changed = np.rot90(slices.images, turns, (1, 2))[:, :, ::mirror]
            probability = predict(run, replace(slices, images=np.ascontiguousarray(changed)))
            total = total + np.rot90(probability[:, :, ::mirror], -turns, (1, 2))
    return masks_of(total / 8, run.recipe.threshold, run.recipe.parts)


def largest_filled(run, slices):
    """Return the masks with their largest connected component only, its holes filled."""
    masks = masks_of(predict(run, slices), run.recipe.threshold, "largest")
    return np.stack([ndimage.binary_fill_holes(mask) for mask in masks[..., 0]])[..., None].astype(np.float32)


def never_empty(run, slices):
    """Return the masks; where one would be empty, it is predicted at half of its slice's highest probability."""
    probability, threshold = predict(run, slices), run.recipe.threshold
    highest = probability.max(axis=(1, 2, 3), keepdims=True)
    return masks_of(probability, np.where(highest < threshold, highest / 2, threshold), run.recipe.parts)


AFTERWARDS = {
    "… eight symmetries averaged": turned_and_mirrored,
    "… largest part, holes filled": largest_filled,
    "… never empty": never_empty,
}


def ablation(course, out, seeds=(0, 1, 2), variants=VARIANTS, quiet=False):
    """Train every variant with every seed in `out`; return one row each, and one each way of AFTERWARDS for the last.

    Columns: variant, seed, n, dice_mean, dice_sd, dice_worst (on the test patients), val_dice (on the
    validation patients), train_seconds, predict_seconds (of the test slices, warm).
    """
    from lvlab.store.recorded import train_or_open

    rows = []
    for seed in seeds:
        training, validation = course.training.split_by_patient(LAB.validation_fraction, seed)
        for name, recipe in variants.items():
            path = Path(out) / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            run = train_or_open(training, validation, recipe, path, seed=seed, quiet=quiet)
            ways = {name: segment} | (AFTERWARDS if name == FINE_TUNED else {})
            rows += [(way, seed, *_scores(run, course.test, validation, of)) for way, of in ways.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _scores(run, test, validation, masks_by):
    """Return n, mean, sd and worst Dice on test, mean Dice on validation, and both times."""
    val_dice = score(validation, masks_by(run, validation)).dice.mean()
    masks_by(run, test)  # warm
    before = time.perf_counter()
    masks = masks_by(run, test)
    seconds = time.perf_counter() - before
    dice = score(test, masks).dice
    return dice.count(), dice.mean(), dice.std(ddof=0), dice.min(), val_dice, run.record["train_seconds"], seconds


def merged(old, new):
    """Return the rows of `new` in the place of those of the same variants in `old`, in the order of VARIANTS."""
    names = [*VARIANTS, *AFTERWARDS]
    both = pd.concat([old[~old.variant.isin(new.variant)], new])
    return both.iloc[np.lexsort([both.variant.map(names.index), both.seed])].reset_index(drop=True)


def main():
    """Measure what each ingredient of LAB is worth; write lvlab/teach/ablation.csv."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a course folder")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="VARIANT", help="measure these variants anew "
                        "and keep the other rows of the table: " + "; ".join(VARIANTS))
    args = parser.parse_args()
    variants = {name: VARIANTS[name] for name in args.only or VARIANTS}
    table = ablation(folder.load(args.data), output(args.out), args.seeds, variants)
    if args.only and TABLE.exists():
        table = merged(pd.read_csv(TABLE), table)
    write_csv(TABLE, table.round(4))
    print(table.groupby("variant", sort=False).mean().drop(columns=["seed", "n"]).round(3).to_string())


if __name__ == "__main__":
    main()
