"""Check that every notebook agrees with its .py, was executed in order, and keeps the course's rhythm.

    python -m tools.pairs [FOLDER | --edited]

Prints one line per problem and exits 1; contents are compared, never time stamps. With --edited it only tells
notebooks that were changed after their .py, whose change `make notebooks` would lose.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from lvlab.store.files import PROJECT

REMEDY = "run: make notebooks"
KEEP = "to keep the notebook's text: jupytext --to py:percent NOTEBOOK"
MOST_CELLS, MOST_LINES, MEDIAN_LINES, USUAL_LINES = 40, 25, 6, 15
PRIVATE_PATH = re.compile(r"(?<![\w.])/(?:home|work|tmp|root|Users|mnt)/")


def problems_of(folder):
    """Return one line for each thing wrong with the pairs in `folder`."""
    stems = sorted({path.stem for ending in ("py", "ipynb") for path in folder.glob(f"*.{ending}")})
    if not stems:
        return [f"{folder}: holds no notebook"]
    return [f"{stem}: {problem}" for stem in stems for problem in _problems(folder / stem)]


def _problems(stem):
    script, notebook = stem.with_suffix(".py"), stem.with_suffix(".ipynb")
    for path in (script, notebook):
        if not path.is_file():
            return [f"{path.name} is missing; {REMEDY}" if path is notebook else f"{path.name} is missing; restore it"]
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        return [f"{notebook.name} is not a notebook; restore it from git, or move it away and {REMEDY}"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    return [*agreement(script, notebook), *execution(code), *outputs(code), *rhythm(code)]


def agreement(script, notebook):
    """Compare the .py with what jupytext makes of the .ipynb, by the rule in jupytext.toml."""
    command = [sys.executable, "-m", "jupytext", "--quiet", "--from", "ipynb", "--to", "py:percent", "--output", "-"]
    made = subprocess.run(command, input=notebook.read_bytes(), capture_output=True, cwd=PROJECT)
    if made.returncode:
        yield f"jupytext cannot read {notebook.name}: {made.stderr.decode().strip().splitlines()[-1]}"
        return
    expected, found = script.read_text(encoding="utf-8").split("\n"), made.stdout.decode().split("\n")
    if expected != found:
        line = next((i for i, pair in enumerate(zip(expected, found, strict=False), 1) if pair[0] != pair[1]),
                    min(len(expected), len(found)) + 1)
        yield f"{script.name} and {notebook.name} differ from line {line} of the .py on; {REMEDY}, or {KEEP}"


def execution(code):
    """Every code cell was executed, from 1 to N in order."""
    counts = [cell.get("execution_count") for cell in code]
    if None in counts:
        yield f"code cell {counts.index(None) + 1} was not executed; {REMEDY}"
    elif counts != list(range(1, len(counts) + 1)):
        yield f"cells were not executed in order 1 to {len(counts)}; {REMEDY}"


def outputs(code):
    """No stored output holds an error or a path of the machine that made it."""
    for number, cell in enumerate(code, 1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"the output of code cell {number} is an error ({output.get('ename')}); mend it and {REMEDY}"
            elif path := PRIVATE_PATH.search(_text(output)):
                yield f"the output of code cell {number} shows a path ({path[0]}…); print names only"


def _text(output):
    data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/p")}
    return json.dumps([data, output.get("text", "")])


def rhythm(code):
    """Cells are short: say, do, look."""
    lengths = [sum(bool(line.strip()) for line in "".join(cell["source"]).split("\n")) for cell in code]
    if len(lengths) > MOST_CELLS:
        yield f"{len(lengths)} code cells; at most {MOST_CELLS}"
    for number, length in enumerate(lengths, 1):
        if length > MOST_LINES:
            yield f"code cell {number} has {length} lines; at most {MOST_LINES}"
    for name, share, most in (("median", 50, MEDIAN_LINES), ("90th percentile", 90, USUAL_LINES)):
        if lengths and np.percentile(lengths, share) > most:
            yield f"the {name} of the code cells' lines is {np.percentile(lengths, share):g}; at most {most}"


def edited(folder):
    """Return one line for each notebook that was changed after its .py: building it anew would lose the change."""
    pairs = [(path, path.with_suffix(".py")) for path in sorted(folder.glob("*.ipynb"))]
    newer = [(path, script) for path, script in pairs
             if script.is_file() and path.stat().st_mtime > script.stat().st_mtime + 1]
    return [f"{path.name} was changed after {script.name}: {KEEP}; or touch {script.name}, if the "
            "change is not wanted" for path, script in newer if list(agreement(script, path))]


def main(arguments):
    if arguments[:1] == ["--edited"]:
        problems = edited(PROJECT / "notebooks")
        print("\n".join(problems), end="\n" * bool(problems))
        return 1 if problems else 0
    folder = Path(arguments[0]) if arguments else PROJECT / "notebooks"
    problems = problems_of(folder)
    print("\n".join(problems) or f"{len(list(folder.glob('*.ipynb')))} notebooks agree with their .py.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
