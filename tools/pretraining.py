"""Weights trained on phantoms only, for as long as is given: `make pretrain`.

All cores draw phantoms of the "wild" stream, whose seeds never meet those of a course folder. They gather in the
accelerator's memory (32 KB each), and the network learns from all that are there by now (on_jax.py). Several networks
can learn from one stream side by side, to be compared. Phantom number i depends on the seed and i only; which of them
a step sees depends on how fast they come, so that two pre-trainings are alike, not equal. `--onward` starts from the
weights that ship, on phantoms as they are drawn by now, and keeps the mean of both (doi:10.1109/CVPR52688.2022.00780).
"""

import argparse
import hashlib
import math
import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from lvlab import phantom
from lvlab.recipes import LAB
from lvlab.slices import SIZE
from lvlab.store import runs, shipped
from lvlab.store.files import output
from lvlab.store.progress import load_arrays, numbered, numbering, save_arrays

PRETRAIN = replace(LAB, name="phantom", filters=(16, 32, 64, 128, 256), grid=2, normalization="none",
                   learning_rate=1e-3, loss="slice_dice_bce", batch_size=64, passes=1, augmentation="strong")
ONWARD = replace(PRETRAIN, name="onward", learning_rate=0.3 * PRETRAIN.learning_rate, start="phantom", blend=0.5)
TRAINING_SEED, VALIDATION_SEED = 2026, 2027
VALIDATION, MOST = 400, 600_000  # phantoms to validate on, and at most in memory
CHUNK, FIRST = 16, 2048  # phantoms that one core draws at a time; so many are there before the first step
WARM_UP, CHECKS = 500, 24  # steps in which the step size rises; validations on the way


def pretrain(out, recipes=(PRETRAIN,), minutes=60.0, resume=False, quiet=False, most=MOST, first=FIRST):
    """Train each recipe's network on phantoms, all of them together for `minutes`; write weights in out/NAME.

    resume : go on from what was written at the last validation
    most, first : phantoms kept at most, and needed before the first step
    """
    from tools.on_jax import ROUND, Learner, Stock, device

    for recipe in recipes:
        runs.refuse_run(out / recipe.name, resume)
    learners = [Learner(recipe, SIZE, shipped.start_weights(recipe)) for recipe in recipes]
    states = [_put_back(out / recipe.name / runs.PROGRESS, learner) if resume else ([], 0)
              for recipe, learner in zip(recipes, learners, strict=True)]
    rows = [row for row, _ in states]
    used, begun = (rows[0][-1][-1] if rows[0] else 0.0), time.perf_counter()
    seen = states[0][1]
    with multiprocessing.get_context("spawn").Pool(max(1, os.cpu_count() - 2)) as pool:
        held = np.concatenate(pool.map(pairs, [(VALIDATION_SEED, at) for at in range(0, VALIDATION, CHUNK)]))
        fingerprint = hashlib.sha256(held.tobytes()).hexdigest()[:16]
        stock = Stock(pool.imap(pairs, ((TRAINING_SEED, seen + at) for at in range(0, most, CHUNK))), most, held.shape)
        stock.wait(first)
        share = done = used / (60 * minutes)
        while share < 1:
            stock.take()
            rate = min(1, (learners[0].steps + 1) / WARM_UP) * (1 + math.cos(math.pi * share)) / 2
            logs = [learner.advance(stock, rate) for learner in learners]
            share = (used + time.perf_counter() - begun) / (60 * minutes)
            if share - done >= 1 / CHECKS or share >= 1:
                done = share
                for learner in learners if share >= 1 else ():
                    learner.blend()
                for recipe, learner, row, log in zip(recipes, learners, rows, logs, strict=True):
                    dice = learner.dice(held)
                    row.append((len(row) + 1, *map(float, log), np.nan, float(dice.mean()), share * 60 * minutes))
                    _keep(out / recipe.name, learner, row, seen + stock.filled, device, fingerprint)
                    if not quiet:
                        print(f"{recipe.name}: {share:4.0%}, {seen + stock.filled:,} phantoms, {learner.steps:,} "
                              f"steps of {recipe.batch_size}, loss {row[-1][1]:.4f}, Dice {row[-1][2]:.4f}, "
                              f"of phantoms not seen {row[-1][4]:.4f}; a step {1000 * learner.seconds / ROUND:.1f} ms",
                              flush=True)
        pool.terminate()
    for recipe in recipes:
        (out / recipe.name / runs.PROGRESS).unlink()


def pairs(which):
    """Return `CHUNK` phantoms of the stream, from (seed, number) on: images and masks, uint8 (CHUNK, h, w, 2)."""
    seed, start = which
    drawn = phantom.random_slices(CHUNK, seed, SIZE, start)
    return np.concatenate([np.round(255 * drawn.images), drawn.masks], -1).astype(np.uint8)


def _keep(folder, learner, rows, seen, device, fingerprint):
    """Write weights, record and history, and all that resuming needs, each file whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = learner.weights()
    history = pd.DataFrame(rows, columns=runs.COLUMNS).astype({"epoch": int})
    save_arrays(folder / runs.PROGRESS, seen=np.array(seen), steps=np.array(learner.steps), rows=np.array(rows),
                **numbering("weights", weights), **numbering("moments", learner.moments()))
    shipped.write(folder, weights, {
        "recipe": learner.recipe.as_dict(), "seed": 0, "precision": learner.precision, "size": SIZE,
        "parameters": int(sum(array.size for array in weights)), "steps": learner.steps, "training_slices": seen,
        "validation_slices": VALIDATION, "device": device(), "val_dice": rows[-1][4],
        "train_seconds": rows[-1][-1], "versions": runs.versions(), "data_fingerprint": fingerprint}, history)


def _put_back(path, learner):
    """Give the learner its stored state; return the rows of its history and how many phantoms it has seen."""
    stored = load_arrays(path)
    learner.restore(numbered(stored, "weights"), numbered(stored, "moments"), int(stored["steps"]))
    return [tuple(map(float, row)) for row in stored["rows"]], int(stored["seen"])


def main():
    """Pre-train networks on phantoms; lvlab.store.shipped.ship(open_run(FOLDER)) puts one into the package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", default="runs/phantom-pretraining")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--network", nargs="*", default=[], metavar="NAME:GRID:FILTERS",
                        help="networks to compare, such as fine:2:16-32-64-128-256; default is the lab recipe's")
    parser.add_argument("--onward", action="store_true", help="go on from the weights that ship")
    parser.add_argument("--resume", action="store_true", help="go on after the last validation")
    args = parser.parse_args()
    recipes = [_network(text) for text in args.network] + [ONWARD] * args.onward or [PRETRAIN]
    pretrain(output(args.out), recipes, args.minutes, args.resume)


def _network(text):
    """Return the recipe that NAME:GRID:FILTERS[:LOSS] names."""
    name, grid, filters, *loss = text.split(":")
    return replace(PRETRAIN, name=name, grid=int(grid), filters=tuple(map(int, filters.split("-"))),
                   loss=(loss or [PRETRAIN.loss])[0])


if __name__ == "__main__":
    main()
