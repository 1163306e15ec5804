"""Viewers for notebooks: controls around one plain function of `views`, nothing more."""

import logging
from functools import cache, lru_cache

import ipywidgets
import numpy as np
import pandas as pd

from lvlab.evaluation import masks_of
from lvlab.pictures import OPACITY
from lvlab.teach import views
from lvlab.teach.controls import beside, settle, slice_choice, viewer
from lvlab.teach.drawer import ContourDrawer

WATCHED = ["epoch", "loss", "dice", "val_loss", "val_dice"]


def slice_browser(slices, prediction=None):
    """Browse slices by patient, level and phase; `prediction` masks (n, h, w, 1) are optional.

    Returns an ipywidgets box; without a kernel see `views.slice_view`, which it shows.
    """
    table = slices.table
    choices = ["truth", "image"] if prediction is None else ["truth", "prediction", "both", "difference", "image"]
    patient = ipywidgets.Dropdown(options=slices.patients(), description="Patient")
    place = ipywidgets.SelectionSlider(options=[("", 0)], description="Level")
    phase = ipywidgets.ToggleButtons(options=[""], description="Phase")
    show = ipywidgets.ToggleButtons(options=choices, description="Show")
    show.style.button_width = "98px"
    opacity = ipywidgets.FloatSlider(OPACITY, min=0, max=1, step=0.05, description="Opacity")
    window = ipywidgets.FloatSlider(1, min=0.1, max=2, step=0.05, description="Window")
    centre = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.05, description="Centre")

    settling = []  # one choice resets others: draw once, when all have settled

    def refresh_phases(_=None):
        settling.append("phases")
        phase.options = sorted(set(table.phase[table.patient == patient.value]))
        settling.pop()

    def refresh_levels(_=None):
        settling.append("levels")
        rows = table[(table.patient == patient.value) & (table.phase == phase.value)].sort_values("level")
        before = place.label
        place.options = [(str(level) if level else str(count), row) for count, (row, level)
                         in enumerate(zip(rows.index, rows.level, strict=True), start=1)]
        labels = [label for label, _ in place.options]
        place.index = labels.index(before) if before in labels else 0
        settling.pop()

    patient.observe(refresh_phases, "value")
    for control in (patient, phase):
        control.observe(refresh_levels, "value")
    refresh_phases()
    refresh_levels()

    def draw():
        return None if settling else views.slice_view(slices, place.value, opacity.value, prediction, show.value,
                                                        window.value, centre.value)

    return beside(viewer(draw, [patient, phase, place, show, opacity, window, centre], "Slice browser"))


def cine_player(slices, interval_ms=80):
    """Watch a heart beat: choose a level, press play, or move from frame to frame.

    slices : all frames of one patient, such as `phantom.stack(…, shares=…)`; their table has level and time_ms
    Returns an ipywidgets box; without a kernel see `views.slice_view`, which it shows.
    """
    order = slices.table.sort_values(["level", "time_ms"], kind="stable")
    rows = {level: list(own.index) for level, own in order.groupby("level")}
    most = max(map(len, rows.values()))
    level = ipywidgets.SelectionSlider(options=list(rows), description="Level")
    frame = ipywidgets.IntSlider(0, min=0, max=most - 1, description="Frame")
    play = ipywidgets.Play(min=0, max=most - 1, interval=interval_ms, repeat=True)
    ipywidgets.link((play, "value"), (frame, "value"))

    def draw():
        return views.slice_view(slices, rows[level.value][frame.value % len(rows[level.value])])

    return beside(viewer(draw, [level, frame], "Cine player", [play]))


def threshold_explorer(slices, probability):
    """Move the threshold and watch mask and metrics; `probability` is (n, h, w, 1) in [0, 1].

    Returns an ipywidgets box; without a kernel see `views.threshold_view`, which it shows.
    """
    probability = np.asarray(probability)
    row = slice_choice(slices)
    threshold = ipywidgets.FloatSlider(0.5, min=0.01, max=0.99, step=0.01, description="Threshold")

    @cache
    def curves(row):
        return views.threshold_curves(slices.masks[row], probability[row])

    def draw():
        return views.threshold_view(slices, probability, row.value, threshold.value, curves(row.value))

    return viewer(draw, [row, threshold], "Threshold explorer")


def feature_map_explorer(run, slices):
    """Choose a slice and a layer along the U, and see what the layer makes of the slice.

    run : a Run or a Keras model. Without a kernel see `views.feature_maps`, which it shows.
    """
    watch = views.feature_watcher(run)

    @lru_cache(maxsize=8)
    def features(row):
        return watch(slices.images[row:row + 1])

    row = slice_choice(slices)
    layer = ipywidgets.SelectionSlider(options=list(features(0)), description="Layer", layout={"width": "420px"})

    def draw():
        return views.feature_maps(run, slices, row.value, layer.value, features=features(row.value))

    return viewer(draw, [row, layer], "Feature map explorer")


def TrainingMonitor(validation, row=None):
    """Return a Keras callback that shows a training as it goes: `train(..., callbacks=[monitor])`.

    validation : the SliceSet to watch; row : the slice to show, by default that with the median cavity
    Its `picture` is an ipywidgets.Image in a box, drawn anew after each epoch by `views.training_progress`.
    """
    import keras
    from IPython.display import display as show

    if row is None:
        row = int(np.argsort(validation.masks.sum((1, 2, 3)), kind="stable")[len(validation) // 2])
    image, truth = validation.images[row], validation.masks[row]
    history = []

    def progress():
        predicted = masks_of(monitor.model.predict_on_batch(image[None]))[0] if history else None
        return views.training_progress(pd.DataFrame(history, columns=WATCHED), image, truth, predicted)

    def before_training(logs):
        settle()
        history.clear()
        box.redraw()
        monitor.model.predict_on_batch(image[None])
        show(box)

    def after_epoch(epoch, logs):
        history.append({"epoch": epoch + 1, **logs})
        box.redraw()

    box = viewer(progress, [], "Training monitor")
    monitor = keras.callbacks.LambdaCallback(on_train_begin=before_training, on_epoch_end=after_epoch)
    monitor.picture, _ = box.children
    return monitor


def contour_drawer(slices, prediction=None):
    """Draw the cavity's contour with the mouse and be scored against the expert and the network.

    prediction : masks (n, h, w, 1), or None
    Returns a ContourDrawer; its `scores` are a DataFrame. Needs ipympl; without it, it says so. Without a
    kernel see `views.contour_comparison`, which it shows.
    """
    try:
        from ipympl.backend_nbagg import Canvas, FigureManager
    except ImportError:
        logging.getLogger("lvlab").warning(
            "Drawing needs ipympl: run `pip install ipympl`, then restart the kernel and reload the page.")
        return None

    def canvas_of(figure):
        canvas = Canvas(figure)
        for part in ("header_visible", "footer_visible", "toolbar_visible", "resizable"):
            setattr(canvas, part, False)
        canvas.manager = FigureManager(canvas, 0)
        return canvas

    return ContourDrawer(slices, prediction, canvas_of)
