"""Build the edition for students: the notebooks without solutions and outputs, and a course for nbgrader.

    python -m tools.student [--out build/student] [--course build/nbgrader]

Needs the extra `course` (`make student` installs it). OUT is for students and holds no solution; COURSE is for
instructors: the same with solutions and points, as `nbgrader generate_assignment` wants it.
"""

import argparse
import re
from pathlib import Path

import nbformat

from lvlab.store.files import PROJECT
from tools.badges import opens_anywhere

NOTEBOOKS = ("01_explore_data", "02_train_unet", "03_evaluate", "04_from_phantom_to_patient",
             "05_beyond_dice")
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CHECK = re.compile(r"^lvlab\.checks\.exercise_(\d+_\d+)\(", re.M)
CONFIG = 'c = get_config()\nc.CourseDirectory.course_id = "lvlab"\nc.ExecutePreprocessor.timeout = 900\n' \
         'c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\\nraise NotImplementedError()"}\n'


def emptied(notebook):
    """Return a copy without what running it left: outputs, the viewers' stored state, pictures attached to cells."""
    from nbconvert.preprocessors import ClearOutputPreprocessor

    notebook, _ = ClearOutputPreprocessor().preprocess(nbformat.from_dict(notebook), {})
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.pop("attachments", None)
    return notebook


def with_points(notebook):
    """Return an emptied copy in which nbgrader knows each exercise's answer cell and its check, worth one point."""
    notebook = emptied(notebook)
    answer = None
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        check = CHECK.search(cell.source)
        if BEGIN in cell.source:
            answer = cell
        elif check and answer is not None:
            answer.metadata["nbgrader"] = _label(f"answer_{check[1]}", solution=True)
            cell.metadata["nbgrader"] = {**_label(f"check_{check[1]}", grade=True, locked=True), "points": 1}
            answer = None
    return notebook


def _label(grade_id, grade=False, solution=False, locked=False):
    return {"grade_id": grade_id, "grade": grade, "solution": solution, "locked": locked, "task": False,
            "schema_version": 3}


def for_students(notebook):
    """Return an emptied copy without solutions that nbgrader can mark: made by the steps that make its release."""
    from nbgrader.preprocessors import ClearSolutions, ComputeChecksums, LockCells

    notebook = with_points(notebook)
    for step in (LockCells, ClearSolutions, ComputeChecksums):
        notebook, _ = step().preprocess(notebook, {})
    return notebook


def build(out, course, notebooks=PROJECT / "notebooks"):
    """Write the students' notebooks into one folder, the nbgrader course, with solutions, into another."""
    out, course = Path(out), Path(course)
    source = course / "source" / "lvlab"
    for folder in (out, source):
        folder.mkdir(parents=True, exist_ok=True)
    (course / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    for name in NOTEBOOKS:
        if (notebooks / f"{name}.ipynb").exists():
            notebook = with_points(nbformat.read(notebooks / f"{name}.ipynb", 4))
            nbformat.write(notebook, source / f"{name}.ipynb")
            nbformat.write(opens_anywhere(for_students(notebook), name), out / f"{name}.ipynb")
    return out


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.student", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="build/student")
    parser.add_argument("--course", default="build/nbgrader")
    args = parser.parse_args(arguments)
    out = build(args.out, args.course)
    print(f"{out}: {len(list(out.glob('*.ipynb')))} notebooks for students; {args.course}: the course for nbgrader")


if __name__ == "__main__":
    main()
