"""Cross-validation by patient: every patient is tested once by a network that never saw it."""

import logging
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lvlab.clinic import judge
from lvlab.errors import CourseError
from lvlab.evaluation import predict, summarise
from lvlab.store.files import refuse_full, write_csv, write_json
from lvlab.store.runs import RECIPE, clear_run, open_run, versions

notes = logging.getLogger(__name__)


def folds_of(slices, folds="patient", seed=0):
    """Return {fold name: patients to test on}: each patient alone, or `folds` groups of patients."""
    patients = slices.patients()
    if len(patients) < 2:
        raise CourseError("cross-validation needs two patients at least; their names or tags must tell them apart")
    if folds != "patient" and not 2 <= folds <= len(patients):
        raise CourseError(f"folds is {folds}; between 2 and {len(patients)} (the number of patients) is possible")
    if folds == "patient":
        groups = {patient: [patient] for patient in patients}
    else:
        parts = np.array_split(np.random.default_rng(seed).permutation(patients), folds)
        groups = {f"fold-{number}": list(part) for number, part in enumerate(parts, start=1)}
    if min((~slices.table.patient.isin(group)).sum() for group in groups.values()) < 2:
        raise CourseError("cross-validation leaves a fold with one slice to learn from; add slices: two are needed at "
                          "least, one of them to validate")
    return groups


def clear_way(out, resume, overwrite):
    """Make way for the results, or refuse; what no cross-validation wrote is never removed."""
    runs = [path.parent for path in out.glob(f"seed*-*/{RECIPE}")] + [path.parent for path in out.glob("seed*-*/logs")]
    if not runs:
        refuse_full(out)
    elif overwrite:
        for path in set(runs):
            clear_run(path)
        for name in ("scores.csv", "summary.json"):
            (out / name).unlink(missing_ok=True)
    elif not resume:
        raise CourseError(f"{out}: already exists; resume it, overwrite it or name another folder",
                          ["resume", "overwrite", "out"])


class Folds:
    """The finished folds of one seed of a cross-validation in `path`, which a report takes for one run."""

    def __init__(self, path):
        self.path = Path(path)
        found = sorted(folder.parent.name for folder in self.path.glob(f"seed*-*/{RECIPE}"))
        self.seed = min((int(name[4:].partition("-")[0]) for name in found), default=None)
        self.runs = [open_run(self.path / name) for name in found if name.startswith(f"seed{self.seed}-")]

    def __bool__(self):
        return bool(self.runs)

    @property
    def recipe(self):
        """The recipe of every fold."""
        return self.runs[0].recipe

    @cached_property
    def record(self):
        """What is the same in all folds; the training time is that of one fold, on average."""
        first = self.runs[0].record
        seconds = np.mean([run.record["train_seconds"] for run in self.runs])
        return {key: first.get(key) for key in ("seed", "precision", "cpus", "parameters")} | {
            "train_seconds": float(seconds), "folds": len(self.runs)}

    @property
    def history(self):
        """The mean over the folds, epoch by epoch."""
        return pd.concat([run.history for run in self.runs]).groupby("epoch", as_index=False).mean()

    def predict(self, slices):
        """Return the probability (n, h, w, 1) in each slice by the fold that did not see its patient."""
        probability, times = np.zeros_like(slices.images), np.zeros(len(slices), int)
        for run in self.runs:
            seen = {*run.record["training_patients"], *run.record["validation_patients"]}
            tested = ~slices.table.patient.isin(seen).to_numpy()
            probability[tested] = predict(run, slices.subset(tested)) if tested.any() else 0
            times += tested
        if not (times == 1).all():
            raise CourseError(f"{self.path}: its folds do not test each of these patients once; name the course folder "
                              "that was cross-validated, and let crossval finish", ["data"])
        return probability


def cross_validate(slices, recipe, out, folds="patient", seeds=(0,), resume=False, overwrite=False, quiet=False):
    """Train one run a fold and seed in `out`, and score each on its held-out patients.

    Writes scores.csv (one row a slice and seed, with `seed` and `fold` after the usual columns) and
    summary.json (over all rows, and each seed's mean Dice). Returns both. With `resume`, finished
    folds of the same recipe, seed and data are kept.
    """
    clear_way(out, resume, overwrite)
    from lvlab.store.recorded import train_or_open

    tables = []
    for seed in seeds:
        for fold, patients in folds_of(slices, folds, seed).items():
            tested = slices.table.patient.isin(patients).to_numpy()
            training, validation = slices.subset(~tested).split_by_patient(recipe.validation_fraction, seed)
            run = train_or_open(training, validation, recipe, out / f"seed{seed}-{fold}", seed=seed, quiet=quiet)
            scores, _, _ = judge.judge(run, slices.subset(tested))
            notes.info("seed %d, %s: Dice %.3f, worst %.3f (%d slices, %.0f s)", seed, fold, scores.dice.mean(),
                       scores.dice.min(), len(scores), run.record["train_seconds"])
            tables.append(scores.assign(seed=seed, fold=fold, train_seconds=run.record["train_seconds"]))
    table = pd.concat(tables, ignore_index=True)
    about = slices.table.set_index("name").loc[table.name].reset_index()
    if len(tuple(seeds)) > 1:
        about["patient"] += ", seed " + table.seed.astype(str)
    summary = {**summarise(table), **judge.summary(table, about),
               "mean_dice_of_seed": table.groupby("seed").dice.mean().to_dict(),
               "train_seconds": table.groupby(["seed", "fold"]).train_seconds.first().mean(),
               "recipe": recipe.as_dict(), "versions": versions(), "data_fingerprint": slices.fingerprint()}
    table = table.drop(columns="train_seconds")
    write_csv(out / "scores.csv", table)
    write_json(out / "summary.json", summary)
    return table, summary

