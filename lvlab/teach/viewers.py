"""Viewers for notebooks: controls around one plain function of `display`, nothing more."""

import gc
import io
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import combinations

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lvlab import metrics, pictures
from lvlab.evaluation import feature_watcher, masks_of, threshold_curves
from lvlab.slices import filled
from lvlab.teach import views


@contextmanager
def _promptly():
    """Draw first and collect garbage after: a full collection takes longer than the picture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
    opacity = ipywidgets.FloatSlider(0.4, min=0, max=1, step=0.05, description="Opacity")
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

    return _beside(_viewer(draw, [patient, phase, place, show, opacity, window, centre]))


def threshold_explorer(slices, probability):
    """Move the threshold and watch mask and metrics; `probability` is (n, h, w, 1) in [0, 1].

    Returns an ipywidgets box; without a kernel see `views.threshold_view`, which it shows.
    """
    probability = np.asarray(probability)
    row = _slice_choice(slices)
    threshold = ipywidgets.FloatSlider(0.5, min=0.01, max=0.99, step=0.01, description="Threshold")

    @cache
    def curves(row):
        return threshold_curves(slices.masks[row], probability[row])

    def draw():
        return views.threshold_view(slices, probability, row.value, threshold.value, curves(row.value))

    return _viewer(draw, [row, threshold])


def feature_map_explorer(run, slices):
    """Choose a slice and a layer along the U, and see what the layer makes of the slice.

    run : a Run or a Keras model. Without a kernel see `views.feature_maps`, which it shows.
    """
    watch = feature_watcher(run)

    @lru_cache(maxsize=8)
    def features(row):
        return watch(slices.images[row:row + 1])

    row = _slice_choice(slices)
    layer = ipywidgets.SelectionSlider(options=list(features(0)), description="Layer", layout={"width": "420px"})

    def draw():
        return views.feature_maps(run, slices, row.value, layer.value, features=features(row.value))

    return _viewer(draw, [row, layer])


def TrainingMonitor(validation, row=None):
    """Return a Keras callback that shows a training as it goes: `train(..., callbacks=[monitor])`.

    validation : the SliceSet to watch; row : the slice to show, by default that with the median cavity
    Its `picture` is an ipywidgets.Image, drawn anew after each epoch by `views.training_progress`.
    """
    import keras
    from IPython.display import display as show

    if row is None:
        row = int(np.argsort(validation.masks.sum((1, 2, 3)), kind="stable")[len(validation) // 2])
    image, truth = validation.images[row], validation.masks[row]
    picture, history = ipywidgets.Image(format="png"), []

    @_promptly()
    def after_epoch(epoch, logs):
        history.append({"epoch": epoch + 1, **logs})
        found = masks_of(monitor.model.predict_on_batch(image[None]))[0]
        picture.value = _png(views.training_progress(pd.DataFrame(history), image, truth, found))

    def before_training(logs):
        history.clear()
        monitor.model.predict_on_batch(image[None])
        show(picture)

    monitor = keras.callbacks.LambdaCallback(on_train_begin=before_training, on_epoch_end=after_epoch)
    monitor.picture = picture
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
        print("Drawing needs ipympl: run `pip install ipympl`, then restart the kernel and reload the page.")
        return None

    def canvas_of(figure):
        canvas = Canvas(figure)
        for part in ("header_visible", "footer_visible", "toolbar_visible", "resizable"):
            setattr(canvas, part, False)
        canvas.manager = FigureManager(canvas, 0)
        return canvas

    return ContourDrawer(slices, prediction, canvas_of)


class ContourDrawer(ipywidgets.VBox):
    """What `contour_drawer` returns: a canvas to draw on, the comparison, and the table of your scores."""

    def __init__(self, slices, prediction, canvas_of):
        from matplotlib.figure import Figure
        from matplotlib.widgets import LassoSelector

        self.slices, self.prediction, self.drawings, self.rows = slices, prediction, {}, []
        figure = Figure(figsize=(4.2, 4.2))
        self.canvas = canvas_of(figure)
        axis = figure.add_axes([0, 0, 1, 0.94])
        axis.set_title("Go round the cavity: press, drag, release", fontsize=10)
        axis.axis("off")
        self.image = axis.imshow(slices.images[0, ..., 0], cmap="gray", vmin=0, vmax=1)
        self.trace, = axis.plot([], [], color=pictures.DRAWN, linewidth=1.5)
        self.lasso = LassoSelector(axis, self.finish, props={"color": pictures.DRAWN, "linewidth": 1.5})
        self.choice = _slice_choice(slices)
        self.previous = ipywidgets.Button(description="Previous", icon="arrow-left")
        self.next = ipywidgets.Button(description="Next", icon="arrow-right")
        self.again = ipywidgets.Button(description="Draw again", icon="pencil")
        self.zoom = ipywidgets.ToggleButton(description="Zoom", icon="search-plus")
        self.text = ipywidgets.HTML()
        self.picture = ipywidgets.Image(format="png")
        self.table = ipywidgets.HTML()
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self.again.on_click(lambda _: self.clear())
        for control in (self.choice, self.zoom):
            control.observe(lambda _: self.clear(), "value")
        self.clear()
        buttons = ipywidgets.HBox([self.previous, self.next, self.again, self.zoom])
        both = ipywidgets.HBox([self.canvas, self.picture], layout={"flex_flow": "row wrap",
                                                                         "align_items": "flex-start"})
        super().__init__([self.choice, buttons, self.text, both, self.table],
                         layout={"align_items": "flex-start"})

    @property
    def scores(self):
        """One row per drawing: name, attempt, four metrics against the expert, dice_network, area_pixels."""
        columns = ["name", "attempt", *metrics.NAMES, "dice_network", "area_pixels"]
        return pd.DataFrame(self.rows, columns=columns)

    def clear(self):
        """Show the chosen slice bare, ready to be drawn on."""
        row = self.choice.value
        self.image.set_data(self.slices.images[row, ..., 0])
        whole = 0, 0, self.slices.images.shape[1]
        left, top, side = zoomed(self.slices.masks[row, ..., 0]) if self.zoom.value else whole
        self.view = {"xlim": (left - 0.5, left + side - 0.5), "ylim": (top + side - 0.5, top - 0.5)}
        self.image.axes.set(**self.view)
        self.trace.set_data([], [])
        self.picture.value = b""
        self.picture.layout.visibility = "hidden"
        self.text.value = "The outline runs along the wall's inner edge; papillary muscles lie inside it."
        self.canvas.draw_idle()

    @_promptly()
    def finish(self, vertices):
        """Turn the (x, y) vertices of a drawing into a mask, and score it."""
        row = self.choice.value
        mask = filled(vertices, self.slices.images.shape[1:3])
        if not mask.any():
            self.text.value = "That was a click, not a contour: press, go round the cavity, and release."
            return
        self.trace.set_data(*np.transpose([*vertices, vertices[0]]))
        self.canvas.draw_idle()
        earlier = self.drawings.get(row, [])
        self._note(row, mask, len(earlier) + 1)
        found = None if self.prediction is None else self.prediction[row]
        figure = views.contour_comparison(self.slices.images[row], self.slices.masks[row], found, mask, earlier)
        for axis in figure.axes:
            axis.set(**self.view)
        self.drawings[row] = [*earlier, mask]
        self.picture.value = _png(figure)
        self.picture.layout.visibility = "visible"
        self.text.value = self._verdict(row)
        self.table.value = self.scores.round(3).to_html(index=False, na_rep="")

    def _note(self, row, mask, attempt):
        truth = self.slices.masks[row]
        network = np.nan if self.prediction is None else metrics.dice(self.prediction[row], mask)
        self.rows.append([self.slices.table.name[row], attempt, *(getattr(metrics, name)(truth, mask)
                          for name in metrics.NAMES), network, int(mask.sum())])

    def _verdict(self, row):
        last = self.scores.iloc[-1]
        words = [f"Dice {last.dice:.3f} with the expert"]
        if self.prediction is not None:
            words += [f"{last.dice_network:.3f} with the network (network and expert: "
                      f"{metrics.dice(self.slices.masks[row], self.prediction[row]):.3f})"]
        spread = own_agreement(self.drawings[row])
        words += [f"you with yourself: {spread:.3f} over {last.attempt} drawings" if last.attempt > 1
                  else "draw it again to see how well you agree with yourself"]
        return "; ".join(words) + "."

    def _step(self, by):
        self.choice.index = (self.choice.index + by) % len(self.choice.options)


def zoomed(mask):
    """Return (left, top, side) of the half-size square round a mask (h, h), or round the middle where it is empty."""
    size, side = len(mask), len(mask) // 2
    middle = np.argwhere(mask > 0).mean(axis=0) if mask.any() else (size / 2, size / 2)
    top, left = np.clip(np.round(np.array(middle) - side / 2), 0, size - side).astype(int)
    return int(left), int(top), side


def own_agreement(masks):
    """Return the mean Dice over all pairs of one person's drawings of a slice; NaN for fewer than two."""
    pairs = [metrics.dice(first, second) for first, second in combinations(masks, 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


def _slice_choice(slices):
    options = [(name, row) for row, name in enumerate(slices.table.name)]
    return ipywidgets.Dropdown(options=options, description="Slice", layout={"width": "420px"})


def _viewer(draw, controls):
    """Put controls above a picture that `draw` makes anew whenever one of them changes; None leaves it as it is."""
    picture = ipywidgets.Image(format="png")

    @_promptly()
    def redraw(_=None):
        figure = draw()
        if figure is not None:
            picture.value = _png(figure)

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.Box([*controls, picture], layout={"flex_flow": "row wrap", "align_items": "flex-start"})


def _beside(viewer, width="330px"):
    """Lay a viewer's controls out in a column of its own, left of the picture."""
    *controls, picture = viewer.children
    for control in controls:
        control.layout.width = width
    picture.layout.grid_area = f"1 / 2 / {len(controls) + 2} / 3"
    return ipywidgets.GridBox(viewer.children, layout={
        "grid_template_columns": f"{width} auto", "grid_template_rows": f"repeat({len(controls)}, auto) 1fr",
        "align_items": "flex-start", "justify_content": "flex-start", "grid_gap": "2px 16px"})


def _png(figure):
    """Draw a figure once into PNG bytes; `savefig` would lay it out and draw it twice."""
    figure.set_dpi(80)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
