"""Checks of notebook 1, in the order of its exercises."""

import numpy as np
import pandas as pd
from scipy import ndimage

from lvlab import metrics
from lvlab.slices import normalise
from lvlab.teach.checks.answers import OtherForm, around, array, exercise, listed, near, number

FAULTS = ("mispaired", "inverted", "too small")


@exercise
def exercise_1_1(answer, crop):
    """Check a crop normalised from its 5th and 95th percentiles, clipped to [0, 1]."""
    answer, crop = array(answer, np.shape(crop)), np.asarray(crop, float)
    expected = normalise(crop)
    yield near(answer, expected, 1e-4), "Every image now has the same grey scale."
    yield f"values from {answer.min():.2f} to {answer.max():.2f}", f"0 to 1, mean {expected.mean():.2f}"
    by_range = (crop - crop.min()) / max(np.ptp(crop), 1e-9)
    yield near(answer, by_range, 1e-4), "You took minimum and maximum; one bright pixel decides then."
    yield near(np.clip(answer, 0, 1), expected, 1e-3), "The scale is right. Clip what lies outside [0, 1]."
    yield near(np.clip(1 - answer, 0, 1), expected, 1e-3), "It is inverted. Subtract the 5th percentile from the image."
    yield True, "(image - p5) / (p95 - p5): mind the brackets, and np.percentile counts from 0 to 100."


@exercise
def exercise_1_2(answer, masks):
    """Check the Dice of every mask with its neighbour's in the list."""
    answer = array(answer)
    expected = [metrics.dice(masks, np.roll(masks, step, axis=0)) for step in (1, -1)]
    right = any(near(answer, other, 1e-4) for other in expected)
    yield right, "Not 0: neighbours are alike. Broken pairing can look like a mediocre network."
    mean, usual = np.nanmean(answer), np.nanmean(expected)
    yield f"{answer.size} scores, mean Dice {mean:.2f}", f"{len(masks)} scores, mean Dice {usual:.2f}"
    yield answer.size == 1, "One number hides the slices. Keep one score for each of them."
    yield answer.size > len(masks), "These are masks. Score them against the right ones: lvlab.dice."
    yield mean > 0.999, "Dice 1 everywhere: the masks are still paired. Move them by one place."
    yield mean > usual + 0.02, "The masks moved within their images. Roll along the first axis: np.roll(…, 1, axis=0)."


def three_faults(masks):
    """Return a DataFrame of mean scores of three faulty predictions, A, B and C, made from the true masks."""
    inside = np.asarray(masks) > 0
    mispaired = inside[np.random.default_rng(2).permutation(len(inside))]
    smaller = np.stack([ndimage.binary_erosion(mask[..., 0], iterations=2)[..., None] for mask in inside])
    rows = [{"mean Dice": np.nanmean(metrics.dice(masks, wrong)),
             "share with Dice 0": np.mean(metrics.dice(masks, wrong) < 0.01),
             "precision": np.nanmean(metrics.precision(masks, wrong)),
             "recall": np.nanmean(metrics.recall(masks, wrong)),
             "predicted / true area": wrong.sum() / max(masks.sum(), 1)} for wrong in (mispaired, ~inside, smaller)]
    return pd.DataFrame(rows, index=list("ABC")).round(2)


@exercise
def exercise_1_3(answer):
    """Check which fault made which row of `three_faults`."""
    expected = dict(zip("ABC", FAULTS, strict=True))
    if not isinstance(answer, dict) or set(answer) != set(expected):
        raise OtherForm(f"a {type(answer).__name__}", "a word for each letter", "answer with {'A': …, 'B': …, 'C': …}.")
    yield answer == expected, "Read precision, recall and area together: a Dice alone names no fault."
    yield listed(f"{letter} {answer[letter]}" for letter in "ABC"), "each of the three words in its place"
    yield set(answer.values()) != set(FAULTS), f"Each fault made one row. The words are {listed(FAULTS)}."
    yield answer["B"] != "inverted", "Where inside and outside are swapped, the predicted area is far too large."
    yield True, "Which fault leaves the total area as it is? And which can invent no pixel (precision 1)?"


@exercise
def exercise_1_4(answer, mask, row_spacing_mm, col_spacing_mm):
    """Check a cavity's area in cm²."""
    pixels = float(np.sum(np.asarray(mask) > 0))
    have, expected = number(answer), pixels * row_spacing_mm * col_spacing_mm / 100
    yield near(have, expected, 1e-6 + 1e-3 * expected), "An area needs both spacings."
    yield f"{have:.2f}", f"{around(expected)} cm²"
    yield near(have, pixels, 0.5), "That is a number of pixels. How large is one pixel?"
    yield near(have, 100 * expected, 0.1 * expected), "That is in mm². 1 cm² has 10 × 10 mm²."
    squares = [pixels * side**2 / 100 for side in (row_spacing_mm, col_spacing_mm)]
    yield any(near(have, area, 1e-3 * expected) for area in squares), "You used one spacing twice. Here are two."


@exercise
def exercise_1_5(answer, training, validation):
    """Check the patients that are on both sides of a split."""
    first, second = set(training.patients()), set(validation.patients())
    if isinstance(answer, (int, float, np.number, str)):
        raise OtherForm(answer, "a set of names", "which patients, not how many?")
    answer, expected = {str(name) for name in answer}, first & second
    yield answer == expected, "A split by slice puts one patient on both sides; that is the leak."
    yield f"{len(answer)} names", len(expected)
    yield answer == set(), "Empty: did you look at a split by patient? Compare the two sides given."
    yield answer & {*training.table.name, *validation.table.name}, "These are slices. Look at the patients."
    yield answer in (first | second, first ^ second), "Which patients are on *both* sides: &, | or ^?"
