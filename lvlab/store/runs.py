"""The run folder: recipe, weights, history and scores of one training, written whole and read safely."""

import hashlib
import os
import platform
import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from lvlab.store.files import CourseError, find, read_json, whole_file, write_csv, write_json

SHIPPED = Path(__file__).parent / "weights"
MODEL, WEIGHTS, RECIPE, HISTORY, PROGRESS = "model.keras", "weights.npz", "recipe.json", "history.csv", "progress.npz"
WRITTEN = (MODEL, RECIPE, HISTORY, PROGRESS, "scores.csv", "summary.json")  # and logs/, of two writers
PRECISIONS = ("auto", "bfloat16", "float32")


@dataclass(frozen=True)
class Run:
    """A finished training in `path`. Its parts are read when first asked for."""

    path: Path

    @cached_property
    def record(self):
        """What recipe.json holds: recipe, seed, versions, data fingerprint, times, patients."""
        return read_json(self.path / RECIPE)

    @cached_property
    def recipe(self):
        """The recipe as a dict."""
        return self.record["recipe"]

    @cached_property
    def history(self):
        """One row per epoch: epoch, loss, dice, val_loss, val_dice, seconds."""
        try:
            columns = ["epoch", "loss", "dice", "val_loss", "val_dice", "seconds"]
            table = pd.read_csv(self.path / HISTORY, usecols=columns).astype(float).astype({"epoch": int})
            if table.empty:
                raise ValueError("no epoch")
            return table
        except (OSError, ValueError) as error:
            raise CourseError(f"{self.path / HISTORY}: cannot be read; train again with --overwrite") from error

    @cached_property
    def model(self):
        """The trained network, in the arithmetic that suits this machine."""
        if self.path == SHIPPED:
            return build_model(self.recipe, shipped_weights(self.recipe))
        return load_model(self.path / MODEL, self.recipe)


def open_run(path):
    """Return the finished Run in `path`; raise CourseError saying what is wrong with it otherwise."""
    path = find(path)
    if not path.is_dir():
        raise CourseError(f"{path}: no such run; make one with: python -m lvlab train --data DIR --out {path}")
    if not (path / MODEL).is_file() or not (path / RECIPE).is_file():
        unfinished = (path / PROGRESS).is_file()
        remedy = "go on with: python -m lvlab train … --resume" if unfinished else "train again with --overwrite"
        raise CourseError(f"{path}: {'its training is not finished' if unfinished else 'is not a run folder'}; "
                          f"{remedy}")
    run = Run(path)
    if not _is_recipe(run.record.get("recipe")):
        raise CourseError(f"{path / RECIPE}: holds no recipe of lvlab; train again with --overwrite")
    return run


def _is_recipe(recipe):
    """Tell whether this is a dict with all that prediction needs, in its range."""
    if not isinstance(recipe, dict):
        return False
    filters, threshold = recipe.get("filters"), recipe.get("threshold")
    return (isinstance(filters, list) and bool(filters) and all(isinstance(n, int) and 0 < n < 10_000 for n in filters)
            and recipe.get("precision") in PRECISIONS and isinstance(threshold, float) and 0 < threshold < 1)


def refuse_run(path, resume=False, overwrite=False):
    """Raise unless a training may write into `path`: nothing that exists is overwritten without being told."""
    finished, begun = (path / MODEL).exists(), (path / PROGRESS).exists()
    if path.exists() and not path.is_dir():
        raise CourseError(f"{path}: is a file; name a folder for the run")
    inside = {child.name for child in path.iterdir() if not child.name.startswith(".writing-")} if path.is_dir() else ()
    if not inside:
        return
    ours = inside & {MODEL, PROGRESS, RECIPE} or inside == {"logs"}
    if not (resume or overwrite):
        raise CourseError(f"{path}: already exists; choose --resume, --overwrite or another --out")
    if not ours:
        raise CourseError(f"{path}: is not a run folder, so it is left alone; name another --out")
    if resume and finished and not begun:
        raise CourseError(f"{path}: its training is finished, nothing to resume; evaluate it, or --overwrite")


def clear_run(path):
    """Remove what a training and its evaluation wrote into `path`, and nothing else; the folder itself stays."""
    for name in (*WRITTEN, *(child.name for child in path.glob(".writing-*"))):
        (path / name).unlink(missing_ok=True)
    for part in ("train", "validation"):
        shutil.rmtree(path / "logs" / part, ignore_errors=True)
    if (path / "logs").is_dir() and not any((path / "logs").iterdir()):
        (path / "logs").rmdir()


def load_model(path, recipe):
    """Load a network in safe mode, rebuilt in the precision that this machine does fastest."""
    from lvlab.backend import keras

    try:
        stored = keras.models.load_model(path, compile=False, safe_mode=True)
        return build_model(recipe, stored.get_weights(), stored.input_shape[1])
    except Exception as error:  # Keras and h5py raise nearly every kind on a damaged file
        reason = " ".join(str(error).split())[:100]
        raise CourseError(
            f"{path}: is damaged or not the U-Net of its {RECIPE} ({reason}); train again with --overwrite") from error


def build_model(recipe, weights, size=128):
    """Return the U-Net of a recipe (a dict) holding `weights`."""
    from lvlab.backend import choose_precision
    from lvlab.unet import unet

    model = unet(tuple(recipe["filters"]), size, precision=choose_precision(recipe["precision"]))
    model.set_weights(weights)
    return model


def shipped_run():
    """Return the Run of the weights that ship with lvlab: trained on phantoms, on no patient."""
    if not (SHIPPED / WEIGHTS).is_file():
        raise CourseError(f"{SHIPPED}: holds no weights; make them with: make pretrain")
    return Run(SHIPPED)


def shipped_weights(recipe):
    """Return the shipped weights, float32; raise where the recipe's network is another one."""
    record = shipped_run().record
    filters = recipe["filters"] if isinstance(recipe, dict) else recipe.filters
    if list(filters) != record["recipe"]["filters"]:
        raise CourseError(f"the shipped weights fit filters {record['recipe']['filters']}, not {list(filters)}; "
                          "start from scratch")
    return [array.astype(np.float32) for array in load_arrays(SHIPPED / WEIGHTS, "weights")]


def shipped_fingerprint():
    """Return 16 hex digits that change with the shipped weights."""
    return hashlib.sha256((SHIPPED / WEIGHTS).read_bytes()).hexdigest()[:16]


def start_fingerprint(recipe):
    """Return what tells the weights that a recipe starts from: the shipped ones', or "" from scratch."""
    return shipped_fingerprint() if recipe.start == "phantom" else ""


def ship(run):
    """Put a run's weights into the package, in half precision, with its record and history."""
    weights = [array.astype(np.float16) for array in run.model.get_weights()]
    save_progress(SHIPPED / WEIGHTS, **numbering("weights", weights))
    write_json(SHIPPED / RECIPE, {key: value for key, value in run.record.items() if "patients" not in key})
    write_csv(SHIPPED / HISTORY, run.history)


def numbering(name, arrays):
    """Return {name/000: first array, …} for `save_progress`."""
    return {f"{name}/{number:03d}": array for number, array in enumerate(arrays)}


def load_arrays(path, name):
    """Return the arrays that `numbering` named, in order."""
    return numbered(load_progress(path), name)


def numbered(stored, name):
    """Return the arrays called name/000, name/001 … in order."""
    return [stored[key] for key in sorted(stored) if key.startswith(f"{name}/")]


def save_model(path, model):
    """Write a network as .keras, whole or not at all."""
    with whole_file(path) as temporary:
        model.save(temporary)


def save_progress(path, **arrays):
    """Write named arrays (the state of a training) as one .npz, whole or not at all."""
    with whole_file(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)


def load_progress(path):
    """Read what `save_progress` wrote; nothing in it is ever unpickled."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and numpy each raise their own kinds on damaged bytes
        raise CourseError(f"{path}: is damaged; train again with --overwrite") from error


def versions():
    """Return {package: version} of what shapes a result."""
    found = {"python": platform.python_version()}
    for package in ("lvlab", "tensorflow", "keras", "numpy", "pydicom", "scikit-image", "pandas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def same_training(path, recipe, seed, fingerprint):
    """Tell whether `path` holds a finished run of just this recipe, seed and data."""
    try:
        record = open_run(path).record
    except CourseError:
        return False
    wanted = {"recipe": _plain(recipe.as_dict()), "seed": seed, "data_fingerprint": fingerprint,
              "start_fingerprint": start_fingerprint(recipe)}
    return all(record.get(key) == value for key, value in wanted.items())


def _plain(recipe):
    return {key: list(value) if isinstance(value, tuple) else value for key, value in recipe.items()}


def write_record(path, **record):
    """Write recipe.json: what was trained, on what, with what."""
    write_json(Path(path) / RECIPE, {**record, "versions": versions(), "cpus": os.cpu_count()})
