"""Build what students get: one zip with the notebooks to solve and all they need to run, nothing for instructors.

    python -m tools.handout [--out build/lvlab-course.zip]

Needs the extra `course` (`make handout` installs it). The same inputs make the same bytes.
"""

import argparse
import re
import tomllib
import zipfile
from pathlib import Path

import nbformat

from lvlab.store.files import PROJECT, whole_file
from tools.student import NOTEBOOKS, for_students

TOP = "lvlab-course"
AS_THEY_ARE = ("LICENSE", "constraints.txt", "data/README.md", "docs/glossary.md")
TABLES = ("[build-system]", "[project", "[tool.setuptools", "[dependency-groups]", "[tool.uv")
TARGETS = ("help", "install", "data", "lab", "figures", "report", "tensorboard", "clean", ".venv/installed")
#: What names a page or a target that only instructors have, and what students read instead.
ELSEWHERE = (
    ("(`make timings`, 2 cores)", "(measured on 2 cores)"),
    ("`docs/measurements.md`", "the instructors' list of measurements"),
    ("docs/measurements.md", "the instructors' list of measurements"),
    (": tests/test_colours.py.", "."),
    (" (tools/badges.py)", ""),
    (": docs/scaling.md", ""),
    ("written by `make ablation`; ", ""),
    ("; make site: for the page in the browser", ""),
    ("make report, make slides: ", "make report: "),
    ("make them with: make pretrain", "unpack the course anew"),
)


def extras(pyproject):
    """Return the extras that a student needs, as `uv sync` installs them: "teach,codecs,…"."""
    dependency, = tomllib.loads(pyproject)["dependency-groups"]["dev"]
    return re.search(r"\[(.*)\]", dependency)[1]


def pyproject_for_students(text):
    """Return pyproject.toml without the maintainers' tools."""
    wanted = extras(text).split(",")
    tables = re.split(r"^(?=\[)", re.sub(r"^#.*\n", "", text, flags=re.M), flags=re.M)
    text = "".join(table for table in tables if table.startswith(TABLES))
    return re.sub(r"^([\w-]+) = \[\n(?:    .*\n)+\]\n",
                  lambda extra: extra[0] if extra[1] in (*wanted, "dependencies", "constraint-dependencies",
                                                         "environments") else "", text, flags=re.M)


def makefile_for_students(text, wanted):
    """Return the Makefile with the targets that students can run."""
    text = re.sub(r"^(?!\.PHONY)([\w./%-]+):(?!=).*\n(?:\t.*\n)*",
                  lambda rule: rule[0] if rule[1] in TARGETS else "", text, flags=re.M)
    for name in reversed(re.findall(r"^(\w+) [?:]?= ", text, re.M)):
        if not re.search(rf"\$\({name}\b", text):
            text = re.sub(rf"^{name} .*\n", "", text, flags=re.M)
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"^##@.*\n", "", text, flags=re.M))
    text = re.sub(r"^\.PHONY:(?:.*\\\n)*.*\n", f".PHONY: {' '.join(TARGETS[:-1])}\n", text, flags=re.M)
    return re.sub(r"'\.\[.*\]'", f"'.[{wanted}]'", text).rstrip("\n") + "\n"


def files(project=PROJECT):
    """Return {path in the zip: bytes} of all that is handed out."""
    def read(name):
        return (project / name).read_text(encoding="utf-8")

    wanted = extras(read("pyproject.toml"))
    texts = {name: read(name) for name in AS_THEY_ARE}
    texts["README.md"] = read("tools/handout.md")
    texts["pyproject.toml"] = pyproject_for_students(read("pyproject.toml"))
    texts["Makefile"] = makefile_for_students(read("Makefile"), wanted)
    texts["environment.yml"] = re.sub(r"\.\[.*\]", f".[{wanted}]", re.sub(r"^#.*\n", "", read("environment.yml")))
    for name in NOTEBOOKS:
        notebook = for_students(nbformat.read(project / "notebooks" / f"{name}.ipynb", 4))
        for cell in notebook.cells:
            cell.source = here(cell.source)
        texts[f"notebooks/{name}.ipynb"] = nbformat.writes(notebook) + "\n"
    content = {}
    for path in sorted((project / "lvlab").rglob("*")):
        name = path.relative_to(project).as_posix()
        if path.suffix in (".py", ".pyi", ".jinja"):
            texts[name] = read(name)
        elif path.is_file() and "__pycache__" not in path.parts:
            content[name] = path.read_bytes()
    return content | {name: here(text).encode() for name, text in texts.items()}


def here(text):
    """Return a text that points to nothing which is not handed out; a sentence still begins with a capital."""
    for theirs, ours in ELSEWHERE:
        begins = rf"(\A|[.?!]\s+|\n\s*\n){re.escape(theirs)}"
        text = re.sub(begins, lambda found, ours=ours: found[1] + ours[:1].upper() + ours[1:], text)
        text = text.replace(theirs, ours)
    return text


def build(out, project=PROJECT):
    """Write the zip, whole or not at all; times and rights in it are fixed, so that it depends on its content only."""
    with whole_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files(project).items()):
            entry = zipfile.ZipInfo(f"{TOP}/{name}")  # 1980-01-01
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return Path(out)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.handout", description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="build/lvlab-course.zip", type=Path)
    out = build(parser.parse_args(arguments).out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB for students, without solutions")


if __name__ == "__main__":
    main()
