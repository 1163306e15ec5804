"""The colours of overlays and outlines stay apart on grey and on white, in colour blindness too."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from lvlab import pictures
from lvlab.pictures import DRAWING, ERROR_OPACITY, INVENTED, MISSED, OPACITY, PREDICTION, RIGHT, TRUTH
from lvlab.teach import views

# From linear RGB to linear RGB, severity 1.0. Machado et al. 2009, doi:10.1109/TVCG.2009.113.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]}
GREY, WHITE = (0.5, 0.5, 0.5), (1, 1, 1)


def linear(rgb):
    rgb = np.asarray(rgb, float)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def as_seen(rgb, vision):
    seen = np.clip(linear(rgb) @ np.transpose(VISION[vision]), 0, 1)
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


def difference(first, second, vision):
    """CIEDE2000 between two colours as someone with this vision sees them; below 1 nobody tells them apart."""
    return float(deltaE_ciede2000(*(rgb2lab(as_seen(rgb, vision)[None, None])[0] for rgb in (first, second)))[0])


def over(grey, colour, opacity):
    picture = pictures.overlay(np.full((1, 1), grey), np.ones((1, 1)), colour, opacity)
    return picture[0, 0]


def contrast_on_white(colour):
    """WCAG 2.1's contrast ratio."""
    return 1.05 / (linear(to_rgb(colour)) @ [0.2126, 0.7152, 0.0722] + 0.05)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("grey", [0.25, 0.5, 0.75, 0.9])
def test_right_missed_and_invented_differ_over_every_grey(vision, grey):
    blended = [over(grey, colour, ERROR_OPACITY) for colour in (RIGHT, MISSED, INVENTED)]
    assert min(difference(*pair, vision) for pair in combinations(blended, 2)) >= 20


@pytest.mark.parametrize("vision", VISION)
def test_an_overlay_differs_from_the_mid_grey_below_it(vision):
    errors = [over(0.5, colour, ERROR_OPACITY) for colour in (RIGHT, MISSED, INVENTED)]
    masks = [over(0.5, colour, OPACITY) for colour in (TRUTH, PREDICTION)]
    assert min(difference(rgb, GREY, vision) for rgb in errors) >= 20
    assert min(difference(rgb, GREY, vision) for rgb in masks) >= 15


@pytest.mark.parametrize("vision", VISION)
def test_outlines_differ_from_one_another_and_from_mid_grey(vision):
    outlines = [to_rgb(colour) for colour in (TRUTH, PREDICTION, DRAWING)]
    assert min(difference(*pair, vision) for pair in combinations([*outlines, GREY], 2)) >= 20


def test_lines_of_charts_have_contrast_on_white():
    assert min(map(contrast_on_white, (TRUTH, PREDICTION, MISSED, INVENTED))) >= 3


def test_outlines_and_curves_differ_by_their_line_as_well():
    assert len({pictures.LINES[colour] for colour in (TRUTH, PREDICTION, DRAWING)}) == 3
    assert len({line for _, line in views.CURVES.values()}) == 4


def test_the_curve_has_the_colour_of_the_pixels_that_lower_it():
    truth, prediction = np.zeros((2, 8, 8, 1))
    truth[2:6, 2:6], prediction[2:6, 2:6] = 1, 1
    missed, invented = prediction.copy(), prediction.copy()
    missed[2], invented[6, 2:6] = 0, 1
    for wrong, lowered in ((missed, "recall"), (invented, "precision")):
        picture = pictures.error_overlay(np.full((8, 8), 0.5), truth, wrong, opacity=1)
        shown = {tuple(rgb) for rgb in picture.reshape(-1, 3)} - {GREY, to_rgb(RIGHT)}
        assert shown == {to_rgb(views.CURVES[lowered][0])}
        assert getattr(pictures.metrics, lowered)(truth, wrong) < 1
