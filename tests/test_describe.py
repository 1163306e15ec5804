"""Every picture of the notebooks has an alt text that says what is in it."""

import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from lvlab import pictures
from lvlab.clinic import charts
from lvlab.store.files import PROJECT
from lvlab.teach import describe, views

IMG = re.compile(r"<img\b[^>]*>")


def alts(notebook):
    """Yield (code cell, alt text or None) for every picture in the stored outputs."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            for kind, content in output.get("data", {}).items():
                if kind.startswith("image/"):
                    yield number, output.metadata.get(kind, {}).get("alt")
                elif kind == "text/html":
                    for tag in IMG.findall(content):
                        yield number, (re.findall(r'alt="([^"]*)"', tag) or [None])[0]


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_stored_picture_has_an_alt_text_that_is_no_path(path):
    found = list(alts(nbformat.read(path, 4)))
    assert found
    assert [number for number, alt in found
            if not alt or len(alt) < 20 or " " not in alt or re.search(r"\.(png|svg)\b|^\W*/", alt)] == []


def test_a_figure_says_its_titles_axes_outlines_and_where_curves_lead(slices, prediction):
    alt = describe.alt_of(pictures.triptych(slices, prediction, 0, "Best of 3 slices"))
    assert alt.startswith("Best of 3 slices. 3 images: ") and "Prediction, Dice 0." in alt
    assert "outline of ground truth and of prediction" in alt
    figure, axis = pictures.new_figure(1, 1, 3, width=3)
    axis.plot([1, 2, 3], [0.9, np.nan, 0.25], label="training")
    axis.axvline(2, label="best")
    pictures.tidy(axis, "Epoch", "Loss")
    assert describe.alt_of(figure) == "Curves: Loss against Epoch; training from 0.9 to 0.25, best at 2."
    assert describe.alt_of(describe.words(figure, "In my words.")) == "In my words."


@pytest.mark.parametrize("draw", [
    lambda slices, masks: plt.Figure(), lambda slices, masks: views.draw_unet(),
    lambda slices, masks: views.class_balance(slices), lambda slices, masks: views.similarity(slices),
    lambda slices, masks: views.threshold_view(slices, masks, 0),
    lambda slices, masks: pictures.gallery(slices.images[:9], slices.table.name[:9] + "\n" * 400),
    lambda slices, masks: charts.bland_altman_plot([1, 2], [2, 2], "%", "EF")])
def test_no_figure_is_without_words_or_talks_without_end(draw, slices, prediction):
    alt = describe.alt_of(draw(slices, prediction))
    assert 20 < len(alt) <= describe.MOST_LETTERS + 2 and "\n" not in alt and alt[-1] in ".…"


def test_a_notebook_stores_the_alt_text_beside_the_picture():
    shell = InteractiveShell()
    describe.describe_figures(shell)
    describe.describe_figures(None)
    shell.display_formatter.formatters["image/png"].for_type(plt.Figure, lambda figure: b"PNG")
    data, about = shell.display_formatter.format(views.draw_unet())
    assert data["image/png"] == b"PNG" and about["image/png"]["alt"].startswith("The U-Net as a U.")
