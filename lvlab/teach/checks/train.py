"""Checks of notebook 2, in the order of its exercises."""

import numpy as np

from lvlab import pictures
from lvlab.recipes import LAB
from lvlab.teach.checks.answers import OtherForm, around, array, called, exercise, listed, near, number


@exercise
def exercise_2_1(answer):
    """Check the parameters of a 3 × 3 convolution from 16 to 32 channels."""
    have = number(answer)
    yield have == 4640, "Weights for every pair of channels, and a bias for each output."
    yield f"{have:g}", around(4640)
    yield have == 4608, "The weights are right. Each output channel has a bias, too."
    yield have == 4624, "There is one bias for each channel *out*, not in."
    yield have == 320, "Every output channel looks at all 16 input channels."


@exercise
def exercise_2_2(answer):
    """Check the shape after the first up-convolution and its skip connection: 8 × 8 × 512 goes in."""
    have = tuple(array(answer, (3,)).astype(int).tolist())
    yield have == (16, 16, 512), "Half of the channels come from below, half along the skip connection."
    yield listed(have), "a larger image, and channels from two sides"
    yield have[:2] != (16, 16), "The up-convolution (stride 2) doubles rows and columns. Channels come last."
    yield have[2] == 256, "That is what the up-convolution gives. The skip connection adds as many channels."
    yield True, "Channels of the up-convolution (256 filters) plus channels of the skip connection."


@exercise
def exercise_2_3(function):
    """Check a function (truth, probability) -> mean binary cross-entropy."""
    truth, probability = np.array([1.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.9, 0.6, 0.2, 0.1, 0.5])
    inside, outside = truth * np.log(probability), (1 - truth) * np.log(1 - probability)
    expected, have = -np.mean(inside + outside), called(function, truth, probability)
    yield near(have, expected), "It judges every pixel by itself."
    yield f"{have:.3f}", f"{expected:.3f}"
    yield near(have, -expected), "The sign: a logarithm of a probability is negative, a loss should not be."
    yield near(have, 5 * expected), "That is the sum. The mean does not grow with the image."
    yield near(have, -np.mean(inside)), "Background pixels count, too: add (1 - truth) · log(1 - probability)."


def picture_2_4(image, mask):
    """Draw what goes into exercise 2.4 and what should come out."""
    return pictures.gallery([image, np.fliplr(image)], ["The pair", "What you should get"], [mask, np.fliplr(mask)])


@exercise
def exercise_2_4(answer, image, mask):
    """Check a pair mirrored from left to right."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise OtherForm(f"a {type(answer).__name__}", "two arrays", "answer with (image, mask).")
    image_now, mask_now = (array(part, np.shape(image)) for part in answer)

    def are(flip):
        return np.array_equal(image_now, flip(image)), np.array_equal(mask_now, flip(mask))

    mirrored = are(np.fliplr)
    yield all(mirrored), "Image and mask move together."
    yield "a pair that is not the mirrored one", "image and mask with left and right swapped"
    yield np.array_equal(mask_now, np.fliplr(image)), "The other way round: image first, then mask."
    yield any(mirrored), f"The {'mask' if mirrored[0] else 'image'} did not move: a broken pair."
    yield all(are(np.asarray)), "Nothing moved. Return the mirrored arrays."
    yield any(are(np.flipud)), "Top and bottom are swapped. Left and right are the second axis."


@exercise
def exercise_2_5(recipe, comparable):
    """Check a recipe that is LAB but for its loss, and the history's columns that both losses share."""
    usual = LAB.as_dict()
    changed = {key for key, value in recipe.as_dict().items() if value != usual[key]}
    extra, named = changed - {"name", "loss", "epochs", "passes"}, recipe.name != LAB.name
    comparable = {comparable} if isinstance(comparable, str) else set(comparable)
    right = recipe.loss == "dice" and named and not extra and comparable == {"dice", "val_dice"}
    yield right, "Two losses are two formulas; the Dice is the same in both."
    yield f"loss {recipe.loss!r} and {listed(sorted(comparable))}", "loss 'dice' and what is computed in the same way"
    yield recipe.loss != "dice", "The recipe still has LAB's loss: replace(…, loss=\"dice\")."
    yield not named, "It needs a name of its own, or its run replaces LAB's: replace(…, name=\"mine\")."
    yield extra, f"You also changed {listed(sorted(extra))}: change one thing at a time."
    yield comparable & {"loss", "val_loss"}, "A loss of 0.3 by one formula says nothing about 0.3 by another."


@exercise
def exercise_2_6(answer, history):
    """Check the epoch whose weights are worth keeping."""
    have, row = number(answer), history.val_loss.idxmin()
    yield have == history.epoch[row], "Later epochs only learn the training patients."
    yield f"epoch {have:g}", f"an epoch {around(history.epoch[row])}"
    yield have == history.epoch[history.loss.idxmin()], "There the *training* loss is lowest: it memorises."
    yield have == row, "That is the row, counted from 0. Which epoch does it hold?"
    yield have == history.epoch[history.val_loss.idxmax()], "There the loss is highest; low is good."
