"""The weights in a `model.keras`, as runs before lvlab 0.2 kept them. Keras rebuilds nothing from such an archive."""

import io
import json
import re
import zipfile
from importlib.metadata import version

import h5py
import numpy as np

from lvlab.errors import CourseError
from lvlab.store.progress import MOST_BYTES

KINDS = {"Conv2D": "conv2d", "Conv2DTranspose": "conv2d_transpose", "GroupNormalization": "group_normalization"}


def weights_in(path):
    """Return the weights of an archive's layers in their order, as in kernel, bias, kernel, bias …

    The archive's own list of layers only says in which order Keras numbered them; no class of it is ever made.
    Raises CourseError where the file is no archive of a U-Net, saying which Keras wrote it where it tells.
    """
    written_by = ""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError("larger than any network of lvlab")
            theirs = _word(json.loads(archive.read("metadata.json"))["keras_version"])
            written_by = f" (written by Keras {theirs}; here is Keras {version('keras')})"
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
            stored = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(stored, "r") as file:
            return [array for name in _groups(layers) for array in _arrays(file, name)]
    except Exception as error:  # zipfile, json and h5py raise nearly every kind on damaged bytes
        raise CourseError(f"{path}: its weights cannot be read{written_by}; restore it from a copy, open it with the "
                          "version that wrote it, or train into another folder") from error


def _groups(layers):
    """Yield the name of each layer's group, if it learns: Keras counts the layers of one kind."""
    count = dict.fromkeys(KINDS, 0)
    for layer in layers:
        kind = layer["class_name"]
        if kind in KINDS:
            yield KINDS[kind] + (f"_{count[kind]}" if count[kind] else "")
            count[kind] += 1


def _arrays(file, name):
    """Yield what a layer has learnt; arrays made of other files are refused (from memory h5py follows no link)."""
    learnt = file[f"layers/{name}/vars"]
    for part in sorted(learnt):
        dataset = learnt[part]
        if dataset.external or dataset.is_virtual or dataset.dtype.kind != "f" or dataset.nbytes > MOST_BYTES:
            raise ValueError("not plain numbers")
        yield np.asarray(dataset)


def _word(text):
    return re.sub(r"[^\w.+-]", "", str(text))[:20]
