"""The data type of the course, `SliceSet`, and pure array work on slices."""

import hashlib
import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

notes = logging.getLogger(__name__)
SIZE = 128
COLUMNS = ["name", "patient", "phase", "level", "row_spacing_mm", "col_spacing_mm", "slice_thickness_mm", "crop",
           "position_mm", "time_ms", "group"]


@dataclass(frozen=True)
class SliceSet:
    """Short-axis slices, ready for a network.

    images : float32 (n, h, w, 1) in [0, 1]
    masks : float32 (n, h, w, 1) in {0, 1}, or None where there is no ground truth
    table : DataFrame, one row per slice: name, patient, phase (ED, ES or empty), level (1 = most basal),
        row_spacing_mm, col_spacing_mm, slice_thickness_mm (NaN where unknown), crop, the crop's (top, left)
        corner and the (rows, cols) of the frame it is cut from, in pixels; negative where padded; position_mm
        along the slices' normal, time_ms after the R wave (NaN where unknown), and the disease group ("")
    """

    images: np.ndarray
    masks: np.ndarray | None
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        patients = self.table.patient[self.table.patient != ""].nunique()
        truth = "with" if self.masks is not None else "without"
        return f"SliceSet({len(self)} slices, {patients} patient{'s' * (patients != 1)}, {truth} masks)"

    def subset(self, chosen: ArrayLike) -> "SliceSet":
        """Return the slices picked by a boolean array (n,) or by positions."""
        chosen = np.asarray(chosen)
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(int)
        masks = None if self.masks is None else self.masks[rows]
        return replace(self, images=self.images[rows], masks=masks,
                       table=self.table.iloc[rows].reset_index(drop=True))

    def patients(self) -> list[str]:
        """Return the patients' names in order of first appearance; one empty name where unknown."""
        return list(dict.fromkeys(self.table.patient))

    def of_patient(self, patient: str) -> "SliceSet":
        """Return one patient's slices."""
        return self.subset((self.table.patient == patient).to_numpy())

    def split_by_patient(self, fraction: float = 0.2, seed: int = 0) -> tuple["SliceSet", "SliceSet"]:
        """Split into (rest, validation) so that no patient is on both sides.

        Patients are shuffled by `seed` and taken for validation as long as this brings its share of
        the slices closer to `fraction`; at least one is, unless `fraction` is 0. With one patient only, or
        none known, the last `fraction` of the slices as they come is taken in one block, and said.
        """
        if not 0 <= fraction < 1:
            raise ValueError(f"fraction is {fraction}; it must be 0 or more, and less than 1")
        if fraction and len(self) < 2:
            raise ValueError(f"{len(self)} slices cannot be split; two are needed at least")
        validation = np.zeros(len(self), bool)
        names = self.patients()
        if fraction and len(names) < 2:
            notes.warning("All slices seem to be of one patient: split in two contiguous blocks. "
                          "The validation score will be optimistic.")
            validation[-min(len(self) - 1, max(1, round(fraction * len(self)))):] = True
        else:
            wanted = fraction * len(self)
            for patient in np.random.default_rng(seed).permutation(names)[:-1]:
                more = validation | (self.table.patient == patient).to_numpy()
                if (validation.any() or not fraction) and abs(more.sum() - wanted) > abs(validation.sum() - wanted):
                    break
                validation = more
        return self.subset(~validation), self.subset(validation)

    def fingerprint(self) -> str:
        """Return 16 hex digits that change whenever a pixel, a mask or a name changes."""
        digest = hashlib.sha256("\n".join(self.table.name).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.masks is not None:
            digest.update(self.masks.astype(np.uint8).data)
        return digest.hexdigest()[:16]


def concatenate(*sets: SliceSet) -> SliceSet:
    """Return one SliceSet holding the slices of all; all need masks, or none."""
    masks = None if sets[0].masks is None else np.concatenate([each.masks for each in sets])
    return SliceSet(np.concatenate([each.images for each in sets]), masks,
                    pd.concat([each.table for each in sets], ignore_index=True))


def normalise(image: ArrayLike, low: float = 5, high: float = 95) -> NDArray[np.float32]:
    """Map the `low`th percentile of an image to 0 and the `high`th to 1, and clip: float32 in [0, 1].

    image : array of any shape; NaN, which nobody measured (padding), does not count and becomes 0. An image
    whose two percentiles are equal has no contrast to stretch: all zeros.
    """
    image = np.asarray(image, np.float32)
    known = image[np.isfinite(image)]
    bottom, top = np.percentile(known, [low, high]) if known.size else (0, 0)
    if not top > bottom:
        return np.zeros_like(image)
    return np.nan_to_num(np.clip((image - bottom) / (top - bottom), 0, 1)).astype(np.float32)


def centre_crop(image: ArrayLike, size: int = SIZE) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut the central size × size pixels out of a 2-D image.

    Returns (crop, (top, left)). A side shorter than `size` is padded on both sides, with NaN (in an integer
    or bool image 0); its corner is then negative.
    """
    image = np.asarray(image)
    top, left = ((length - size) // 2 for length in image.shape)
    padding = [(max(0, -corner), max(0, corner + size - length))
               for corner, length in zip((top, left), image.shape, strict=True)]
    padded = np.pad(image, padding, constant_values=np.nan if image.dtype.kind == "f" else 0)
    row, col = max(0, top), max(0, left)
    return padded[row:row + size, col:col + size], (top, left)
