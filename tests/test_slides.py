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


@pytest.fixture(scope="module")
def deck():
    return [slide for name in student.NOTEBOOKS
            for slide in slides.slides_of(nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", 4))]


def test_no_slide_is_nearly_empty_ends_in_the_air_or_names_what_students_lack(deck):
    for slide in deck:
        shown = slide["picture"] or slide["printed"] or slide["points"]
        assert shown or not slide["text"].endswith(":"), slide["title"]
        assert shown or slide["level"] != 2 or len(slide["text"]) >= 100, slide["title"]
        assert "docs/" not in slide["text"] + "".join(slide["points"]), slide["title"]


def test_no_exercises_slide_names_a_cell_or_a_table_that_is_not_on_it(deck):
    asked = {slide["title"]: slide["text"] for slide in deck if slide["level"] == 3}
    assert all(asked.values())
    assert not [title for title, text in asked.items() if re.search(r"next cell|tables? |above|below:", text)]


def _shown(*cells):
    return slides.slides_of(nbformat.v4.new_notebook(cells=list(cells)))


def test_a_section_without_a_picture_shows_what_it_prints_unless_it_asks_first():
    printing = nbformat.v4.new_code_cell("print()", outputs=[nbformat.v4.new_output("stream", text="Dice 0.9\n")])
    asking = nbformat.v4.new_code_cell("lvlab.quiz('a')", outputs=[
        nbformat.v4.new_output("execute_result", {"text/plain": "Predict first. More?"})])
    section = nbformat.v4.new_markdown_cell("## A section\n\nCounted both ways:")
    assert [(slide["text"], slide["printed"]) for slide in _shown(section, printing)] == [
        ("Counted both ways:", "Dice 0.9")]
    assert [(slide["text"], slide["printed"]) for slide in _shown(section, asking, printing)] == [
        ("Predict first. More?", "")]


def test_a_section_of_a_few_words_takes_the_next_paragraph_or_stands_before_the_next_section():
    long = "What is said here is said at length, so that the slide is not empty, and so that it can stand by itself."
    few, more = nbformat.v4.new_markdown_cell("## One\n\nFew words."), nbformat.v4.new_markdown_cell(long)
    second = nbformat.v4.new_markdown_cell(f"## Two\n\n{long}")
    assert [slide["text"] for slide in _shown(few, more)] == [f"Few words. {long}"]
    assert [(slide["title"], slide["text"]) for slide in _shown(few, second)] == [
        ("Two", f"One. Few words. {long}")]


def test_the_deck_is_a_pdf_with_a_page_for_each_slide(tmp_path):
    pytest.importorskip("typst", reason="typst is not installed; make install does it")
    count = slides.build(tmp_path / "deck.pdf")
    pdf = (tmp_path / "deck.pdf").read_bytes()
    assert count > 60 and pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type */Page\b", pdf)) == count  # no slide runs over
