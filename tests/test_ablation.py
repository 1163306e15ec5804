"""The ablation: what is done to a prediction afterwards, and one row for each training and each such step."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import lvlab
from lvlab.evaluation import segment
from lvlab.store.files import PROJECT
from lvlab.teach import views
from tools import ablation

#: A "network" whose probability is the image itself: what is turned there must come back turned.
MIRROR = SimpleNamespace(model=SimpleNamespace(predict_on_batch=np.asarray, input_shape=(None, 128, 128, 1)),
                         recipe=SimpleNamespace(threshold=0.5, parts="all"))


def with_images(slices, *images):
    return replace(slices.subset(np.arange(len(images))), images=np.stack(images)[..., None].astype(np.float32))


def test_eight_symmetries_are_undone_before_the_mean(slices):
    np.testing.assert_array_equal(ablation.turned_and_mirrored(MIRROR, slices), segment(MIRROR, slices))


def test_only_the_largest_part_stays_and_its_holes_are_filled(slices):
    image = np.zeros((128, 128))
    image[10:14, 10:14] = 1
    expected = image.copy()
    image[40:60, 40:60], expected[...] = 1, 0
    image[48:52, 48:52], expected[40:60, 40:60] = 0, 1
    predicted = ablation.largest_filled(MIRROR, with_images(slices, image, image * 0))
    np.testing.assert_array_equal(predicted[0, ..., 0], expected)
    assert not predicted[1].any()


def test_never_empty_draws_where_the_network_only_hesitated(slices):
    sure, hesitant = np.full((2, 128, 128), 0.01)
    sure[20:30, 20:30], hesitant[50:60, 50:60] = 0.9, 0.2
    predicted = ablation.never_empty(MIRROR, with_images(slices, sure, hesitant))
    np.testing.assert_array_equal(predicted[0, ..., 0], sure > 0.5)
    np.testing.assert_array_equal(predicted[1, ..., 0], hesitant > 0.1)


@pytest.mark.slow
def test_one_row_for_each_training_and_each_step_afterwards(phantom_folder, tmp_path):
    tiny = replace(lvlab.LAB, filters=(4, 8), epochs=1, passes=1, augmentation="none", precision="float32")
    table = ablation.ablation(lvlab.load(phantom_folder), tmp_path, seeds=[3], quiet=True,
                              variants={"plain": tiny, ablation.FINE_TUNED: replace(tiny, batch_size=4)})
    assert table.variant.tolist() == ["plain", ablation.FINE_TUNED, *ablation.AFTERWARDS]
    assert (table.n == 10).all() and (table.train_seconds > 0).all() and (table.predict_seconds > 0).all()
    run = lvlab.open_run(tmp_path / "plain-3")
    dice = lvlab.evaluate(run, lvlab.load(phantom_folder).test).dice
    assert table.dice_mean[0] == pytest.approx(dice.mean()) and table.dice_worst[0] == pytest.approx(dice.min())
    assert table.val_dice[0] == pytest.approx(run.record["val_dice"], abs=1e-4)


def test_measuring_one_variant_anew_replaces_its_rows_only():
    stored = pd.read_csv(PROJECT / "lvlab" / "teach" / "ablation.csv")
    new = stored[stored.variant == "batches of 16"].assign(dice_mean=0.5)
    table = ablation.merged(stored, new)
    assert table.variant.tolist() == stored.variant.tolist() and table.seed.tolist() == stored.seed.tolist()
    changed = table.variant == "batches of 16"
    assert (table.dice_mean[changed] == 0.5).all() and table[~changed].equals(stored[~changed])


def test_the_stored_table_holds_every_variant_with_three_seeds_and_is_drawn_as_bars():
    table = pd.read_csv(PROJECT / "lvlab" / "teach" / "ablation.csv")
    names = [*ablation.VARIANTS, *ablation.AFTERWARDS]
    assert table.groupby("seed").variant.apply(list).tolist() == [names] * 3
    axis = views.ablation_chart(table).axes[0]
    assert [bar.get_width() for bar in axis.patches][::-1] == pytest.approx(
        table.groupby("variant", sort=False).dice_mean.mean().tolist())
