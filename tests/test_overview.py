"""A class at a glance: points as the checks or nbgrader gave them, drawings as far as they were handed in."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

import lvlab
from lvlab.errors import CourseError
from tools import overview


def notebook(path, **verdicts):
    """Write a notebook whose checks said "right", "not yet", or were not run (None)."""
    cells = []
    for number, verdict in verdicts.items():
        cell = nbformat.v4.new_code_cell(f"lvlab.checks.exercise_{number[1:]}(answer)")
        if verdict:
            text = f"Exercise {number[1:].replace('_', '.')}: {verdict}. So.\n"
            cell.outputs = [nbformat.v4.new_output("stream", text=text)]
        cells.append(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def handed_in(tmp_path, phantom_folder):
    """Two students who drew, one with half a notebook, one with nothing that can be read."""
    folder = tmp_path / "handed in"
    test = lvlab.load(phantom_folder).test
    name, truth = test.table.name[1], test.masks[1, ..., 0] > 0
    for who, shift in (("fox", 0), ("owl", 3)):
        notebook(folder / who / "03_evaluate.ipynb", e3_1="right", e3_2="not yet", e3_10="right")
        np.savez(folder / who / "drawings.npz", **{name: np.stack([truth, np.roll(truth, shift, axis=0)])})
    notebook(folder / "hare" / "sub" / "03_evaluate.ipynb", e3_1="right", e3_2=None)
    (folder / "mole").mkdir()
    (folder / "mole" / "03_evaluate.ipynb").write_text("{half a note")
    (folder / "mole" / "drawings.npz").write_bytes(b"no zip")
    return folder


def test_points_and_agreement_of_a_class(handed_in, phantom_folder, tmp_path):
    told = list(overview.build(handed_in, tmp_path / "out", phantom_folder))
    points = pd.read_csv(tmp_path / "out" / "points.csv", index_col="student")
    assert list(points.columns) == ["points", "3.1", "3.2", "3.10"]
    assert points.points.to_dict() == {"fox": 2, "hare": 1, "mole": 0, "owl": 2}
    assert points.loc["fox", "3.2"] == 0 and np.isnan(points.loc["hare", "3.2"]) and np.isnan(points.loc["mole", "3.1"])
    drawn = pd.read_csv(tmp_path / "out" / "drawings.csv", index_col="student")
    assert drawn.dice_truth["fox"] == 1 and 0.3 < drawn.dice_truth["owl"] < 1
    assert drawn.dice_others["fox"] == drawn.dice_others["owl"] == drawn.dice_own["owl"] == drawn.dice_truth["owl"]
    assert (tmp_path / "out" / "overview.png").stat().st_size > 10_000
    assert sum("mole" in line for line in told) == 2
    assert not [line for line in told if "no Dice" in line]
    assert (tmp_path / "out" / "points.csv").read_text().splitlines()[1] == "fox,2,1,0,1"


def test_drawings_on_another_folder_than_the_one_in_use_are_told(handed_in, phantom_folder, tmp_path):
    other = shutil.copytree(phantom_folder, tmp_path / "other")
    drawn = lvlab.load(phantom_folder).test.table.name[1]
    for path in other.rglob(f"{drawn}.*"):
        path.unlink()
    told = list(overview.build(handed_in, tmp_path / "out", other))
    assert [line for line in told if f"1 drawn slices are not in {other}" in line and "DATA=data/phantom" in line]
    assert pd.read_csv(tmp_path / "out" / "drawings.csv").dice_truth.isna().all()


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of nbgrader: fox was marked, owl did not hand in, mole handed in what nbgrader could not mark."""
    api = pytest.importorskip("nbgrader.api", reason="nbgrader is not installed; make student installs it")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))  # alembic
    with api.Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        book.add_assignment("lvlab")
        book.add_notebook("03_evaluate", "lvlab")
        book.add_grade_cell("check_3_1", "03_evaluate", "lvlab", max_score=1, cell_type="code")
        for who, mark in (("fox", 0), ("mole", None), ("owl", 0)):
            book.add_student(who)
            book.add_submission("lvlab", who)
            book.find_grade("check_3_1", "03_evaluate", "lvlab", who).auto_score = mark
        book.db.commit()
    for who in ("fox", "mole"):
        notebook(tmp_path / "submitted" / who / "lvlab" / "03_evaluate.ipynb")
    return tmp_path


def test_a_notebook_without_a_mark_of_nbgrader_has_no_points_and_one_not_handed_in_neither(course):
    points, odd = overview.points_of_gradebook(course / "gradebook.db")
    assert points == {"fox": {"3.1": 0}, "mole": {"3.1": None}, "owl": {"3.1": None}}
    assert len(odd) == 1 and odd[0].startswith("Not marked: mole 03_evaluate, 3.1 (")


def test_a_folder_without_students_or_exercises_is_refused(tmp_path):
    with pytest.raises(CourseError, match="no folder of a student"):
        list(overview.build(tmp_path, tmp_path / "out"))
    (tmp_path / "fox").mkdir()
    with pytest.raises(CourseError, match="no notebook in it"):
        list(overview.build(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
