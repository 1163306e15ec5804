"""`make test-kill`: kill a training with SIGKILL at ten random moments, resume it each time, and compare.

Nothing that was reported finished may be lost, so each kill costs at most the epoch it fell into; the
final validation Dice must lie within the spread of uninterrupted trainings with five seeds.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lvlab
from lvlab import phantom
from lvlab.store import runs
from lvlab.store.progress import load_arrays

KILLS, SEEDS, PLACE = 10, 5, Path("build/kill")


def start(data, out, log):
    """Start, or go on with, the training in a process of its own."""
    command = [sys.executable, "-m", "lvlab", "train", "--data", data, "--out", out, "--seed", "0", "--resume"]
    return subprocess.Popen([str(word) for word in command], stderr=open(log, "wb"), stdout=subprocess.DEVNULL)


def epochs_reported(log):
    """Return the last epoch that the progress bar shows, -1 before it appears."""
    shown = re.findall(rf"(\d+)/{lvlab.LAB.epochs} ", log.read_text(errors="replace"))
    return int(shown[-1]) if shown else -1


def epochs_kept(out):
    """Return the number of epochs that a resumed training need not do again."""
    path = out / runs.PROGRESS
    return len(load_arrays(path)["rows"]) if path.exists() else 0


def kill_once(data, out, log, goal, seconds):
    """Train until `goal` epochs are reported and `seconds` more, then kill; return (reported, kept)."""
    process, begun = start(data, out, log), time.monotonic()
    while epochs_reported(log) < goal and process.poll() is None:
        time.sleep(0.02)
    time.sleep(seconds)
    assert process.poll() is None, f"the training ended before it could be killed: {log.read_text()[-500:]}"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    print(f"  killed after {time.monotonic() - begun:5.1f} s", end="")
    return epochs_reported(log), epochs_kept(out)


def uninterrupted(training, validation, seed):
    """Return (validation Dice, seconds an epoch) of one training without a kill."""
    run = lvlab.train(training, validation, lvlab.LAB, PLACE / f"seed-{seed}", seed=seed, quiet=True)
    return run.record["val_dice"], run.record["train_seconds"] / lvlab.LAB.epochs


def main():
    """Run the test; an AssertionError tells what was lost."""
    shutil.rmtree(PLACE, ignore_errors=True)
    data, out, log = PLACE / "phantom", PLACE / "run", PLACE / "log"
    phantom.write(data, seed=0, quiet=True)
    training, validation = lvlab.load(data).training.split_by_patient(lvlab.LAB.validation_fraction, seed=0)
    results = [uninterrupted(training, validation, seed) for seed in range(SEEDS)]
    dices, epoch_seconds = [dice for dice, _ in results], min(seconds for _, seconds in results)
    print("uninterrupted:", ", ".join(f"{dice:.3f}" for dice in dices), f"({epoch_seconds:.2f} s an epoch)")
    chance = random.Random(0)
    kinds = chance.sample([0, 1, 1, 1, 2, 2, 3, 3, None, None], KILLS)
    before = 0
    for more in kinds:
        goal, longest = (-1, 8) if more is None else (before + more, epoch_seconds)
        seconds = chance.uniform(0, longest)
        reported, kept = kill_once(data, out, log, goal, seconds)
        print(f": {reported} epochs reported, {kept} kept ({before} before)")
        assert kept >= max(before, reported), "a finished epoch was lost"
        before = kept
    assert start(data, out, log).wait() == 0, log.read_text()[-500:]
    run = runs.open_run(out)
    dice, spread = run.record["val_dice"], max(dices) - min(dices)
    print(f"killed {KILLS} times: {dice:.3f} after {len(run.history)} epochs")
    assert list(run.history.epoch) == list(range(1, lvlab.LAB.epochs + 1))
    assert min(dices) - spread / 2 <= dice <= max(dices) + spread / 2, "resuming changed the result"
    assert not list(out.glob(".writing-*")) and not (out / runs.PROGRESS).exists()


if __name__ == "__main__":
    main()
