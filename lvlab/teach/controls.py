"""What the viewers are made of: controls, and a picture that is drawn anew, at once, when one of them changes."""

import gc
import io
from contextlib import contextmanager

import anywidget
import ipywidgets
import numpy as np
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lvlab.teach.describe import alt_of

WRAPPED = {"flex_flow": "row wrap", "align_items": "flex-start"}
WITHIN_REACH = """
const NAMES = { play: "Play", pause: "Pause", stop: "Stop", retweet: "Repeat" };
function render({ model, el }) {
  el.style.display = "none";
  let watcher, tries = 0;
  const dress = () => {
    const viewer = el.closest(".lvlab-viewer");
    viewer.setAttribute("role", "group");
    viewer.setAttribute("aria-label", model.get("name"));
    for (const control of viewer.querySelectorAll("select, button, input, [tabindex]"))
      control.setAttribute("data-lm-suppress-shortcuts", "true");
    for (const handle of viewer.querySelectorAll(".noUi-handle")) {
      const slider = handle.closest(".widget-inline-hbox");
      handle.setAttribute("aria-label", slider.querySelector(".widget-label").textContent);
    }
    for (const button of viewer.querySelectorAll(".widget-toggle-button"))
      button.setAttribute("aria-pressed", button.classList.contains("mod-active"));
    for (const icon of viewer.querySelectorAll(".widget-play button i"))
      icon.parentElement.setAttribute("aria-label", NAMES[icon.className.match(/fa-(\\w+)/)?.[1]] ?? "");
    for (const text of viewer.querySelectorAll(".widget-html")) text.setAttribute("aria-live", "polite");
    for (const picture of viewer.querySelectorAll("img.widget-image")) picture.alt = model.get("alt");
  };
  const leave = (event) => event.key === "Escape" && el.closest(".jp-Cell")?.focus();
  const begin = () => {
    const viewer = el.closest(".lvlab-viewer");
    if (!viewer) return tries++ < 3000 && setTimeout(begin, 50);
    dress();
    watcher = new MutationObserver(dress);
    watcher.observe(viewer, { childList: true, subtree: true, attributeFilter: ["class"] });
    viewer.addEventListener("keydown", leave);
  };
  begin();
  model.on("change:alt", () => el.closest(".lvlab-viewer") && dress());
  return () => watcher?.disconnect();
}
export default { render };
"""


class WithinReach(anywidget.AnyWidget):
    """What makes the box round it usable by keyboard and by ear; it shows nothing itself.

    JupyterLab leaves the keys alone that are pressed in there (Escape goes back to the cell), sliders say their label,
    and the picture has an alt text.
    """

    _esm = WITHIN_REACH
    name = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)


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


def viewer(draw, controls, name, others=()):
    """Put controls above a picture that `draw` makes anew whenever one of them changes; None leaves it as it is.

    name : what a screen reader calls it; others : controls that only move these
    Returns an ipywidgets.Box whose last children are the picture and a WithinReach; its `redraw()` draws at once.
    """
    picture, reach = ipywidgets.Image(format="png"), WithinReach(name=name)

    @promptly()
    def redraw(_=None):
        figure = draw()
        if figure is not None:
            picture.value, reach.alt = png(figure), alt_of(figure)

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    settle()
    box = ipywidgets.Box([*others, *controls, picture, reach], layout=WRAPPED)
    box.redraw = redraw
    return box.add_class("lvlab-viewer")


def beside(box, width="330px"):
    """Lay a viewer's controls out in a column, left of the picture."""
    *controls, picture, _ = box.children
    for control in controls:
        control.layout.width = width
    picture.layout.grid_area = f"1 / 2 / {len(controls) + 2} / 3"
    grid = ipywidgets.GridBox(box.children, layout={
        "grid_template_columns": f"{width} auto", "grid_template_rows": f"repeat({len(controls)}, auto) 1fr",
        "align_items": "flex-start", "justify_content": "flex-start", "grid_gap": "2px 16px"})
    return grid.add_class("lvlab-viewer")


def png(figure):
    """Draw a figure once into PNG bytes; `savefig` would lay it out and draw it twice."""
    figure.set_dpi(80)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
