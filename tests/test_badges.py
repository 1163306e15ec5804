"""The students' notebooks open on Binder and Colab, in the edition without solutions, and stand by themselves there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from lvlab.store.files import PROJECT
from tools import badges, student

FIRST_PART = '''
lvlab.phantom.write(lvlab.course_folder(), patients=2, quiet=True)
data = lvlab.open_course()
assert lvlab.quiz("pairing") and lvlab.views.ABLATION.is_file()
lvlab.views.histograms(data.training.images[0], data.training.images[1])
lvlab.checks.exercise_2_1(4640)
lvlab.checks.progress()
print(lvlab.shipped_run().path.is_dir(), lvlab.store.files.workplace() == Path.cwd(), lvlab.__file__)
'''


@pytest.fixture(params=student.NOTEBOOKS)
def opened(request, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/lvlab")
    notebook = nbformat.read(PROJECT / "notebooks" / f"{request.param}.ipynb", 4)
    return request.param, badges.opens_anywhere(notebook, request.param)


def test_badges_lead_to_the_students_branch_of_the_repository(opened):
    name, notebook = opened
    nbformat.validate(notebook)
    binder, colab = re.findall(r"\)\]\((https://[^)]+)\)", notebook.cells[0].source)
    assert binder == f"https://mybinder.org/v2/gh/someone/lvlab/student?urlpath=lab/tree/notebooks/{name}.ipynb"
    assert colab == f"https://colab.research.google.com/github/someone/lvlab/blob/student/notebooks/{name}.ipynb"
    assert "/blob/main" not in notebook.cells[0].source


def test_the_first_cell_does_nothing_where_lvlab_is_and_installs_it_where_it_is_not(opened, monkeypatch):
    code = TransformerManager().transform_cell(opened[1].cells[1].source)
    asked = []

    class Shell:
        def run_line_magic(self, name, line):
            asked.append((name, line))

    exec(code, {"get_ipython": Shell})
    assert asked == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(code, {"get_ipython": Shell})
    (magic, line), = asked
    assert magic == "pip" and "https://github.com/someone/lvlab/archive/refs/heads/student.zip" in line


def test_the_package_alone_holds_what_a_notebook_needs(tmp_path):
    """What `pip install` of the archive brings: the modules and the package data of pyproject.toml, nothing beside."""
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for pattern in ("**/*.py", *setuptools["package-data"]["lvlab"]):
        for path in (PROJECT / "lvlab").glob(pattern):
            (tmp_path / "site" / path.relative_to(PROJECT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "site" / path.relative_to(PROJECT))
    own = {name: value for name, value in os.environ.items() if not name.startswith("LVLAB")}
    run = subprocess.run([sys.executable, "-c", "from pathlib import Path\nimport lvlab\n" + FIRST_PART], text=True,
                         capture_output=True, cwd=tmp_path, env={**own, "PYTHONPATH": str(tmp_path / "site")})
    assert run.returncode == 0, run.stderr
    assert "1 of " in run.stdout and run.stdout.rstrip().endswith(f"True True {tmp_path}/site/lvlab/__init__.py")
    assert (tmp_path / "data" / "phantom" / "training").is_dir() and (tmp_path / "progress.json").is_file()
