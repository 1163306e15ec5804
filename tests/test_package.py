"""The set-up itself: dependencies agree, imports stay light, and the tests can fail."""

import contextlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from types import SimpleNamespace

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lvlab.__main__ import main
from lvlab.store.files import PROJECT, read_json
from tools import timings

SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())
PYPROJECT = SETTINGS["project"]
EXTRAS = PYPROJECT["optional-dependencies"]
INSTALLED = set(re.search(r"^EXTRAS := '\.\[([a-z,-]+)\]'", (PROJECT / "Makefile").read_text(), re.M)[1].split(","))
PINS = dict(line.split("==") for line in (PROJECT / "constraints.txt").read_text().split())
PINS = {canonicalize_name(name): pinned for name, pinned in PINS.items()}


def python(*arguments, **kwargs):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300, **kwargs)


@pytest.mark.parametrize("line", [line for lines in (PYPROJECT["dependencies"], *EXTRAS.values()) for line in lines])
def test_every_range_is_pinned_within_itself(line):
    requirement = Requirement(line)
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("line", [*PYPROJECT["dependencies"], *EXTRAS["teach"], *EXTRAS["dev"]])
def test_what_make_installs_is_what_is_pinned(line):
    name = Requirement(line).name
    assert version(name) == PINS[canonicalize_name(name)]


def test_uv_installs_what_make_installs():
    pins = (PROJECT / "constraints.txt").read_text().split()
    assert SETTINGS["tool"]["uv"]["constraint-dependencies"] == pins
    added, = SETTINGS["dependency-groups"]["dev"]
    assert Requirement(added).extras == INSTALLED - {"dev"}  # dev: only tests


def test_conda_environment_installs_what_make_installs():
    conda = (PROJECT / "environment.yml").read_text()
    assert set(re.search(r"--editable \.\[([a-z,-]+)\]", conda)[1].split(",")) == INSTALLED
    assert "--constraint constraints.txt" in conda
    assert f"python {PYPROJECT['requires-python']}" in conda


def test_import_needs_neither_tensorflow_nor_pandas():
    code = "import lvlab, sys; print([m for m in ('tensorflow', 'keras', 'pandas', 'matplotlib') if m in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


def test_every_name_that_lvlab_hands_on_exists():
    import lvlab

    for name in lvlab.__all__:
        assert getattr(lvlab, name) is not None


def test_a_spoilt_metric_turns_the_tests_red(tmp_path):
    (tmp_path / "spoil.py").write_text(
        "import hypothesis\nimport lvlab.metrics as m\nm.dice = m.jaccard\n"
        "hypothesis.settings.register_profile('first failure', phases=[hypothesis.Phase.generate])\n")
    spoilt = python("-m", "pytest", "-q", "-p", "no:cacheprovider", PROJECT / "tests" / "test_metrics.py",
                    "-k", "symmetric", "-p", "_hypothesis_pytestplugin", "-p", "spoil",
                    "--hypothesis-profile", "first failure",
                    cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
                                       "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert spoilt.returncode == 1 and "test_dice_and_jaccard_are_symmetric" in spoilt.stdout


def test_a_spoilt_stored_output_turns_nbval_red(tmp_path):
    notebook = nbformat.read(PROJECT / "notebooks" / "01_explore_data.ipynb", 4)
    source = "import lvlab\nlvlab.dice([[1, 1], [0, 0]], [[1, 0], [0, 0]])"
    for name, stored in (("sound", "0.6666666666666666"), ("spoilt", "0.75")):
        output = nbformat.v4.new_output("execute_result", {"text/plain": stored}, execution_count=1)
        cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=[output])
        small = nbformat.v4.new_notebook(metadata=notebook.metadata, cells=[cell])
        nbformat.write(small, tmp_path / f"{name}.ipynb")
    nbval = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    said = python(*nbval, tmp_path / "sound.ipynb", tmp_path / "spoilt.ipynb", cwd=tmp_path).stdout
    assert "1 failed, 1 passed" in said and "FAILED spoilt.ipynb" in said and "mismatch" in said


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_the_minutes_and_memory_that_a_notebook_states_were_measured(path):
    measured = read_json(timings.TIMINGS)
    assert timings.sentence(measured[path.stem], measured["cores"]) in path.read_text()


def test_times_are_spoken_in_steps_rounded_up():
    assert [timings.spoken(seconds) for seconds in (1, 5, 6, 55, 56, 60, 61, 95)] == [
        "5 seconds", "5 seconds", "10 seconds", "55 seconds", "1 minute", "1 minute", "1.5 minutes", "2 minutes"]


def test_lab_hands_on_the_options_of_jupyterlab_and_lets_it_ask_before_it_stops(tmp_path, monkeypatch):
    from lvlab.commands import course

    called, answers = [], iter((KeyboardInterrupt, 3))

    @contextlib.contextmanager
    def start(command, **_):
        called.append(command)
        yield SimpleNamespace(wait=wait)

    def wait():
        if (answer := next(answers)) is KeyboardInterrupt:
            raise answer
        return answer

    monkeypatch.setattr(course.subprocess, "Popen", start)
    (tmp_path / "training").mkdir()
    assert main(["lab", "--data", str(tmp_path), "--", "--no-browser", "--port", "9000"]) == 3
    assert called[0][-4:-1] == ["--no-browser", "--port", "9000"]
