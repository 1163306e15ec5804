"""The first line of a lesson: the course folder, opened."""

import logging
import os
import sys
from pathlib import Path

from IPython import get_ipython

from lvlab import phantom
from lvlab.errors import CourseError
from lvlab.store.files import PROJECT, workplace
from lvlab.store.folder import course_folder, load
from lvlab.store.quiet import quietly


def open_course(network=False):
    """Return the CourseFolder that the notebooks use; phantoms are written first where there is no data.

    network : import Keras now, without its start-up messages. What lvlab notes while it works is shown in the
    notebook from here on.
    """
    _show_notes()
    _need_a_sound_backend()
    from lvlab.teach.describe import describe_figures  # needs matplotlib

    describe_figures(get_ipython())
    if network:
        if "keras" not in sys.modules:
            logging.getLogger("lvlab").info("Starting TensorFlow: about ten seconds, once in each notebook.")
        with quietly():
            import keras
        if not hasattr(keras, "Model"):
            raise CourseError(f"{keras.__file__}: hides Keras, whose name it has; rename it and restart the kernel")
    folder = course_folder()
    if workplace() not in (PROJECT, Path.cwd()):
        logging.getLogger("lvlab").info("Nobody may write into this course's folder: data and runs go to %s.",
                                        workplace())
    if folder.name == "phantom" and not folder.exists():
        phantom.write(folder)
    return load(folder)


def _need_a_sound_backend():
    """Import matplotlib; leave out a MPLBACKEND that it does not know, with which it refuses to be imported."""
    wanted = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    try:
        if wanted:
            matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"] = wanted
    except ValueError:
        logging.getLogger("lvlab").warning("Note: MPLBACKEND is %s, which matplotlib does not know; left out.", wanted)


def _show_notes():
    """Send the notes of lvlab to the notebook's own output; once, however often this is called."""
    logger = logging.getLogger("lvlab")
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.setLevel(logging.INFO)
