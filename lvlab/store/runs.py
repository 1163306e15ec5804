"""The run folder: recipe, weights, history and scores of one training, written whole and read safely."""

import hashlib
import os
import platform
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from lvlab.backend import choose_precision
from lvlab.errors import CourseError
from lvlab.recipes import Recipe
from lvlab.slices import SIZE
from lvlab.store.archive import weights_in
from lvlab.store.files import find, read_json, whole_file, write_csv, write_json
from lvlab.store.progress import load_arrays, numbered, numbering, save_arrays
from lvlab.store.quiet import quietly

WEIGHTS, RECIPE, HISTORY, PROGRESS = "weights.npz", "recipe.json", "history.csv", "progress.npz"
MODEL = "model.keras"  # for other programs; of runs before lvlab 0.2 the only weights
WRITTEN = (WEIGHTS, MODEL, RECIPE, HISTORY, PROGRESS, "scores.csv", "summary.json")  # and logs/, of two writers
LOCK = ".training.lock"
COLUMNS = ["epoch", "loss", "dice", "val_loss", "val_dice", "seconds"]


@dataclass(frozen=True)
class Run:
    """A finished training in `path`. Its parts are read when first asked for."""

    path: Path
    precision: str = ""  # "float32" or "bfloat16": its arithmetic; "" is what suits this machine

    @cached_property
    def record(self):
        """What recipe.json holds: recipe, seed, versions, data fingerprint, times, patients."""
        return read_json(self.path / RECIPE)

    @cached_property
    def recipe(self):
        """The Recipe that the run was trained by."""
        stored = self.record.get("recipe")
        try:
            return Recipe.from_dict(stored)
        except (TypeError, AttributeError) as error:
            raise CourseError(f"{self.path / RECIPE}: holds no recipe of lvlab; restore it from a copy, or train into "
                              "another folder") from error
        except CourseError as error:
            raise CourseError(f"{self.path / RECIPE}: {error}") from error

    @cached_property
    def history(self):
        """One row per epoch: epoch, loss, dice, val_loss, val_dice, seconds."""
        path = self.path / HISTORY
        try:
            table = pd.read_csv(path, usecols=COLUMNS).astype(float).astype({"epoch": int})
        except (OSError, ValueError) as error:
            raise CourseError(f"{path}: cannot be read; restore it from a copy, or train into another "
                              "folder") from error
        if table.empty:
            raise CourseError(f"{path}: holds no epoch; restore it from a copy, or train into another folder")
        return table

    @cached_property
    def model(self):
        """The trained network."""
        if (self.path / WEIGHTS).is_file():
            path = self.path / WEIGHTS
            weights = numbered(load_arrays(path), "weights")
        else:
            path = self.path / MODEL
            weights = weights_in(path)
        if not all(np.isfinite(array).all() for array in weights):
            raise CourseError(f"{path}: holds numbers that are not finite, so it predicts nothing; restore it from a "
                              "copy, or train into another folder")
        try:
            recipe = replace(self.recipe, precision=self.precision or self.recipe.precision)
            return network(recipe, weights, int(self.record.get("size", SIZE)))
        except (ValueError, TypeError, OverflowError) as error:
            raise CourseError(f"{path}: is not the U-Net of its {RECIPE}; restore both from a copy, or train into "
                              "another folder") from error


def fingerprint(path):
    """Return 16 hex digits that change with the weights of the run in `path`; "" where it has none."""
    file = next((path / name for name in (WEIGHTS, MODEL) if (path / name).is_file()), None)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else ""


def network(recipe, weights, size=SIZE):
    """Return the U-Net of a recipe holding `weights`, a list of arrays; ValueError where they do not fit it."""
    with quietly():
        from lvlab.unet import unet

        model = unet(recipe.filters, size, recipe.kernel_initializer, choose_precision(recipe.precision), recipe.grid,
                     recipe.normalization)
    model.set_weights([array.astype("float32") for array in weights])
    return model


def open_run(path):
    """Return the finished Run in `path`; raise CourseError saying what is wrong with it otherwise."""
    path = find(path)
    if path.is_file():
        raise CourseError(f"{path}: is a file; name the run's folder")
    if not path.is_dir():
        raise CourseError(f"{path}: no such run; train one there, or name another folder")
    if not _finished(path):
        if (path / PROGRESS).is_file():
            raise CourseError(f"{path}: its training is not finished; resume it with the command train")
        raise CourseError(f"{path}: is not a run folder (it holds no {WEIGHTS}); name a run's folder")
    if not (path / RECIPE).is_file():
        raise CourseError(f"{path}: has lost its {RECIPE}, which says what network the weights are for; restore it "
                          "from a copy")
    run = Run(path)
    _ = run.recipe  # refused here if damaged, before TensorFlow is imported
    return run


def _finished(path):
    return (path / WEIGHTS).is_file() or (path / MODEL).is_file()


def refuse_run(path, resume=False, overwrite=False):
    """Raise unless a training may write into `path`: nothing that exists is overwritten unasked."""
    if path.exists() and not path.is_dir():
        raise CourseError(f"{path}: is a file; name a folder for the run")
    children = (child.name for child in path.iterdir()) if path.is_dir() else ()
    inside = {name for name in children if not name.startswith(".writing-") and name != LOCK}
    if not inside:
        return
    if not (inside & {WEIGHTS, MODEL, PROGRESS, RECIPE} or inside == {"logs"}):
        raise CourseError(f"{path}: exists and is not a run folder, so it is left alone; name another folder", ["out"])
    finished = _finished(path) and not (path / PROGRESS).exists()
    if finished and not overwrite:
        what = "its training is finished, nothing to resume" if resume else "already exists, a finished training"
        raise CourseError(f"{path}: {what}; evaluate it, overwrite it or name another folder", ["overwrite", "out"])
    if not (resume or overwrite):
        raise CourseError(f"{path}: already exists, an unfinished training; resume it, overwrite it or name another "
                          "folder", ["resume", "overwrite", "out"])


def clear_run(path):
    """Remove what a training and its evaluation wrote into `path`, and nothing else; the folder itself stays."""
    for name in (*WRITTEN, *(child.name for child in path.glob(".writing-*"))):
        (path / name).unlink(missing_ok=True)
    for part in ("train", "validation"):
        shutil.rmtree(path / "logs" / part, ignore_errors=True)
    if (path / "logs").is_dir() and not any((path / "logs").iterdir()):
        (path / "logs").rmdir()


def write_run(path, model, history, record):
    """Write a finished training into its folder: the weights come last, for they tell that it is finished."""
    path = Path(path)
    write_csv(path / HISTORY, history)
    write_json(path / RECIPE, {**record, "versions": versions(), "cpus": os.cpu_count()})
    with whole_file(path / MODEL) as temporary:
        model.save(temporary)
    save_arrays(path / WEIGHTS, **numbering("weights", model.get_weights()))


def same_training(path, about):
    """Tell whether `path` holds a finished run whose record has all of `about`: recipe, seed, data and start.

    Raises CourseError where it holds one that cannot be read: that may be another one, and is not to be replaced.
    """
    if not _finished(path):
        return False
    run = open_run(path)
    record = {**run.record, "recipe": run.recipe.as_dict()}  # what an older file lacks has its default
    return all(record.get(key) == value for key, value in about.items())


def learnt_offset(run):
    """Return how many pixels (down, right) the masks that a run learnt from lie off; (0, 0) where none is recorded."""
    try:
        down, right = map(float, run.record.get("mask_offset") or (0, 0))
        if not np.isfinite([down, right]).all():
            raise ValueError("no numbers of pixels")
    except (TypeError, ValueError) as error:
        raise CourseError(f"{run.path / RECIPE}: its mask_offset is no pair of numbers; restore it from a copy, or "
                          "train into another folder") from error
    return down, right


def versions():
    """Return {package: version} of what shapes a result."""
    found = {"python": platform.python_version()}
    for package in ("lvlab", "tensorflow", "keras", "numpy", "pydicom", "scikit-image", "pandas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
