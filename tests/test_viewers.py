"""The viewers, moved through their traits: a control moves, the picture changes. In a browser: tests/browser."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import lvlab
from lvlab import evaluation
from lvlab.store.masks import filled
from lvlab.teach import controls, viewers, views
from lvlab.teach.drawer import ContourDrawer, zoomed


@pytest.fixture(scope="module")
def network():
    from lvlab.unet import unet

    return unet((2, 4), 128)


def changes(picture, control, value, trait="value"):
    """Move a control; return whether the picture became another PNG."""
    before = bytes(picture.value)
    setattr(control, trait, value)
    return bytes(picture.value).startswith(b"\x89PNG") and bytes(picture.value) != before


def test_slice_browser_redraws_when_a_control_moves(slices, prediction):
    *choices, opacity, window, centre, picture, _ = viewers.slice_browser(slices, prediction).children
    patient, phase, place, show = choices
    for control, value in ((opacity, 0.9), (show, "both"), (patient, patient.options[-1]), (phase, phase.options[-1]),
                           (show, "difference"), (window, 0.5), (centre, 0.3)):
        assert changes(picture, control, value), control.description
    assert changes(picture, place, len(place.options) - 1, "index")


def test_the_cine_player_moves_through_the_beat_and_the_levels():
    cine = lvlab.phantom.stack(*lvlab.phantom.course_patient(0, seed=0), shares=(0, 0.2, 0.4), distance_mm=30)
    play, level, frame, picture, _ = viewers.cine_player(cine).children
    assert changes(picture, play, 2) and frame.value == 2
    assert changes(picture, level, level.options[-1])
    assert picture.value == controls.png(views.slice_view(cine, int(cine.table.index[
        (cine.table.level == level.value) & (cine.table.time_ms == 360)][0])))


def test_slice_browser_keeps_the_level_and_draws_once_when_phase_or_patient_changes(slices):
    patient, phase, place, *_, picture, _ = viewers.slice_browser(slices).children
    place.index = 2
    drawn = []
    picture.observe(lambda change: drawn.append(change["new"]), "value")
    for control, value in ((phase, phase.options[-1]), (patient, patient.options[-1])):
        control.value = value
        assert place.index == 2
    assert len(drawn) == 2
    assert drawn[-1] == controls.png(views.slice_view(slices, place.value))


def test_slice_browser_offers_only_what_there_is_to_show(slices):
    assert viewers.slice_browser(slices).children[3].options == ("truth", "image")


def test_window_and_centre_stretch_the_greys_between_them():
    greys = np.array([0.2, 0.3, 0.4, 0.5, 0.9])
    np.testing.assert_allclose(views.windowed(greys, window=0.2, centre=0.4), [0, 0, 0.5, 1, 1], atol=1e-9)
    np.testing.assert_array_equal(views.windowed(greys), greys)


def test_threshold_explorer_redraws(slices, prediction):
    row, threshold, picture, _ = viewers.threshold_explorer(slices, prediction * 0.6).children
    assert changes(picture, threshold, 0.7)
    assert changes(picture, row, 1, "index")


def test_threshold_curves_are_the_metrics_at_each_threshold(slices):
    probability = np.random.default_rng(0).random(slices.masks[0].shape, np.float32)
    curves = views.threshold_curves(slices.masks[0], probability)
    for threshold in (0.01, 0.5, 0.99):
        predicted = evaluation.masks_of(probability, threshold)
        for name in lvlab.metrics.NAMES:
            assert curves[name][threshold] == getattr(lvlab.metrics, name)(slices.masks[0], predicted)


def test_feature_map_explorer_walks_along_the_u(slices, network):
    row, layer, picture, _ = viewers.feature_map_explorer(network, slices).children
    names = [name for name, _ in layer._options_full]
    assert names[:2] == ["down1a", "down1b"] and names[-1] == "probability"
    assert changes(picture, layer, "bottomb")
    assert changes(picture, row, 1, "index")


def test_features_are_what_the_layers_give(slices, network):
    features = views.feature_watcher(network)(slices.images[:1])
    np.testing.assert_allclose(features["probability"], network.predict_on_batch(slices.images[:1]), atol=1e-5)
    assert features["bottoma"].shape == (1, 64, 64, 4) and (features["bottoma"] >= 0).all()


def test_feature_maps_are_laid_out_row_by_row(slices):
    maps = np.zeros((4, 4, 3))
    maps[0, 0] = [1, 2, 3]
    mosaic = views._mosaic(maps)
    assert mosaic.shape == (9, 9) and mosaic[0, 0] == mosaic[0, 5] == mosaic[5, 0] == 1
    assert (mosaic[4] == 1).all() and mosaic[0, 1] == 0


def test_monitor_draws_after_each_epoch_of_a_training(slices, network, monkeypatch):
    from lvlab.training import as_dataset, compile_model

    monkeypatch.setattr("IPython.display.display", lambda picture: None)
    monitor = viewers.TrainingMonitor(slices)
    assert bytes(monitor.picture.value).startswith(b"\x89PNG"), "a broken picture before the first epoch ends"
    seen = []
    monitor.picture.observe(lambda change: seen.append(bytes(change["new"])), "value")
    compile_model(network, lvlab.LAB, 1)
    data = as_dataset(slices.subset([0, 1])).batch(2)
    network.fit(data, validation_data=data, epochs=3, verbose=0, callbacks=[monitor])
    assert len(set(seen)) == 3 and all(png.startswith(b"\x89PNG") for png in seen)


def test_importing_the_viewers_leaves_tensorflow_alone():
    code = "import sys, lvlab.teach.viewers; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_polygon_is_filled_with_x_before_y():
    mask = filled([(1.5, 0.5), (4.5, 0.5), (4.5, 2.5), (1.5, 2.5)], (6, 8))
    expected = np.zeros((6, 8, 1))
    expected[1:3, 2:5] = 1
    np.testing.assert_array_equal(mask, expected)
    assert not filled([(1, 1), (3, 3)], (6, 8)).any()


@pytest.fixture
def drawer(slices, prediction):
    class NoCanvas(FigureCanvasAgg):
        pass

    import ipywidgets

    class Canvas(ipywidgets.Output, NoCanvas):
        def __init__(self, figure):
            ipywidgets.Output.__init__(self)
            NoCanvas.__init__(self, figure)

    return ContourDrawer(slices, prediction, Canvas)


def outline(mask):
    """The (x, y) vertices round a mask, as a careful hand would draw them."""
    from skimage.measure import find_contours

    return find_contours(mask[..., 0], 0.5)[0][:, ::-1].tolist()


def test_a_careful_drawing_scores_one_against_the_expert(drawer, slices, prediction):
    drawer.finish(outline(slices.masks[0]))
    row = drawer.scores.iloc[0]
    network = lvlab.dice(prediction[0], slices.masks[0])
    assert row.dice == 1 and row.attempt == 1 and row["name"] == slices.table.name[0]
    assert row.dice_network == network and row.area_pixels == slices.masks[0].sum()
    assert "Dice 1.000 with the expert" in drawer.text.value and f"{network:.3f}" in drawer.text.value
    assert bytes(drawer.picture.value).startswith(b"\x89PNG")


def test_drawing_a_slice_again_tells_how_well_you_agree_with_yourself(drawer, slices, prediction):
    for mask in (slices.masks[0], prediction[0]):
        drawer.again.click()
        assert drawer.picture.value == b""
        drawer.finish(outline(mask))
    agreement = lvlab.dice(slices.masks[0], prediction[0])
    assert drawer.scores.attempt.tolist() == [1, 2]
    assert f"your drawings with each other: {agreement:.3f} over 2 drawings" in drawer.text.value


def test_a_click_is_no_contour_and_is_not_counted(drawer):
    drawer.finish([(3, 3)])
    assert len(drawer.scores) == 0 and "a click, not a contour" in drawer.text.value


def test_buttons_step_through_the_slices_and_round_again(drawer, slices):
    drawer.previous.click()
    assert drawer.choice.index == len(slices) - 1
    drawer.next.click()
    assert drawer.choice.index == 0


def test_an_ellipse_is_drawn_and_scored_without_a_mouse(drawer):
    for name, value in (("Across", 70), ("Down", 60), ("Width", 30), ("Height", 20)):
        drawer.ellipse[name].value = value
    x, y = drawer.trace.get_data()
    assert (min(x), max(x)) == (55, 85) and len(x) > 40 and round(max(y)) == 70
    drawer.take.click()
    assert drawer.scores.area_pixels[0] == pytest.approx(np.pi * 15 * 10, rel=0.05)
    assert "you" in drawer.reach.alt


def test_every_viewer_has_a_name_and_its_picture_an_alt_text_that_follows_it(slices, prediction, network):
    for viewer in (viewers.slice_browser(slices, prediction), viewers.threshold_explorer(slices, prediction),
                   viewers.feature_map_explorer(network, slices)):
        *boxes, _, reach = viewer.children
        before = reach.alt
        boxes[0].index = 1
        assert reach.name and len(before) > 20 and reach.alt != before


def test_zoom_shows_half_the_side_round_the_cavity_and_never_leaves_the_image(drawer, slices):
    drawer.zoom.value = True
    axis = drawer.image.axes
    for row, mask in enumerate(slices.masks[..., 0]):
        drawer.choice.value = row
        (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
        assert right - left == bottom - top == 64 and left >= -0.5 and top >= -0.5 and max(right, bottom) <= 127.5
        y, x = np.argwhere(mask).mean(axis=0)
        assert left < x < right and top < y < bottom
    assert zoomed(np.zeros((128, 128))) == (32, 32, 64)
    drawer.zoom.value = False
    assert axis.get_xlim() == (-0.5, 127.5) and axis.get_ylim() == (127.5, -0.5)


def test_without_ipympl_one_note_says_what_to_install(slices, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "ipympl.backend_nbagg", None)
    assert viewers.contour_drawer(slices) is None
    assert "pip install ipympl" in caplog.text


def test_a_viewer_keeps_the_garbage_collector_off_what_is_there_already(slices):
    import gc

    gc.unfreeze()
    viewers.slice_browser(slices)
    assert gc.get_freeze_count() > 0 and gc.isenabled()


def test_uncertainty_colours_only_the_pixels_between_its_limits(slices):
    probability = np.where(slices.masks > 0, 0.99, 0.01)
    probability[0, :2, :3] = 0.5
    left, right, _ = views.uncertainty(slices, probability, 0).axes
    assert "6 pixels between 0.1 and 0.9" in right.get_title()
    assert (~right.images[1].get_array().mask).sum() == 6


def test_the_grid_picture_shows_every_pixel_once(slices):
    from collections import Counter

    image = np.random.default_rng(0).random((8, 8), np.float32)
    whole, block, channels = (axis.images[0].get_array() for axis in views.draw_grid(image, grid=2).axes)
    shown = Counter(np.ravel(channels).tolist())
    assert all(shown[value] == 1 for value in image.ravel().tolist())
    assert block.shape == (2, 2) and channels.shape == (9, 9)
