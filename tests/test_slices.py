import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation, binary_erosion

from lvlab.slices import COLUMNS, SliceSet, centre_crop, concatenate, normalise
from lvlab.store.masks import mask_offset, uncrop

finite = st.floats(-1e4, 1e4, width=32)


def made_of(patients):
    rows = [(f"{p}-{i}", p, "ED", 1, 1.4, 1.4, 8.0, (0, 0, 8, 8), np.nan, np.nan, "") for i, p in enumerate(patients)]
    images = np.arange(len(rows) * 64, dtype=np.float32).reshape(-1, 8, 8, 1) / 1e5
    return SliceSet(images, (images > 0).astype(np.float32), pd.DataFrame(rows, columns=COLUMNS))


@given(arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=finite))
def test_normalise_stays_in_range_and_keeps_order(image):
    result = normalise(image)
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(result.ravel()[order]) >= 0).all()


def test_normalise_ignores_gain_and_offset_and_survives_a_constant_image():
    image = np.random.default_rng(0).random((30, 30))
    np.testing.assert_allclose(normalise(image), normalise(700 * image - 40), atol=1e-4)
    assert not normalise(np.full((5, 5), 7)).any()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 10))
def test_uncrop_undoes_crop_where_the_crop_lies(rows, cols, size):
    image = np.arange(1, rows * cols + 1).reshape(rows, cols)
    crop, corner = centre_crop(image, size)
    assert crop.shape == (size, size)
    back = uncrop(crop, corner, image.shape)
    inside = uncrop(np.ones_like(crop), corner, image.shape) > 0
    np.testing.assert_array_equal(back[inside], image[inside])
    assert not back[~inside].any() and inside.sum() == min(size, rows) * min(size, cols)


@pytest.mark.parametrize(("offset", "wider"), [
    ((0, 0), -2), ((0, 0), 0), ((0, 0), 1), ((0, 0), 2), ((1, 1), 2), ((2, -1), -2), ((0, -3), 1), ((5, 4), 0)])
def test_masks_that_lie_beside_their_images_are_told_by_how_far_however_wide_they_are(slices, offset, wider):
    masks = slices.masks[..., 0]
    change = binary_dilation if wider > 0 else binary_erosion
    masks = np.stack([change(mask, iterations=abs(wider)) if wider else mask for mask in masks]).astype(float)
    assert mask_offset(slices.images, np.roll(masks, offset, (1, 2))) == offset


def test_masks_of_other_images_tell_no_offset(slices):
    assert mask_offset(slices.images, np.roll(slices.masks, 7, 0)) == (0, 0)
    assert mask_offset(slices.images, slices.masks.swapaxes(1, 2)) == (0, 0)


def test_masks_without_edges_or_few_of_them_tell_no_offset(slices):
    for images, masks in ((0 * slices.images, slices.masks), (slices.images, 0 * slices.masks), ([], []),
                          (slices.images[:5], np.roll(slices.masks[:5], 1, 1))):
        assert mask_offset(images, masks) == (0, 0)


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=40), st.floats(0.05, 0.95), st.integers(0, 99))
def test_split_never_puts_a_patient_on_both_sides(patients, fraction, seed):
    slices = made_of(patients)
    rest, validation = slices.split_by_patient(fraction, seed)
    assert len(rest) + len(validation) == len(slices) and len(rest) and len(validation)
    assert sorted([*rest.table.name, *validation.table.name]) == sorted(slices.table.name)
    if len(set(patients)) > 1:
        assert not set(rest.patients()) & set(validation.patients())


def test_one_patient_is_split_in_contiguous_blocks_and_says_so(caplog):
    rest, validation = made_of([""] * 10).split_by_patient(0.2)
    assert [len(rest), len(validation)] == [8, 2] and validation.table.name.tolist() == ["-8", "-9"]
    assert "one patient" in caplog.text


def test_fingerprint_sees_a_pixel_a_mask_and_a_name():
    slices = made_of("ab")
    image = slices.images.copy()
    image[0, 0, 0, 0] += 1
    others = [SliceSet(image, slices.masks, slices.table), SliceSet(slices.images, 1 - slices.masks, slices.table),
              SliceSet(slices.images, slices.masks, slices.table.assign(name=["x", "y"]))]
    assert len({s.fingerprint() for s in [slices, *others]}) == 4
    assert made_of("ab").fingerprint() == slices.fingerprint()


def test_subset_and_concatenate_keep_rows_together():
    slices = made_of("aab")
    again = concatenate(slices.of_patient("b"), slices.of_patient("a"))
    assert again.table.name.tolist() == ["b-2", "a-0", "a-1"]
    np.testing.assert_array_equal(again.images, slices.images[[2, 0, 1]])


def test_a_silly_fraction_is_refused():
    with pytest.raises(ValueError, match="0 or more, and less than 1"):
        made_of("ab").split_by_patient(20)


@pytest.mark.parametrize("patients", ["a", "ab", "aabbc", ["", ""]])
def test_a_fraction_of_zero_holds_nobody_out(patients, caplog):
    rest, validation = made_of(patients).split_by_patient(0)
    assert len(rest) == len(patients) and len(validation) == 0 and not caplog.text
