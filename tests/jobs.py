"""Jobs for the workers of tests/test_cluster.py; they import these, and nothing slow."""

import os
import signal
from pathlib import Path

from lvlab.errors import CourseError


def die_once(mark, value):
    """Kill the own process where `mark` does not exist yet."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value, os.environ["TF_NUM_INTRAOP_THREADS"]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail(text):
    raise CourseError(text, ["data"])
