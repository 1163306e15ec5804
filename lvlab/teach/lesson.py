"""The first line of a lesson: the course folder, opened."""

import logging
import sys

from lvlab import phantom
from lvlab.backend import quietly
from lvlab.store.folder import course_folder, load


def open_course(network=False):
    """Return the CourseFolder that the notebooks use; phantoms are written first where there is no data.

    network : import Keras now, without its start-up messages. What lvlab notes while it works is shown in the
    notebook from here on.
    """
    _show_notes()
    if network:
        with quietly():
            import keras  # noqa: F401
    folder = course_folder()
    if folder.name == "phantom" and not folder.exists():
        phantom.write(folder)
    return load(folder)


def _show_notes():
    """Send the notes of lvlab to the notebook's own output; once, however often this is called."""
    logger = logging.getLogger("lvlab")
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.setLevel(logging.INFO)
