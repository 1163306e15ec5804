"""`lvlab doctor`: what a bug report needs, ready to paste."""

import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

from lvlab.backend import BFLOAT16, choose_precision, cpu_features, has_gpu
from lvlab.errors import CourseError
from lvlab.store import folder
from lvlab.store.quiet import quietly
from lvlab.store.runs import WEIGHTS, versions
from lvlab.store.shipped import SHIPPED, fingerprint

#: A whole training on the course's six phantom patients: its multiplications and additions in 10^12, and at which share
#: of the speed of a matrix product it runs (two AVX2 cores, 2026-11; docs/measurements.md has the seconds).
TRAININGS = {"LAB": (3.6, 0.4), "ASSIGNMENT": (94, 0.55)}


def diagnose():
    """Return a text of versions, CPU, kernel and data, without any patient's name."""
    with quietly():
        gpu = "yes" if has_gpu() else "no"
    lines = [f"{package} {number}" for package, number in versions().items()]
    lines += [f"system {platform.platform()}", f"interpreter {sys.executable}", f"cpus {os.cpu_count()}",
              f"cpu features: {' '.join(cpu_features()) or 'unknown'}"
              f"; ONEDNN_MAX_CPU_ISA: {os.environ.get('ONEDNN_MAX_CPU_ISA', 'not set')}",
              f"bfloat16 in hardware: {' '.join(cpu_features(BFLOAT16)) or 'no'}", f"gpu: {gpu}",
              f"precision chosen: {_or_why(choose_precision)}", f"training, estimated: {_training_time()}",
              f"keras.json: {_or_why(_keras_settings)}",
              f"kernel python3: {_or_why(_kernel)}", f"weights: {_weights()}", f"data: {_or_why(_data)}"]
    return "\n".join(lines)


def _or_why(tell):
    """Return what a function returns, or why it cannot: a diagnosis never fails."""
    try:
        return tell()
    except (CourseError, OSError) as error:
        return str(error)


def _training_time():
    """Estimate from a short matrix product how long the two recipes take here."""
    try:
        speed = _product_speed()
    except Exception as error:  # whatever TensorFlow cannot do here
        return f"unknown ({type(error).__name__})"
    minutes = {name: work / share / speed / 60 for name, (work, share) in TRAININGS.items()}
    said = ", ".join(f"{name} about {max(0.5, round(2 * value) / 2):g} min" for name, value in minutes.items())
    return f"{said}, on the course's phantoms and if nothing else runs"


def _product_speed(side=1024):
    """Return 10^12 operations a second of a square matrix product in the arithmetic that would be chosen."""
    import tensorflow as tf

    kind = tf.float32 if choose_precision() == "float32" else tf.bfloat16
    matrix, seconds = tf.cast(tf.random.uniform((side, side)), kind), []
    for _ in range(6):
        start = time.perf_counter()
        tf.cast(tf.linalg.matmul(matrix, matrix), tf.float32).numpy()
        seconds.append(time.perf_counter() - start)
    return 2e-12 * side**3 / statistics.median(seconds[1:])


def _keras_settings():
    """Return what a keras.json in the home folder would change, were it asked."""
    usual = json.loads((Path(os.environ["KERAS_HOME"]) / "keras.json").read_text())
    try:
        found = dict(json.loads((Path(os.path.expanduser("~")) / ".keras" / "keras.json").read_text()))
    except OSError:
        return "none"
    except (ValueError, TypeError):
        return "damaged; lvlab uses Keras' defaults"
    other = [name for name in usual if found.get(name, usual[name]) != usual[name]]
    return f"{', '.join(other)} differ; lvlab uses Keras' defaults" if other else "Keras' defaults"


def _kernel():
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return "jupyter is not installed"
    try:
        interpreter = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return "missing; install ipykernel"
    same = os.path.realpath(interpreter) == os.path.realpath(sys.executable) or interpreter in ("python", "python3")
    return "this interpreter" if same else f"another interpreter ({interpreter}); start jupyter from .venv"


def _weights():
    return f"shipped, {fingerprint()}" if (SHIPPED / WEIGHTS).is_file() else "none shipped"


def _data():
    try:
        if not folder.course_folder().exists():
            return f"none yet; the commands lab and figures make phantoms in {folder.course_folder()}"
        course = folder.load(folder.course_folder())
    except (CourseError, OSError) as error:
        return str(error)
    parts = [f"{name} {len(part)} slices {part.fingerprint()}"
             for name, part in (("training", course.training), ("test", course.test)) if part is not None]
    return f"{course.path.name}: {', '.join(parts)}"
