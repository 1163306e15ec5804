"""An import of TensorFlow without its start-up messages."""

import contextlib
import logging
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence file descriptor 2 for the first `import keras`: TensorFlow writes there before any log level applies."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice on retracing is for other programs
