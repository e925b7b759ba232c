"""Matplotlib's figures as SVG inside a page: the page's fonts, its ink on its ground, and no id twice."""

import io
import re
import warnings
from typing import Any

import matplotlib
from cycler import cycler
from markupsafe import Markup
from matplotlib.figure import Figure

INK = "#000000"  # Matplotlib's black is the page's text colour, dark or light
# Okabe and Ito's colours without black and yellow: told apart by the colour-blind, and on both grounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2")  # of SVG's stroke-dasharray, in points

_STYLE: Any = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=COLOURS),
}
_UNNEEDED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_SIZE = re.compile(r' (?:width|height)="[^"]*pt"| xmlns(?::xlink)?="[^"]*"| version="1.1"')
_UNUSED_ID = re.compile(r'<g id="(?!roc-)[^"]*"')


def style() -> Any:
    """The context in which a page's figures are made."""
    return matplotlib.rc_context(_STYLE)


def inline(figure: Figure, name: str) -> Markup:
    """The figure as an `<svg>` element, the same bytes each time; `name` is its own in the page.

    It is as wide as what it lies in; black in it is the page's text colour.
    """
    text = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has other fonts
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    found = _UNNEEDED.sub("", text.getvalue()).strip()
    head, rest = found.split(">", 1)
    return Markup(_SIZE.sub("", head) + ">" + re.sub(r"<[^>]*>", _tag, rest))


def _tag(match: re.Match[str]) -> str:
    """A tag as it is wanted; the text between the tags, a genre's name perhaps, stays as it is."""
    return _UNUSED_ID.sub("<g", match[0]).replace(INK, "currentColor")
