"""Checks of notebook 3, in the order of its exercises."""

import numpy as np

from lvlab import metrics
from lvlab.teach.checks.answers import around, array, called, exercise, listed, near, number, one_of

KINDS = ("too small", "too large", "wrong place")
THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@exercise
def exercise_3_1(function):
    """Check a function (truth, prediction) -> Dice; that NumPy makes nan of 0/0, with a warning, is no answer."""
    nothing, truth, prediction = np.zeros((3, 8, 8))
    truth[2:6, 2:6], prediction[3:7, 2:5] = 1, 1
    expected, have = metrics.dice(truth, prediction), called(function, truth, prediction)
    with np.errstate(divide="raise", invalid="raise"):
        invented, missed = called(function, nothing, prediction), called(function, truth, nothing)
        empty = called(function, nothing, nothing)
    right = near(have, expected)
    yield right and np.isnan(empty) and invented == missed == 0, "Two empty masks have no Dice, and it says so."
    yield (f"Dice {have:.2f}, and {invented:g}, {missed:g} and {empty:g} where truth, prediction and both are empty",
           f"{expected:.2f}, and 0, 0 and nan")
    for other in (metrics.jaccard, metrics.precision, metrics.recall):
        yield near(have, other(truth, prediction)), f"That is {other.__name__}. Dice divides by the pixels of both."
    yield near(have, expected / 2), "Half of what it should be: the common pixels count twice."
    yield near(have, metrics.dice(truth, 1 - prediction)), "Is one of the masks inverted?"
    yield right and not np.isnan(empty), "Two empty masks: nothing to find, nothing predicted. Return np.nan."
    yield right, "Only one of the two is empty: that is a failure, 0. It is nan only where *both* are empty."


@exercise
def exercise_3_2(answer, truth, prediction):
    """Check the positions of the slices whose precision is 0/0: numbers, or True and False."""
    answer = np.asarray(answer)
    if answer.dtype == bool:
        answer = np.flatnonzero(array(answer, (len(truth),)))
    answer = set(array(answer).astype(int).ravel().tolist())
    no_truth, empty = (set(np.flatnonzero(~masks.any(axis=(1, 2, 3))).tolist()) for masks in (truth, prediction))
    yield answer == empty, "Precision divides by the pixels of the prediction."
    yield f"{len(answer)} slices, {listed(sorted(answer)[:6])} …", f"{len(empty)} slices"
    yield answer == set(range(len(truth))) - empty, "In these slices something *was* predicted."
    yield answer == no_truth, "There the *truth* is empty: recall divides by it."
    yield answer < empty, "Some are missing. Look for slices without a single predicted pixel."


@exercise
def exercise_3_3(answer, sd, half_width):
    """Check the number of slices that brings a mean's 95 % interval down to ± half_width."""
    have, expected = number(answer), (1.96 * sd / half_width) ** 2
    yield np.floor(expected) <= have <= np.ceil(expected) + 1, "And that is if slices were independent."
    yield f"{have:g}", around(expected)
    yield near(have, expected / 1.96**2, 1), "You left out 1.96: that is an interval of 68 %."
    yield near(have, 4 * expected, 2), "You asked for twice as narrow: ± is half of the interval's width."
    yield near(have, np.sqrt(expected), 1), "That is √n. Square it."


@exercise
def exercise_3_4(answer, first, second):
    """Check the 95 % interval (low, high) of the mean of the paired differences second - first."""
    have, difference = array(answer, (2,)), np.asarray(second) - np.asarray(first)
    mean, sd, root = difference.mean(), difference.std(), np.sqrt(len(difference))

    def is_interval(spread, middle=mean):
        return near(have, [middle - spread, middle + spread], 6e-4)

    right = is_interval(1.96 * sd / root) or is_interval(1.96 * difference.std(ddof=1) / root)
    yield right, "How difficult a slice is cancels out in its difference."
    yield f"{have[0]:.3f} to {have[1]:.3f}", f"two numbers, one on each side of {mean:.3f}"
    yield is_interval(1.96 * sd / root, -mean), "That is first minus second; take second - first."
    yield is_interval(1.96 * sd), "Divide by √n: it is the mean's interval, not that of single slices."
    yield is_interval(sd / root), "You left out 1.96: that is an interval of 68 %."
    apart = 1.96 * np.hypot(np.std(first), np.std(second)) / root
    yield is_interval(apart), "That treats them as two groups. Take the difference slice by slice, then its SD."


@exercise
def exercise_3_5(answer, slice_scores):
    """Check what a slice's precision and recall say about its mask."""
    one_of(answer, KINDS)
    precision, recall = float(slice_scores.precision), float(slice_scores.recall)
    fitting = {"too large" if recall > precision else "too small"}
    if max(precision, recall) < 0.1:
        fitting = {"wrong place"}
    elif abs(recall - precision) < 0.05:
        fitting.add("wrong place")
    yield answer in fitting, "Two numbers tell the kind of mistake."
    yield repr(answer), "the word that fits both numbers"
    yield "wrong place" in fitting, "Hardly a pixel in common: too little overlap to speak of size."
    yield answer == "wrong place", "Precision and recall differ: one kind of mistake prevails."
    yield answer == "too small", "Recall is above precision: which share of the predicted pixels is wrong?"
    yield True, "Precision is above recall: what was missed?"


@exercise
def exercise_3_6(answer, validation, probability, test, test_probability):
    """Check a threshold of 0.1, 0.2 … 0.9 chosen on validation slices (the best mean Dice, within 0.001)."""
    have, dice = round(number(answer), 3), _dice_by_threshold(validation, probability)
    best, known = max(dice, key=dice.get), have in dice
    yield known and dice[have] >= dice[best] - 1e-3, "Chosen on validation, reported on test."
    yield f"{have:g}", f"one of {listed(THRESHOLDS)}, with mean Dice {dice[best]:.3f} on validation"
    yield have in range(9), "That is a position in the list. Which threshold stands there?"
    on_test = _dice_by_threshold(test, test_probability)
    yield known and have == max(on_test, key=on_test.get), "That is the best on the *test* patients: no test is left."
    yield known and dice[have] == min(dice.values()), "This threshold has the *lowest* Dice: argmax, not argmin."


def _dice_by_threshold(slices, probability):
    return {threshold: float(np.nanmean(metrics.dice(slices.masks, probability >= threshold)))
            for threshold in THRESHOLDS}
