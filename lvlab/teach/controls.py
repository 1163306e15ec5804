"""What the viewers are made of: controls, and a picture that is drawn anew, at once, when one of them changes."""

import gc
import io
from contextlib import contextmanager

import ipywidgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image


def settle():
    """Keep the garbage collector off what is there by now: walking Keras' million objects stops a viewer for 0.3 s."""
    gc.collect()
    gc.freeze()


@contextmanager
def promptly():
    """Draw first and collect garbage after: a full collection takes longer than the picture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def slice_choice(slices):
    options = [(name, row) for row, name in enumerate(slices.table.name)]
    return ipywidgets.Dropdown(options=options, description="Slice", layout={"width": "420px"})


def viewer(draw, controls):
    """Put controls above a picture that `draw` makes anew whenever one of them changes; None leaves it as it is."""
    picture = ipywidgets.Image(format="png")

    @promptly()
    def redraw(_=None):
        figure = draw()
        if figure is not None:
            picture.value = png(figure)

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    settle()
    return ipywidgets.Box([*controls, picture], layout={"flex_flow": "row wrap", "align_items": "flex-start"})


def beside(box, width="330px"):
    """Lay a viewer's controls out in a column, left of the picture."""
    *controls, picture = box.children
    for control in controls:
        control.layout.width = width
    picture.layout.grid_area = f"1 / 2 / {len(controls) + 2} / 3"
    return ipywidgets.GridBox(box.children, layout={
        "grid_template_columns": f"{width} auto", "grid_template_rows": f"repeat({len(controls)}, auto) 1fr",
        "align_items": "flex-start", "justify_content": "flex-start", "grid_gap": "2px 16px"})


def png(figure):
    """Draw a figure once into PNG bytes; `savefig` would lay it out and draw it twice."""
    figure.set_dpi(80)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
