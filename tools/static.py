"""What a viewer shows at first, as a picture: a page without a kernel has no controls to move."""

import base64
import functools
import html
import re

import nbformat

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def still(notebook):
    """Return a copy in which pictures and words stand for the viewers and progress bars that were shown."""
    notebook = nbformat.from_dict(notebook)
    state = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if VIEW in output.get("data", {}):
                output["data"] = _shown(state, output["data"][VIEW]["model_id"])
    return notebook


def _shown(state, model):
    """Return {MIME type: content} of what a viewer shows: its picture and where its controls stand, else its words."""
    parts = list(_parts(state, model))
    pictures = [picture for picture in map(_picture, parts) if picture]
    controls = ", ".join(filter(None, map(_control, parts)))
    if pictures:
        opened = f"A viewer as it opens ({controls}); in the notebook it moves"
        words = opened if controls else "A live picture, in the end"
    elif any(part["model_name"] == "MPLCanvasModel" for part in parts):
        pictures, words = [_drawing()], "The contour drawer after an outline was drawn with the mouse"
    else:
        words = [_plain(part["state"].get("value")) for part in parts if part["model_name"] == "HTMLModel"]
        return {"text/plain": " ".join(filter(None, words))}
    words = html.escape(words)
    images = "".join(f'<img src="data:image/png;base64,{picture}" alt="{words}">' for picture in pictures)
    return {"text/html": f'<figure class="viewer">{images}<figcaption>{words}.</figcaption></figure>'}


def _parts(state, model):
    """Yield a widget and all that is in it."""
    part = state.get(model.removeprefix("IPY_MODEL_"))
    if part:
        yield part
        for child in part["state"].get("children", []):
            yield from _parts(state, child)


def _picture(part):
    """Return the PNG that a widget shows, in base64; None where it shows none."""
    if part["model_name"] == "ImageModel":
        return next((kept["data"] for kept in part.get("buffers", []) if kept["path"] == ["value"]), None)
    return (part["state"].get("_data_url") or "").partition("base64,")[2] or None


def _control(part):
    """Return what a control is called and where it stands; "" for what is none."""
    state = part["state"]
    name, labels, index = state.get("description"), state.get("_options_labels"), state.get("index")
    chosen = labels[index] if labels and index is not None else state.get("value")
    is_control = name and part["model_name"] not in ("ButtonModel", "FloatProgressModel", "IntProgressModel")
    return f"{_plain(name)}: {chosen}" if is_control and type(chosen) in (str, int, float) else ""


def _plain(text):
    """Return HTML's words, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text or "")).split())


@functools.cache
def _drawing():
    """Return a picture of what one sees after drawing an outline: the drawer's canvas itself is not stored."""
    import numpy as np

    from lvlab import phantom
    from lvlab.teach import views
    from lvlab.teach.controls import png

    slices = phantom.stack(*phantom.course_patient(1, seed=0))
    row = slices.masks.sum(axis=(1, 2, 3)).argmax()
    truth = slices.masks[row]
    drawn = np.maximum(np.roll(truth, 2, axis=1), np.roll(truth, -1, axis=0))
    return base64.b64encode(png(views.contour_comparison(slices.images[row], truth, None, drawn, []))).decode()
