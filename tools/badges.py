"""Put into a student notebook what opens it anywhere: badges for Binder and Colab, and a cell that installs lvlab.

The branch `student` of the public repository holds the students' edition (.github/workflows/student.yml writes it);
badges never lead to the notebooks with solutions. The repository's address stands in pyproject.toml, once.
"""

import os
import tomllib

import nbformat

from lvlab.store.files import PROJECT

BRANCH = "student"
BADGES = """\
[![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{path})
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{repository}/blob/{branch}/{path})
"""
FIRST_CELL = """\
# On Colab only: installs lvlab, two minutes. Where it is installed, this cell does nothing.
import importlib.util

if importlib.util.find_spec("lvlab") is None:
    %pip install --quiet "lvlab[colab] @ https://github.com/{repository}/archive/refs/heads/{branch}.zip"
    if importlib.util.find_spec("google.colab"):
        from google.colab import output

        output.enable_custom_widget_manager()
"""


def repository():
    """Return OWNER/NAME of the public repository: where GitHub builds, its own; else the one in pyproject.toml."""
    urls = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return os.environ.get("GITHUB_REPOSITORY") or urls["Repository"].removeprefix("https://github.com/")


def opens_anywhere(notebook, name):
    """Return a copy of a student notebook that begins with its badges and the cell that installs lvlab."""
    about = {"repository": repository(), "branch": BRANCH, "path": f"notebooks/{name}.ipynb"}
    notebook = nbformat.from_dict(notebook)
    notebook.cells[:0] = [nbformat.v4.new_markdown_cell(BADGES.format(**about).rstrip(), id="badges"),
                          nbformat.v4.new_code_cell(FIRST_CELL.format(**about).rstrip(), id="install")]
    return notebook
