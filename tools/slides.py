"""Build an instructor's slides out of the stored notebooks: one PDF, made without any network.

    python -m tools.slides [--out build/slides.pdf]

The rule: a notebook opens with its title and what one learns. A section (##) is a slide: its title, its first
paragraph or its list, and the first picture that it shows; each of its exercises is a slide at its end, with the
question and without hints and solutions. What comes after an exercise's question is never shown.
"""

import argparse
import base64
import json
import re
import tempfile
from pathlib import Path

import nbformat

from lvlab.store.files import PROJECT, whole_file
from tools.static import still
from tools.student import BEGIN, NOTEBOOKS

TEMPLATE = Path(__file__).with_name("slides.typ")
HEADING = re.compile(r"^(#{1,3}) (.+)$", re.M)
PICTURE = re.compile(r"data:image/png;base64,([^\"]+)")
LONGEST = 420  # characters of a paragraph on a slide


def slides_of(notebook):
    """Return the slides of a notebook as dicts: kind, title, text, points, and picture in base64 or None."""
    slides, exercises = [], []
    for cell in still(notebook).cells:
        if cell.cell_type == "markdown":
            for level, title, text in _sections(cell.source):
                slide = {"title": plain(title), **_content(text), "picture": None, "level": level}
                if level == 3:
                    exercises.append(slide)
                elif level:
                    slides += [*exercises, slide]
                    exercises = []
                elif slides and not exercises and not slides[-1]["text"] + "".join(slides[-1]["points"]):
                    slides[-1] |= _content(text)
        elif slides and not exercises and not slides[-1]["picture"] and BEGIN not in cell.source:
            slides[-1]["picture"] = _picture(cell)
    return [slide for slide in slides + exercises if slide["text"] or slide["points"] or slide["picture"]]


def _sections(source):
    """Yield (level of the heading or 0, title, text below it) of a Markdown cell."""
    source = re.split(r"<details>", source)[0]
    marks = list(HEADING.finditer(source))
    if not marks or marks[0].start():
        yield 0, "", source[:marks[0].start()] if marks else source
    ends = [mark.start() for mark in marks[1:]] + [None]
    for mark, end in zip(marks, ends[:len(marks)], strict=True):
        yield len(mark[1]), mark[2], source[mark.end():end]


def _content(text):
    """Return the first paragraph and the first list of a text, as plain words."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    words, points = "", []
    for block in blocks:
        items = re.split(r"^(?:[-*]|\d+\.) ", block, flags=re.M)
        if len(items) > 1 and not points:
            points = [plain(item) for item in items[1:]]
        elif len(items) == 1 and not words and not block.startswith(("|", "<", "![", "```", "$$")):
            words = plain(block)
    return {"text": _shortened(words), "points": points[:7]}


def _shortened(words):
    """Return whole sentences of a paragraph, as many as fit on a slide."""
    sentences, kept = re.split(r"(?<=[.?!]) ", words), ""
    for sentence in sentences:
        if kept and len(kept) + len(sentence) > LONGEST:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def plain(markdown):
    """Return Markdown's words without its marks."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"<[^>]+>", "", markdown))
    return " ".join(re.sub(r"\*\*|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)|`|\$", "", text).split())


def _picture(cell):
    """Return the first picture that a cell shows, in base64; None where it shows none."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        shown = data.get("image/png") or (PICTURE.findall("".join(data.get("text/html", ""))) or [None])[0]
        if shown:
            return "".join(shown).replace("\n", "")
    return None


def build(out, notebooks=PROJECT / "notebooks"):
    """Write the deck, whole or not at all; return how many slides it has."""
    import matplotlib
    import typst

    deck = [slide for name in NOTEBOOKS for slide in slides_of(nbformat.read(notebooks / f"{name}.ipynb", 4))]
    with tempfile.TemporaryDirectory() as place, whole_file(out) as temporary:
        for number, slide in enumerate(deck):
            if slide["picture"]:
                Path(place, f"{number}.png").write_bytes(base64.b64decode(slide["picture"]))
                slide["picture"] = f"{number}.png"
        Path(place, "slides.json").write_text(json.dumps(deck), encoding="utf-8")
        Path(place, "slides.typ").write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
        typst.compile(str(Path(place, "slides.typ")), output=str(temporary), format="pdf", ignore_system_fonts=True,
                      font_paths=[str(Path(matplotlib.get_data_path(), "fonts", "ttf"))])
    return len(deck)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tools.slides", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default="build/slides.pdf")
    out = parser.parse_args(arguments).out
    print(f"{out}: {build(out)} slides, without solutions")


if __name__ == "__main__":
    main()
