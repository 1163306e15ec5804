"""DICOM files: what is one, its readable frames, and what their tags tell."""

import contextlib
import gzip
import io
import re
import textwrap
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.pixels import apply_color_lut, apply_rescale, get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from lvlab.errors import CourseError

IMAGE_ENDINGS = (".dcm", ".dicom", ".ima")
ENDINGS = tuple(ending + packed for ending in IMAGE_ENDINGS for packed in ("", ".gz"))
MOST_PIXELS, MOST_BYTES = 2**24, 2**28  # of a frame; of a file, unpacked
MOST_PADDING = 1.05  # bytes of pixels that a file may hold, of those that it needs: some writers round up
LAST_TAG = 0x7FE00010  # the pixels: what follows them is never needed
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
CODEC_HELP = ("they need a decoder: pip install 'lvlab[codecs]' for JPEG 2000 and JPEG-LS, and for JPEG also "
              "pip install pylibjpeg-libjpeg (GPL-3)")
# SOP classes (PS3.4, annex B): MR images, enhanced ones, and what is made of them; then all of one family.
ROOT = "1.2.840.10008.5.1.4.1.1."
MR_CLASSES = tuple(ROOT + number for number in ("4", "4.1", "4.3", "4.4"))
SCREENSHOT = re.compile(re.escape(ROOT) + r"7(\.|$)")
NO_PICTURE = re.compile(re.escape(ROOT) + r"(4\.2|66|88|11|481|104|9|30|67|68)(\.|$)")
NO_PICTURES = ("SEG", "SR", "PR", "KO", "REG", "FID", "DOC", "PLAN", "RWV", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD")
#: Disease groups that a file may name; free text of a hospital is never taken over.
GROUPS = ("normal", "infarct", "hypertrophic", "dilated", "right overload", "heart failure without infarct")
SUNNYBROOK = re.compile(r"SC-(HF-I|HF-NI|HYP|N)-\d+$")  # Radau et al. 2009, doi:10.54294/g80ruo
SUNNYBROOK_GROUPS = {"HF-I": "infarct", "HF-NI": "heart failure without infarct", "HYP": "hypertrophic", "N": "normal"}
# From base to apex: to the left, forward and down, in DICOM's axes (left, back, up; PS3.3, C.7.6.2).
TO_APEX = (1, -1, -1)
OF_PYTHON = re.compile(r"NoneType|attribute|\bobject\b|argument|unpack|subscript|iterable|index|0x|\b(int|str)\b|'\w+'")
OTHER_FILES = {
    b"PK\3\4": "a zip: unpack it first", b"Rar!": "an archive: unpack it first", b"7z\xbc\xaf": "an archive: unpack it "
    "first", b"\x1f\x8b": "gzip of something else", b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image", b"BM": "a BMP image", b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image",
    b"%PDF": "a PDF document", b"\x89HDF": "an HDF5 file", b"MATLAB": "a MATLAB file", b"NRRD": "an NRRD file",
    b"<?xml": "XML", b"<!": "a web page, perhaps of a log-in", b"<h": "a web page, perhaps of a log-in",
    b"<H": "a web page, perhaps of a log-in", b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself"}


class NoPicture(CourseError):
    """A sound DICOM file that shows nothing, such as a report; `holds` says what it is."""

    def __init__(self, message, holds):
        super().__init__(message)
        self.holds = holds


@dataclass(frozen=True)
class DicomSlice:
    """One frame: `pixels` float32 (h, w), brighter is brighter, NaN where nothing was measured (padding).

    Lengths are in mm, NaN where the tags do not tell. `evidence` is what all slices of one patient share, as
    "TAG:value"; it groups and is never shown. `kind` is "MR", or what it is instead, such as "CT" or "screenshot".
    """

    path: Path
    pixels: np.ndarray
    row_spacing_mm: float
    col_spacing_mm: float
    slice_thickness_mm: float
    evidence: tuple = field(default=(), repr=False)
    position_mm: float = float("nan")
    time_ms: float = float("nan")
    group: str = ""
    normal: tuple = ()
    kind: str = "MR"
    frame: int = 0


def stem_of(path):
    """Return a file's name without the ending of a DICOM image; digits after a dot, as in 1.2.840.3, are no ending."""
    name = Path(path).name
    ending = next((ending for ending in ENDINGS[::-1] if name.lower().endswith(ending)), "")
    return name[:len(name) - len(ending)] or name


def is_dicom(path):
    """Tell a DICOM file by its ending, by the letters DICM, or by a bare data set's first element."""
    if path.name.lower().endswith(ENDINGS):
        return True
    if path.name.upper() == "DICOMDIR":
        return False
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or _is_bare(start)


def _is_bare(start):
    """Tell a data set without preamble: its first element is of group 2 or 8, and short."""
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    length = int.from_bytes(start[6:8] if explicit else start[4:8], "little")
    return start[:2] in (b"\x02\0", b"\x08\0") and len(start) > 8 and start[3:4] in (b"\0", b"\x01") and length < 1024


def what_is(path):
    """Return in words what a file that is no DICOM seems to be, "" where its first bytes do not tell."""
    name = Path(path).name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return "a NIfTI file"
    with open(path, "rb") as file:
        start = file.read(352)
    if not start:
        return "empty"
    if start[344:347] in (b"n+1", b"ni1"):
        return "a NIfTI file"
    return next((words for mark, words in OTHER_FILES.items() if start.startswith(mark)), "")


def read_dicom(path, file=None):
    """Read one single-frame DICOM image, from the open binary `file` where one is given.

    Rescale slope and intercept are applied, MONOCHROME1 is inverted once, colour becomes its mean, padding NaN.
    Raises CourseError naming the file and the remedy for anything that is not one readable frame.
    """
    return read_frames(path, file, most=1)[0]


def read_frames(path, file=None, most=10_000):
    """Read every frame of a DICOM image, in order; see `read_dicom`."""
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_frames(path, open_dataset(path, file), most)
    except CourseError:
        raise
    except InvalidDicomError as error:
        found = what_is(path) if file is None else ""
        found = f" (it is {found})" if found else ""
        raise CourseError(f"{path}: is not a DICOM file{found}; export it again as DICOM") from error
    except PermissionError as error:
        raise CourseError(f"{path}: may not be read; get the permission to read it, or take it out") from error
    except Exception as error:  # pydicom and its decoders raise nearly every kind on damaged bytes
        raise CourseError(f"{path}: cannot be read as DICOM{in_brackets(error)}; export it again") from error


def open_dataset(path, file=None, header=False, until=LAST_TAG):
    """Return a file's pydicom Dataset, empty elements left out; gzip and bare data sets are read, too.

    header : stop before the tag `until`, the pixels' where none is named
    """
    def done(tag, vr, length):
        return tag >= until + (not header) or tag.group == 0

    with contextlib.ExitStack() as stack:
        file = file or stack.enter_context(open(path, "rb"))
        start = file.read(132)
        file.seek(0)
        if start[:2] == b"\x1f\x8b":
            file = io.BytesIO(_unpacked(path, file))
            start = file.getvalue()[:132]
        _refuse_bomb(path, file)
        dataset = read_partial(file, done, force=_is_bare(start))
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    for tag in [tag for tag in dataset.keys() if _is_empty(dataset, tag)]:
        del dataset[tag]
    return dataset


def _refuse_bomb(path, file):
    """Raise where a deflated data set unpacks to more than any MR slice; pydicom would unpack all of it."""
    head, at = file.read(2**16), 132
    while head[128:132] == b"DICM" and head[at:at + 2] == b"\2\0":  # through the file meta information
        long = head[at + 4:at + 6] in (b"OB", b"OW", b"UN", b"UT")
        at += 12 + int.from_bytes(head[at + 8:at + 12], "little") if long else (
            8 + int.from_bytes(head[at + 6:at + 8], "little"))
    if DeflatedExplicitVRLittleEndian.encode() in head[:at]:
        file.seek(at)
        with contextlib.suppress(zlib.error):  # damaged, which pydicom says
            if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), MOST_BYTES + 1)) > MOST_BYTES:
                raise CourseError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MB, no MR slice; export it again")
    file.seek(0)


def _unpacked(path, file):
    try:
        content = gzip.GzipFile(fileobj=file).read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CourseError(f"{path}: its gzip is damaged; fetch it again") from error
    if len(content) > MOST_BYTES:
        raise CourseError(f"{path}: unpacks to more than {MOST_BYTES >> 20} MB, no MR slice; export it again")
    return content


def _is_empty(dataset, tag):
    try:
        return dataset.get_item(tag).value in (None, b"", "")
    except Exception:  # a damaged element is told where it is needed
        return False


def _read_frames(path, dataset, most):
    kind = kind_of(dataset)
    if not kind:
        holds = what_holds(dataset)
        raise NoPicture(f"{path}: holds no image but {holds}; take it out of the folder", f"{holds} without a picture")
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        text = f"{path}: holds no image (no pixel data); export it again, or take it out of the folder"
        shows = "Rows" in dataset or "SOPClassUID" not in dataset
        raise CourseError(text) if shows else NoPicture(text, f"{what_holds(dataset)} without a picture")
    count = int(dataset.get("NumberOfFrames") or 1)
    _refuse_frames(path, count, most)
    if dataset.Rows * dataset.Columns > MOST_PIXELS:
        raise CourseError(f"{path}: is {dataset.Rows} × {dataset.Columns} pixels, no MR slice; export it again")
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2").strip().upper()
    dataset.PhotometricInterpretation = "MONOCHROME2" if photometric == "MONOCHROME" else photometric
    frames = _decoded(path, dataset)
    _refuse_frames(path, len(frames), most)
    _refuse_leftovers(path, dataset, len(frames))
    if frames.ndim != 3 or not frames.size:
        raise CourseError(f"{path}: its pixels are not a finite 2-D image; export it again")
    return [_slice(path, dataset, pixels, number, kind) for number, pixels in enumerate(frames)]


def _refuse_frames(path, count, most):
    if count > most:
        raise CourseError(f"{path}: holds {count} frames; the course needs one frame per file: export it so")


def _refuse_leftovers(path, dataset, frames):
    """Raise where an uncompressed file holds far more pixels than its rows and columns say: they would be sheared."""
    pixels, syntax = dataset.get("PixelData"), dataset.file_meta.get("TransferSyntaxUID")
    if pixels is None or syntax is None or syntax.is_compressed or dataset.BitsAllocated < 8:
        return
    needed = frames * dataset.Rows * dataset.Columns * dataset.get("SamplesPerPixel", 1) * dataset.BitsAllocated // 8
    if len(pixels) > MOST_PADDING * needed and "422" not in dataset.PhotometricInterpretation:
        raise CourseError(f"{path}: holds {len(pixels)} bytes of pixels, its {dataset.Rows} × {dataset.Columns} pixels "
                          f"need {needed}; export it again")


def _slice(path, dataset, stored, number, kind):
    padding = _padding(dataset, stored)
    pixels = _rescaled(path, dataset, stored, number)
    if not np.isfinite(pixels).all():
        raise CourseError(f"{path}: its pixels are not a finite 2-D image; export it again")
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = pixels.max() + pixels.min() - pixels
    pixels[padding] = np.nan
    spacing_mm = numbers(dataset, "PixelSpacing", 2, number) + numbers(dataset, "SliceThickness", 1, number)
    sound_mm = (each if 0 < each < 1000 else float("nan") for each in spacing_mm)
    axes = numbers(dataset, "ImageOrientationPatient", 6, number)
    normal = np.cross(axes[:3], axes[3:])
    normal = normal if np.dot(normal, TO_APEX) >= 0 else -normal
    position = float(np.dot(normal, numbers(dataset, "ImagePositionPatient", 3, number)))
    return DicomSlice(path, pixels, *sound_mm, evidence(dataset), position, _time_ms(dataset, number),
                      group_of(dataset), tuple(normal), kind, number)


def _time_ms(dataset, number):
    """Return how long after the R wave a frame was taken, ms; NaN where no tag tells."""
    for keyword in ("TriggerTime", "NominalCardiacTriggerDelayTime"):
        time, = numbers(dataset, keyword, 1, number)
        if time == time:
            return time
    return number * numbers(dataset, "FrameTime", 1)[0]


def group_of(dataset):
    """Return the disease group that a file names in the words of `GROUPS`, or by a Sunnybrook ID; else ""."""
    said = str(dataset.get("AdmittingDiagnosesDescription") or "").strip().lower()
    if said in GROUPS:
        return said
    known = SUNNYBROOK.match(str(dataset.get("PatientID") or "").strip().upper())
    return SUNNYBROOK_GROUPS[known[1]] if known else ""


def _decoded(path, dataset):
    """Return the stored pixels as an array (frames, h, w), colour as its mean."""
    try:
        pixels = dataset.pixel_array
    except Exception as error:  # pydicom and its decoders raise nearly every kind
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if syntax is None or not syntax.is_compressed or not syntax.is_encapsulated:
            raise
        if "MPEG" in syntax.name or "HEVC" in syntax.name:
            remedy = "export its frames as images"
        else:
            unknown = not _has_decoder(syntax) or (syntax == JPEGExtended12Bit and dataset.get("BitsStored", 8) > 8)
            remedy = CODEC_HELP if unknown else "they are damaged, or no decoder here knows them: " \
                "export it again, uncompressed"
        raise CourseError(f"{path}: {syntax.name}: its compressed pixels cannot be decoded; {remedy}") from error
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    if dataset.get("SamplesPerPixel", 1) > 1 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        pixels = pixels.astype(np.float32).mean(-1)
    return pixels[None] if pixels.ndim == 2 else pixels


def _has_decoder(syntax):
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _padding(dataset, stored):
    """Return where the stored pixels (h, w) hold the padding value, or lie between it and its range's limit."""
    value, = numbers(dataset, "PixelPaddingValue", 1)
    limit, = numbers(dataset, "PixelPaddingRangeLimit", 1)
    ends = [value, value if limit != limit else limit]
    if value != value or value % 1 or dataset.get("SamplesPerPixel", 1) > 1:
        return np.zeros(stored.shape, bool)
    if dataset.get("PixelRepresentation"):  # written as an unsigned number by mistake, often
        ends = [end - 2**dataset.BitsStored if end >= 2**(dataset.BitsStored - 1) else end for end in ends]
    return (stored >= min(ends)) & (stored <= max(ends))


def _rescaled(path, dataset, stored, number):
    """Return a frame's pixels as float32, rescaled by its own or the common slope and intercept."""
    slope, = numbers(dataset, "RescaleSlope", 1, number)
    intercept, = numbers(dataset, "RescaleIntercept", 1, number)
    for name, found in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if name in dataset and (found != found or (name == "RescaleSlope" and found == 0)):
            raise CourseError(f"{path}: its {name} is {'0' if found == 0 else 'no number'}; export it again")
    if "ModalityLUTSequence" in dataset:
        return apply_rescale(stored, dataset).astype(np.float32)
    slope, intercept = (1 if slope != slope else slope), (0 if intercept != intercept else intercept)
    with np.errstate(over="ignore", invalid="ignore"):
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _places(dataset, frame):
    """Yield where a tag may stand: at the top, or in the functional groups of a frame (enhanced images)."""
    yield dataset
    own = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame:frame + 1]
    for group in (*own, *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]):
        yield from (element.value[0] for element in group if element.VR == "SQ" and element.value)


def numbers(dataset, keyword, count, frame=0):
    """Return a tag's `count` floats, decimal commas read, too; NaN each where it is missing or no number."""
    for place in _places(dataset, frame):
        if keyword in place:
            try:
                value = place[keyword].value
            except Exception:  # pydicom refuses what its VR does not allow
                value = place.get_item(keyword).value.decode("ascii", "replace")
            parts = re.split(r"[\\;\s]+", value.strip(" \0")) if isinstance(value, str) else value
            parts = parts if isinstance(parts, list) or hasattr(parts, "__iter__") else [parts]
            try:
                numbers = [plain_number(part) for part in parts]
            except ValueError:
                continue
            if len(numbers) == count:
                return numbers
    return [float("nan")] * count


def plain_number(text):
    """Return a text's number, with a point or a comma; ValueError for anything else, such as nan or 1_0."""
    text = str(text).strip().replace(",", ".")
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return float(text)


def what_holds(dataset):
    """Return in a word what a data set without a picture is: its modality, or the name of its SOP class."""
    modality, sop_class = modality_of(dataset), UID(str(dataset.get("SOPClassUID") or ""))
    known = sop_class.name if sop_class.name != str(sop_class) else ""
    return modality if modality in NO_PICTURES else known.removesuffix(" Storage") or modality or "other data"


def kind_of(dataset):
    """Return "MR", "screenshot", "localiser" or a modality such as "CT"; "" for what holds no picture at all.

    By SOP class and modality; an image that tells neither is taken for MR.
    """
    sop_class, modality = str(dataset.get("SOPClassUID") or ""), modality_of(dataset)
    if NO_PICTURE.match(sop_class) or (modality in NO_PICTURES and sop_class not in MR_CLASSES):
        return ""
    if SCREENSHOT.match(sop_class):
        return "screenshot"
    if sop_class in MR_CLASSES or modality in ("", "MR", "OT"):
        return "localiser" if "LOCALIZER" in str(dataset.get("ImageType") or "").upper() else "MR"
    return modality


def modality_of(dataset):
    """Return a data set's modality as a plain word, "" where it tells none."""
    return re.sub(r"\W", "", str(dataset.get("Modality") or "").upper())[:10]


def evidence(dataset):
    """Return what slices of one patient share."""
    values = {tag: " ".join(str(dataset.get(tag) or "").split()) for tag in ("PatientID", "StudyInstanceUID")}
    return tuple(f"{tag}:{value}" for tag, value in values.items() if value)


def size_of(array):
    """Return rows × columns in words."""
    return " × ".join(map(str, array.shape))


def in_brackets(error):
    """Return what a library's error says, short and in brackets; "" where it speaks of Python, not of the file."""
    text = textwrap.shorten(str(error), 120, placeholder=" …")
    return f" ({text})" if text and not OF_PYTHON.search(text) else ""
