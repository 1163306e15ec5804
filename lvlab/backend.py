"""Keras and TensorFlow, imported without their start-up chatter, and what this machine does fast."""

import contextlib
import gc
import os
from pathlib import Path

from lvlab.store.files import CourseError


@contextlib.contextmanager
def _without_stderr():
    """Silence file descriptor 2: TensorFlow's C++ writes there before any log level applies."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


with _without_stderr():
    import keras
    import tensorflow as tf

    HAS_GPU = bool(tf.config.list_physical_devices("GPU"))

tf.get_logger().setLevel("ERROR")  # its advice on retracing is for other programs

gc.freeze()  # a million objects that stay for good: walking them would stop a viewer for 0.3 s now and then

__all__ = ["HAS_GPU", "bfloat16_features", "choose_precision", "keras", "tf"]


def choose_precision(wanted="auto"):
    """Return "bfloat16" or "float32" for `wanted` "auto", "bfloat16" or "float32".

    "auto" is bfloat16 only where hardware multiplies it: a GPU, or a CPU with AMX or AVX512-BF16
    (elsewhere it is emulated and slower). The environment variable LVLAB_PRECISION overrides "auto".
    """
    if wanted == "auto":
        wanted = os.environ.get("LVLAB_PRECISION", "auto")
    if wanted not in ("auto", "bfloat16", "float32"):
        raise CourseError(f"LVLAB_PRECISION is {wanted!r}; set it to auto, bfloat16 or float32")
    if wanted != "auto":
        return wanted
    return "bfloat16" if HAS_GPU or bfloat16_features() else "float32"


def bfloat16_features():
    """Return the names of the CPU's bfloat16 features, as Linux tells them; empty where there are none."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return [feature for feature in ("amx_bf16", "avx512_bf16") if feature in words]
