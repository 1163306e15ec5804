"""The house keeps its rules: imports go inward, the core is short and silent, and `make lint` sees a breach."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lvlab.store.files import PROJECT

LINT = re.search(r"^lint:.*\n((?:\t.+\n)+)", (PROJECT / "Makefile").read_text(), re.M)[1].splitlines()
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
#: Of all: 5,076 before the wings, 338 from tests/ and docs/, 410 for the anatomy, 620 for what hospitals export,
#: 1,650 for the clinic's measures, the report, notebook 5 and the model card, 840 for NIfTI, the way without make and
#: refining, 1,740 for the classroom and the network in the browser, 1,330 for archives and pools of workers, 93 for
#: where masks lie, 11 for a third of TensorFlow's start, 4 for drawing phantoms on one thread, 20 for a
#: training that holds nobody out, 12 for refusing to resume folds of another recipe, 315 for measuring where masks lie
#: however wide they are drawn, for runs that are never trained over, and for further oddities of DICOM and NIfTI files.
MOST_LINES_OF_CORE, MOST_LINES = 1_100, 13_509

#: What is added to a room, and which command of `make lint` then says what.
LATE = "\n\ndef late() -> None:\n    {}\n"
BREACHES = {
    "core imports store": (
        "metrics.py", "from lvlab.store import files", "lint-imports", "lvlab.metrics -> lvlab.store"),
    "core imports store when called": (
        "metrics.py", LATE.format("from lvlab.store import files"), "lint-imports", "lvlab.metrics -> lvlab.store"),
    "store imports teach": (
        "store/files.py", "from lvlab.teach import views", "lint-imports", "lvlab.store.files -> lvlab.teach"),
    "two rooms import one another": (
        "metrics.py", "from lvlab import evaluation", "lint-imports", ".metrics -> .evaluation"),
    "a new room has no place": (
        "attic.py", "", "lint-imports", "lvlab.attic"),
    "the package imports tools": (
        "metrics.py", "import tools.pairs", "lint-imports", "lvlab.metrics -> tools.pairs"),
    "a room enters by the front door": (
        "metrics.py", LATE.format("import lvlab"), "lint-imports", "lvlab.metrics -> lvlab (l."),
    "an import hides in a string": (
        "metrics.py", "import importlib\n\nstore = importlib.import_module('lvlab.store')", "ruff", "TID251"),
    "core prints": (
        "metrics.py", LATE.format("print('done')"), "ruff", "T201"),
    "store prints": (
        "store/files.py", LATE.format("print('done')"), "ruff", "T201"),
    "a public function of core has no hints": (
        "metrics.py", "\n\ndef late(mask):\n    return mask\n", "ruff", "ANN201"),
    "a public function of core has half its hints": (
        "metrics.py", "\n\ndef late(mask) -> int:\n    return 1\n", "mypy", "no-untyped-def"),
    "a hint of core is wrong": (
        "metrics.py", "\n\ndef late() -> int:\n    return 'a word'\n", "mypy", "return-value"),
}


@pytest.fixture
def house(tmp_path):
    """A copy of all that `make lint` reads of the package."""
    for name in ("lvlab", "tools"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return Path(shutil.copy(PROJECT / "pyproject.toml", tmp_path)).parent


@pytest.fixture(scope="module")
def lint(tmp_path_factory):
    """Return a function: what one command of `make lint` complains of in a house, nothing where it is content."""
    kept, cache = PROJECT / "build" / "mypy", tmp_path_factory.mktemp("lint") / "mypy"
    if kept.is_dir():
        shutil.copytree(kept, cache)  # what `make lint` has read of other packages before
    environment = {**os.environ, "MYPY_CACHE_DIR": str(cache)}

    def lint(house, tool):
        line, = (line for line in LINT if f"/{tool} " in line)
        command = [word.replace("$(BIN)", str(Path(sys.executable).parent)) for word in line.split()]
        result = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, timeout=300)
        return " ".join((result.stdout + result.stderr).split()) if result.returncode else ""

    return lint


@pytest.mark.parametrize("tool", ["ruff", "lint-imports", "mypy"])
def test_lint_is_content_with_the_house_as_it_is(tool, lint, house):
    assert lint(house, tool) == ""


@pytest.mark.parametrize("breach", BREACHES)
def test_lint_sees(breach, lint, house):
    room, code, tool, complaint = BREACHES[breach]
    with open(house / "lvlab" / room, "a") as file:
        file.write(f"\n{code}\n")
    assert complaint in lint(house, tool)


def options_said(house):
    """Return "file:line: option" for every command-line option in a string below the commands."""
    below = [path for path in sorted((house / "lvlab").rglob("*.py"))
             if path.name != "__main__.py" and path.parent.name != "commands"]
    return [f"{path.relative_to(house)}:{node.lineno}: {option}" for path in below
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            for option in OPTION.findall(node.value)]


def test_no_room_below_the_commands_says_an_option_of_the_command_line():
    assert options_said(PROJECT) == []


def test_an_option_said_in_store_is_seen(house):
    with open(house / "lvlab" / "store" / "files.py", "a") as file:
        file.write("\n\ndef late(path):\n    raise CourseError(f'{path}: exists; use --overwrite')\n")
    assert options_said(house)[-1].endswith("--overwrite")


def lines_of(paths):
    return sum(len(path.read_text().splitlines()) for path in paths)


def test_the_core_can_be_read_in_one_sitting():
    core = [path for path in (PROJECT / "lvlab").glob("*.py") if path.name != "__main__.py"]
    assert lines_of(core) <= MOST_LINES_OF_CORE


def test_the_house_does_not_grow():
    assert lines_of(path for part in ("lvlab", "tools") for path in (PROJECT / part).rglob("*.py")) <= MOST_LINES


def test_the_plan_of_the_house_names_every_room():
    plan = (PROJECT / "docs" / "architecture.md").read_text()
    rooms = [path for part in ("lvlab", "tools") for path in sorted((PROJECT / part).rglob("*.py"))]
    assert [str(path.relative_to(PROJECT)) for path in rooms
            if path.name != "__init__.py" and path.name not in plan] == []
