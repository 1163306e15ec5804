"""Build the course's sites from the stored notebooks, which are not executed. `make site` runs this file.

    python -m tools.site OUT        # the instructors': build/site
    python -m tools.site OUT --students

The students' site has no solution and no page for instructors.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import nbformat

from lvlab.errors import CourseError
from lvlab.store.files import PROJECT
from tools.handout import here
from tools.page import SOURCE as PAGE
from tools.page import build as build_page
from tools.static import still
from tools.student import BEGIN, CHECK, END

PAGES = ("glossary", "instructors", "learners", "survey", "measurements", "architecture")
FOR_STUDENTS = ("glossary",)


def folded(notebook):
    """Return the notebook with every solution hidden behind a click."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and BEGIN in cell.source:
            cell.metadata.setdefault("tags", []).append("hide-input")
            cell.source = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", cell.source, flags=re.M)
            cell.metadata["mystnb"] = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
    return notebook


def unsolved(notebook):
    """Return the notebook without solutions, what they print, and the checks' verdicts on them."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and (BEGIN in cell.source or CHECK.search(cell.source)):
            cell.outputs = []
        cell.source = re.sub(rf"( *){BEGIN}.*?{END}", r"\1# YOUR CODE HERE", cell.source, flags=re.S)
        cell.source = here(cell.source)
    return notebook


def linked(notebook):
    """Return the notebook with links to pages as the site has them: beside notebooks/."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../docs/", "](../")
    return notebook


def gather(source, students):
    """Write what Sphinx reads into the folder `source`."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(PROJECT / "docs" / "site", source, ignore=shutil.ignore_patterns(PAGE.name))
    shutil.copy(PROJECT / "docs" / "phantom.png", source)
    (source / "notebooks").mkdir()
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        notebook = linked(still(nbformat.read(path, 4)))
        nbformat.write((unsolved if students else folded)(notebook), source / "notebooks" / path.name)
    front = source / "students.md"
    if students:
        front.replace(source / "index.md")
        (source / "api.md").unlink()
    else:
        front.unlink()
    for page in FOR_STUDENTS if students else PAGES:
        shutil.copy(PROJECT / "docs" / f"{page}.md", source)


def build(out, students=False):
    """Build the site in `out`; return Sphinx' exit code. Every warning is an error.

    Sphinx' own notes (doctrees hold this machine's paths) lie beside `out`: all of `out` goes to a web server.
    Where npm is missing the page with the network is left out, and said; the rest is built.
    """
    from sphinx.cmd.build import main as sphinx

    out = Path(out)
    source, notes = out.with_name(f"{out.name}-source"), out.with_name(f"{out.name}-notes")
    for old in (out, notes):
        shutil.rmtree(old, ignore_errors=True)
    gather(source, students)
    try:
        build_page(out / PAGE.name)
        there = ["-t", "page"]
    except CourseError as error:
        there = []
        print(f"make site: without the page that runs the network: {error}")
    return sphinx(["-q", "-W", "--keep-going", *there, "-b", "html", "-d", str(notes / "doctrees"),
                   str(source), str(out)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--students", action="store_true", help="without solutions and pages for instructors")
    args = parser.parse_args()
    code = build(args.out, args.students)
    print(f"{args.out}/index.html" if code == 0 else "make site: see the warnings above")
    sys.exit(code)
