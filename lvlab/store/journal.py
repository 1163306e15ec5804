"""What `segment` keeps beside its masks, so that it can stop anywhere and go on, and never mixes two networks.

    segment.json      what makes these masks: network, arithmetic, version, sources
    .segment/         K-of-N.jsonl: one line for each file that is done, written by one process; locks; temporaries

A line names a file by its mask, and its size and time of change when it was read. Nobody's name, ID or date is kept.
"""

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path

import filelock

from lvlab.errors import CourseError
from lvlab.store.files import read_json, refuse_full, remedy, write_json

notes = logging.getLogger(__name__)
RECORD, HIDDEN = "segment.json", ".segment"
DIFFERS = {"made by": "something else", "lvlab": "another version of lvlab", "weights": "another network",
           "recipe": "another recipe or threshold", "sources": "other files or folders"}


def fingerprint_of(paths):
    """Return 16 hex digits for each path, sorted: the same only for the same; the names themselves may tell a name."""
    return sorted(hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16] for path in paths)


def refuse_other(out, about):
    """Raise unless masks by `about` may go into `out`: a free folder, or one that was begun with the same."""
    if not (out / RECORD).is_file():
        if not (out / HIDDEN).is_dir():
            refuse_full(out)
        return {}
    found = read_json(out / RECORD)
    for key, other in DIFFERS.items():
        if found.get(key) != about[key]:
            raise CourseError(f"{out}: was begun with {other}; go on with the same, or name another folder", ["out"])
    return found


class Journal:
    """The lines of one part, k of n, of the work into the folder `out`; a context that holds it alone.

    about : what makes the masks, as segment.json says it
    scratch : a folder for temporaries, emptied first: what a killed process left
    record : what segment.json holds
    """

    def __init__(self, out, about, part=(1, 1)):
        self.out, self.about = Path(out), about
        self.name = f"{part[0]}-of-{part[1]}"
        self.hidden = self.out / HIDDEN
        self.scratch, self.path = self.hidden / self.name, self.hidden / f"{self.name}.jsonl"

    def __enter__(self):
        made = [place for place in (self.out, *self.out.parents) if not place.exists()]
        with contextlib.ExitStack() as stack:
            try:
                self.scratch.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CourseError(f"{self.out}: cannot be written ({error.strerror}); {remedy(error)}") from error
            stack.push(lambda kind, *_: self._leave_nothing(made) if kind else None)
            stack.enter_context(self.alone(self.name, wait=False))
            with self.alone():
                self.record = refuse_other(self.out, self.about)
                if not self.record:
                    self.record = self.about
                    write_json(self.out / RECORD, self.about)
            for left in self.scratch.iterdir():
                left.unlink()
            self.file = stack.enter_context(open(self.path, "ab"))
            if self.file.tell() and not self._ends_a_line():
                self.file.write(b"\n")
            self.leave = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self.leave.__exit__(*error)

    def add(self, row):
        """Write one line: a killed process loses it whole or not at all."""
        self.file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
        self.file.flush()

    def rows(self):
        """Yield the lines of all parts, as dicts; one that a kill cut short, or that says nothing, is passed over."""
        for path in sorted(self.hidden.glob("*.jsonl")):
            with open(path, "rb") as lines:
                for line in lines:
                    row = None
                    with contextlib.suppress(ValueError):
                        row = json.loads(line)
                    if isinstance(row, dict) and ("file" in row or "objects" in row) and isinstance(
                            row.get("masks", 0), int):
                        yield row

    @contextlib.contextmanager
    def alone(self, name="all", wait=True):
        """Hold a lock, which ends with its process; a disk that knows no locks gives none."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(filelock.FileLock(self.hidden / f"{name}.lock", timeout=-1 if wait else 0))
            except filelock.Timeout as error:
                raise CourseError(f"{self.out}: another process writes the same masks; wait for its end, or name "
                                  "another folder", ["out"]) from error
            except (OSError, NotImplementedError):
                notes.info("%s: this disk locks no files; see that no two processes do the same part.", self.out)
            yield

    def _ends_a_line(self):
        with open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    def _leave_nothing(self, made):
        """Remove what was prepared, and the folders that were `made`, where no mask came of it."""
        own = {RECORD, "all.lock", f"{self.name}.lock", self.path.name}
        inside = [Path(place, name) for place, _, names in os.walk(self.out) for name in names]
        if all(path.name in own for path in inside) and not (self.path.exists() and self.path.stat().st_size):
            for path in inside:
                path.unlink()
            for place, _, _ in [*os.walk(self.out, topdown=False)]:
                if place != str(self.out):
                    os.rmdir(place)
            for place in made:
                place.rmdir()
