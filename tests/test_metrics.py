import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import distance

from lvlab import metrics

# By SciPy, whose distances are 1 less the coefficients, and by the words: the share of one mask that lies in the other.
REFERENCE = {
    "precision": lambda truth, prediction: np.average(truth, weights=prediction) if prediction.any() else 0,
    "recall": lambda truth, prediction: np.average(prediction, weights=truth) if truth.any() else 0,
    "dice": lambda truth, prediction: 1 - distance.dice(truth, prediction),
    "jaccard": lambda truth, prediction: 1 - distance.jaccard(truth, prediction),
}
stacks = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 6)).flatmap(
    lambda shape: st.tuples(*[arrays(np.uint8, shape, elements=st.integers(0, 1))] * 2))


@given(stacks)
def test_equals_the_reference_slice_by_slice(pair):
    for name, reference in REFERENCE.items():
        found = getattr(metrics, name)(*pair)
        for value, truth, prediction in zip(found, *pair, strict=True):
            if truth.any() or prediction.any():
                assert value == pytest.approx(reference(truth.ravel() > 0, prediction.ravel() > 0))
            else:
                assert np.isnan(value)


@given(stacks)
def test_dice_and_jaccard_are_symmetric_ordered_and_swap_precision_with_recall(pair):
    truth, prediction = pair
    dice, jaccard = metrics.dice(*pair), metrics.jaccard(*pair)
    np.testing.assert_array_equal(dice, metrics.dice(prediction, truth))
    np.testing.assert_array_equal(metrics.precision(*pair), metrics.recall(prediction, truth))
    np.testing.assert_allclose(dice, 2 * jaccard / (1 + jaccard))
    defined = ~np.isnan(dice)
    assert (jaccard[defined] <= dice[defined]).all() and (dice[defined] <= 1).all()


def test_one_pair_gives_a_float_and_a_stack_an_array():
    mask = np.eye(4)
    assert metrics.dice(mask, mask) == 1.0 and isinstance(metrics.dice(mask, mask), float)
    assert metrics.dice(mask[..., None], mask[..., None]) == 1.0
    assert metrics.dice(np.stack([mask] * 3)[..., None], np.stack([mask] * 3)[..., None]).tolist() == [1, 1, 1]


def test_any_grey_above_zero_is_inside():
    assert metrics.dice(np.array([[0, 255], [1, 0]]), np.array([[0, 1], [1, 0]])) == 1.0


def test_empty_prediction_scores_zero_and_not_nan():
    for name in REFERENCE:
        assert getattr(metrics, name)(np.ones((3, 3)), np.zeros((3, 3))) == 0.0


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="must be equal"):
        metrics.dice(np.ones((3, 3)), np.ones((3, 4)))


def test_area_uses_both_spacings():
    assert metrics.area_mm2(np.ones((4, 5)), 2.0, 1.5) == 60.0
    assert np.isnan(metrics.area_mm2(np.ones((4, 5)), np.nan, np.nan))
