"""Build an instructor's slides out of the stored notebooks: one PDF, made without any network.

    python -m tools.slides [--out build/slides.pdf]

The rule: a notebook opens with its title and what one learns. A section (##) is a slide: its title, its first
paragraph or its list, and the first picture that it shows, else what it prints first; each of its exercises is a slide
at its end, with the question and without hints and solutions. What comes after an exercise's question is never shown.
A section of a few words takes its next paragraph, or stands at the head of the section after it.
"""

import argparse
import base64
import json
import re
import tempfile
from pathlib import Path

import nbformat

from lvlab.store.files import PROJECT, whole_file
from tools.handout import here
from tools.static import still
from tools.student import BEGIN, NOTEBOOKS

TEMPLATE = Path(__file__).with_name("slides.typ")
HEADING = re.compile(r"^(#{1,3}) (.+)$", re.M)
PICTURE = re.compile(r"data:image/png;base64,([^\"]+)")
QUIZ = "lvlab.quiz("
NOTES = re.compile(r"train_or_open\(|\.checks\.")  # a cell that prints what becomes of the work, not of the subject
#: What an exercise says of cells that are not on its slide: a remark to leave out, and a sentence to leave out.
ASIDE = re.compile(r", as above|; the next cell [^.;:]*")
ABSENT = re.compile(r"\b(next cell|tables? (below|above)|two tables)\b", re.I)
LONGEST = 420  # characters of a paragraph on a slide
FEWEST = 100  # characters, below which a slide that shows nothing is too empty
MOST_LINES = 11  # of what a cell prints


def slides_of(notebook):
    """Return the slides of a notebook as dicts: kind, title, text, points, picture in base64, and printed lines."""
    slides, exercises = [], []
    for cell in still(notebook).cells:
        if cell.cell_type == "markdown":
            for level, title, text in _sections(here(cell.source)):
                slide = {"title": plain(title), **_content(text), "picture": None, "printed": "", "level": level}
                if level == 3:
                    exercises.append(slide)
                elif level:
                    slides += [*exercises, slide]
                    exercises = []
                elif slides and not exercises:
                    slides[-1]["points"] = slides[-1]["points"] or ([] if slides[-1]["text"] else slide["points"])
                    slides[-1]["text"] += slide["text"]
        elif slides and not exercises and BEGIN not in cell.source:
            _show(cell, slides[-1])
    return _merged([_finished(slide) for slide in slides + exercises])


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
    """Return the paragraphs and the first list of a text, as plain words."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    paragraphs, points = [], []
    for block in blocks:
        items = re.split(r"^(?:[-*]|\d+\.) ", block, flags=re.M)
        if len(items) > 1 and not points:
            points = [plain(item) for item in items[1:]]
        elif len(items) == 1 and not block.startswith(("|", "<", "![", "```", "$$")):
            paragraphs.append(plain(block))
    return {"text": paragraphs, "points": points[:7]}


def _show(cell, slide):
    """Take on the slide what a cell shows: its picture, what it prints before it asks, or what it asks."""
    if QUIZ in cell.source:
        slide["text"] += [output["data"]["text/plain"] for output in cell.outputs] if slide["text"] else []
        slide["asked"] = True
    slide["picture"] = slide["picture"] or _picture(cell)
    if not slide["points"] and not slide.get("asked") and not NOTES.search(cell.source):
        slide["printed"] = slide["printed"] or _printed(cell)


def _finished(slide):
    """Return a slide with as much text as fits: nothing in it announces what the slide does not show."""
    paragraphs = slide["text"]
    slide["printed"] = "" if slide["picture"] else slide["printed"]
    shown = slide["picture"] or slide["printed"]
    words = ""
    for paragraph in paragraphs:
        if words and (shown or slide["level"] != 2 or slide["points"] or len(words) >= FEWEST):
            break
        sentences = re.split(r"(?<=[.?!]) ", paragraph)
        if slide["level"] == 3:
            sentences = [sentence for sentence in (ASIDE.sub("", sentence) for sentence in sentences)
                         if not ABSENT.search(sentence)]
        if sentences and sentences[-1].endswith(":") and not (shown or slide["points"]):
            sentences.pop()
        words = f"{words} {_shortened(sentences)}".strip()
    return slide | {"text": words}


def _shortened(sentences):
    """Return whole sentences of a paragraph, as many as fit on a slide."""
    kept = ""
    for sentence in sentences:
        if kept and len(kept) + len(sentence) > LONGEST:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def _merged(slides):
    """Return the slides without empty ones; what is nearly empty stands at the head of the section after it."""
    merged, carried = [], ""
    for slide, following in zip(slides, [*slides[1:], None], strict=True):
        slide["text"] = f"{carried} {slide['text']}".strip()
        carried = ""
        if slide["picture"] or slide["printed"] or slide["points"] or len(slide["text"]) >= FEWEST:
            merged.append(slide)
        elif slide["level"] == 2 and following and following["level"] == 2:
            carried = f"{slide['title']}{'' if slide['title'].endswith('?') else '.'} {slide['text']}"
        elif slide["text"]:
            merged.append(slide)
    return merged


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


def _printed(cell):
    """Return the first lines that a cell prints, or those of its table or list; "" where there is neither."""
    text = ""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        words = "".join(data.get("text/plain", ""))
        if output.get("name") == "stdout":
            text += "".join(output["text"])
        elif "text/html" in data or words.startswith("["):
            text += re.sub(r"[ \\]+$", "", words.split("\n\n")[0], flags=re.M)  # a wide table goes on below
    lines = text.rstrip().split("\n")
    return "\n".join(lines[:MOST_LINES] + ["…"] * (len(lines) > MOST_LINES))


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
