"""Checks of notebook 5, in the order of its exercises."""

import numpy as np

from lvlab.clinic import review
from lvlab.teach.checks.answers import around, exercise, near, number, one_of


@exercise
def exercise_5_1(answer, truth, masks):
    """Check the name of the mask (of {name: mask}) whose area differs least from the truth's."""
    one_of(answer, masks)
    error = {name: abs(int(mask.sum()) - int(truth.sum())) for name, mask in masks.items()}
    least = min(error, key=error.get)
    yield answer == least, "Its outline is wrong all the same: the wall under it is not where the mask says."
    yield f"{answer!r}, which changes the area by {error[answer]} pixels", "the one that changes it least"
    yield answer == max(error, key=error.get), "That one changes it most."
    yield True, "Compare the row of area errors, without their signs."


@exercise
def exercise_5_2(answer):
    """Check how many times as wide the interval of 10 independent numbers is as that of 100."""
    have, expected = number(answer), np.sqrt(10)
    yield near(have, expected, 0.02), "Ten slices that say the same are one number."
    yield f"{have:g}", around(expected)
    yield near(have, 1, 0.01), "The second study has 100 slices, but they tell no more than its 10 patients."
    yield near(have, 10, 0.01), "The width goes with the root of n."
    yield near(have, 1 / expected, 0.02), "That is the other way round: fewer numbers, a wider interval."


@exercise
def exercise_5_3(answer, volume_ml):
    """Check the ejection fraction in percent, of the volumes {"ED": ml, "ES": ml}."""
    have, ed, es = number(answer), volume_ml["ED"], volume_ml["ES"]
    expected = 100 * (ed - es) / ed
    yield near(have, expected, 0.05), (
        "Where papillary muscles count as cavity, as here, healthy hearts begin at about 50 % (Petersen et al. 2017, "
        "doi:10.1186/s12968-017-0327-9).")
    yield f"{have:g}", around(expected)
    yield near(have, expected / 100, 0.001), "That is the share; in percent it is a hundred times as much."
    yield near(have, ed - es, 0.05), "That is the stroke volume in ml. Divide it by what was there."
    yield near(have, 100 * es / ed, 0.05), "That is the share which stays behind."
    yield near(have, 100 * (ed - es) / es, 0.05), "Divide by the volume at end-diastole, not at end-systole."


@exercise
def exercise_5_4(answer, dice, order, share=0.2, under=0.7):
    """Check the share of the failures that are among the least sure `share` of the slices."""
    have, (found, failures) = number(answer), review.caught(dice, order, share, under)
    expected = found / max(failures, 1)
    yield near(have, expected, 0.005), "The rest of them the network is sure about: those are the dangerous ones."
    yield f"{have:g}", around(expected)
    yield near(have, found), "That is how many you find. Of how many?"
    looked_at = int(np.ceil(share * len(order)))
    yield near(have, found / looked_at, 0.005), "That is the share of the slices looked at that have failed."
    most, _ = review.caught(dice, -np.asarray(order), share, under)
    yield near(have, most / max(failures, 1), 0.005), "Those are the slices that it is *most* sure about."
