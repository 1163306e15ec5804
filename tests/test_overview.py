"""A class at a glance: points as the checks or nbgrader gave them, drawings as far as they were handed in."""

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


def test_a_folder_without_students_or_exercises_is_refused(tmp_path):
    with pytest.raises(CourseError, match="no folder of a student"):
        list(overview.build(tmp_path, tmp_path / "out"))
    (tmp_path / "fox").mkdir()
    with pytest.raises(CourseError, match="no notebook in it"):
        list(overview.build(tmp_path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
