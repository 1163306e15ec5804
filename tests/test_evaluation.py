"""Score table, summary and pictures."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlab import evaluation, metrics, pictures
from lvlab.clinic import agreement, charts
from lvlab.teach import views


def scores_of(dice):
    return pd.DataFrame({"name": [f"s{i}" for i in range(len(dice))], **{m: dice for m in metrics.NAMES}})


def test_score_has_the_promised_columns_and_flags(slices, prediction):
    prediction = prediction.copy()
    prediction[0] = 0
    table = evaluation.score(slices, prediction)
    assert table.columns.tolist() == [
        "name", "patient", "phase", "level", "precision", "recall", "dice", "jaccard", "area_true_mm2",
        "area_pred_mm2", "flag", "pixels_true", "pixels_pred", "pixels_common"]
    assert table.flag[0] == "empty prediction" and table.dice[0] == 0 and (table.flag[1:] == "").all()
    spacing = slices.table.row_spacing_mm * slices.table.col_spacing_mm
    np.testing.assert_allclose(table.area_true_mm2, slices.masks.sum((1, 2, 3)) * spacing)


def test_both_empty_is_left_out_of_means_and_counted_apart():
    summary = evaluation.summarise(scores_of([0.5, np.nan, 0.9]))
    assert summary["n"] == 3 and summary["both_empty"] == 1
    assert summary["dice"]["mean"] == pytest.approx(0.7) and summary["dice"]["sd"] == pytest.approx(0.2)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_summary_agrees_with_numpy_and_names_the_lower_middle(dice):
    summary = evaluation.summarise(scores_of(dice))
    assert summary["dice"]["mean"] == pytest.approx(np.mean(dice))
    assert summary["dice"]["worst"] == min(dice) and summary["dice"]["best"] == max(dice)
    by_name = dict(zip((f"s{i}" for i in range(len(dice))), dice, strict=True))
    assert by_name[summary["names"]["median"]] == sorted(dice)[(len(dice) - 1) // 2]
    assert by_name[summary["names"]["best"]] == max(dice)


def test_dice_of_a_volume_is_that_of_its_slices_stacked(slices, prediction):
    scores = evaluation.score(slices, prediction)
    volumes = evaluation.by_volume(scores)
    assert len(volumes) == 2 * len(slices.patients()) and volumes.slices.sum() == len(slices)
    for volume in volumes.itertuples():
        rows = ((slices.table.patient == volume.patient) & (slices.table.phase == volume.phase)).to_numpy()
        stacked = metrics.dice(slices.masks[rows].reshape(-1, 128), prediction[rows].reshape(-1, 128))
        assert volume.dice == pytest.approx(stacked)
    assert evaluation.summarise(scores)["dice_per_volume"]["mean"] == pytest.approx(volumes.dice.mean())


def test_confidence_interval_of_twenty_slices_with_sd_022_is_about_ten_points():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20)
    values = 0.75 + 0.22 * (values - values.mean()) / values.std()
    found = agreement.interval(values, np.arange(20))  # each slice of a patient of its own
    assert found.low < 0.75 < found.high and 0.16 < found.high - found.low < 0.22


def test_threshold_is_inclusive():
    assert evaluation.masks_of(np.array([0.49, 0.5, 0.51])).tolist() == [0, 1, 1]


def test_overlay_colours_the_mask_and_nothing_else(slices):
    image, mask = slices.images[0], slices.masks[0]
    picture = pictures.overlay(image, mask, opacity=0.5)
    outside = mask[..., 0] == 0
    np.testing.assert_allclose(picture[outside], np.repeat(image, 3, -1)[outside], atol=1e-6)
    assert np.abs(picture[~outside] - np.repeat(image, 3, -1)[~outside]).max() > 0.2
    np.testing.assert_allclose(pictures.overlay(image, mask, opacity=0), np.repeat(image, 3, -1), atol=1e-6)


def test_every_picture_draws_and_is_forgotten_by_pyplot(slices, prediction):
    import matplotlib.pyplot as plt

    scores = evaluation.score(slices, prediction)
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1, 0.5], "dice": [0.1, 0.6], "val_loss": [1, 0.6],
                            "val_dice": [0.1, 0.5]})
    figures = [*pictures.ranked_triptychs(slices, prediction, scores).values(), pictures.learning_curves(history),
               pictures.overlay_grid(slices, prediction, scores), charts.dice_by_area(scores),
               pictures.show_patient(slices, slices.patients()[0]), views.class_balance(slices),
               views.histograms(slices.images[0], slices.images[0]), views.draw_unet(),
               views.draw_grid(slices.images[0]), views.uncertainty(slices, prediction, 0),
               pictures.show_errors(slices.images[0], slices.masks[0], prediction[0], "errors"),
               views.slice_view(slices, 0, 0.3, prediction, "both"),
               views.slice_view(slices, 0, 0.3, prediction, "difference", 0.5, 0.4),
               views.threshold_view(slices, prediction, 0, 0.5),
               views.training_progress(history, slices.images[0], slices.masks[0], prediction[0]),
               views.contour_comparison(slices.images[0], slices.masks[0], None, prediction[0], [prediction[0]])]
    for figure in figures:
        figure.canvas.draw()
    assert plt.get_fignums() == []


def test_the_largest_part_alone_is_kept_where_the_recipe_says_so():
    probability = np.zeros((2, 8, 8, 1), np.float32)
    probability[0, :3, :3], probability[0, 6:, 6:] = 0.9, 0.95
    probability[0, 5, 5] = 0.3  # beside the smaller part: with it a part of its own at 0.3, and none at 0.5
    for threshold in (0.3, 0.5):
        kept = evaluation.masks_of(probability, threshold, "largest")
        assert kept[0, :3, :3].all() and kept.sum() == 9
        assert evaluation.masks_of(probability, threshold).sum() == 13 + (threshold == 0.3)
