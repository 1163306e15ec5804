"""NIfTI volumes: their frames as pictures with a place in the patient, and masks back into the same volume.

NIfTI's axes run to the right, forward and up, DICOM's to the left, back and up (https://nifti.nimh.nih.gov/nifti-1,
PS3.3 C.7.6.2); an affine here is in DICOM's.
"""

import gzip
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvlab.errors import CourseError
from lvlab.store.dicom import MOST_PIXELS, DicomSlice, in_brackets
from lvlab.store.files import whole_file

ENDINGS = (".nii", ".nii.gz")
MOST_BYTES = 2**31  # of a volume, unpacked
MM = {"meter": 1000, "micron": 0.001}
MS = {"sec": 1000, "usec": 0.001, "msec": 1}
_TO_DICOM = np.diag([-1, -1, 1, 1])


@dataclass(frozen=True)
class Volume:
    """A stack of short-axis planes over time.

    pixels : (levels, frames, rows, cols), seen as a scanner shows them: the patient's left on the right, feet below
    affine : (4, 4), from (col, row, level) to mm in DICOM's axes
    spacing_mm : of rows, of columns, from level to level; frame_ms : from frame to frame, NaN where unknown
    """

    path: Path
    pixels: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple
    frame_ms: float
    turn: tuple     # (swapped, rows mirrored, columns mirrored): how the stored planes were turned
    stored: object  # nibabel's image

    @property
    def across(self):
        """Unit vector along a row, in DICOM's axes."""
        return self.affine[:3, 0] / self.spacing_mm[1]

    @property
    def down(self):
        """Unit vector along a column."""
        return self.affine[:3, 1] / self.spacing_mm[0]

    @property
    def normal(self):
        """Unit vector from level to level, at right angles to the planes."""
        normal = np.cross(self.across, self.down)
        return normal * (1 if normal @ self.affine[:3, 2] >= 0 else -1)

    def corner_mm(self, level):
        """Where the first pixel's centre lies."""
        return self.affine[:3, 3] + level * self.affine[:3, 2]

    def slices(self):
        """Return every frame as a DicomSlice, level by level."""
        return [DicomSlice(self.path, np.asarray(self.pixels[level, frame], np.float32), *self.spacing_mm,
                           position_mm=float(self.corner_mm(level) @ self.normal), time_ms=frame * self.frame_ms,
                           normal=tuple(self.normal), frame=level * self.pixels.shape[1] + frame)
                for level, frame in np.ndindex(self.pixels.shape[:2])]


def is_nifti(path):
    """Tell a NIfTI file by its ending."""
    return Path(path).name.lower().endswith(ENDINGS)


def stem_of(path):
    """Return a NIfTI file's name without its ending."""
    name = Path(path).name
    return name[:-len(next(ending for ending in ENDINGS[::-1] if name.lower().endswith(ending)))]


def need_nibabel():
    """Return nibabel; raise CourseError where it is not installed."""
    try:
        import nibabel
    except ImportError as error:
        raise CourseError("NIfTI needs the package nibabel: pip install 'lvlab[nifti]'") from error
    return nibabel


def read(path, content=None):
    """Return the Volume in a NIfTI file, from its bytes where they are given.

    Raises CourseError naming the file where it is no NIfTI of two to four dimensions, too large or damaged.
    """
    nibabel = need_nibabel()
    try:
        content = Path(path).read_bytes() if content is None else content
        if content[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise CourseError(f"{path}: is larger than {MOST_BYTES >> 30} GiB; split it")
        kind = nibabel.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
        stored = kind.from_bytes(content)
        values = np.asarray(stored.dataobj)
    except CourseError:
        raise
    except OSError as error:
        raise CourseError(f"{path}: cannot be read ({error.strerror or 'damaged'}); fetch it again") from error
    except Exception as error:  # nibabel and zlib raise many kinds on damaged bytes
        raise CourseError(f"{path}: cannot be read as NIfTI{in_brackets(error)}; fetch it again") from error
    return _volume(Path(path), stored, values)


def _volume(path, stored, values):
    if values.dtype.fields or values.dtype.kind not in "iufb":
        raise CourseError(f"{path}: holds colours or complex numbers; export grey images")
    if not 2 <= values.ndim <= 4 or 0 in values.shape:
        raise CourseError(f"{path}: has {values.ndim} dimensions; a stack has three, a cine four (x, y, level, frame)")
    values = values.reshape(*values.shape, *[1] * (4 - values.ndim))
    if values.shape[0] * values.shape[1] > MOST_PIXELS:
        raise CourseError(f"{path}: its planes have more than {MOST_PIXELS:,} pixels; export it again")
    space, time = stored.header.get_xyzt_units()
    affine = _TO_DICOM @ stored.affine * np.array([[MM.get(space, 1)]] * 3 + [[1]])
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CourseError(f"{path}: its affine gives the pixels no size; export it again")
    turn = _turn(affine)
    planes = turned(values.transpose(2, 3, 1, 0), turn)
    affine = affine @ _turned_affine(turn, values.shape)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    step = float(stored.header.get_zooms()[3]) * MS.get(time, 1) if len(stored.header.get_zooms()) > 3 else np.nan
    return Volume(path, planes, affine, (float(sizes[1]), float(sizes[0]), float(sizes[2])),
                  step if step > 0 and time in MS else np.nan, turn, stored)


def _turn(affine):
    """Return how to turn stored planes so that left is on the right and feet (else the back) are below."""
    def rightness(turn):
        swapped, rows, cols = turn
        across, down = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in ((1, 0) if swapped else (0, 1)))
        across, down = across * (1 - 2 * cols), down * (1 - 2 * rows)
        return across[0] - down[2] + 0.5 * down[1]
    return max(itertools.product((False, True), repeat=3), key=rightness)


def turned(planes, turn):
    """Return planes (…, rows, cols) turned: swapped first, then mirrored."""
    swapped, rows, cols = turn
    planes = planes.swapaxes(-1, -2) if swapped else planes
    return planes[..., ::-1 if rows else 1, ::-1 if cols else 1]


def _turned_affine(turn, shape):
    """Return the map from (col, row, level) of turned planes to the stored (x, y, z)."""
    swapped, rows, cols = turn
    back = np.eye(4)
    if swapped:
        back[:2, :2] = [[0, 1], [1, 0]]
    mirrored = np.eye(4)
    cols_count, rows_count = (shape[1], shape[0]) if swapped else (shape[0], shape[1])
    if cols:
        mirrored[0, [0, 3]] = -1, cols_count - 1
    if rows:
        mirrored[1, [1, 3]] = -1, rows_count - 1
    return back @ mirrored


def write_mask(path, masks, like, scratch=None):
    """Write masks (levels, frames, rows, cols) as NIfTI, uint8 in {0, 1}, in the frame of the Volume `like`."""
    swapped, rows, cols = like.turn
    planes = masks[..., ::-1 if rows else 1, ::-1 if cols else 1]
    planes = planes.swapaxes(-1, -2) if swapped else planes
    values = np.ascontiguousarray(planes.transpose(3, 2, 0, 1), np.uint8).reshape(like.stored.shape)
    header = like.stored.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["descrip"] = b"lvlab: cavity of the left ventricle"
    header["cal_max"] = header["cal_min"] = 0
    content = type(like.stored)(values, like.stored.affine, header).to_bytes()
    with whole_file(path, scratch) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)
