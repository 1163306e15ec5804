"""How to train: a `Recipe` says everything that shapes the weights, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lvlab.errors import CourseError

CHOICES = {
    "grid": (1, 2, 4, 8),
    "normalization": ("none", "instance"),
    "kernel_initializer": ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal"),
    "loss": ("dice", "dice_bce", "slice_dice_bce"),
    "schedule": ("constant", "cosine"),
    "augmentation": ("none", "gentle", "full", "strong"),
    "precision": ("auto", "bfloat16", "float32"),
    "keep": ("best", "last"),
    "start": ("scratch", "phantom"),
    "layers": ("all", "last"),
    "parts": ("all", "largest"),
    "mask_offset": ("ignored", "kept"),
}
#: Least and greatest value of each number; a learning rate of 10 or 10,000 filters are slips of the finger.
RANGES = {
    "learning_rate": (1e-7, 1.0),
    "batch_size": (1, 1024),
    "epochs": (1, 100_000),
    "passes": (1, 10_000),
    "validation_fraction": (0.0, 0.99),
    "blend": (0.0, 1.0),
    "threshold": (1e-6, 1 - 1e-6),
}
MOST_FILTERS, MOST_LEVELS = 4096, 8
RETIRED = {"ending"}  # how augmentation ended: what was trained by it opens as before


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run.

    filters : filters of each level of the U, from the top down
    grid : side of the squares of pixels that the U works on; 1 is the pixel itself (see unet.py)
    normalization : "none", or "instance" (of each feature map, before the ReLU; see unet.py)
    kernel_initializer : Keras' name of the initial weights' distribution
    loss : "dice" (soft Dice over the batch), "dice_bce" (and cross-entropy), "slice_dice_bce" (and each slice's)
    learning_rate : Adam's step size, the peak where there is a schedule
    schedule : "constant", or "cosine" (5 % linear warm-up, then a cosine down to 0)
    batch_size : slices a step
    epochs : validations; each sees the training slices `passes` times
    passes : passes over the training slices an epoch
    augmentation : "none", "gentle", "full" or "strong" (see augment.py)
    mask_offset : "ignored", or "kept" by augmentation: masks that lie beside their images do so after a turn, too
    precision : "float32", "bfloat16", or "auto" (bfloat16 where the CPU or GPU multiplies it in hardware)
    validation_fraction : share of the slices, whole patients, that the command line holds out; 0 for none
    keep : "best" validation loss, or "last" epoch
    start : "scratch", or "phantom" (the weights that ship with lvlab)
    layers : "all" learn, or the "last" convolution only
    blend : share of the trained weights in the kept ones; the rest is what the training started from
    threshold : a pixel is inside where the probability is at least this
    parts : "all" that is inside, or the "largest" part of it in each slice: a cavity is one piece
    """

    name: str
    filters: tuple[int, ...] = (32, 64, 128, 256, 512)
    grid: int = 1
    normalization: str = "none"
    kernel_initializer: str = "glorot_uniform"
    loss: str = "dice"
    learning_rate: float = 5e-4
    schedule: str = "constant"
    batch_size: int = 4
    epochs: int = 100
    passes: int = 1
    augmentation: str = "none"
    precision: str = "float32"
    validation_fraction: float = 0.2
    keep: str = "best"
    blend: float = 1.0
    threshold: float = 0.5
    start: str = "scratch"
    layers: str = "all"
    parts: str = "all"
    mask_offset: str = "ignored"

    def __post_init__(self):
        """Raise CourseError, naming the choices, where a value cannot be meant."""
        object.__setattr__(self, "filters", _filters(self.filters))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                listed = ", ".join(map(str, choices))
                raise CourseError(f"recipe: {name} is {getattr(self, name)!r}; choose one of {listed}")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            whole = isinstance(least, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not (
                    least <= value <= most):
                kind = "a whole number" if whole else "a number"
                raise CourseError(f"recipe: {name} is {value!r}; it must be {kind} from {least:g} to {most:g}")
        if self.keep == "best" and not self.validation_fraction:
            raise CourseError(f"recipe: {self.name} keeps the best epoch, so it needs validation slices")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `as_dict` gave, read back from JSON; what an older file lacks has its default.

        Raises CourseError where an entry is unknown or its value cannot be meant.
        """
        values = {key: value for key, value in values.items() if key not in RETIRED}
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise CourseError(f"recipe: {', '.join(unknown)} is not known to this version of lvlab; open it with the "
                              "version that wrote it")
        return cls(**{"name": "unnamed", **values})

    def steps(self, slices: int) -> int:
        """Return the steps of one epoch with so many training slices."""
        return -(-slices * self.passes // self.batch_size)  # rounded up

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, for JSON."""
        return {**asdict(self), "filters": list(self.filters)}


def _filters(filters):
    """Return the filters as a tuple, or raise."""
    levels = tuple(filters) if isinstance(filters, list | tuple) else ()
    if not 1 <= len(levels) <= MOST_LEVELS or not all(
            isinstance(count, int) and 1 <= count <= MOST_FILTERS for count in levels):
        raise CourseError(f"recipe: filters is {filters!r}; it must be 1 to {MOST_LEVELS} whole numbers, one a level, "
                          f"each from 1 to {MOST_FILTERS}")
    return levels


ASSIGNMENT = Recipe("assignment")
LAB = Recipe("lab", (32, 64, 128), grid=4, normalization="instance", kernel_initializer="he_normal", loss="dice_bce",
             learning_rate=2e-3, schedule="cosine", epochs=22, passes=5, augmentation="full",
             mask_offset="kept", keep="last", precision="auto", parts="largest")

#: A few patients teach how their outlines are drawn, which the last layer can say; what a heart looks like stays as the
#: shipped weights know it. Training only what comes last: Donahue et al. 2014, arXiv:1310.1531.
LAB_FROM_PHANTOM = replace(
    LAB, filters=(16, 32, 64, 128, 256), grid=2, normalization="none", start="phantom", layers="last", batch_size=8,
    learning_rate=2e-3, epochs=5, passes=2, augmentation="none", mask_offset="ignored")

RECIPES = {("lab", "scratch"): LAB, ("lab", "phantom"): LAB_FROM_PHANTOM, ("assignment", "scratch"): ASSIGNMENT}
