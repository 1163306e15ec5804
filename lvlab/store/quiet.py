"""An import of TensorFlow without its start-up messages, and in two thirds of the time."""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence file descriptor 2 for the first `import keras`: TensorFlow writes there before any log level applies.

    The garbage collector rests during that import, and leaves its half a million objects alone for good: they stay as
    long as the process, and each look through them takes half a second.
    """
    saved, nowhere, first = os.dup(2), os.open(os.devnull, os.O_WRONLY), gc.isenabled() and "keras" not in sys.modules
    if first:
        gc.disable()
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
        if first:
            gc.freeze()
            gc.enable()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice on retracing is for other programs
