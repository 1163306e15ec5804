"""DICOM files: one readable frame each, and what its tags tell."""

import textwrap
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_rescale, get_decoder

from lvlab.errors import CourseError

IMAGE_ENDINGS = (".dcm", ".dicom", ".ima")
MOST_PIXELS = 2**24
CODEC_HELP = ("its compressed pixels need a decoder: pip install 'lvlab[codecs]' for JPEG 2000, and for "
              "JPEG and JPEG-LS also pip install pylibjpeg-libjpeg (GPL-3)")


@dataclass(frozen=True)
class DicomSlice:
    """One DICOM frame: `pixels` float32 (h, w), brighter is brighter, and what its tags tell (mm, or NaN)."""

    path: Path
    pixels: np.ndarray
    row_spacing_mm: float
    col_spacing_mm: float
    slice_thickness_mm: float
    patient_key: str = field(default="", repr=False)
    position_mm: float = float("nan")


def read_dicom(path, file=None):
    """Read one single-frame DICOM image, from the open binary `file` where one is given.

    Rescale slope and intercept are applied, MONOCHROME1 is inverted once, colour becomes its mean.
    Raises CourseError naming the file and the remedy for anything that is not one readable frame.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_dicom(path, file)
    except CourseError:
        raise
    except InvalidDicomError as error:
        raise CourseError(f"{path}: is not a DICOM file; export it again as DICOM") from error
    except Exception as error:  # pydicom and its decoders raise nearly every kind on damaged bytes
        raise CourseError(f"{path}: cannot be read as DICOM ({shortened(error)}); export it again") from error


def _read_dicom(path, file):
    dataset = pydicom.dcmread(file or path)
    for tag in ("NumberOfFrames", "RescaleSlope", "RescaleIntercept"):
        if tag in dataset and dataset[tag].value in (None, ""):
            del dataset[tag]
    if "PixelData" not in dataset:
        raise CourseError(f"{path}: holds no image (no pixel data); export it again, or take it out of the folder")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise CourseError(f"{path}: holds {frames} frames; the course needs one frame per file: export it so")
    if dataset.Rows * dataset.Columns > MOST_PIXELS:
        raise CourseError(f"{path}: is {dataset.Rows} × {dataset.Columns} pixels, no MR slice; export it again")
    pixels = _decoded(path, dataset)
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise CourseError(f"{path}: its pixels are not a finite 2-D image; export it again")
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = pixels.max() + pixels.min() - pixels
    spacing_mm = _numbers(dataset.get("PixelSpacing"), 2) + _numbers([dataset.get("SliceThickness")], 1)
    sound_mm = (number if 0 < number < 1000 else float("nan") for number in spacing_mm)
    return DicomSlice(path, pixels, *sound_mm, _patient_key(dataset), _position(dataset))


def _decoded(path, dataset):
    """Return a frame's pixels as float32, rescaled, colour as its mean."""
    try:
        pixels = dataset.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_compressed and not get_decoder(syntax).is_available:
            raise CourseError(f"{path}: {syntax.name}: {CODEC_HELP}") from error
        raise
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    elif pixels.ndim == 3 and dataset.get("SamplesPerPixel") == 1:
        raise CourseError(f"{path}: holds {len(pixels)} frames; the course needs one frame per file: export it so")
    pixels = apply_rescale(pixels, dataset).astype(np.float32)
    return pixels.mean(-1) if pixels.ndim == 3 else pixels


def _numbers(value, count):
    """Return a tag's `count` floats; NaN each where it is missing or no number."""
    try:
        numbers = [float(number) for number in value]
    except (TypeError, ValueError):
        numbers = []
    return numbers if len(numbers) == count else [float("nan")] * count


def _patient_key(dataset):
    """Return what slices of one patient share; used to group, never shown."""
    for tag in ("PatientID", "SeriesInstanceUID"):
        if str(dataset.get(tag) or "").strip():
            return f"{tag}:{dataset.get(tag)}"
    return ""


def _position(dataset):
    """Return the slice's place along its own normal in mm, NaN without geometry."""
    axes = _numbers(dataset.get("ImageOrientationPatient"), 6)
    return float(np.dot(np.cross(axes[:3], axes[3:]), _numbers(dataset.get("ImagePositionPatient"), 3)))


def size_of(array):
    """Return rows × columns in words."""
    return " × ".join(map(str, array.shape))


def shortened(error):
    """Return what a library's error says, in one short line."""
    return textwrap.shorten(str(error), 120, placeholder=" …") or type(error).__name__
