"""Figures in words: the text that stands for a picture where it cannot be seen (its alt text)."""

import html

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer

from lvlab.pictures import DRAWING, PREDICTION, TRUTH

OUTLINES = {TRUTH: "ground truth", PREDICTION: "prediction", DRAWING: "your drawing"}
MOST_PANELS, MOST_LETTERS = 6, 600


def words(figure, text):
    """Give a figure its alt text and return the figure."""
    figure.lvlab_words = text
    return figure


def alt_of(figure):
    """Return a figure's alt text: what `words` gave it, or what its titles, axes, curves and legends say."""
    own = getattr(figure, "lvlab_words", "")
    text = own or " ".join(filter(None, [_caption(figure), _images(figure), *_charts(figure), _marked(figure)]))
    text = " ".join(text.split()) or "A figure without any text."
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS].rsplit(" ", 1)[0] + " …"


def describe_figures(shell):
    """Let an IPython shell store each figure's alt text beside its picture.

    nbconvert and the site read it there, and so does JupyterLab with the extension in labextensions/, which `lvlab lab`
    names to it.
    """
    def described(figure):
        return {}, {"image/png": {"alt": alt_of(figure)}}

    if shell is not None:
        shell.display_formatter.mimebundle_formatter.for_type_by_name("matplotlib.figure", "Figure", described)


def film(animation, text):
    """Return a matplotlib animation as HTML with buttons to play it, and with an alt text."""
    from IPython.display import HTML

    return HTML(animation.to_jshtml().replace("<img ", f'<img alt="{html.escape(text)}" ', 1))


def _caption(figure):
    title = figure.get_suptitle()
    return f"{title}." if title else ""


def _images(figure):
    """Say how many images there are, their titles and the outlines on them."""
    panels = [axis for axis in figure.axes if axis.images]
    if not panels:
        return ""
    titles = [title for axis in panels if (title := " ".join(axis.get_title().split()))]
    sides = {side for axis in panels for side in (axis.get_xlabel(), axis.get_ylabel()) if side}
    scale = [axis.get_ylabel() for axis in figure.axes if axis.get_label() == "<colorbar>" and axis.get_ylabel()]
    titles = titles or [" by ".join([*scale, *sorted(sides)])][:len(sides)]
    more = f"; and {len(titles) - MOST_PANELS} more" if len(titles) > MOST_PANELS else ""
    drawn = {to_hex(colour) for axis in panels for lines in axis.collections for colour in lines.get_edgecolor()}
    outlines = [name for colour, name in OUTLINES.items() if colour in drawn]
    what = "An image" if len(panels) == 1 else f"{len(panels)} images"
    return (what + (": " if titles else "") + "; ".join(titles[:MOST_PANELS]) + more
            + (f", with the outline of {' and of '.join(outlines)}" if outlines else "") + ".")


def _charts(figure):
    """Say of each chart what its axes are, where its curves begin and end, and what its named bars are worth."""
    for axis in figure.axes:
        if axis.images or axis.get_label() == "<colorbar>" or not axis.has_data():
            continue
        bars = [bar for bar in axis.containers if isinstance(bar, BarContainer)]
        kind = "Bars" if bars else "Points" if axis.collections and not axis.lines else "Curves"
        title = f"{axis.get_title()}: " if axis.get_title() else ""
        sides = [side for side in (axis.get_ylabel(), axis.get_xlabel()) if side]
        parts = [*_named_bars(axis, bars), *(text for line in axis.lines if (text := _curve(line)))]
        yield f"{kind}: {title}{' against '.join(sides)}{'; ' if parts else ''}{', '.join(parts)}."


def _named_bars(axis, bars):
    """Say what each lying bar with a name is worth."""
    names = [label.get_text() for label in axis.get_yticklabels()]
    if len(bars) == 1 and bars[0].orientation == "horizontal" and len(names) == len(bars[0]):
        for name, bar in zip(names, bars[0], strict=True):
            yield f"{name} {bar.get_width():.2f}"


def _curve(line):
    """Say where a named curve begins and ends, or where a straight line stands; nothing of lines without a name."""
    name, (x, y) = line.get_label(), np.asarray(line.get_data(orig=False), float)
    y = y[np.isfinite(y)]
    if name.startswith("_") or not len(y):
        return ""
    if line.get_linestyle() == "None":
        return f"a dot for {name}"
    if not np.ptp(x):
        return f"{name} at {x[0]:.3g}"
    return f"{name} from {y[0]:.3g} to {y[-1]:.3g}" if np.ptp(y) else name


def _marked(figure):
    """Say what the legend below the panels names."""
    named = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return f"Marked: {', '.join(named)}." if named else ""
