"""`make benchmark`: ASSIGNMENT and LAB on the same folder, in one process tree on one machine.

Times are of whole processes, start-up included, and are told as ratios: one machine's seconds mean
little on another.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from lvlab.evaluation import predict, summarise
from lvlab.store import folder, runs
from lvlab.store.files import output, write_json

CASES = {"ASSIGNMENT": ("assignment", "scratch"), "LAB from the shipped weights": ("lab", "phantom"),
         "LAB from scratch": ("lab", "scratch")}
VALIDATION_GOAL = 0.90


def benchmark(data, out, seed=0):
    """Train every case on `data`, measure, and return (DataFrame, one row a case; dict of the machine's figures)."""
    slices = folder.load(data).test
    rows = {name: _train_case(data, out, recipe, start, seed) for name, (recipe, start) in CASES.items()}
    for name, (recipe, start) in CASES.items():
        run = runs.open_run(out / f"{recipe}-{start}")
        rows[name] |= _dice(run, slices) | {"seconds_to_val_dice_0.90": _seconds_to_goal(run.history)}
    table = pd.DataFrame(rows).T
    table["wall_ratio"] = table.wall_seconds["ASSIGNMENT"] / table.wall_seconds
    lab = runs.open_run(out / "lab-phantom")
    step, peak = step_flops_per_second(lab), matmul_flops_per_second(lab.record["precision"])
    machine = {
        "cpus": os.cpu_count(), "precision_of_lab": lab.record["precision"], "matmul_peak_gflops": peak / 1e9,
        "step_gflops": step / 1e9, "share_of_peak": step / peak, "import_seconds": import_seconds(),
        "predict_20_slices_seconds": prediction_seconds(lab, slices), "versions": runs.versions(),
        "test_slices": len(slices), "seed": seed, "data_fingerprint": slices.fingerprint()}
    return table, machine


def _train_case(data, out, recipe, start, seed):
    """Run one training as its own process; return its wall seconds and peak memory."""
    command = [sys.executable, "-m", "lvlab", "train", "--data", data, "--out", out / f"{recipe}-{start}",
               "--recipe", recipe, "--start", start, "--seed", seed, "--overwrite"]
    before = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"lvlab benchmark: training {recipe} from {start} failed")
    return {"wall_seconds": time.perf_counter() - before, "peak_memory_gib": usage.ru_maxrss / 2**20}


def _dice(run, slices):
    from lvlab.evaluation import evaluate

    summary = summarise(evaluate(run, slices))["dice"]
    return {f"dice_{key}": summary[key] for key in ("mean", "sd", "worst")}


def _seconds_to_goal(history):
    reached = history.val_dice >= VALIDATION_GOAL
    return history.seconds.cumsum()[reached.idxmax()] if reached.any() else float("nan")


def step_flops_per_second(run, repeats=20):
    """Return the floating-point operations a second of a training step: 3 × the forward pass's, timed."""
    from lvlab.backend import tf
    from lvlab.recipes import LAB_FROM_PHANTOM
    from lvlab.training import compile_model

    model, count = run.model, LAB_FROM_PHANTOM.batch_size
    compile_model(model, LAB_FROM_PHANTOM, steps_per_epoch=100)
    images = tf.random.uniform((count, 128, 128, 1))
    masks = tf.cast(images > 0.9, tf.float32)
    seconds = _median_seconds(lambda: model.train_on_batch(images, masks), repeats)
    return 3 * count * forward_flops(model) / seconds


def forward_flops(model):
    """Return the multiplications and additions of one slice's forward pass through the convolutions."""
    total = 0
    for layer in model.layers:
        if "Conv2D" in type(layer).__name__:
            _, rows, cols, _ = layer.input.shape if "Transpose" in type(layer).__name__ else layer.output.shape
            height, width, first, second = layer.kernel.shape
            total += 2 * rows * cols * height * width * first * second
    return total


def matmul_flops_per_second(precision, side=4096, repeats=5):
    """Return the peak of a square matrix product in the given precision."""
    from lvlab.backend import tf

    matrix = tf.cast(tf.random.uniform((side, side)), precision)
    product = tf.function(lambda a: tf.reduce_sum(tf.cast(tf.linalg.matmul(a, a)[:1, :1], tf.float32)))
    return 2 * side**3 / _median_seconds(lambda: product(matrix).numpy(), repeats)


def prediction_seconds(run, slices, count=20, repeats=20):
    """Return the seconds to predict `count` slices once warm."""
    import numpy as np

    chosen = slices.subset(np.arange(count) % len(slices))
    return _median_seconds(lambda: predict(run, chosen), repeats)


def import_seconds(repeats=7):
    """Return what `import lvlab` adds to starting Python, by the median of whole processes."""
    def start(code):
        return _median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), repeats)

    return max(0.0, start("import lvlab") - start("pass"))


def _median_seconds(action, repeats):
    action()
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        action()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def main():
    """Run the benchmark and write benchmark.json beside the runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out = output(args.out)
    table, machine = benchmark(args.data, out, args.seed)
    print(table.astype(float).round(3).T.to_string())
    for name, value in machine.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    write_json(out / "benchmark.json", {"cases": table.astype(float).T.to_dict(), "machine": machine})
    print(f"Wrote {out / 'benchmark.json'}")


if __name__ == "__main__":
    main()
