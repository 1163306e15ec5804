"""What this machine multiplies fast."""

import os
from pathlib import Path

from lvlab.errors import CourseError

BFLOAT16 = ("avx512_bf16", "amx_bf16")  # what multiplies it in hardware


def choose_precision(wanted: str = "auto") -> str:
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
    return "bfloat16" if cpu_features(BFLOAT16) or has_gpu() else "float32"


def has_gpu() -> bool:
    """Tell whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def cpu_features(names: tuple[str, ...] = ("avx2", "avx512f", *BFLOAT16)) -> list[str]:
    """Return those of `names` that Linux lists for this CPU; empty on other systems."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return [feature for feature in names if feature in words]
