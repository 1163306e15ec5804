"""Build the course site from the stored notebooks: python docs/site/build.py [OUT]. Called by `make site`."""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from sphinx.cmd.build import main as sphinx

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]


def folded(notebook):
    """Return the notebook with every solution hidden behind a click."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "### BEGIN SOLUTION" in cell.source:
            cell.metadata.setdefault("tags", []).append("hide-input")
            cell.source = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", cell.source, flags=re.M)
            cell.metadata["mystnb"] = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
    return notebook


def main(out="build/site"):
    out, source = Path(out), Path(out).with_name("site-source")
    for folder in (out, source):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("build.py", "__pycache__"))
    (source / "notebooks").mkdir()
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        nbformat.write(folded(nbformat.read(path, 4)), source / "notebooks" / path.name)
    for name in ("instructors.md", "measurements.md"):
        shutil.copy(PROJECT / "docs" / name, source)
    code = sphinx(["-q", "-W", "--keep-going", "-b", "html", str(source), str(out)])
    print(f"{out}/index.html" if code == 0 else "make site: see the warnings above")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
