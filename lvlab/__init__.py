"""Helpers of the lvlab course: segment the left ventricle in cardiac MR with a U-Net.

The names a notebook needs are handed on from their rooms when first used, so that
``import lvlab`` costs next to nothing and TensorFlow is only imported to train or predict.
"""

import importlib
import os

__version__ = "0.1.0"

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_ROOM_OF = {
    "ASSIGNMENT": "recipes",
    "LAB": "recipes",
    "course_folder": "folder",
    "load": "folder",
    "normalise": "slices",
    "centre_crop": "slices",
    "dice": "metrics",
    "precision": "metrics",
    "recall": "metrics",
    "jaccard": "metrics",
    "train": "training",
    "train_or_open": "training",
    "open_run": "runs",
    "shipped_run": "runs",
    "predict": "evaluation",
    "evaluate": "evaluation",
    "summarise": "evaluation",
    "show_overlay": "display",
}
_ROOMS = {"files", "slices", "metrics", "unet", "augment", "recipes", "folder", "runs", "phantom", "training",
          "evaluation", "crossval", "audit", "display", "widgets", "report", "checks"}

__all__ = sorted(_ROOM_OF)


def __getattr__(name):
    if name in _ROOM_OF:
        return getattr(importlib.import_module(f"lvlab.{_ROOM_OF[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"lvlab.{name}")
    raise AttributeError(f"module 'lvlab' has no attribute {name!r}")


def __dir__():
    return sorted({*_ROOM_OF, *_ROOMS, "__version__"})
