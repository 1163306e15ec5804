"""`lvlab doctor`: what a bug report needs, ready to paste."""

import os
import platform
import sys

from lvlab.store import folder
from lvlab.store.files import CourseError
from lvlab.store.runs import SHIPPED, WEIGHTS, shipped_fingerprint, versions


def diagnose():
    """Return a text of versions, CPU, kernel and data, without any patient's name."""
    from lvlab.backend import HAS_GPU, bfloat16_features, choose_precision

    lines = [f"{package} {number}" for package, number in versions().items()]
    lines += [f"system {platform.platform()}", f"interpreter {sys.executable}", f"cpus {os.cpu_count()}",
              f"bfloat16 in hardware: {' '.join(bfloat16_features()) or 'no'}", f"gpu: {'yes' if HAS_GPU else 'no'}",
              f"precision chosen: {choose_precision()}", f"kernel python3: {_kernel()}", f"weights: {_weights()}",
              f"data: {_data()}"]
    return "\n".join(lines)


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
    return f"shipped, {shipped_fingerprint()}" if (SHIPPED / WEIGHTS).is_file() else "none shipped"


def _data():
    try:
        course = folder.load(folder.course_folder())
    except CourseError as error:
        return str(error)
    parts = [f"{name} {len(part)} slices {part.fingerprint()}"
             for name, part in (("training", course.training), ("test", course.test)) if part is not None]
    return f"{course.path.name}: {', '.join(parts)}"
