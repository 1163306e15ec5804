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
WIDER = (-3.5, -2.5, -1.5, 0.0, 1.5, 2.5)  # pixels outside of a mask, within which an outline is tried
REACH = 12         # pixels around a mask in which its widest outline's Laplacian of a Gaussian has values
MOST_PAIRS = 200   # whose offset is measured
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
        if colours.dtype.kind != "f":
            return colours.astype(np.int64)
        values, ranks = np.unique(np.where(colours > 0, colours, 0), return_inverse=True)  # NaN is outside
        return ranks.reshape(colours.shape).astype(np.int64) + (values[0] > 0)
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


def mask_offset(images, masks, most=6):
    """Return how many whole pixels (down, right) masks lie off the edges in their images; (0, 0) where unclear.

    images, masks : pairs of one shape each, (h, w) or (h, w, 1); blood is bright. The brightness just inside of the
    outlines, less that just outside (Laplacian of a Gaussian; Marr and Hildreth 1980, doi:10.1098/rspb.1980.0020), is
    largest where they are moved back, and made as much wider or narrower as the experts drew them. Nothing is told by
    a peak at `most` pixels, by halves of the slices over 1.5 apart from the whole, by less than 1 or, of n masks, 5/√n:
    so much is said of one set of 18 in a hundred whose masks lie right (docs/measurements.md). Of many slices about
    every second, third … is looked at, so that at most 200 are.
    """
    from scipy import signal  # a second to import

    agreement = np.zeros((2, len(WIDER), 2 * most + 1, 2 * most + 1))
    pairs = [(image, mask) for image, mask in zip(map(np.squeeze, images), map(np.squeeze, masks), strict=True)
             if mask.any()]
    pairs = pairs[::-(-len(pairs) // MOST_PAIRS) or 1]
    for number, (image, mask) in enumerate(pairs):
        (top, left), (bottom, right) = (np.argwhere(mask).min(0) - REACH).clip(0), np.argwhere(mask).max(0) + REACH
        mask = mask[top:bottom, left:right]
        image = np.pad(image, most, "edge")[top:top + len(mask) + 2 * most, left:left + mask.shape[1] + 2 * most]
        beyond = ndimage.distance_transform_edt(mask == 0) - ndimage.distance_transform_edt(mask)
        for row, pixels in enumerate(WIDER):
            rim = -ndimage.gaussian_laplace((beyond < pixels).astype(float), 2)
            agreement[number % 2, row] += signal.correlate(image, rim, "valid", "fft") / (
                np.linalg.norm(rim) or 1)
    best = agreement.sum(0).max(axis=(1, 2)).argmax()
    offset, *halves = (_summit(each[best]) for each in (agreement.sum(0), *agreement))
    if np.hypot(*offset) >= max(1, 5 / np.sqrt(max(len(pairs), 1))) and all(
            np.hypot(*(half - offset)) <= 1.5 for half in halves):  # false for NaN, too
        return tuple(float(way) for way in np.round(offset) + 0.0)  # no -0
    return 0.0, 0.0


def _summit(agreement):
    """Return where a square of values has its summit, from the middle, as the masks' offset; NaN if at its rim."""
    row, col = np.unravel_index(agreement.argmax(), agreement.shape)
    if not 0 < min(row, col) <= max(row, col) < len(agreement) - 1:
        return np.full(2, np.nan)
    lines = agreement[row - 1:row + 2, col], agreement[row, col - 1:col + 2]
    vertex = [(before - after) / (before - 2 * at + after) / 2 for before, at, after in lines]
    return len(agreement) // 2 - np.array([row, col]) - vertex


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
