"""Cross-validation by patient: every patient is tested once by a network that never saw it."""

import shutil

import numpy as np
import pandas as pd

from lvlab.evaluation import evaluate, summarise
from lvlab.files import CourseError, refuse_full, write_csv, write_json
from lvlab.runs import versions
from lvlab.slices import concatenate


def everyone(course):
    """Return training and test slices of a course folder together."""
    parts = [part for part in (course.training, course.test) if part is not None]
    return parts[0] if len(parts) == 1 else concatenate(*parts)


def folds_of(slices, folds="patient", seed=0):
    """Return {fold name: patients to test on}: each patient alone, or `folds` groups of patients."""
    patients = slices.patients()
    if len(patients) < 2:
        raise CourseError("cross-validation needs two patients at least; their names or tags must tell them apart")
    if folds == "patient":
        return {patient: [patient] for patient in patients}
    if not 2 <= folds <= len(patients):
        raise CourseError(f"--folds is {folds}; between 2 and {len(patients)} (the number of patients) is possible")
    groups = np.array_split(np.random.default_rng(seed).permutation(patients), folds)
    return {f"fold-{number}": list(group) for number, group in enumerate(groups, start=1)}


def prepare_folder(out, resume, overwrite):
    """Make way for the results, or refuse; what is not a cross-validation is never removed."""
    if resume or not out.exists():
        return
    if overwrite and ((out / "scores.csv").exists() or list(out.glob("seed*/recipe.json"))):
        shutil.rmtree(out)
    elif overwrite or (out.is_dir() and any(out.glob("seed*"))):
        raise CourseError(f"{out}: already exists; choose --resume, --overwrite or another --out")
    else:
        refuse_full(out)


def cross_validate(slices, recipe, out, folds="patient", seeds=(0,), resume=False, overwrite=False, quiet=False):
    """Train one run a fold and seed in `out`, and score each on its held-out patients.

    Writes scores.csv (one row a slice and seed, with `seed` and `fold` after the usual columns) and
    summary.json (over all rows, and each seed's mean Dice). Returns both. With `resume`, finished
    folds of the same recipe, seed and data are kept.
    """
    from lvlab.training import train_or_open

    prepare_folder(out, resume, overwrite)
    tables = []
    for seed in seeds:
        for fold, patients in folds_of(slices, folds, seed).items():
            tested = slices.table.patient.isin(patients).to_numpy()
            training, validation = slices.subset(~tested).split_by_patient(recipe.validation_fraction, seed)
            run = train_or_open(training, validation, recipe, out / f"seed{seed}-{fold}", seed=seed, quiet=quiet)
            scores = evaluate(run, slices.subset(tested))
            print(f"seed {seed}, {fold}: Dice {scores.dice.mean():.3f}, worst {scores.dice.min():.3f} "
                  f"({len(scores)} slices, {run.record['train_seconds']:.0f} s)", flush=True)
            tables.append(scores.assign(seed=seed, fold=fold, train_seconds=run.record["train_seconds"]))
    table = pd.concat(tables, ignore_index=True)
    summary = {**summarise(table), "mean_dice_of_seed": table.groupby("seed").dice.mean().to_dict(),
               "train_seconds": table.groupby(["seed", "fold"]).train_seconds.first().mean(),
               "recipe": recipe.as_dict(), "versions": versions(), "data_fingerprint": slices.fingerprint()}
    table = table.drop(columns="train_seconds")
    write_csv(out / "scores.csv", table)
    write_json(out / "summary.json", summary)
    return table, summary

