"""`make stress`: how weights do on the hearts that networks fail on, 200 wild phantoms of a kind."""

import argparse
from pathlib import Path

import pandas as pd

from lvlab import phantom
from lvlab.evaluation import evaluate
from lvlab.store.runs import open_run
from lvlab.store.shipped import shipped_run

SEED = 2028  # never seen in pre-training
COUNTS = {"usual": 200, "huge_rv": 200, "obliterated": 200, "outflow": 200, "tiny_apex": 200, "decoys": 200,
          "off_centre": 200, "heart_free": 100}


def stress(run, counts=COUNTS):
    """Return one row a kind: n, mean Dice, slices under 0.5, and of empty truth the share with an empty prediction."""
    rows = {}
    for kind, n in counts.items():
        scores = evaluate(run, phantom.random_slices(n, SEED, kind=kind))
        with_heart = scores[scores.pixels_true > 0]
        without = scores[scores.pixels_true == 0]
        rows[kind] = {"n": n, "dice": with_heart.dice.mean(), "under_0.5": (with_heart.dice < 0.5).sum(),
                      "empty_kept_empty": (without.pixels_pred == 0).mean()}
    return pd.DataFrame(rows).T


def main():
    """Print the table of a run, by default of the shipped weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    args = parser.parse_args()
    print(stress(open_run(args.run) if args.run else shipped_run()).round(3).to_string())


if __name__ == "__main__":
    main()
