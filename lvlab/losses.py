"""What training makes small: the soft Dice loss, alone or with cross-entropy."""

import keras
from keras import KerasTensor, ops

EPSILON = 1e-5


def soft_dice_loss(truth: KerasTensor, probability: KerasTensor) -> KerasTensor:
    """Return 1 - (2 Σtp + ε) / (Σt + Σp + ε), summed over the whole batch, ε = 1e-5.

    truth in {0, 1} and probability in [0, 1], both (n, h, w, 1). Milletari et al. 2016,
    doi:10.1109/3DV.2016.79, without their squares.
    """
    hit = ops.sum(truth * probability)
    return 1 - (2 * hit + EPSILON) / (ops.sum(truth) + ops.sum(probability) + EPSILON)


def dice_bce_loss(truth: KerasTensor, probability: KerasTensor) -> KerasTensor:
    """Return the soft Dice loss plus the mean binary cross-entropy of the pixels.

    Dice alone gives no slope once a slice is wholly missed; cross-entropy always does.
    """
    cross_entropy = ops.mean(keras.losses.binary_crossentropy(truth, probability))
    return soft_dice_loss(truth, probability) + cross_entropy


def slice_dice_bce_loss(truth: KerasTensor, probability: KerasTensor) -> KerasTensor:
    """Return `dice_bce_loss` plus the slices' own mean soft Dice loss, where ε = 1: a tiny apex counts fully."""
    hit, both = (ops.sum(each, (1, 2, 3)) for each in (truth * probability, truth + probability))
    return dice_bce_loss(truth, probability) + ops.mean(1 - (2 * hit + 1) / (both + 1))


def slice_dice(truth: KerasTensor, probability: KerasTensor) -> KerasTensor:
    """Return each slice's Dice at threshold 0.5, shape (n,); 1 where both are empty. For monitoring only."""
    predicted = ops.cast(probability >= 0.5, "float32")
    hit, both = (ops.sum(each, (1, 2, 3)) for each in (truth * predicted, truth + predicted))
    return (2 * hit + EPSILON) / (both + EPSILON)


LOSSES = {"dice": soft_dice_loss, "dice_bce": dice_bce_loss, "slice_dice_bce": slice_dice_bce_loss}
