"""What is right so far: the verdict of each check, kept in one small file of the student's own."""

import contextlib
import logging

import filelock

from lvlab.errors import CourseError
from lvlab.store.files import read_json, runs_folder, write_json

_unwritten: dict[str, bool] = {}  # what this kernel could not write: it counts as long as the kernel lives


def tally_file():
    """Return the path of the tally, beside the runs: progress.json."""
    return runs_folder().with_name("progress.json")


def verdicts():
    """Return {exercise: was it right when it was checked last}; a damaged file is named, and counts as none."""
    try:
        path = tally_file()
        stored = read_json(path) if path.exists() else {}
    except (CourseError, OSError) as error:
        wrong = str(error).split(";")[0]
        logging.getLogger(__name__).warning("%s; the count starts anew, run the checks again.", wrong)
        stored = {}
    return {number: right is True for number, right in stored.items()} | _unwritten


def keep(number, right):
    """Keep one verdict. No exercise fails because this cannot be written."""
    _unwritten[number] = right
    with contextlib.suppress(CourseError, OSError):
        path = tally_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _taking_turns(path):
            write_json(path, dict(sorted(verdicts().items())))
        del _unwritten[number]


@contextlib.contextmanager
def _taking_turns(path):
    """Let two open notebooks write one after the other; on a disk that knows no locks, as it comes."""
    lock = filelock.FileLock(path.with_name(".progress.lock"), timeout=2)
    with contextlib.suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sentence(exercises):
    """Return in words how many of the exercises ("1.1", "1.2" …, in the course's order) are right, and the next one."""
    right = verdicts()
    to_do = [number for number in exercises if not right.get(number)]
    done = f"{len(exercises) - len(to_do)} of {len(exercises)} exercises right"
    return f"{done}; next: {to_do[0]}" if to_do else f"{done}: all of them"
