"""Checks of notebook 4, in the order of its exercises."""

import numpy as np

from lvlab.teach.checks.answers import called, exercise, listed, near, number, one_of


@exercise
def exercise_4_1(answer, gap):
    """Check which row of a table of mean Dice (a column a network) costs the first network most against row 0."""
    loss = gap.iloc[0] - gap
    first, second = loss.columns[:2]
    cost = loss[first]
    yield cost[one_of(answer, gap.index)] >= cost.max() - 0.002, "A network fails on what its training never showed."
    yield f"{answer!r}, which costs {cost[answer]:.3f}", f"a loss of {cost.max():.3f}"
    yield answer == gap.index[0], "That row is what the others are compared with."
    yield answer == loss[second].idxmax(), f"That is what costs {second!r} most. Look at the column {first!r}."
    yield answer == cost.iloc[1:].idxmin(), "There it loses least. You want the largest difference from the first row."


@exercise
def exercise_4_2(answer, before, after):
    """Check the number of slices whose Dice is lower after than before."""
    have, difference = number(answer), (after.dice - before.dice).dropna()
    worse = int((difference < 0).sum())
    yield have == worse, "A better mean can hide slices that became worse."
    yield f"{have:g}", f"a number from 0 to {len(difference)}"
    yield near(have, worse / len(difference)), "That is the share. How many slices?"
    yield have == (difference > 0).sum(), "These became better. Which side is larger when it becomes worse?"
    yield near(have, difference.mean(), 1e-3), "That is the mean difference. Count the slices below 0."


@exercise
def exercise_4_3(function):
    """Check a function (first, last, share) -> the weights on the straight line between two lists of arrays."""
    first, last = [np.array([0.0, 4.0]), np.array([[2.0]])], [np.array([8.0, 0.0]), np.array([[6.0]])]
    have = [np.asarray(part, float) for part in called(function, first, last, 0.25, single=False)]

    def is_sum(of_first, of_last):
        expected = [of_first * a + of_last * b for a, b in zip(first, last, strict=True)]
        return len(have) == len(expected) and all(map(near, have, expected))

    yield is_sum(0.75, 0.25), "At share 0 it is the first network, at share 1 the last."
    yield listed(part.tolist() for part in have), "[2.0, 3.0], [[3.0]] from [0, 4], [[2]] to [8, 0], [[6]] at 0.25"
    yield len(have) != 2, "As many arrays come out as go in: go through both lists with zip."
    yield is_sum(0.25, 0.75), "The other way round: share 0 is the *first* network."
    yield is_sum(0.5, 0.5), "That is always the middle. Use share."
    yield is_sum(1, 0.25), "The two shares must add up to 1."
