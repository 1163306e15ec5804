"""The students' edition follows its source, and nbgrader gives marks for right answers only."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from lvlab.store.files import PROJECT
from lvlab.teach import checks
from tools import handout, overview, student

NAMES = student.NOTEBOOKS
FIRST = "01_explore_data"
EXERCISE = re.compile(r"^### Exercise (\d+\.\d+) · ", re.M)


def source(name):
    return nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", 4)


def exercises(notebook):
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [number for text in texts for number in EXERCISE.findall(text)]


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    pytest.importorskip("nbgrader", reason="nbgrader is not installed; make student installs it")
    place = tmp_path_factory.mktemp("edition")
    return student.build(place / "student", place / "nbgrader")


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_hints_one_solution_and_its_check(name):
    code = "\n".join(cell.source for cell in source(name).cells if cell.cell_type == "code")
    text = "\n".join(cell.source for cell in source(name).cells if cell.cell_type == "markdown")
    numbers = exercises(source(name))
    assert numbers == [f"{name[1]}.{place}" for place in range(1, len(numbers) + 1)]
    assert [number.replace("_", ".") for number in student.CHECK.findall(code)] == numbers
    assert code.count(student.BEGIN) == code.count(student.END) == len(numbers)
    assert text.count("<summary>Hint 1</summary>") == len(numbers)


def test_there_are_at_least_twenty_exercises_and_a_check_for_each():
    numbers = [number for name in NAMES for number in exercises(source(name))]
    assert len(numbers) >= 20
    assert sorted(numbers) == sorted(name[9:].replace("_", ".") for name in dir(checks) if name.startswith("exercise_"))


@pytest.mark.parametrize("name", NAMES)
def test_the_edition_differs_from_its_source_in_solutions_and_outputs_only(edition, name):
    whole, given = source(name), nbformat.read(edition / f"{name}.ipynb", 4)
    assert "widgets" not in given.metadata
    assert len(whole.cells) == len(given.cells[2:])  # badges and Colab's cell stand before: tests/test_badges.py
    for before, after in zip(whole.cells, given.cells[2:], strict=True):
        if student.BEGIN in before.source:
            stub = re.sub(rf"( *){student.BEGIN}.*{student.END}",
                          r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", before.source, flags=re.S)
            assert after.source == stub
        else:
            assert after.source == before.source
        assert not after.get("outputs") and after.get("execution_count") is None


def test_nothing_that_is_given_to_students_holds_a_solution(edition):
    given = [path for path in edition.rglob("*") if path.is_file()]
    assert sorted(path.stem for path in given) == sorted(NAMES)
    assert not [path for path in given if "SOLUTION" in path.read_text()]


def test_the_course_for_nbgrader_holds_solutions_but_nothing_that_running_left(edition):
    for path in (edition.with_name("nbgrader") / "source" / "lvlab").glob("*.ipynb"):
        notebook = nbformat.read(path, 4)
        assert student.BEGIN in path.read_text()
        assert "widgets" not in notebook.metadata
        assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("attachments")]


def test_a_picture_attached_to_a_cell_is_not_handed_on():
    cell = nbformat.v4.new_markdown_cell("look", attachments={"a.png": {"image/png": "AAAA"}})
    assert "attachments" not in student.emptied(nbformat.v4.new_notebook(cells=[cell])).cells[0]


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """The handout as a student unpacks it."""
    pytest.importorskip("nbgrader", reason="nbgrader is not installed; make handout installs it")
    place = tmp_path_factory.mktemp("handed out") / "Übungen, Woche 1"
    with zipfile.ZipFile(handout.build(place / "course.zip")) as archive:
        archive.extractall(place)
    return place / handout.TOP


def texts(folder):
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"):
        yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")


def test_the_handout_is_the_same_bytes_each_time(tmp_path, handed_out):
    again = handout.build(tmp_path / "again.zip")
    assert again.read_bytes() == (handed_out.parent / "course.zip").read_bytes()


def test_the_handout_holds_no_solution_and_points_to_nothing_that_is_not_in_it(handed_out):
    for name, text in texts(handed_out):
        assert "SOLUTION" not in text, name
        for path in re.findall(r"\b(?:docs|tests|tools|notebooks|data)/[\w./-]*\w\.(?:md|py|ipynb|csv|png)\b", text):
            assert (handed_out / path).exists(), f"{name} names {path}"
        for page in re.findall(r"\b[A-Z]{4,}\.(?:md|cff)\b", text):
            assert page == "README.md", f"{name} names {page}"
        for target in re.findall(r"(?:`|^    |# |: |; |, )make ([a-z-]+)\b(?! [a-z])", text, re.M):
            assert target in handout.TARGETS, f"{name} says make {target}"


def test_every_target_of_the_handout_can_be_made(handed_out):
    if not shutil.which("make"):
        pytest.skip("there is no make here")
    for target in handout.TARGETS:
        subprocess.run(["make", "--dry-run", target], cwd=handed_out, check=True, capture_output=True)
    listed = subprocess.run(["make"], cwd=handed_out, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", listed, re.M)) < set(handout.TARGETS)


def test_the_handouts_makefile_depends_on_no_blank_line_and_keeps_no_unused_variable():
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    tight = re.sub(r"\n\n(?=[a-z.])", "\n", text)
    given, from_tight = (handout.makefile_for_students(makefile, "teach") for makefile in (text, tight))
    assert [line for line in given.split("\n") if line] == [line for line in from_tight.split("\n") if line]
    for name in re.findall(r"^(\w+) [?:]?= ", given, re.M):
        assert f"$({name}" in given, name


@pytest.mark.parametrize(("text", "given"), [
    ("It is so. `docs/measurements.md` tells it.", "It is so. The instructors' list of measurements tells it."),
    ("It is so (docs/measurements.md).", "It is so (the instructors' list of measurements)."),
    ("As\n`docs/measurements.md` tells.", "As\nthe instructors' list of measurements tells.")])
def test_what_stands_for_a_name_begins_a_sentence_with_a_capital(text, given):
    assert handout.here(text) == given


def test_lvlab_starts_from_the_handout(handed_out):
    environment = {**os.environ, "PYTHONPATH": str(handed_out), "LVLAB_DATA": ""}
    result = subprocess.run([sys.executable, "-m", "lvlab", "phantom", "--patients", "1", "--out", "new"],
                            cwd=handed_out, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert (handed_out / "new" / "training").is_dir() and "Traceback" not in result.stdout + result.stderr
    assert (handed_out / "lvlab" / "store" / "weights" / "weights.npz").is_file()


def labels(path):
    return [(cell.metadata.nbgrader, cell.source) for cell in nbformat.read(path, 4).cells
            if "nbgrader" in cell.metadata]


def test_nbgrader_gives_full_marks_to_a_solved_handout_and_none_to_an_empty_one(edition, handed_out, phantom_folder):
    course = edition.with_name("nbgrader")
    nbgrader(course, phantom_folder, "generate_assignment", "lvlab", "--create")
    for path in (course / "release" / "lvlab").glob("*.ipynb"):
        assert labels(path) == labels(edition / path.name) == labels(handed_out / "notebooks" / path.name) != []
    for who in ("solved", "empty"):
        notebook = nbformat.read(handed_out / "notebooks" / f"{FIRST}.ipynb", 4)
        if who == "solved":
            solve(notebook, source(FIRST))
        submitted = course / "submitted" / who / "lvlab"
        submitted.mkdir(parents=True)
        nbformat.write(notebook, submitted / f"{FIRST}.ipynb")
    nbgrader(course, phantom_folder, "autograde", "lvlab", "--create")
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        scores = {who: book.find_submission("lvlab", who) for who in ("solved", "empty")}
        assert scores["solved"].score == len(exercises(source(FIRST)))
        assert scores["empty"].score == 0
    points, odd = overview.points_of_gradebook(course / "gradebook.db")
    assert (points["solved"]["1.1"], points["empty"]["1.1"], points["solved"]["2.1"], odd) == (1, 0, None, [])


def solve(notebook, solved):
    """Write the answers of the notebook with solutions into a student's, as typing does: nothing else changes."""
    for given, answer in zip(notebook.cells, solved.cells, strict=True):
        if student.BEGIN in answer.source:
            given.source = answer.source


def nbgrader(course, data, *arguments):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=course, capture_output=True, text=True,
                            timeout=600, env={**os.environ, "LVLAB_DATA": str(data), "PATH": path})
    assert result.returncode == 0, result.stderr[-2000:]
