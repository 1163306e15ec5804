"""Arrays on disk as .npz: the state of a training, and weights. Nothing is ever unpickled, sizes are bounded."""

import zipfile

import numpy as np

from lvlab.errors import CourseError
from lvlab.store.files import whole_file

MOST_BYTES = 2 * 2**30


def save_arrays(path, **arrays):
    """Write named arrays as one .npz, whole or not at all."""
    with whole_file(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)


def load_arrays(path, remedy="restore it from a copy, or train into another folder"):
    """Return {name: array} of an .npz; raise CourseError, ending in `remedy`, where it is damaged or too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise CourseError(f"{path}: would unpack to {size / 2**30:.1f} GiB, no network of lvlab is that large; "
                              f"{remedy}")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except CourseError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own kinds on damaged bytes
        raise CourseError(f"{path}: is damaged; {remedy}") from error


def numbering(name, arrays):
    """Return {name/000: first array, …} for `save_arrays`."""
    return {f"{name}/{number:03d}": array for number, array in enumerate(arrays)}


def numbered(stored, name):
    """Return the arrays that `numbering` called name/000, name/001 … in order."""
    return [stored[key] for key in sorted(stored) if key.startswith(f"{name}/")]
