"""The contour drawer: draw the cavity by mouse or by keyboard, and be scored against the expert and the network."""

from itertools import combinations

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.widgets import LassoSelector

from lvlab import metrics, pictures
from lvlab.store.masks import filled
from lvlab.teach import views
from lvlab.teach.controls import WRAPPED, WithinReach, png, promptly, settle, slice_choice
from lvlab.teach.describe import alt_of


class ContourDrawer(ipywidgets.VBox):
    """What `contour_drawer` returns: a canvas to draw on, the comparison, and the table of your scores."""

    def __init__(self, slices, prediction, canvas_of):
        settle()
        self.slices, self.prediction, self.drawings, self.rows = slices, prediction, {}, []
        self._make_canvas(canvas_of)
        rows = self._make_controls(), self._make_ellipse()
        self.reach = WithinReach(name="Contour drawer")
        self.clear()
        both = ipywidgets.HBox([self.canvas, self.picture], layout=WRAPPED)
        super().__init__([*rows, self.text, both, self.table, self.reach], layout={"align_items": "flex-start"})
        self.add_class("lvlab-viewer")

    def _make_canvas(self, canvas_of):
        figure = Figure(figsize=(3.0, 3.0))
        self.canvas = canvas_of(figure)
        axis = figure.add_axes([0, 0, 1, 0.92])
        axis.set_title("Go round the cavity: press, drag, release", fontsize=9)
        axis.axis("off")
        self.image = axis.imshow(self.slices.images[0, ..., 0], cmap="gray", vmin=0, vmax=1)
        self.trace, = axis.plot([], [], color=pictures.DRAWING, linewidth=1.5)
        self.lasso = LassoSelector(axis, self.finish, props={"color": pictures.DRAWING, "linewidth": 1.5})

    def _make_controls(self):
        self.choice = slice_choice(self.slices)
        self.choice.layout.width = "300px"
        self.previous, self.next, self.again = (
            ipywidgets.Button(description=name, icon=icon, layout={"width": "125px"})
            for name, icon in (("Previous", "arrow-left"), ("Next", "arrow-right"), ("Draw again", "pencil")))
        self.zoom = ipywidgets.ToggleButton(description="Zoom", icon="search-plus", layout={"width": "90px"})
        self.text, self.table = ipywidgets.HTML(), ipywidgets.HTML()
        self.picture = ipywidgets.Image(format="png")
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self.again.on_click(lambda _: self.clear())
        for control in (self.choice, self.zoom):
            control.observe(lambda _: self.clear(), "value")
        return ipywidgets.HBox([self.choice, self.previous, self.next, self.again, self.zoom], layout=WRAPPED)

    def _make_ellipse(self):
        """Make the way without a mouse: an ellipse, moved and sized by four sliders."""
        size = self.slices.images.shape[1]
        self.ellipse = {name: ipywidgets.IntSlider(value, 1, size, description=name, layout={"width": "180px"},
                                                   style={"description_width": "48px"})
                        for name, value in (("Across", size // 2), ("Down", size // 2), ("Width", 24), ("Height", 24))}
        for slider in self.ellipse.values():
            slider.observe(lambda _: self._trace(self.vertices()), "value")
        self.take = ipywidgets.Button(description="Take ellipse", icon="check", layout={"width": "130px"})
        self.take.on_click(lambda _: self.finish(self.vertices()))
        return ipywidgets.HBox([*self.ellipse.values(), self.take], layout=WRAPPED)

    def vertices(self):
        """Return the (x, y) vertices of the ellipse that the sliders describe, in pixels."""
        across, down, width, height = (slider.value for slider in self.ellipse.values())
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.column_stack([across + width / 2 * np.cos(angles), down + height / 2 * np.sin(angles)])

    def _trace(self, vertices):
        """Show an outline on the canvas, closed."""
        self.trace.set_data(*np.transpose([*vertices, vertices[0]]))
        self.canvas.draw_idle()

    @property
    def scores(self):
        """One row per drawing: name, attempt, four metrics against the expert, dice_network, area_pixels."""
        columns = ["name", "attempt", *metrics.NAMES, "dice_network", "area_pixels"]
        return pd.DataFrame(self.rows, columns=columns)

    def clear(self):
        """Show the chosen slice without any outline, ready for a drawing."""
        row = self.choice.value
        self.image.set_data(self.slices.images[row, ..., 0])
        whole = 0, 0, self.slices.images.shape[1]
        left, top, side = zoomed(self.slices.masks[row, ..., 0]) if self.zoom.value else whole
        self.view = {"xlim": (left - 0.5, left + side - 0.5), "ylim": (top + side - 0.5, top - 0.5)}
        self.image.axes.set(**self.view)
        self.trace.set_data([], [])
        self.picture.value = b""
        self.picture.layout.visibility = "hidden"
        self.text.value = ("The outline runs along the wall's inner edge; papillary muscles lie inside it. "
                           "Without a mouse: shape an ellipse, then take it.")
        self.canvas.draw_idle()

    @promptly()
    def finish(self, vertices):
        """Turn the (x, y) vertices of a drawing into a mask, and score it."""
        row = self.choice.value
        mask = filled(vertices, self.slices.images.shape[1:3])
        if not mask.any():
            self.text.value = "That was a click, not a contour: press, go round the cavity, and release."
            return
        self._trace(vertices)
        earlier = self.drawings.get(row, [])
        self._note(row, mask, len(earlier) + 1)
        predicted = None if self.prediction is None else self.prediction[row]
        figure = views.contour_comparison(self.slices.images[row], self.slices.masks[row], predicted, mask, earlier)
        for axis in figure.axes:
            axis.set(**self.view)
        self.drawings[row] = [*earlier, mask]
        self.picture.value, self.reach.alt = png(figure), alt_of(figure)
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
        words += [f"your drawings with each other: {spread:.3f} over {last.attempt} drawings" if last.attempt > 1
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
