"""`make benchmark`: ASSIGNMENT and LAB on the same folder, on one machine.

Times are of whole processes, start-up included, and are given as ratios: one machine's seconds mean
little on another.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import lvlab
from lvlab.evaluation import evaluate, predict, summarise
from lvlab.recipes import RECIPES
from lvlab.store import folder, runs
from lvlab.store.files import output, write_json

CASES = [("assignment", "scratch"), ("lab", "phantom"), ("lab", "scratch")]
VALIDATION_GOAL = 0.90
SHORT = """
import sys
from dataclasses import replace
import lvlab
training = lvlab.load(sys.argv[1], need=("training",)).training
recipe, seed = replace(lvlab.ASSIGNMENT, epochs=int(sys.argv[4])), int(sys.argv[3])
sides = training.split_by_patient(recipe.validation_fraction, seed)
lvlab.train(*sides, recipe, sys.argv[2], seed=seed, overwrite=True)
"""


def benchmark(data, out, seed=0, epochs=lvlab.ASSIGNMENT.epochs):
    """Train every case on `data`; return (DataFrame, one row a case; dict of the machine's figures).

    epochs : of ASSIGNMENT; its training time is multiplied up to the whole, its Dice is then that of the short one
    """
    slices = folder.load(data).test
    costs = [train(data, out / f"{recipe}-{start}", recipe, start, seed, epochs) for recipe, start in CASES]
    table = pd.DataFrame([{"recipe": recipe, "start": start, **cost, **quality(out / f"{recipe}-{start}", slices)}
                          for (recipe, start), cost in zip(CASES, costs, strict=True)])
    table["wall_ratio"] = table.wall_seconds[0] / table.wall_seconds
    lab = runs.open_run(out / "lab-phantom")
    step, peak = step_flops_per_second(lab), matmul_flops_per_second(lab.record["precision"])
    return table, {
        "cpus": os.cpu_count(), "precision_of_lab": lab.record["precision"], "matmul_peak_gflops": peak / 1e9,
        "step_gflops": step / 1e9, "share_of_peak": step / peak, "import_seconds": import_seconds(),
        "predict_20_slices_seconds": prediction_seconds(lab, slices), "versions": runs.versions(),
        "test_slices": len(slices), "seed": seed, "data_fingerprint": slices.fingerprint()}


def train(data, out, recipe, start, seed, epochs):
    """Run one training as its own process; return its wall seconds (ASSIGNMENT's as if whole) and peak memory."""
    command = [sys.executable, "-m", "lvlab", "train", "--data", data, "--out", out,
               "--recipe", recipe, "--start", start, "--seed", seed, "--overwrite"]
    short = recipe == "assignment" and epochs < lvlab.ASSIGNMENT.epochs
    if short:
        command = [sys.executable, "-c", SHORT, data, out, seed, epochs]
    before = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"make benchmark: training {recipe} from {start} failed")
    seconds = time.perf_counter() - before
    if short:
        seconds += (lvlab.ASSIGNMENT.epochs / epochs - 1) * runs.open_run(out).record["train_seconds"]
    return {"wall_seconds": seconds, "peak_memory_gib": usage.ru_maxrss / 2**20}


def quality(path, slices):
    """Return the Dice of a run on slices, and its seconds until the validation Dice was 0.90."""
    run = runs.open_run(path)
    dice, reached = summarise(evaluate(run, slices))["dice"], run.history.val_dice >= VALIDATION_GOAL
    seconds = run.history.seconds.cumsum()[reached.idxmax()] if reached.any() else float("nan")
    return {**{f"dice_{key}": dice[key] for key in ("mean", "sd", "worst")}, "seconds_to_val_dice_0.90": seconds}


def step_flops_per_second(run):
    """Return the floating-point operations a second of a training step of all layers: 3 × the forward pass's, timed."""
    import tensorflow as tf

    from lvlab.training import compile_model

    recipe = replace(RECIPES["lab", "phantom"], layers="all")
    compile_model(run.model, recipe, steps_per_epoch=100)
    images = tf.random.uniform((recipe.batch_size, 128, 128, 1))
    masks = tf.cast(images > 0.9, tf.float32)
    seconds = _median_seconds(lambda: run.model.train_on_batch(images, masks), 20)
    return 3 * recipe.batch_size * forward_flops(run.model) / seconds


def forward_flops(model):
    """Return the multiplications and additions of one slice's forward pass through the convolutions."""
    total = 0
    for layer in model.layers:
        if "Conv2D" in type(layer).__name__:
            places = layer.input if "Transpose" in type(layer).__name__ else layer.output
            total += 2 * places.shape[1] * places.shape[2] * int(np.prod(layer.kernel.shape))
    return total


def matmul_flops_per_second(precision, side=4096):
    """Return the operations a second of a square matrix product: this machine's peak."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.uniform((side, side)), precision)
    product = tf.function(lambda a: tf.reduce_sum(tf.cast(tf.linalg.matmul(a, a)[:1, :1], tf.float32)))
    return 2 * side**3 / _median_seconds(lambda: product(matrix).numpy(), 5)


def prediction_seconds(run, slices, count=20):
    """Return the seconds to predict `count` slices once warm."""
    chosen = slices.subset(np.arange(count) % len(slices))
    return _median_seconds(lambda: predict(run, chosen), 20)


def import_seconds():
    """Return what `import lvlab` adds to starting Python, by the median of whole processes."""
    def start(code):
        return _median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), 7)

    return max(0.0, start("import lvlab") - start("pass"))


def _median_seconds(action, repeats):
    action()  # warm
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        action()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def main():
    """Compare both recipes on one folder; write benchmark.json beside the runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=lvlab.ASSIGNMENT.epochs,
                        help="of ASSIGNMENT; fewer are multiplied up to its hundred")
    args = parser.parse_args()
    out = output(args.out)
    table, machine = benchmark(args.data, out, args.seed, args.epochs)
    print(table.round(3).T.to_string(header=False))
    print(pd.Series(machine).to_string())
    write_json(out / "benchmark.json", {"cases": table.to_dict("records"), "machine": machine})


if __name__ == "__main__":
    main()
