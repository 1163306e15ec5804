"""Masks as image files: 0 is outside, anything above 0 inside. Written as PNG; TIFF, BMP and JPEG are read, too."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from lvlab.errors import CourseError
from lvlab.store.dicom import in_brackets

ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG"}
LARGE_PART = 0.05  # share of the mask from which a second part is more than a speck


def write_mask(path, mask):
    """Write a bool mask (h, w) as a grey PNG of 0 and 255."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask).astype(np.uint8) * 255).save(path, format="PNG")


def read_mask(path):
    """Read a mask of any kind as bool (h, w): 0 (black) is outside, anything above 0 inside.

    Transparency is ignored unless the colours say nothing. Raises CourseError naming the file.
    """
    return read_labels(path) > 0


def read_labels(path):
    """Read a mask as int64 (h, w): 0 is outside, and each other grey value or colour has its own number.

    JPEG changes values near an edge, so what is under half of its brightest counts as 0.
    """
    kind = FORMATS.get(Path(path).suffix.lower(), "PNG")
    try:
        with Image.open(path, formats=[kind]) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise CourseError(f"{path}: holds {image.n_frames} pages; save each mask in a file of its own")
            image.load()
            turned = ImageOps.exif_transpose(image)  # as viewers show it
            if kind == "PNG" and _is_deep_colour(path):
                raise CourseError(f"{path}: is a colour PNG of 16 bits; save the mask with 8 bits, or in grey")
            if kind != "JPEG":
                return _labels(turned if turned.mode not in ("CMYK", "YCbCr", "LAB", "HSV") else turned.convert("RGB"))
            grey = np.asarray(turned.convert("L")).astype(np.int64)
            return np.where(grey >= max(1, grey.max() / 2), 255, 0)
    except CourseError:
        raise
    except PermissionError as error:
        raise CourseError(f"{path}: may not be read; get the permission to read it, or take it out") from error
    except UnidentifiedImageError as error:
        raise CourseError(f"{path}: is not a {kind} image; save the mask as PNG, whatever its name says") from error
    except Exception as error:  # damaged bytes raise nearly every kind
        raise CourseError(f"{path}: cannot be read as a {kind} mask{in_brackets(error)}; save it again") from error


def _is_deep_colour(path):
    """Tell a PNG of 16 bits a channel and several channels, of which Pillow keeps the high bytes only."""
    with open(path, "rb") as file:
        depth, colour_type = file.read(26)[24:26]
    return depth == 16 and colour_type in (2, 4, 6)


def _labels(image):
    if image.mode == "P" or ("transparency" in image.info and not image.mode.startswith("I")):
        colours, by_index = np.asarray(image.convert("RGBA")), np.asarray(image)
    else:
        colours = by_index = np.asarray(image)
    if colours.ndim == 2:
        return (colours > 0).astype(np.int64) if colours.dtype.kind == "f" else colours.astype(np.int64)
    opaque = 1 if colours.shape[-1] in (2, 4) else 0
    channels = colours.shape[-1] - opaque
    labels = sum(colours[..., k].astype(np.int64) << 8 * k for k in range(channels))
    if opaque and (labels > 0).all() == (labels > 0).any() and not colours[..., -1].all():
        return colours[..., -1].astype(np.int64)
    return by_index.astype(np.int64) if (labels > 0).all() and by_index.ndim == 2 else labels


def oddities(values):
    """Yield (what, remedy) for each thing that a mask of one cavity is not: labels, soft edges, a ring, many parts.

    values : what `read_labels` returned
    """
    above, inside = np.unique(values[values > 0]), values > 0
    if len(above) > 1:
        wide = sum(ndimage.binary_erosion(values == value, np.ones((3, 3))).any() for value in above[:9])
        if len(above) <= 8 and wide > 1:
            yield "mask has several labels", "all count as cavity: keep the left ventricle's cavity only"
        else:
            yield "mask has soft edges", "every pixel above 0 counts as inside: threshold it at half, if it looks " \
                "too wide"
    filled = ndimage.binary_fill_holes(inside)
    if inside.any() and inside.mean() <= 0.5 and filled.sum() > 1.15 * inside.sum():
        yield "mask has a hole", "a line or ring counts as it is: fill it, if the cavity is what it encloses"
    parts, count = ndimage.label(inside, np.ones((3, 3)))
    if count > 1 and len(above) < 9:
        sizes = np.sort(np.bincount(parts.flat)[1:])
        what = "several parts" if sizes[-2] > LARGE_PART * inside.sum() else "specks beside it"
        yield f"mask has {what}", "all count as cavity: take out what is none"


def direction(offset):
    """Return pixels (down, right) in words, such as "1 down, 0.5 right"."""
    words = ("down", "up"), ("right", "left")
    return ", ".join(f"{abs(by):g} {way[by < 0]}" for by, way in zip(offset, words, strict=True) if by)


def uncrop(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Put a cropped mask back into a frame of `shape`, zero elsewhere: the inverse of `centre_crop`."""
    frame = np.zeros(shape, mask.dtype)
    (top, left), (height, width) = corner, mask.shape
    rows = slice(max(0, top), min(shape[0], top + height))
    cols = slice(max(0, left), min(shape[1], left + width))
    frame[rows, cols] = mask[rows.start - top:rows.stop - top, cols.start - left:cols.stop - left]
    return frame


def filled(vertices: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the float32 mask (h, w, 1) of the pixels whose centres lie inside a polygon or on its line.

    vertices : (n, 2) of x, y in pixels. The convention of this course: the first pixel's centre is (0, 0), so its
    area reaches from -0.5 to 0.5, as matplotlib draws it. Fewer than three vertices enclose nothing.
    """
    from skimage.draw import polygon2mask

    vertices = np.asarray(vertices, float).reshape(-1, 2)
    if len(vertices) < 3:
        return np.zeros((*shape, 1), np.float32)
    return polygon2mask(shape, vertices[:, ::-1]).astype(np.float32)[..., None]
