"""Each word of the glossary is linked once, where the notebooks use it first, and every link leads to its entry."""

import re

import nbformat
import pytest

from lvlab.store.files import PROJECT

GLOSSARY = (PROJECT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^### (.+)\n\n((?:.+\n)+)", GLOSSARY, re.M))
LINK = re.compile(r"\[([^\]]+)\]\(\.\./docs/glossary\.md#([^)]+)\)")
CODE = re.compile(r"`[^`]*`|^#.*$|\]\([^)]*\)", re.M)


def texts():
    """Yield the notebooks' words in their order; headings, code and addresses are blanked."""
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        yield from (cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")


TEXT = "\n\n".join(texts())
LINKS = {found[2]: found for found in LINK.finditer(TEXT)}
PLAIN = CODE.sub(lambda found: " " * len(found[0]), TEXT)


def slug(term):
    """Return the anchor that GitHub and the site give to a heading."""
    return term.lower().replace(" ", "-").replace("'", "")


def names(term):
    """Return how a term may be written: its heading, and what stands in italics before the first full stop."""
    also = re.match(r"\*([^*]+)\.\*", ENTRIES[term])
    return [term, *(also[1].split(", ") if also else [])]


def test_every_link_leads_to_an_entry_and_every_entry_is_linked_once():
    assert sorted(found[2] for found in LINK.finditer(TEXT)) == sorted(map(slug, ENTRIES))


@pytest.mark.parametrize("term", ENTRIES)
def test_the_link_stands_where_the_word_is_used_first(term):
    link = LINKS[slug(term)]
    for name in names(term):
        short = name.isupper() and len(name) < 4
        pattern = re.compile(rf"(?<![\w-]){re.escape(name)}(?:s|es)?(?![\w-])", 0 if short else re.I)
        first = pattern.search(PLAIN)
        assert first is None or first.start() >= link.start(), PLAIN[first.start() - 40:first.end() + 40]


@pytest.mark.parametrize("term", ENTRIES)
def test_every_definition_has_a_source_or_is_the_course_s_own(term):
    assert re.search(r"\]\(https://[^)]+\)|This course's own", ENTRIES[term])
