"""The weights that ship with lvlab: trained on phantoms, on no patient."""

from pathlib import Path

import numpy as np

from lvlab.errors import CourseError
from lvlab.store import runs
from lvlab.store.files import write_csv, write_json
from lvlab.store.progress import load_arrays, numbered, numbering, save_arrays
from lvlab.store.runs import HISTORY, RECIPE, WEIGHTS, Run

SHIPPED = Path(__file__).parent / "weights"


def shipped_run():
    """Return the Run of the shipped weights."""
    if not (SHIPPED / WEIGHTS).is_file():
        raise CourseError(f"{SHIPPED}: holds no weights; make them with: make pretrain")
    return Run(SHIPPED)


def start_weights(recipe):
    """Return the weights that a recipe starts from, float32, or None for scratch; raise where they fit another net."""
    if recipe.start == "scratch":
        return None
    shipped = shipped_run().recipe
    if any(getattr(recipe, name) != getattr(shipped, name) for name in ("filters", "grid", "normalization")):
        raise CourseError(f"the shipped weights are for another network (filters {list(shipped.filters)}, grid "
                          f"{shipped.grid}, normalization {shipped.normalization}) than this recipe's; start from "
                          "scratch", ["start"])
    return [array.astype(np.float32) for array in numbered(load_arrays(SHIPPED / WEIGHTS), "weights")]


def start_fingerprint(recipe):
    """Return what identifies the weights that a recipe starts from: the shipped ones', or "" from scratch."""
    return fingerprint() if recipe.start == "phantom" else ""


def fingerprint():
    """Return 16 hex digits that change with the shipped weights."""
    return runs.fingerprint(SHIPPED)


def ship(run, into=SHIPPED):
    """Put a run's weights into the package, in half precision, with its record and history."""
    write(into, run.model.get_weights(), run.record, run.history)


def write(into, weights, record, history):
    """Write weights in half precision, what is known of them but the patients, and their history."""
    save_arrays(into / WEIGHTS, **numbering("weights", [array.astype(np.float16) for array in weights]))
    write_json(into / RECIPE, {key: value for key, value in record.items() if "patients" not in key})
    write_csv(into / HISTORY, history)
