"""Masks as PNG files: 0 is outside, anything above 0 inside."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lvlab.errors import CourseError
from lvlab.store.dicom import shortened


def write_mask(path, mask):
    """Write a bool mask (h, w) as a grey PNG of 0 and 255."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask).astype(np.uint8) * 255).save(path, format="PNG")


def read_mask(path):
    """Read a mask of any PNG kind as bool (h, w): 0 (black) is outside, anything above 0 inside.

    Transparency is ignored unless the colours say nothing. Raises CourseError naming the file.
    """
    return read_labels(path) > 0


def read_labels(path):
    """Read a mask as int64 (h, w): 0 is outside, and each other grey value or colour has its own number."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            if _is_deep_colour(path):
                raise CourseError(f"{path}: is a colour PNG of 16 bits; save the mask with 8 bits, or in grey")
            return _labels(image)
    except CourseError:
        raise
    except UnidentifiedImageError as error:
        raise CourseError(f"{path}: is not a PNG image; save the mask as PNG, whatever its name says") from error
    except Exception as error:  # damaged PNG bytes raise nearly every kind
        raise CourseError(f"{path}: cannot be read as a PNG mask ({shortened(error)}); save it again") from error


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
        return colours.astype(np.int64)
    opaque = 1 if colours.shape[-1] in (2, 4) else 0
    channels = colours.shape[-1] - opaque
    labels = sum(colours[..., k].astype(np.int64) << 8 * k for k in range(channels))
    if opaque and (labels > 0).all() == (labels > 0).any() and not colours[..., -1].all():
        return colours[..., -1].astype(np.int64)
    return by_index.astype(np.int64) if (labels > 0).all() and by_index.ndim == 2 else labels
