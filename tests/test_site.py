"""The site's sources: viewers are pictures, and the students' pages hold nothing of the instructors'."""

import re
import shutil

import nbformat
import pytest

from lvlab.errors import CourseError
from lvlab.store.files import PROJECT
from tools import site
from tools.static import VIEW, still

#: Cells that show a viewer or a progress bar.
VIEWERS = [(path, cell.id) for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))
           for cell in nbformat.read(path, 4).cells
           if any(VIEW in output.get("data", {}) for output in cell.get("outputs", []))]


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "source"
    site.gather(folder, students=True)
    return folder


@pytest.mark.parametrize("path", sorted({path for path, _ in VIEWERS}), ids=lambda path: path.stem)
def test_a_picture_or_words_stand_for_every_viewer(path):
    cells = {cell.id: cell for cell in still(nbformat.read(path, 4)).cells}
    for output in [output for whose, own in VIEWERS if whose == path for output in cells[own].outputs]:
        shown = output.get("data", {"text/plain": "printed"})
        assert any(shown.values())
        assert VIEW not in shown and "children=" not in shown.get("text/plain", "")
        if "figure" in shown.get("text/html", ""):
            assert re.search(r'<img src="data:image/png;base64,\w.{1000,}" alt="[^"]{12,}">', shown["text/html"])


def test_a_viewers_caption_says_where_its_controls_stand():
    text = still(nbformat.read(PROJECT / "notebooks" / "01_explore_data.ipynb", 4))
    assert "Patient: phantom-01, Phase: ED" in nbformat.writes(text)


def test_students_pages_hold_no_solution_and_no_instructors_page(students):
    names = {path.name for path in students.rglob("*.md")}
    assert names == {"index.md", "glossary.md"}
    for path in students.rglob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert "SOLUTION" not in text and "# YOUR CODE HERE" in text
        assert not re.search(r"docs/\w+\.md|make timings", text)


def test_instructors_pages_fold_solutions_and_hold_all_pages(tmp_path):
    site.gather(tmp_path / "source", students=False)
    assert {"instructors.md", "measurements.md", "architecture.md", "index.md"} <= {
        path.name for path in (tmp_path / "source").glob("*.md")}
    text = (tmp_path / "source" / "notebooks" / "01_explore_data.ipynb").read_text(encoding="utf-8")
    assert "Show a solution" in text and "BEGIN SOLUTION" not in text


def test_the_site_has_an_icon_and_names_no_path_of_its_builder(tmp_path, monkeypatch):
    for package in ("myst_nb", "furo"):
        pytest.importorskip(package, reason=f"{package} is not installed; make site installs it")

    def one_page(source, students):
        shutil.copytree(PROJECT / "docs" / "site" / "_static", source / "_static")
        shutil.copy(PROJECT / "docs" / "site" / "conf.py", source)
        (source / "index.md").write_text("# A page\n")

    def no_network(out):
        raise CourseError("no npm")

    monkeypatch.setattr(site, "gather", one_page)
    monkeypatch.setattr(site, "build_page", no_network)
    assert site.build(tmp_path / "site", students=True) == 0
    assert re.search(r'rel="[a-z ]*icon" href="_static/favicon.svg', (tmp_path / "site" / "index.html").read_text())
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes() or ".doctrees" in path.parts]
    assert {path.name for path in tmp_path.iterdir()} == {"site", "site-source", "site-notes"}
