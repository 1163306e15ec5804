"""The shipped weights: a U-Net trained on phantoms only. `make pretrain` runs this file.

The phantoms are drawn from the "wild" stream, whose seeds never meet those of a course folder.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lvlab import phantom
from lvlab.recipes import PRETRAIN
from lvlab.slices import COLUMNS, SIZE, SliceSet
from lvlab.store import runs
from lvlab.store.files import output

TRAINING_SEED, VALIDATION_SEED = 2026, 2027
CHUNK = 100


def phantom_slices(n, seed, quiet=False):
    """Return a SliceSet of `n` wild phantom slices (float16 and uint8 to save memory), made on all cores."""
    chunks = [(min(CHUNK, n - start), seed, SIZE, start) for start in range(0, n, CHUNK)]
    images, masks = np.empty((n, SIZE, SIZE, 1), np.float16), np.empty((n, SIZE, SIZE, 1), np.uint8)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # one process a core; threads within each would only compete
    try:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            made = tqdm(pool.map(phantom.random_slices, *zip(*chunks, strict=True)), total=len(chunks),
                        desc="Phantom slices", unit=f"{CHUNK}", disable=quiet)
            for (_, _, _, start), (some_images, some_masks) in zip(chunks, made, strict=True):
                images[start:start + CHUNK], masks[start:start + CHUNK] = some_images, some_masks
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    table = pd.DataFrame([(f"wild-{seed}-{i}", "", "", 0, *[np.nan] * 3, (0, 0, SIZE, SIZE))
                          for i in range(n)], columns=COLUMNS)
    return SliceSet(images, masks, table)


def pretrain(out, training_slices=40_000, validation_slices=400, seed=0, resume=False, overwrite=False, quiet=False):
    """Train PRETRAIN on phantoms only and return its Run in `out`."""
    from lvlab.training import train

    training = phantom_slices(training_slices, TRAINING_SEED, quiet)
    validation = phantom_slices(validation_slices, VALIDATION_SEED, quiet)
    return train(training, validation, PRETRAIN, out, seed=seed, resume=resume, overwrite=overwrite, quiet=quiet)


def main():
    """Pre-train, then put the weights into the package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", default="runs/phantom-pretraining")
    parser.add_argument("--slices", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    run = pretrain(output(args.out), args.slices, seed=args.seed, resume=args.resume)
    runs.ship(run)
    print(f"Validation Dice {run.record['val_dice']:.3f} on phantoms; shipped in {runs.SHIPPED}")


if __name__ == "__main__":
    main()
