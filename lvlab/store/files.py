"""Paths, and writing whole or not at all."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

from lvlab.errors import CourseError

PROJECT = Path(__file__).resolve().parents[2]


def find(path):
    """Return `path` as it exists: absolute, or from the working directory, else from the project's root.

    A path that exists in neither place is returned as seen from the working directory.
    """
    path = _at_home(path)
    if path.is_absolute() or path.exists() or not (PROJECT / path).exists():
        return path
    return PROJECT / path


def output(path):
    """Return where a relative output path belongs: the `workplace` inside notebooks/, else as given."""
    path = _at_home(path)
    if not path.is_absolute() and Path.cwd() == PROJECT / "notebooks":
        return workplace() / path
    return path


def workplace():
    """Return where data and runs belong: the project, or the user's own folder lvlab/ where nobody may write there.

    Where lvlab is installed as a package alone, as on Colab, it is the working directory.
    """
    if not (PROJECT / "pyproject.toml").is_file():
        return Path.cwd()
    if os.access(PROJECT, os.W_OK):
        return PROJECT
    home = Path(os.path.expanduser("~"))
    return (home if home.is_absolute() and os.access(home, os.W_OK) else Path(tempfile.gettempdir())) / "lvlab"


def _at_home(path):
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise CourseError(f"{path}: there is no such user here; write the whole path") from error


def runs_folder():
    """Return the folder of the runs: LVLAB_RUNS, else runs/ here; in the `workplace` where the project is not ours."""
    named = os.environ.get("LVLAB_RUNS")
    return output(named or ("runs" if workplace() == PROJECT else workplace() / "runs"))


@contextlib.contextmanager
def whole_file(path, scratch=None):
    """Yield a temporary path; on success it is renamed to `path`, otherwise removed.

    scratch : the folder of the temporary, on the same disk; beside `path` where none is given
    """
    path = Path(path)
    with _people_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=scratch or path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _allow(temporary, 0o666)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path):
    """Yield a temporary folder beside `path`, which must be absent or empty; renamed to `path` on success."""
    path = Path(path)
    with _people_errors(path):
        refuse_full(path)
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
        try:
            yield temporary
            _allow(temporary, 0o777)
            if path.exists():
                path.rmdir()
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def refuse_full(path):
    """Raise unless `path` is free to become a folder: absent, or an empty folder."""
    path = Path(path)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise CourseError(f"{place}: is a file; name a new folder for the output")
    if path.is_dir() and path.resolve() == Path.cwd():
        raise CourseError(f"{path}: is the folder you are in; name a new folder inside it")
    if path.is_dir() and any(path.iterdir()):
        raise CourseError(f"{path}: already exists and is not empty; name another folder", ["out"])


def walk(folder, odd=False):
    """Return every file below a folder, sorted, links followed, each folder once, hidden ones left out.

    odd : also what is no file: links to nothing, pipes
    """
    def refuse(error):
        raise CourseError(f"{error.filename}: cannot be read ({error.strerror}); allow it, or name another folder")

    seen, files = set(), []
    for place, inside, names in os.walk(folder, onerror=refuse, followlinks=True):
        inside[:] = [] if os.path.realpath(place) in seen else sorted(n for n in inside if not n.startswith("."))
        if os.path.realpath(place) not in seen:
            files += [Path(place, name) for name in names if not name.startswith(".")]
        seen.add(os.path.realpath(place))
    return sorted(file for file in files if odd or file.is_file())


def shorten(names, most=3):
    """Return the first few names in one line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return one_line(", ".join(map(str, names[:most]))) + more


def one_line(text):
    """Return a text with every character that a terminal would obey, such as a line break, as �."""
    return "".join(letter if letter.isprintable() else "�" for letter in str(text))


def write_json(path, content):
    """Write `content` as readable JSON, whole or not at all (NaN becomes null)."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n")


def read_json(path):
    """Read a JSON object; raise CourseError naming the file when it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CourseError(f"{path}: cannot be read ({_why(error)}); restore it from a copy") from error
    if not isinstance(content, dict):
        raise CourseError(f"{path}: is damaged (not a JSON object); restore it from a copy")
    return content


def write_csv(path, table):
    """Write a DataFrame as CSV, whole or not at all; floats with six decimals."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f")


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _reason(error):
    """Return in a few words what an error says, the operating system's own words where it has them."""
    system = _system_error(error)
    return system.strerror if system else (str(error).splitlines() or [type(error).__name__])[0]


def _why(error):
    """Return why JSON cannot be read, without the parser's own words."""
    line = getattr(error, "lineno", None)
    return f"no sound JSON from line {line} on" if line else _reason(error)


def _system_error(error):
    """Return the operating system's error behind an error, or None."""
    while error and not getattr(error, "strerror", None):
        error = error.__cause__ or error.__context__
    return error


def _allow(path, mode):
    """Give the usual permissions, which tempfile withholds; some disks (Windows', SMB, exFAT) know none."""
    mask = os.umask(0)
    os.umask(mask)
    with contextlib.suppress(OSError):
        path.chmod(mode & ~mask)


@contextlib.contextmanager
def _people_errors(path):
    try:
        yield
    except OSError as error:
        raise CourseError(f"{path}: cannot be written ({_reason(error)}); {remedy(error)}") from error


def remedy(error):
    """Return what to do where the system refuses to write (an OSError)."""
    number = getattr(_system_error(error), "errno", None)
    if number in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "free space or name another place"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "get the permission for it, or name another place"
    return "name another place"
