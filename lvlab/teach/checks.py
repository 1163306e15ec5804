"""Self-checks of the exercises: what you have, the range expected, and a hint for the usual mistakes.

One function an exercise. A right answer prints one line; any other raises `NotYet`, which notebooks show
as one line without a traceback, and nbgrader as no points.
"""

from functools import wraps
from textwrap import wrap

import numpy as np
import pandas as pd
from scipy import ndimage

from lvlab import metrics, pictures
from lvlab.recipes import LAB
from lvlab.slices import normalise
from lvlab.teach import views

KINDS = ("too small", "too large", "wrong place")
FAULTS = ("mispaired", "inverted", "too small")
THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))


class NotYet(AssertionError):
    """An answer that is not right yet; IPython shows its text and no traceback."""

    def _render_traceback_(self):
        return wrap(str(self), 100)


def _exercise(check):
    """Let a check say in one line that nothing was answered, or something of quite another form."""
    number = check.__name__.removeprefix("exercise_").replace("_", ".")

    @wraps(check)
    def checked(answer, *rest):
        if answer is None:
            raise _unanswered(number)
        try:
            check(answer, *rest)
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            raise NotYet(f"Exercise {number}: not yet. You have a {type(answer).__name__}, expected another form "
                         f"({error}). Hint: read once more what the answer should be.") from None

    return checked


def _unanswered(number):
    return NotYet(f"Exercise {number}: not yet. You have no answer, expected one. Hint: replace YOUR CODE HERE and the "
                  "line under it, run that cell, then this one.")


def picture_1_1(crop):
    """Draw what goes into exercise 1.1 and what should come out."""
    return views.histograms(crop, normalise(crop))


@_exercise
def exercise_1_1(answer, crop):
    """Check a crop normalised from its 5th and 95th percentiles, clipped to [0, 1]."""
    answer, crop = _array("1.1", answer, np.shape(crop)), np.asarray(crop, float)
    expected = normalise(crop)
    spread = max(float(np.ptp(crop)), 1e-9)
    _answer("1.1", _near(answer, expected, 1e-4), "Every image now has the same grey scale.",
            f"values from {answer.min():.2f} to {answer.max():.2f}, mean {answer.mean():.2f}",
            f"values from 0 to 1, mean {expected.mean():.2f}",
            (_near(answer, (crop - crop.min()) / spread, 1e-4),
             "You took minimum and maximum; one bright pixel decides then. Take the 5th and the 95th percentile."),
            (_near(np.clip(answer, 0, 1), expected, 1e-3), "The scale is right. Clip what lies outside [0, 1]."),
            (_near(np.clip(1 - answer, 0, 1), expected, 1e-3), "It is inverted: dark must stay dark. Subtract the 5th "
             "percentile from the image."),
            (True, "(image - p5) / (p95 - p5): mind the brackets, and np.percentile counts from 0 to 100."))


@_exercise
def exercise_1_4(answer, mask, row_spacing_mm, col_spacing_mm):
    """Check a cavity's area in cm²."""
    pixels = float(np.sum(np.asarray(mask) > 0))
    expected = pixels * row_spacing_mm * col_spacing_mm / 100
    have = _number("1.4", answer)
    _answer("1.4", _near(have, expected, 1e-6 + 1e-3 * expected), "An area needs both spacings.",
            f"{have:.2f}", f"{_around(expected)} cm²",
            (_near(have, pixels, 0.5), "That is a number of pixels. How large is one pixel?"),
            (_near(have, 100 * expected, 0.1 * expected), "That is in mm². 1 cm² has 10 × 10 mm²."),
            (_near(have, 10 * expected, 0.01 * expected), "You divided by 10. 1 cm² has 10 × 10 mm²."),
            (any(_near(have, pixels * side**2 / 100, 1e-3 * expected) for side in (row_spacing_mm, col_spacing_mm)),
             "You used one spacing twice; rows and columns have different ones here."),
            (True, "Pixels inside × row spacing × column spacing, then to cm²."))


@_exercise
def exercise_1_2(answer, masks):
    """Check the Dice of every mask with its neighbour's in the list."""
    answer = _array("1.2", answer, None)
    expected = [metrics.dice(masks, np.roll(masks, step, axis=0)) for step in (1, -1)]
    right = any(answer.shape == other.shape and _near(answer, other, 1e-4) for other in expected)
    mean = np.nanmean(answer)
    _answer("1.2", right, "Not 0: neighbours are alike. Broken pairing can pass for a mediocre network.",
            f"{answer.size} scores, mean Dice {mean:.2f}", f"{len(masks)} scores, mean Dice {np.nanmean(expected):.2f}",
            (answer.size == 1, "One number hides the slices. Keep one score for each of them."),
            (answer.size > len(masks), "These are masks. Score them against the right ones: lvlab.dice."),
            (mean > 0.999, "Dice 1 everywhere: the masks are still paired. Move them by one place."),
            (answer.shape == (len(masks),) and mean > np.nanmean(expected) + 0.02,
             "The masks moved within their images. Roll along the first axis: np.roll(…, 1, axis=0)."),
            (mean < 0.01, "Dice near 0 everywhere: is one of the two stacks inverted?"),
            (True, "Which two stacks does lvlab.dice compare? The right masks, and the same ones moved by one place."))


def three_faults(masks):
    """Return a DataFrame of mean scores of three faulty predictions, A, B and C, made from the true masks."""
    rows = [{"mean Dice": np.nanmean(metrics.dice(masks, wrong)),
             "share with Dice 0": np.mean(np.nan_to_num(metrics.dice(masks, wrong), nan=1) < 0.01),
             "precision": np.nanmean(metrics.precision(masks, wrong)),
             "recall": np.nanmean(metrics.recall(masks, wrong)),
             "area drawn / true": wrong.sum() / max(masks.sum(), 1)} for wrong in _faulty(masks)]
    return pd.DataFrame(rows, index=list("ABC")).round(2)


def _faulty(masks):
    inside = np.asarray(masks) > 0
    smaller = np.stack([ndimage.binary_erosion(mask[..., 0], iterations=2)[..., None] for mask in inside])
    order = np.random.default_rng(2).permutation(len(inside))
    return inside[order], ~inside, smaller


@_exercise
def exercise_1_3(answer):
    """Check which fault made which row of `three_faults`."""
    expected = dict(zip("ABC", FAULTS, strict=True))
    if not isinstance(answer, dict) or set(answer) != set(expected):
        raise NotYet("Exercise 1.3: not yet. Hint: answer with {'A': …, 'B': …, 'C': …}.")
    unknown = [str(fault) for fault in answer.values() if fault not in FAULTS]
    _answer("1.3", answer == expected, "Read precision, recall and area together: a Dice alone names no fault.",
            _listed(f"{letter} {answer[letter]}" for letter in "ABC"), "each of the three words in its place",
            (unknown, f"The words are {_listed(sorted(FAULTS))}."),
            (len(set(answer.values())) < 3, "Each fault made one row."),
            (answer["B"] != "inverted", "In which row is far more drawn than there is? There inside and outside are "
             "swapped."),
            (True, "Which fault leaves the total area as it is? And which can invent no pixel (precision 1)?"))


@_exercise
def exercise_1_5(answer, training, validation):
    """Check the patients that are on both sides of a split."""
    first, second = set(training.patients()), set(validation.patients())
    expected = first & second
    if isinstance(answer, (int, float, np.number, str)):
        raise NotYet(f"Exercise 1.5: not yet. You have {answer}, expected a set of names. Hint: which patients, "
                     "not how many?")
    answer = {str(name) for name in answer}
    slices = set(training.table.name) | set(validation.table.name)
    _answer("1.5", answer == expected, "A split by slice shares patients; that is the leak.",
            f"{len(answer)} names", f"{len(expected)}",
            (answer == set() and expected, "Empty: did you look at a split by patient? Compare the two sides given."),
            (answer & slices, "These are slices. No slice is on both sides; look at the patients."),
            (answer == (first ^ second), "^ keeps those on one side only. Which operator keeps what both have?"),
            (answer == (first | second), "That is everyone. Which patients are on *both* sides: & or |?"),
            (True, "set(a) & set(b) of the two sides' patients()."))


@_exercise
def exercise_2_1(answer):
    """Check the parameters of a 3 × 3 convolution from 16 to 32 channels."""
    have = _number("2.1", answer)
    _answer("2.1", have == 4640, "Weights for every pair of channels, and a bias for each output.",
            f"{have:g}", _around(4640),
            (have == 4608, "The weights are right. Each output channel has a bias, too."),
            (have == 4624, "There is one bias for each channel *out*, not in."),
            (have == 320, "Every output channel looks at all 16 input channels."),
            (True, "Nine weights for each pair of channels, one in and one out; then the biases."))


@_exercise
def exercise_2_2(function):
    """Check a function (truth, probability) -> mean binary cross-entropy."""
    truth, probability = np.array([1.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.9, 0.6, 0.2, 0.1, 0.5])
    inside, outside = truth * np.log(probability), (1 - truth) * np.log(1 - probability)
    expected, have = -np.mean(inside + outside), _returned("2.2", function, truth, probability)
    _answer("2.2", _near(have, expected), "It judges every pixel by itself.", f"{have:.3f}", f"{expected:.3f}",
            (_near(have, -expected), "The sign: a logarithm of a probability is negative, a loss should not be."),
            (_near(have, 5 * expected), "That is the sum. The mean does not grow with the image."),
            (_near(have, -np.mean(inside)), "Background pixels count, too: add (1 - truth) · log(1 - probability)."),
            (True, "Two terms, one for pixels inside and one for pixels outside, with the natural logarithm; then the "
             "mean, and the sign."))


@_exercise
def exercise_2_4(recipe, comparable):
    """Check a recipe that changes LAB's loss to Dice, and the columns that two losses leave comparable."""
    changed = {key for key, value in recipe.as_dict().items() if value != LAB.as_dict()[key]}
    extra, named = changed - {"name", "loss", "epochs", "passes"}, recipe.name != LAB.name
    comparable = {comparable} if isinstance(comparable, str) else set(comparable)
    _answer("2.4", recipe.loss == "dice" and named and not extra and comparable == {"dice", "val_dice"},
            "Two losses are two rulers; the Dice is one.",
            f"loss {recipe.loss!r} and {_listed(sorted(comparable))}", "loss 'dice' and the columns on one ruler",
            (recipe.loss != "dice", "The recipe still has LAB's loss: replace(…, loss=\"dice\")."),
            (not named, "It needs a name of its own, or its run takes the place of LAB's: replace(…, name=\"mine\")."),
            (extra, f"You also changed {_listed(sorted(extra))}: change one thing at a time."),
            (comparable & {"loss", "val_loss"}, "A loss of 0.3 by one formula says nothing about 0.3 by another."),
            (True, "Two columns are computed in the same way under both losses, one on each side of the split."))


def picture_2_3(image, mask):
    """Draw what goes into exercise 2.3 and what should come out."""
    return pictures.gallery([image, np.fliplr(image)], ["The pair", "What you should get"], [mask, np.fliplr(mask)])


@_exercise
def exercise_2_3(answer, image, mask):
    """Check a pair mirrored from left to right."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise NotYet("Exercise 2.3: not yet. Hint: answer with two arrays, (image, mask).")
    new_image, new_mask = (_array("2.3", part, np.shape(image)) for part in answer)
    fits = [(np.array_equal(new_image, flip(image)), np.array_equal(new_mask, flip(mask)))
            for flip in (np.fliplr, np.asarray, np.flipud)]
    mirrored, same, upside_down = fits
    overlap = metrics.dice(new_mask, np.fliplr(mask))
    _answer("2.3", all(mirrored), "Image and mask move together.",
            f"a mask of Dice {overlap:.2f} with the mirrored one",
            "image and mask mirrored, Dice 1.00",
            (np.array_equal(new_mask, np.fliplr(image)), "The other way round: image first, then mask."),
            (mirrored[0] and same[1], "The image moved and the mask stayed: a broken pair."),
            (same[0] and mirrored[1], "The mask moved and the image stayed: a broken pair."),
            (all(same), "Nothing moved. Return the mirrored arrays."),
            (upside_down[0] or upside_down[1], "Top and bottom are swapped. Left and right are the second axis."),
            (True, "Left and right are the second axis: turn its order round, for the image and for the mask."))


def overfitting():
    """Return the made-up history of a training that learns its patients by heart, as a run's history has it."""
    epoch = np.arange(1, 31)
    loss = 0.05 + 0.8 * np.exp(-epoch / 7)
    val_loss = 0.25 + 0.6 * np.exp(-epoch / 5) + 0.012 * np.maximum(epoch - 12, 0)
    return pd.DataFrame({"epoch": epoch, "loss": loss, "dice": 1 - loss, "val_loss": val_loss,
                         "val_dice": 1 - val_loss})


@_exercise
def exercise_2_5(answer, history):
    """Check the epoch whose weights are worth keeping."""
    have, row = _number("2.5", answer), history.val_loss.idxmin()
    _answer("2.5", have == history.epoch[row], "Later epochs only learn the training patients.",
            f"epoch {have:g}", f"an epoch {_around(history.epoch[row])}",
            (have == history.epoch[history.loss.idxmin()], "There the *training* loss is lowest: that is learning by "
             "heart. Ask the validation patients."),
            (have == row, "That is the row, counted from 0. Which epoch does it hold?"),
            (have == history.epoch[history.val_loss.idxmax()], "There the loss is highest; low is good."),
            (_near(have, history.val_loss.min(), 1e-3), "That is the loss itself. In which epoch was it reached?"),
            (True, "Let the computer find the lowest *validation* loss: idxmin() gives its row."))


@_exercise
def exercise_3_1(function):
    """Check a function (truth, drawn) -> Dice, both empty included."""
    truth, drawn = np.zeros((8, 8)), np.zeros((8, 8))
    truth[2:6, 2:6], drawn[3:7, 2:6] = 1, 1
    expected, have = metrics.dice(truth, drawn), _returned("3.1", function, truth, drawn)
    with np.errstate(all="ignore"):
        empty, invented = (_returned("3.1", function, truth * 0, found, finite=False) for found in (truth * 0, drawn))
    right = _near(have, expected) and np.isnan(empty) and invented == 0
    _answer("3.1", right, "And where nothing is, it claims nothing.",
            f"Dice {have:.2f}, {empty:g} for two empty masks and {invented:g} where only the truth is empty",
            f"{expected:.2f}, nan and 0",
            (_near(have, metrics.jaccard(truth, drawn)), "That is Jaccard. Dice counts the common pixels twice and "
             "divides by the pixels of both."),
            (_near(have, expected / 2), "Half of what it should be: the common pixels count twice."),
            (_near(have, metrics.dice(truth, 1 - drawn)) or _near(have, metrics.dice(1 - truth, drawn)),
             f"Dice {have:.2f}: is one of the masks inverted?"),
            (_near(have, expected) and not np.isnan(empty), "Two empty masks: nothing to find, nothing found. Return "
             "np.nan."),
            (_near(have, expected), "Nothing to find and something drawn is a failure, 0; it is nan only where *both* "
             "are empty."),
            (True, "2 · common / (pixels of truth + pixels drawn)."))


@_exercise
def exercise_3_2(answer, truth, drawn):
    """Check the positions of the slices whose precision is 0/0."""
    answer = set(np.ravel(_positions("3.2", answer, len(truth))).tolist())
    empty_truth, empty = (set(np.flatnonzero(~np.any(masks, axis=(1, 2, 3))).tolist()) for masks in (truth, drawn))
    _answer("3.2", answer == empty, "Precision divides by what was drawn.",
            f"{len(answer)} slices, {_listed(sorted(answer)[:6])} …", f"{len(empty)} slices",
            (answer == set(range(len(truth))) - empty, "These are the slices where something *was* drawn."),
            (answer == empty_truth, "There the *truth* is empty: that is recall's denominator."),
            (answer < empty, "Some are missing. Look for slices without a single drawn pixel."),
            (True, "Precision = right / (right + invented). Which masks make right + invented zero?"))


@_exercise
def exercise_3_5(answer, validation, probability, test, test_probability):
    """Check a threshold of 0.1, 0.2 … 0.9 chosen on validation slices (the best mean Dice, within 0.001)."""
    have = _number("3.5", answer)
    dice = _dice_by_threshold(validation, probability)
    on_test = _dice_by_threshold(test, test_probability)
    have = round(have, 3)
    best, known = max(dice, key=dice.get), have in dice
    _answer("3.5", known and dice[have] >= dice[best] - 1e-3, "Chosen on validation, reported on test.",
            f"{have:g}", f"one of {_listed(THRESHOLDS)}, with mean Dice {dice[best]:.3f} on validation",
            (float(have).is_integer() and 0 <= have <= 8 and have != best,
             "That is a position in the list. Which threshold stands there?"),
            (known and have == max(on_test, key=on_test.get), "That is the best on the *test* patients: whoever "
             "chooses on them has no test left. Choose on the validation patients."),
            (known and dice[have] == min(dice.values()), "This threshold has the *lowest* Dice: argmax, not argmin."),
            (_near(have, dice[best], 1e-3), "That is the Dice. Which threshold reached it?"),
            (True, "Compute the mean Dice of the validation slices for each threshold, and take the best."))


def _dice_by_threshold(slices, probability):
    return {threshold: float(np.nanmean(metrics.dice(slices.masks, probability >= threshold)))
            for threshold in THRESHOLDS}


@_exercise
def exercise_3_4(answer, slice_scores):
    """Check what a slice's precision and recall say about its mask."""
    precision, recall = float(slice_scores.precision), float(slice_scores.recall)
    if answer not in KINDS:
        raise NotYet(f"Exercise 3.4: not yet. You have {answer!r}, expected one of {_listed(KINDS)}. Hint: use the "
                     "words of the question.")
    difference = recall - precision
    fitting = {"too large"} if difference > 0 else {"too small"}
    if max(precision, recall) < 0.1 or abs(difference) < 0.05:
        fitting = {"wrong place"} if max(precision, recall) < 0.1 else {*fitting, "wrong place"}
    _answer("3.4", answer in fitting, "Two numbers tell the kind of mistake.", f"{answer!r}",
            "the word that fits both numbers",
            ("wrong place" in fitting, "Hardly a pixel in common: too little overlap to speak of size."),
            (answer == "wrong place", f"Precision {precision:.2f} and recall {recall:.2f} differ: one kind of mistake "
             "prevails."),
            (answer == "too small", f"Recall {recall:.2f} is above precision {precision:.2f}: which share of the "
             "drawn pixels is wrong?"),
            (True, f"Precision {precision:.2f} is above recall {recall:.2f}: what was missed?"))


@_exercise
def exercise_3_3(answer, sd, half_width):
    """Check the number of slices that brings a mean's 95 % interval down to ± half_width."""
    have, expected = _number("3.3", answer), (1.96 * sd / half_width) ** 2
    _answer("3.3", np.floor(expected) <= have <= np.ceil(expected) + 1, "And that is if slices were independent.",
            f"{have:g}", _around(expected),
            (_near(have, expected / 1.96**2, 1), "You left out 1.96: that is an interval of 68 %."),
            (_near(have, 4 * expected, 2), "You asked for twice as narrow: ± is half of the interval's width."),
            (_near(have, np.sqrt(expected), 1), "That is √n. Square it."),
            (True, "1.96 · SD / √n = ± wanted; solve for n."))


def _answer(number, right, praise, have, expected, *hints):
    """Print that the answer is right, or raise NotYet with the first hint that fits."""
    if right:
        print(f"Exercise {number}: right. {praise}")
        return
    hint = next(text for fits, text in hints if fits)
    raise NotYet(f"Exercise {number}: not yet. You have {have}, expected {expected}. Hint: {hint}")


def _around(value):
    """Return a range with the value somewhere in it, in two digits: a check says how far off, not the answer."""
    return f"between {float(f'{0.8 * value:.1e}'):g} and {float(f'{1.3 * value:.1e}'):g}"


def _near(first, second, atol=1e-6):
    return bool(np.allclose(first, second, atol=atol, rtol=0, equal_nan=True))


def _listed(words):
    return ", ".join(map(str, words))


def _array(number, answer, shape):
    """Return the answer as finite numbers (NaN allowed where no shape is asked for)."""
    try:
        answer = np.asarray(answer, float)
    except (TypeError, ValueError):
        raise NotYet(f"Exercise {number}: not yet. You have a {type(answer).__name__}, expected an array of numbers. "
                     "Hint: put your result in place of YOUR CODE HERE, as numbers.") from None
    if shape is not None and answer.shape != tuple(shape):
        raise NotYet(f"Exercise {number}: not yet. You have shape {answer.shape}, expected {tuple(shape)}. "
                     "Hint: work on the whole array at once.")
    return answer


def _number(number, answer):
    answer = _array(number, answer, None)
    if answer.size != 1 or not np.isfinite(answer).all():
        raise NotYet(f"Exercise {number}: not yet. You have {answer.size} values, expected one finite number. "
                     "Hint: one number is the answer.")
    return float(answer.reshape(()))


def _positions(number, answer, count):
    answer = np.asarray(answer)
    if answer.dtype == bool:
        if answer.shape != (count,):
            raise NotYet(f"Exercise {number}: not yet. You have shape {answer.shape}, expected {(count,)}. Hint: one "
                         "True or False for each slice: any(axis=(1, 2, 3)).")
        answer = np.flatnonzero(answer)
    return _array(number, answer, None).astype(int)


def _returned(number, function, *arguments, finite=True):
    """Call a student's function; what it raises or leaves out becomes a hint."""
    try:
        value = function(*arguments)
    except NotImplementedError:
        raise _unanswered(number) from None
    except ZeroDivisionError:
        raise NotYet(f"Exercise {number}: not yet. You have a division by zero. Hint: two empty masks make 0/0; ask "
                     "before you divide.") from None
    except Exception as error:  # whatever a student's function does
        raise NotYet(f"Exercise {number}: not yet. You have a function that stops ({type(error).__name__}: {error}), "
                     "expected a number. Hint: call it yourself with two small arrays.") from None
    if value is None:
        raise NotYet(f"Exercise {number}: not yet. You have no number, expected one. Hint: does your function return "
                     "its result?")
    if np.size(value) != 1:
        raise NotYet(f"Exercise {number}: not yet. You have {np.size(value)} values, expected one number. Hint: "
                     "np.mean or np.sum makes one of them.")
    value = float(np.ravel(value)[0])
    if finite and not np.isfinite(value):
        raise NotYet(f"Exercise {number}: not yet. You have {value:g}, expected a finite number. Hint: a logarithm or "
                     "a division of 0?")
    return value
