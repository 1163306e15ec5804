"""Overview of a class: points per exercise, and how well the drawn contours agree.

    python -m tools.overview HANDED_IN [--out build/overview] [--data DATA]

HANDED_IN has one folder a student, called as the overview shall call them, with the notebooks as they were saved after
running (points are what the checks said), or it is a course of nbgrader with its gradebook.db (points are the marks).
Drawings are read from STUDENT/drawings.npz: one array (n, h, w) of masks a slice, under the slice's name.
"""

import argparse
import sys
import zipfile
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from lvlab import metrics
from lvlab.errors import CourseError
from lvlab.store.files import find, whole_file, write_csv
from lvlab.store.folder import course_folder, load
from tools.student import CHECK

MOST_BYTES = 2**26  # of a file that somebody handed in


def points_of_notebooks(folder):
    """Return ({student: {exercise: 1 right, 0 not, None not run}}, [what could not be read]) of saved notebooks."""
    points, odd = {}, []
    for student in students(folder):
        points[student.name] = {}
        for path in sorted(student.rglob("*.ipynb")):
            if ".ipynb_checkpoints" in path.parts:
                continue
            try:
                points[student.name] |= _points(_read(path))
            except Exception as error:  # whatever was handed in
                odd.append(_unread(path.relative_to(folder), error))
    return points, odd


def _unread(path, error):
    return f"Not read: {path}: {type(error).__name__}"


def students(folder):
    """Return the students' folders; in a course of nbgrader those that were handed in."""
    handed_in = folder / "submitted" if (folder / "submitted").is_dir() else folder
    return [path for path in sorted(handed_in.iterdir()) if path.is_dir() and not path.name.startswith(".")]


def _read(path):
    if path.stat().st_size > MOST_BYTES:
        raise ValueError("too large")
    return nbformat.read(path, 4)


def _points(notebook):
    found = {}
    for cell in notebook.cells:
        check = CHECK.search(cell.source) if cell.cell_type == "code" else None
        if check:
            said = " ".join(output.get("text", "") for output in cell.get("outputs", []))
            right = f"Exercise {check[1].replace('_', '.')}: right" in said
            found[check[1].replace("_", ".")] = float(right) if cell.get("outputs") else None
    return found


def points_of_gradebook(path):
    """Return ({student: {exercise: points, None without a mark}}, [what nbgrader could not mark]) of its gradebook.db.

    Where a notebook was not handed in, nbgrader says 0 points; here they are None.
    """
    from nbgrader.api import Gradebook

    points, odd = {}, []
    with Gradebook(f"sqlite:///{path}") as book:
        for student in book.students:
            points[student.id] = {}
            for notebook in (notebook for submission in student.submissions for notebook in submission.notebooks):
                place = path.parent / "submitted" / student.id / notebook.assignment.name / f"{notebook.name}.ipynb"
                marks = _marks(notebook)
                if not any(marks.values()) and not place.is_file():
                    marks = dict.fromkeys(marks)
                elif None in marks.values():
                    unmarked = ", ".join(exercise for exercise, mark in marks.items() if mark is None)
                    odd.append(f"Not marked: {student.id} {notebook.name}, {unmarked} (the notebook is neither from "
                               "release/ nor from the handout, or its check was removed; nbgrader counts it 0)")
                points[student.id] |= marks
    return points, odd


def _marks(notebook):
    return {grade.name.removeprefix("check_").replace("_", "."):
            None if grade.auto_score is None and grade.manual_score is None else grade.score
            for grade in notebook.grades if grade.name.startswith("check_")}


def point_table(points):
    """Return a row a student and a column an exercise, in the order of the course, and the sum."""
    table = pd.DataFrame.from_dict(points, orient="index", dtype=float).reindex(points)
    table = table[sorted(table.columns, key=lambda number: [int(part) for part in number.split(".")])]
    table.insert(0, "points", table.sum(axis=1))
    return table.rename_axis("student").reset_index()


def drawings_of(folder):
    """Return ({student: {slice: masks (n, h, w)}}, [what could not be read])."""
    drawings, odd = {}, []
    for student in students(folder):
        for path in sorted(student.rglob("drawings.npz"))[:1]:
            try:
                drawings[student.name] = _masks(path)
            except Exception as error:  # whatever was handed in
                odd.append(_unread(path.relative_to(folder), error))
    return drawings, odd


def _masks(path):
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ValueError("too large")
    with np.load(path, allow_pickle=False) as arrays:
        masks = {name: np.asarray(arrays[name]) > 0 for name in arrays.files}
    return {name: mask.reshape(-1, *mask.shape[-2:]) for name, mask in masks.items() if mask.ndim >= 2 and mask.size}


def agreement_table(drawings, truth):
    """Return a row a student and slice: drawings, Dice of the last with the truth, with the others', with their own.

    truth : {slice: mask (h, w)}
    """
    rows = []
    for student, own in drawings.items():
        for name, masks in own.items():
            others = [theirs[name][-1] for other, theirs in drawings.items()
                      if other != student and name in theirs and theirs[name].shape[1:] == masks.shape[1:]]
            dice_truth = metrics.dice(truth[name], masks[-1]) if _known(name, masks, truth) else np.nan
            rows.append((student, name, len(masks), dice_truth,
                         _mean(metrics.dice(other, masks[-1]) for other in others),
                         _mean(metrics.dice(*pair) for pair in combinations(masks, 2))))
    return pd.DataFrame(rows, columns=["student", "slice", "drawings", "dice_truth", "dice_others", "dice_own"])


def _known(name, masks, truth):
    return name in truth and truth[name].shape == masks.shape[1:]


def _mean(values):
    values = list(values)
    return float(np.mean(values)) if values else np.nan


def picture(points, agreement):
    """Draw the points as a table of colours; beside it each student's Dice with the truth and with the others."""
    from matplotlib.figure import Figure

    names, exercises = list(points.student), list(points.columns[2:])
    figure = Figure(figsize=(4 + 0.32 * len(exercises) + 4 * bool(len(agreement)), 1.9 + 0.3 * len(names)),
                    layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=[3, 2], squeeze=False)[0] if len(agreement) else [figure.subplots()]
    shown = points[exercises].to_numpy(float)
    axes[0].pcolormesh(np.where(np.isnan(shown), 0.5, shown), cmap="cividis", vmin=0, vmax=1, edgecolor="white")
    for row, column in np.argwhere(np.isnan(shown)):
        axes[0].text(column + 0.5, row + 0.5, "–", ha="center", va="center", color="white")
    axes[0].set(title="Exercises: yellow right, blue not yet, – not run", xticks=np.arange(len(exercises)) + 0.5,
                yticks=np.arange(len(names)) + 0.5, yticklabels=[
                    f"{name}  {total:g}" for name, total in zip(names, points.points, strict=True)])
    axes[0].set_xticklabels(exercises, rotation=90, fontsize=8)
    axes[0].invert_yaxis()
    if len(agreement):
        places = agreement.student.map({name: row for row, name in enumerate(names)}) + 0.5
        axes[1].plot(agreement.dice_truth, places - 0.12, "o", label="with the truth", alpha=0.8)
        axes[1].plot(agreement.dice_others, places + 0.12, "^", label="with the others", alpha=0.8)
        axes[1].set(title="Drawn contours: one mark a slice", xlabel="Dice", xlim=(0, 1.02), ylim=(len(names), 0),
                    yticks=[])
        axes[1].grid(axis="x", alpha=0.3)
        axes[1].legend(loc="lower left")
    return figure


def build(handed_in, out, data=None):
    """Write points.csv, drawings.csv and overview.png into `out`; return lines that tell what was found."""
    folder, out = find(handed_in), Path(out)
    if not folder.is_dir() or not students(folder):
        raise CourseError(f"{handed_in}: holds no folder of a student; name the folder that holds one a student")
    book = folder / "gradebook.db"
    points, odd = points_of_gradebook(book) if book.is_file() else points_of_notebooks(folder)
    if not any(points.values()):
        raise CourseError(f"{handed_in}: no notebook in it holds an exercise of this course")
    drawings, unread = drawings_of(folder)
    data = data or course_folder() if drawings else data
    truth = _truth(data) if drawings else {}
    table, agreement = point_table(points), agreement_table(drawings, truth)
    with whole_file(out / "points.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%g")
    write_csv(out / "drawings.csv", agreement)
    with whole_file(out / "overview.png") as temporary:
        picture(table, agreement).savefig(temporary, dpi=150)
    yield f"{len(table)} students, {len(table.columns) - 2} exercises, drawings of {len(drawings)}"
    yield from odd + unread
    unknown = {name for own in drawings.values() for name, masks in own.items() if not _known(name, masks, truth)}
    if unknown:
        yield (f"{len(unknown)} drawn slices are not in {data}, or of another size there: no Dice with the truth; "
               "name the folder that they were drawn on: DATA=data/phantom")
    yield f"Wrote {out}/points.csv, drawings.csv and overview.png"


def _truth(data):
    slices = load(data).everyone()
    return dict(zip(slices.table.name, slices.masks[..., 0] > 0, strict=True))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.overview", description=__doc__.split("\n")[0])
    parser.add_argument("handed_in", type=Path)
    parser.add_argument("--out", type=Path, default="build/overview")
    parser.add_argument("--data", type=Path, help="the course folder that was drawn on (default: the course's own)")
    args = parser.parse_args(arguments)
    try:
        print(*build(args.handed_in, args.out, args.data), sep="\n")
    except CourseError as error:
        sys.exit(f"overview: {error}")


if __name__ == "__main__":
    main()
