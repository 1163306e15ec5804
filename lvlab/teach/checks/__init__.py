"""Self-checks of the exercises, one function an exercise, one file a notebook.

A right answer prints one line. Any other raises `NotYet`: what you have, the range expected, and a hint for the
usual mistakes. Notebooks show it as one line without a traceback, and nbgrader as no points.
"""

from lvlab.teach.checks import tally
from lvlab.teach.checks.answers import NotYet as NotYet
from lvlab.teach.checks.beyond import *  # noqa: F403
from lvlab.teach.checks.evaluate import *  # noqa: F403
from lvlab.teach.checks.explore import *  # noqa: F403
from lvlab.teach.checks.train import *  # noqa: F403
from lvlab.teach.checks.transfer import *  # noqa: F403


def progress():
    """Print how many exercises of the course are right, and which comes next."""
    names = sorted(name for name in globals() if name.startswith("exercise_"))
    print(tally.sentence([name.removeprefix("exercise_").replace("_", ".") for name in names]))
