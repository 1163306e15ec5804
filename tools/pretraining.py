"""Weights trained on phantoms only. `make pretrain` runs this file; `make stress` compares what it made.

It goes in rounds of an hour or more: what a round ends with lies in tools/weights/, and the next one (FURTHER=1)
goes on from there with phantoms that were not seen yet. `--ship` puts it into the package; so far its network, LAB's,
is behind the shipped one (docs/measurements.md).

Each core trains a copy of the network on phantoms that it draws itself; twice an epoch the copies are averaged and go
on from there (local SGD: Stich 2019, arXiv:1805.09767). On two cores 1.4 times as many slices are learnt from in an
hour as by one copy with two threads. Phantoms are of the "wild" stream, whose seeds never meet those of a course
folder; none is stored. Slice number i depends on the seed and i only, so a killed pre-training goes on where it was.
"""

import argparse
import functools
import os
import time
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from lvlab.backend import choose_precision, quietly

with quietly():
    import tensorflow

from lvlab import phantom
from lvlab.augment import augment
from lvlab.recipes import LAB
from lvlab.slices import SIZE
from lvlab.store import runs, shipped
from lvlab.store.files import PROJECT, output, write_csv
from lvlab.store.progress import load_arrays, numbered, numbering, save_arrays
from lvlab.training import as_dataset, build, compile_model

PRETRAIN = replace(LAB, name="phantom", batch_size=8, epochs=18, passes=3, keep="last")
SO_FAR = PROJECT / "tools" / "weights"
TRAINING_SEED, VALIDATION_SEED = 2026, 2027
FRESH, LEGS, VALIDATION = 2_000, 2, 400  # phantoms an epoch, averages an epoch, phantoms to validate on
CORES = os.cpu_count()
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}  # for the workers: more would only compete


def pretrain(out, recipe=PRETRAIN, fresh=FRESH, copies=CORES, resume=False, quiet=False, before=None):
    """Train `recipe` on phantoms only and return its Run in `out`; an epoch sees `fresh` new ones `passes` times.

    copies : of the network, each trained by a core of its own
    before : a Run of this recipe to go on from, with phantoms that it has not seen
    """
    runs.refuse_run(out, resume)
    out.mkdir(parents=True, exist_ok=True)
    validation = phantom.random_slices(VALIDATION, VALIDATION_SEED)
    watched = as_dataset(validation).batch(20)
    count = -(-fresh // (LEGS * copies))  # phantoms of one copy in one leg
    steps = LEGS * -(-count * recipe.passes // recipe.batch_size)
    learner.cache_clear()  # its optimizer remembers
    model, _ = learner(recipe, steps)
    seen = 0 if before is None else before.record["training_slices"]
    model.set_weights(build(recipe).get_weights() if before is None else before.model.get_weights())
    state, rows = put_back(out / runs.PROGRESS) if resume else (state_of(model), [])
    with patch.dict(os.environ, ONE_THREAD), Parallel(n_jobs=copies) as pool:
        for epoch in range(len(rows), recipe.epochs):
            begun, watch = time.perf_counter(), []
            for number in range(LEGS * epoch, LEGS * (epoch + 1)):
                starts = [seen + (number * copies + copy) * count for copy in range(copies)]
                states, logs = zip(*pool(delayed(leg)(recipe, steps, state, start, count) for start in starts),
                                   strict=True)
                state, watch = averaged(states), [*watch, *logs]
            put(model, state)
            logs = model.evaluate(watched, verbose=0, return_dict=True)
            rows.append((epoch + 1, *np.mean(watch, axis=0), logs["loss"], logs["dice"], time.perf_counter() - begun))
            keep(out, state, rows)
            if not quiet:
                print(history(rows).tail(1).round(4).to_string(header=epoch == 0, index=False), flush=True)
    put(model, state)
    runs.write_run(out, model, history(rows), {
        "recipe": recipe.as_dict(), "seed": 0, "precision": choose_precision(recipe.precision), "size": SIZE,
        "parameters": model.count_params(), "training_slices": seen + LEGS * copies * count * len(rows),
        "validation_slices": len(validation), "data_fingerprint": validation.fingerprint(), "copies": copies,
        "val_dice": rows[-1][4], "train_seconds": sum(row[-1] for row in rows)})
    (out / runs.PROGRESS).unlink(missing_ok=True)
    return runs.open_run(out)


@functools.lru_cache(maxsize=1)
def learner(recipe, steps):
    """Return this process's network, with an optimizer for `steps` steps an epoch, and what changes its batches."""
    model = build(recipe)
    compile_model(model, recipe, steps)
    model.optimizer.build(model.trainable_variables)
    plain = recipe.augmentation == "none"
    return model, tensorflow.function(lambda *batch: batch[:2] if plain else augment(*batch, recipe.augmentation))


def leg(recipe, steps, state, start, count):
    """Train one copy from `state` on `count` new phantoms, numbered from `start`: its state, and its loss and Dice.

    Without tf.data, whose second pipeline in a process of one thread was seen to wait for ever (TensorFlow 2.21).
    """
    model, changed = learner(recipe, steps)
    put(model, state)
    slices = phantom.random_slices(count, TRAINING_SEED, SIZE, start)
    rng = np.random.default_rng(start)
    order = np.concatenate([rng.permutation(count) for _ in range(recipe.passes)])
    logs = []
    for step, at in enumerate(range(0, len(order), recipe.batch_size)):
        rows = order[at:at + recipe.batch_size]
        batch = changed(slices.images[rows], slices.masks[rows], np.array([start, step], np.int32))
        model.reset_metrics()
        logs.append(model.train_on_batch(*batch))
    return state_of(model), np.mean(logs, axis=0)


def state_of(model):
    """Return all that learning goes on from, as arrays."""
    return {"weights": model.get_weights(), "optimizer": [np.asarray(each) for each in model.optimizer.variables]}


def put(model, state):
    """Make `state` the model's own."""
    model.set_weights(state["weights"])
    for variable, value in zip(model.optimizer.variables, state["optimizer"], strict=True):
        variable.assign(value)


def averaged(states):
    """Return the mean of some states, array by array."""
    return {part: [np.mean(arrays, axis=0).astype(arrays[0].dtype)
                   for arrays in zip(*(state[part] for state in states), strict=True)] for part in states[0]}


def history(rows):
    """Return one row an epoch."""
    return pd.DataFrame(rows, columns=runs.COLUMNS).astype({"epoch": int})


def keep(out, state, rows):
    """Write all that resuming needs in one file, whole or not at all."""
    save_arrays(out / runs.PROGRESS, rows=np.array(rows),
                **{name: array for part in state for name, array in numbering(part, state[part]).items()})
    write_csv(out / runs.HISTORY, history(rows))


def put_back(path):
    """Return the stored state and the rows of the history so far."""
    stored = load_arrays(path)
    return ({part: numbered(stored, part) for part in ("weights", "optimizer")},
            [tuple(map(float, row)) for row in stored["rows"]])


def main():
    """Pre-train for a round, and keep the weights in tools/weights/."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", default="runs/phantom-pretraining")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    parser.add_argument("--further", action="store_true", help="go on from the last round's weights")
    parser.add_argument("--rate", type=float, default=PRETRAIN.learning_rate, help="highest step size of this round")
    parser.add_argument("--epochs", type=int, default=PRETRAIN.epochs)
    parser.add_argument("--ship", action="store_true", help="put the weights into the package, too")
    args = parser.parse_args()
    recipe = replace(PRETRAIN, learning_rate=args.rate, epochs=args.epochs)
    before = runs.Run(SO_FAR) if args.further else None
    run = pretrain(output(args.out), recipe, resume=args.resume, before=before)
    for folder in [SO_FAR, *([shipped.SHIPPED] if args.ship else [])]:
        shipped.ship(run, folder)
    print(f"Validation Dice {run.record['val_dice']:.3f} on phantoms; in {SO_FAR}")


if __name__ == "__main__":
    from tools.pretraining import main  # by its module's own name the workers keep what `learner` remembers

    main()
