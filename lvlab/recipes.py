"""How to train: a `Recipe` says everything that shapes the weights, as plain values."""

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run.

    filters : filters of each level of the U, from the top down
    kernel_initializer : Keras' name of the initial weights' distribution
    loss : "dice" (soft Dice over the batch) or "dice_bce" (that plus binary cross-entropy)
    learning_rate : Adam's step size, the peak where there is a schedule
    schedule : "constant", or "cosine" (5 % linear warm-up, then a cosine down to 0)
    batch_size : slices a step
    epochs : validations; each sees the training slices `passes` times
    passes : passes over the training slices an epoch
    augmentation : "none", "gentle", "full" or "strong" (see augment.py)
    precision : "float32", or "auto" (bfloat16 where the CPU or GPU multiplies it in hardware)
    validation_fraction : share of the slices, whole patients, that the command line holds out
    keep : "best" validation loss, or "last" epoch
    start : "scratch", or "phantom" (the weights that ship with lvlab)
    blend : share of the trained weights in the kept ones; the rest is what the training started from
    threshold : a pixel is inside where the probability is at least this
    """

    name: str
    filters: tuple[int, ...] = (32, 64, 128, 256, 512)
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

    def as_dict(self):
        """Return the recipe as plain values, for JSON."""
        return asdict(self)


ASSIGNMENT = Recipe("assignment")

LAB = Recipe(
    "lab",
    filters=(16, 32, 64, 128, 256),
    kernel_initializer="he_normal",
    loss="dice_bce",
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=8,
    epochs=20,
    passes=5,
    augmentation="full",
    precision="auto",
)

#: Half-way between the shipped weights and the fine-tuned ones lies what knows the new patients and still the
#: others. Wortsman et al. 2022, doi:10.1109/CVPR52688.2022.00780.
LAB_FROM_PHANTOM = replace(LAB, start="phantom", learning_rate=5e-4, epochs=8, augmentation="gentle", keep="last",
                           blend=0.5)

PRETRAIN = replace(LAB, name="phantom", batch_size=16, epochs=10, passes=1, keep="last")

RECIPES = {("lab", "scratch"): LAB, ("lab", "phantom"): LAB_FROM_PHANTOM, ("assignment", "scratch"): ASSIGNMENT}
