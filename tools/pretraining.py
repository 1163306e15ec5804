"""Weights trained on phantoms only. `make pretrain` runs this file; `make stress` compares what it made.

It goes in rounds of an hour and a half: what a round ends with lies in tools/weights/, and the next one (FURTHER=1)
goes on from there with phantoms that were not seen yet. `--ship` puts it into the package; so far its network, LAB's,
is behind the shipped one (docs/measurements.md).

Phantoms are drawn beside the training, from the "wild" stream, whose seeds never meet those of a course folder;
none is stored. Slice number i depends on the seed and i only, so a killed pre-training goes on where it was.
"""

import argparse
import os
import time
from dataclasses import replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from lvlab.backend import choose_precision, quietly

with quietly():
    import tensorflow  # noqa: F401

from lvlab import phantom
from lvlab.recipes import LAB
from lvlab.slices import SIZE, concatenate
from lvlab.store import runs, shipped
from lvlab.store.files import PROJECT, output, write_csv
from lvlab.store.progress import load_arrays, numbered, numbering, save_arrays
from lvlab.training import WATCHED, as_dataset, batches, build, compile_model

PRETRAIN = replace(LAB, name="phantom", batch_size=8, epochs=18, passes=3, keep="last")
SO_FAR = PROJECT / "tools" / "weights"
TRAINING_SEED, VALIDATION_SEED = 2026, 2027
FRESH, CHUNK, VALIDATION = 2_000, 100, 400  # phantoms an epoch, in a worker's task, to validate on


def fresh_slices(pool, seed, start, count):
    """Begin to draw `count` wild phantoms, numbered from `start`, on all cores; return an iterator of SliceSets."""
    return pool(delayed(phantom.random_slices)(min(CHUNK, start + count - first), seed, SIZE, first)
                for first in range(start, start + count, CHUNK))


def pretrain(out, recipe=PRETRAIN, fresh=FRESH, seed=0, resume=False, quiet=False, before=None):
    """Train `recipe` on phantoms only and return its Run in `out`; an epoch sees `fresh` new ones `passes` times.

    before : a Run of this recipe to go on from, with phantoms that it has not seen
    """
    runs.refuse_run(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers: threads within each would only compete
    pool = Parallel(n_jobs=os.cpu_count(), return_as="generator")
    validation = concatenate(*fresh_slices(pool, VALIDATION_SEED, 0, VALIDATION))
    watched = as_dataset(validation).batch(20)
    model = build(recipe, seed=seed)
    steps = -(-fresh * recipe.passes // recipe.batch_size)
    compile_model(model, recipe, steps)
    seen = 0 if before is None else before.record["training_slices"]
    if before is not None:
        model.set_weights(before.model.get_weights())
    rows = put_back(out / runs.PROGRESS, model) if resume else []
    upcoming = fresh_slices(pool, TRAINING_SEED, seen + len(rows) * fresh, fresh)
    for epoch in range(len(rows), recipe.epochs):
        begun, slices = time.perf_counter(), concatenate(*upcoming)
        if epoch + 1 < recipe.epochs:
            upcoming = fresh_slices(pool, TRAINING_SEED, seen + (epoch + 1) * fresh, fresh)
        logs = model.fit(batches(slices, recipe, seed + epoch), steps_per_epoch=steps, validation_data=watched,
                         verbose=0, shuffle=False).history
        rows.append((epoch + 1, *(logs[name][-1] for name in WATCHED), time.perf_counter() - begun))
        keep(out, model, rows)
        if not quiet:
            print(history(rows).tail(1).round(4).to_string(header=epoch == 0, index=False), flush=True)
    runs.write_run(out, model, history(rows), {
        "recipe": recipe.as_dict(), "seed": seed, "precision": choose_precision(recipe.precision), "size": SIZE,
        "parameters": model.count_params(), "training_slices": seen + fresh * len(rows),
        "validation_slices": len(validation), "data_fingerprint": validation.fingerprint(),
        "val_dice": rows[-1][4], "train_seconds": sum(row[-1] for row in rows)})
    (out / runs.PROGRESS).unlink(missing_ok=True)
    return runs.open_run(out)


def history(rows):
    """Return one row an epoch."""
    return pd.DataFrame(rows, columns=runs.COLUMNS).astype({"epoch": int})


def keep(out, model, rows):
    """Write all that resuming needs in one file, whole or not at all."""
    optimizer = [np.asarray(variable) for variable in model.optimizer.variables]
    save_arrays(out / runs.PROGRESS, rows=np.array(rows), **numbering("weights", model.get_weights()),
                **numbering("optimizer", optimizer))
    write_csv(out / runs.HISTORY, history(rows))


def put_back(path, model):
    """Put the stored weights and optimizer into the model; return the rows of the history so far."""
    stored = load_arrays(path)
    model.optimizer.build(model.trainable_variables)
    model.set_weights(numbered(stored, "weights"))
    for variable, value in zip(model.optimizer.variables, numbered(stored, "optimizer"), strict=True):
        variable.assign(value)
    return [tuple(map(float, row)) for row in stored["rows"]]


def main():
    """Pre-train for a round, and keep the weights in tools/weights/."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", default="runs/phantom-pretraining")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    parser.add_argument("--further", action="store_true", help="go on from the last round's weights")
    parser.add_argument("--rate", type=float, default=PRETRAIN.learning_rate, help="highest step size of this round")
    parser.add_argument("--epochs", type=int, default=PRETRAIN.epochs)
    parser.add_argument("--ship", action="store_true", help="put the weights into the package, too")
    args = parser.parse_args()
    recipe = replace(PRETRAIN, learning_rate=args.rate, epochs=args.epochs)
    before = runs.Run(SO_FAR) if args.further else None
    run = pretrain(output(args.out), recipe, seed=args.seed, resume=args.resume, before=before)
    for folder in [SO_FAR, *([shipped.SHIPPED] if args.ship else [])]:
        shipped.ship(run, folder)
    print(f"Validation Dice {run.record['val_dice']:.3f} on phantoms; in {SO_FAR}")


if __name__ == "__main__":
    main()
