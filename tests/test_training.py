"""The network, the losses, the augmentation and a short real training."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import lvlab
from lvlab import evaluation, metrics
from lvlab.__main__ import main
from lvlab.augment import STRENGTHS, augment
from lvlab.backend import choose_precision
from lvlab.errors import CourseError
from lvlab.losses import LOSSES, slice_dice, soft_dice_loss
from lvlab.pictures import learning_curves
from lvlab.recipes import ASSIGNMENT, CHOICES, LAB, RECIPES, Recipe
from lvlab.store import progress, recorded, runs, shipped
from lvlab.store.recorded import train, train_or_open
from lvlab.training import batches, build, fit
from lvlab.unet import unet

TINY = replace(LAB, filters=(4, 8), batch_size=4, epochs=3, passes=2, keep="best")


@pytest.fixture(scope="module")
def data(phantom_folder):
    course = lvlab.load(phantom_folder)
    return (*course.training.split_by_patient(0.3, seed=0), course.test)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return train(*data[:2], TINY, tmp_path_factory.mktemp("runs") / "tiny", quiet=True)


def test_assignment_network_has_the_assignments_parameters():
    model = unet(ASSIGNMENT.filters)
    assert model.count_params() == 7_759_521
    assert model.output_shape == (None, 128, 128, 1)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds == {"InputLayer", "Conv2D", "MaxPooling2D", "Conv2DTranspose", "Concatenate"}


def test_recipe_assignment_is_the_assignments_to_the_letter():
    a = ASSIGNMENT
    assert (a.loss, a.learning_rate, a.schedule) == ("dice", 5e-4, "constant")
    assert (a.batch_size, a.epochs, a.passes, a.filters) == (4, 100, 1, (32, 64, 128, 256, 512))
    assert (a.augmentation, a.precision, a.validation_fraction, a.keep, a.threshold) == (
        "none", "float32", 0.2, "best", 0.5)


@pytest.mark.parametrize("grid", [2, 4])
def test_folding_loses_no_pixel_and_gives_each_back_its_place(grid):
    pixels = np.random.default_rng(0).random((1, 32, 32, 1)).astype(np.float32)
    model = unet((4, 8), 32, grid=grid)
    between = model.get_layer("down1a").input, model.get_layer("squares").output
    folded, squares = keras.Model(model.input, between)(pixels)
    assert folded.shape == (1, 32 // grid, 32 // grid, grid**2)
    np.testing.assert_array_equal(tf.nn.space_to_depth(pixels, grid), folded)
    np.testing.assert_allclose(model(pixels), tf.sigmoid(tf.nn.depth_to_space(squares, grid)), atol=1e-6)


def test_normalised_network_says_the_same_of_a_dark_slice_and_whatever_lies_beside_it():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((3, 32, 32, 1)).astype(np.float32)
    networks = {kind: unet((8, 16), 32, "he_normal", normalization=kind) for kind in ("instance", "none")}
    changes = {kind: np.ptp([network(images), network(images / 2)], axis=0).max() for kind, network in networks.items()}
    assert changes["instance"] < 0.05 < 0.1 < changes["none"]
    np.testing.assert_allclose(networks["instance"](images)[1:2], networks["instance"](images[1:2]), atol=1e-6)


def test_network_sees_the_whole_crop():
    model = build(LAB)
    image = tf.Variable(np.random.default_rng(0).random((1, 128, 128, 1), np.float32))
    with tf.GradientTape() as tape:
        centre = model(image)[0, 64, 64, 0]
    reach = np.flatnonzero(np.abs(tape.gradient(centre, image)[0, :, :, 0]).max(0))
    assert reach.min() <= 8 and reach.max() >= 119


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_soft_dice_of_hard_masks_is_one_minus_dice(seed):
    truth, found = (np.random.default_rng(seed).random((2, 3, 8, 8, 1)) > 0.5).astype(np.float32)
    whole = metrics.dice(truth.reshape(1, -1, 8), found.reshape(1, -1, 8))[0]
    assert float(soft_dice_loss(truth, found)) == pytest.approx(1 - whole, abs=1e-5)
    np.testing.assert_allclose(slice_dice(truth, found), metrics.dice(truth, found), atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_smallest_when_right_and_finite_when_empty(name):
    truth = np.zeros((2, 8, 8, 1), np.float32)
    truth[:, 2:5, 2:5] = 1
    right, wrong = float(LOSSES[name](truth, truth)), float(LOSSES[name](truth, 1 - truth))
    assert right < 0.01 < wrong
    assert np.isfinite(float(LOSSES[name](0 * truth, 0 * truth)))


def test_augmentation_moves_image_and_mask_alike_and_repeats_with_its_seed(data):
    training = data[0]
    images, masks = training.masks * 0.8 + 0.1, training.masks
    moved, moved_masks = augment(images, masks, tf.constant([3, 4]))
    again, _ = augment(images, masks, tf.constant([3, 4]))
    np.testing.assert_array_equal(moved, again)
    assert set(np.unique(moved_masks)) == {0, 1} and moved.numpy().min() >= 0 and moved.numpy().max() <= 1
    inside = moved_masks.numpy() > 0
    for image, mask in zip(moved.numpy(), inside, strict=True):
        if mask.sum() > 60:
            assert image[mask].mean() > image[~mask].mean() + 0.2
    assert np.mean(metrics.dice(masks, moved_masks)) < 0.8


@pytest.mark.parametrize("strength", STRENGTHS)
def test_masks_beside_their_images_stay_as_far_beside_however_a_slice_is_turned(data, strength):
    offset, seed = (2, -1), tf.constant([5, 6])
    images, masks = data[0].images, np.pad(data[0].masks[:, 8:-8, 8:-8], [(0, 0), (8, 8), (8, 8), (0, 0)])
    as_seen, truth = augment(images, masks, seed, strength)
    again, beside = augment(images, np.roll(masks, offset, (1, 2)), seed, strength, offset)
    np.testing.assert_array_equal(again, as_seen)
    back = np.roll(beside, (-2, 1), (1, 2))[:, 4:-4, 4:-4]
    assert np.abs(back - truth[:, 4:-4, 4:-4]).mean() < 1e-3
    recipe = replace(TINY, augmentation=strength)
    kept, ignored = (next(iter(batches(data[0], recipe, 7, offset=each)))[1].numpy() for each in (offset, (0, 0)))
    assert (kept != ignored).any()


@pytest.mark.parametrize(("how", "kept"), [("kept", (2, -1)), ("ignored", (0, 0))])
def test_training_measures_where_masks_lie_and_keeps_it_if_the_recipe_says_so(data, tmp_path, monkeypatch, how, kept):
    class Asked(Exception):
        pass

    def stop(*given):
        raise Asked(given[-1])

    moved = replace(data[0], masks=np.roll(data[0].masks, (2, -1), (1, 2)))
    monkeypatch.setattr(recorded, "fit", stop)
    with pytest.raises(Asked) as asked:
        train(moved, data[1], replace(TINY, mask_offset=how), tmp_path / "run", quiet=True)
    assert asked.value.args == (kept,)


def test_each_batch_is_augmented_by_its_own_step(data):
    plain, changed = (batches(data[0], each, 7) for each in (replace(TINY, augmentation="none"), TINY))
    for step, (before, after) in enumerate(zip(plain.take(5), changed, strict=False)):
        for expected, found in zip(augment(*before, tf.constant([7, step])), after, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_training_learns_and_leaves_a_whole_run_folder(run, data):
    assert run.history.loss.iloc[-1] < run.history.loss.iloc[0]
    assert {path.name for path in run.path.iterdir()} == {
        "weights.npz", "model.keras", "recipe.json", "history.csv", "logs"}
    assert run.record["versions"]["tensorflow"] and run.record["data_fingerprint"] and run.record["seed"] == 0
    assert set(run.record["training_patients"]).isdisjoint(run.record["validation_patients"])
    assert list((run.path / "logs").rglob("*tfevents*"))


def test_the_same_seed_gives_the_same_weights_without_a_folder_too(run, data):
    model = build(TINY)
    history = fit(model, *data[:2], TINY)
    np.testing.assert_allclose(history.loss, run.history.loss, rtol=1e-3)
    for one, other in zip(model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("slip", [
    {"loss": "dise"}, {"schedule": "cosin"}, {"start": "fantom"}, {"augmentation": "strongest"}, {"keep": "bests"},
    {"precision": "float16"}, {"kernel_initializer": "henormal"}, {"normalization": "batch"}, {"filters": (16, 0)},
    {"filters": 16}, {"threshold": float("nan")}, {"epochs": 0}, {"batch_size": 2.5}, {"learning_rate": -1e-3},
    {"blend": 1.5}], ids=str)
def test_a_recipe_refuses_a_slip_at_once_and_names_what_is_possible(slip):
    with pytest.raises(CourseError, match=f"recipe: {next(iter(slip))} is .*; (choose one of|it must be)"):
        replace(LAB, **slip)


def test_a_recipe_comes_back_from_its_file_and_an_older_one_has_the_defaults():
    stored = json.loads(json.dumps(LAB.as_dict()))
    assert Recipe.from_dict(stored) == LAB
    del stored["blend"]
    assert Recipe.from_dict({**stored, "ending": "gentle"}).blend == 1  # retired: opens, and says nothing
    with pytest.raises(CourseError, match="depth is not known to this version"):
        Recipe.from_dict({**stored, "depth": 3})


def test_every_choice_of_a_recipe_has_its_part():
    assert set(CHOICES["loss"]) == set(LOSSES) and set(CHOICES["augmentation"]) == {"none", *STRENGTHS}
    assert all(keras.initializers.get(name) for name in CHOICES["kernel_initializer"])


def test_kept_weights_are_those_of_the_best_validation_loss(run, data):
    model = run.model
    model.compile(loss=LOSSES[TINY.loss])
    whole = tf.data.Dataset.from_tensor_slices((data[1].images, data[1].masks)).batch(20)
    assert model.evaluate(whole, verbose=0) == pytest.approx(run.history.val_loss.min(), rel=0.02)


def test_a_training_with_nobody_held_out_must_say_so_and_not_keep_the_best_epoch(data, tmp_path):
    every, nobody = data[0].split_by_patient(0)
    recipe = replace(TINY, keep="last", validation_fraction=0.0)
    with pytest.raises(CourseError, match="the validation slices are missing"):
        train(every, nobody, replace(recipe, validation_fraction=0.2), tmp_path / "watched")
    with pytest.raises(CourseError, match="the validation slices are missing"):
        train(every, None, recipe, tmp_path / "none")
    with pytest.raises(CourseError, match="the validation slices are missing or have no masks"):
        train(every, replace(data[1], masks=None), recipe, tmp_path / "unlabelled")
    with pytest.raises(CourseError, match="keeps the best epoch, so it needs validation"):
        replace(recipe, keep="best")
    with pytest.raises(CourseError, match="no epoch is the best"):
        fit(build(TINY), data[0], data[1].subset([]), TINY)


def test_the_command_line_learns_from_every_training_patient_and_says_so(phantom_folder, data, tmp_path, monkeypatch,
                                                                         capsys):
    monkeypatch.setitem(RECIPES, ("lab", "scratch"), replace(TINY, keep="last", epochs=1))
    assert main(["train", "--data", str(phantom_folder), "--out", str(tmp_path / "run"), "--no-validation"]) == 0
    run, patients = runs.open_run(tmp_path / "run"), {*data[0].patients(), *data[1].patients()}
    assert {*run.record["training_patients"]} == patients and run.record["validation_patients"] == []
    assert run.record["val_dice"] is None and run.history.val_dice.isna().all() and run.history.dice.notna().all()
    assert [text.get_text() for text in learning_curves(run.history).axes[0].get_legend().texts] == ["training"]
    assert f"nobody held out of {len(data[0]) + len(data[1])} slices" in capsys.readouterr().out


def test_blended_weights_lie_between_the_start_and_the_trained_ones(run, data, tmp_path):
    blended = train(*data[:2], replace(TINY, blend=0.25), tmp_path / "blended", quiet=True)
    start = build(TINY).get_weights()
    for first, trained, kept in zip(start, run.model.get_weights(), blended.model.get_weights(), strict=True):
        np.testing.assert_allclose(kept, 0.25 * trained + 0.75 * first, rtol=1e-3, atol=1e-3)
    assert blended.record["val_dice"] == pytest.approx(lvlab.evaluate(blended, data[1]).dice.mean(), abs=1e-3)


def test_a_run_is_never_overwritten_without_being_told(run, data):
    with pytest.raises(CourseError, match="already exists"):
        train(*data[:2], TINY, run.path)


def test_a_folder_that_is_no_run_is_not_removed_even_with_overwrite(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CourseError, match="not a run folder"):
        train(*data[:2], TINY, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_train_or_open_trains_only_when_something_changed(run, data, caplog):
    with caplog.at_level("INFO", "lvlab"):
        train_or_open(*data[:2], TINY, run.path, quiet=True)
    assert "opened" in caplog.text
    about = recorded.identity(*data[:2], TINY, 0)
    assert runs.same_training(run.path, about)
    for recipe, seed in ((replace(TINY, learning_rate=3e-3), 0), (TINY, 1)):
        assert not runs.same_training(run.path, recorded.identity(*data[:2], recipe, seed))
    assert not runs.same_training(run.path, {**about, "data_fingerprint": "other"})


@pytest.mark.parametrize("newer", [True, False])
def test_a_run_that_cannot_be_read_is_never_trained_over(run, data, tmp_path, newer):
    shutil.copytree(run.path, tmp_path / "run")
    text = (run.path / runs.RECIPE).read_text()
    (tmp_path / "run" / runs.RECIPE).write_text(
        text.replace('"name": "lab"', '"name": "lab", "colour": "red"') if newer else text[:40])
    with pytest.raises(CourseError, match=runs.RECIPE):
        train_or_open(*data[:2], TINY, tmp_path / "run", quiet=True)
    assert runs.fingerprint(tmp_path / "run") == runs.fingerprint(run.path)


def test_weights_that_are_no_numbers_are_refused(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    weights = [np.full_like(each, np.nan) for each in run.model.get_weights()]
    progress.save_arrays(tmp_path / "run" / runs.WEIGHTS, **progress.numbering("weights", weights))
    with pytest.raises(CourseError, match="holds numbers that are not finite"):
        _ = runs.open_run(tmp_path / "run").model


def test_new_shipped_weights_make_a_run_that_started_from_others_an_old_one(data, run, tmp_path, monkeypatch):
    shutil.copytree(run.path, tmp_path / "run")
    recipe = replace(TINY, start="phantom")
    record = {**run.record, "recipe": recipe.as_dict(), "start_fingerprint": shipped.fingerprint()}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(record))
    assert runs.same_training(tmp_path / "run", recorded.identity(*data[:2], recipe, 0))
    monkeypatch.setattr(shipped, "fingerprint", lambda: "another")
    assert not runs.same_training(tmp_path / "run", recorded.identity(*data[:2], recipe, 0))


def test_an_interrupted_training_resumes_after_the_last_epoch(data, run, tmp_path):
    class Stop(Exception):
        pass

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise Stop

    with pytest.raises(Stop):
        train(*data[:2], TINY, tmp_path / "cut", quiet=True, callbacks=[Interrupt()])
    with pytest.raises(CourseError, match="not finished"):
        runs.open_run(tmp_path / "cut")
    resumed = train(*data[:2], TINY, tmp_path / "cut", resume=True, quiet=True)
    assert resumed.history.epoch.tolist() == [1, 2, 3]
    np.testing.assert_allclose(resumed.history.loss[:2], run.history.loss[:2], rtol=1e-3)
    with pytest.raises(CourseError, match="nothing to resume"):
        train(*data[:2], TINY, tmp_path / "cut", resume=True, quiet=True)


def test_an_unknown_precision_is_refused_before_a_run_is_overwritten(data, run, tmp_path, monkeypatch):
    shutil.copytree(run.path, tmp_path / "run")
    monkeypatch.setenv("LVLAB_PRECISION", "bf16")
    with pytest.raises(CourseError, match="LVLAB_PRECISION is 'bf16'; set it to"):
        train(*data[:2], TINY, tmp_path / "run", overwrite=True, quiet=True)
    assert (tmp_path / "run" / runs.WEIGHTS).exists()


def test_slices_of_another_size_are_refused(run, phantom_folder):
    with pytest.raises(CourseError, match="takes 128 × 128 pixels, these slices are 64 × 64"):
        evaluation.predict(run, lvlab.load(phantom_folder, size=64).test)


def test_precision_follows_the_machine_and_can_be_forced(monkeypatch):
    monkeypatch.setenv("LVLAB_PRECISION", "float32")
    assert choose_precision("auto") == "float32" and choose_precision("bfloat16") == "bfloat16"
    monkeypatch.setattr("lvlab.backend.cpu_features", lambda names: [])
    monkeypatch.setattr("lvlab.backend.has_gpu", lambda: False)
    monkeypatch.setenv("LVLAB_PRECISION", "auto")
    assert choose_precision("auto") == "float32"


def test_predictions_agree_between_precisions(run, data, monkeypatch):
    monkeypatch.setenv("LVLAB_PRECISION", "float32")
    exact = evaluation.predict(runs.open_run(run.path), data[2])
    monkeypatch.setenv("LVLAB_PRECISION", "bfloat16")
    rough = evaluation.predict(runs.open_run(run.path), data[2])
    assert np.abs(exact - rough).mean() < 0.02
