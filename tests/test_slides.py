"""The slides follow from the notebooks by one rule, and show no solution."""

import re

import nbformat
import pytest

from lvlab.store.files import PROJECT
from tools import slides, student


@pytest.mark.parametrize("name", student.NOTEBOOKS)
def test_each_section_and_each_exercise_is_a_slide(name):
    notebook = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", 4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    deck = slides.slides_of(notebook)
    assert deck[0]["level"] == 1 and len(deck[0]["points"]) >= 3
    assert [slide["title"] for slide in deck if slide["level"] == 3] == re.findall(r"^### (Exercise .*)$", text, re.M)
    assert sum(bool(slide["picture"]) for slide in deck) >= 2
    code = re.findall(rf"{student.BEGIN}\n(.*?)\n *{student.END}", "\n".join(
        cell.source for cell in notebook.cells if cell.cell_type == "code"), re.S)
    shown = str([(slide["title"], slide["text"], slide["points"]) for slide in deck])
    assert code and not [solution for solution in code if solution.strip() in shown]
    assert "Hint" not in shown and "](" not in shown


def test_a_picture_after_an_exercise_is_not_shown():
    cell, picture = nbformat.v4.new_code_cell("plot()"), nbformat.v4.new_output("display_data", {"image/png": "AAAA"})
    cell.outputs = [picture]
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_markdown_cell("## A section\n\nWords."), nbformat.v4.new_markdown_cell("### Exercise 1\n\nDo."),
        cell])
    assert [slide["picture"] for slide in slides.slides_of(notebook)] == [None, None]


def test_the_deck_is_a_pdf(tmp_path):
    pytest.importorskip("typst", reason="typst is not installed; make install does it")
    assert slides.build(tmp_path / "deck.pdf") > 60
    assert (tmp_path / "deck.pdf").read_bytes().startswith(b"%PDF")
