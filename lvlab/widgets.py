"""Viewers for notebooks: sliders around one plain function of `display`, nothing more."""

import io

import ipywidgets
import numpy as np

from lvlab import display


def slice_browser(slices, prediction=None):
    """Browse slices by patient, level and phase; `prediction` masks (n, h, w, 1) are optional.

    Returns an ipywidgets box; without a kernel see `display.slice_view`, which it shows.
    """
    table = slices.table
    choices = ["truth", "prediction", "both", "image"] if prediction is not None else ["truth", "image"]
    patient = ipywidgets.Dropdown(options=slices.patients(), description="Patient")
    place = ipywidgets.SelectionSlider(options=[("", 0)], description="Level")
    phase = ipywidgets.ToggleButtons(options=[""], description="Phase")
    show = ipywidgets.ToggleButtons(options=choices, description="Show")
    opacity = ipywidgets.FloatSlider(0.4, min=0, max=1, step=0.05, description="Opacity")

    def refresh_phases(_=None):
        phase.options = sorted(set(table.phase[table.patient == patient.value]))

    def refresh_levels(_=None):
        rows = table[(table.patient == patient.value) & (table.phase == phase.value)].sort_values("level")
        before = place.label
        place.options = [(str(level) if level else str(count), row) for count, (row, level)
                         in enumerate(zip(rows.index, rows.level, strict=True), start=1)]
        labels = [label for label, _ in place.options]
        place.index = labels.index(before) if before in labels else 0

    patient.observe(refresh_phases, "value")
    for control in (patient, phase):
        control.observe(refresh_levels, "value")
    refresh_phases()
    refresh_levels()

    def draw():
        return display.slice_view(slices, place.value, opacity.value, prediction, show.value)

    return _viewer(draw, [patient, phase, place, show, opacity])


def threshold_explorer(slices, probability):
    """Move the threshold and watch mask and metrics; `probability` is (n, h, w, 1) in [0, 1]."""
    options = [(name, row) for row, name in enumerate(slices.table.name)]
    row = ipywidgets.Dropdown(options=options, description="Slice", layout={"width": "420px"})
    threshold = ipywidgets.FloatSlider(0.5, min=0.01, max=0.99, step=0.01, description="Threshold")

    def draw():
        return display.threshold_view(slices, np.asarray(probability), row.value, threshold.value)

    return _viewer(draw, [row, threshold])


def _viewer(draw, controls):
    """Put controls above a picture that `draw` makes anew whenever one of them changes."""
    picture = ipywidgets.Image(format="png")

    def redraw(_=None):
        if all(getattr(control, "value", 0) is not None for control in controls):
            buffer = io.BytesIO()
            draw().savefig(buffer, format="png", dpi=80)
            picture.value = buffer.getvalue()

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([*controls, picture])
