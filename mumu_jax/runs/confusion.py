"""What genres are taken for what: a confusion matrix as a table and as a picture."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from mumu_jax.system.files import replacing

MAX_COUNTED = 25  # genres; with more, the cells are too small for numbers
MAX_CHARS = 32  # of a genre's name in the picture; the table has all
MIN_SIDE_IN, MAX_SIDE_IN = 2.5, 20.0  # of all cells together: room for the title, and a picture of 10 megapixels
POINTS_PER_IN = 72


def write_table(path: Path, matrix: Int[np.ndarray, "genres genres"], names: Sequence[str]) -> None:
    """A CSV of the counts: a row a true genre, a column a predicted one."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("true genre", *names))
        writer.writerows((name, *row) for name, row in zip(names, matrix.tolist(), strict=True))


def write_picture(path: Path, matrix: Int[np.ndarray, "genres genres"], names: Sequence[str]) -> None:
    """A PNG of the shares of each true genre's items, with the counts where there are few genres."""
    figure = _draw(matrix, names)
    with replacing(path) as part, warnings.catch_warnings():
        # A name may be in a script that the font lacks: boxes then, and the table has the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(part, format="png", dpi=150, bbox_inches="tight", pad_inches=0.15)


def _draw(matrix: Int[np.ndarray, "genres genres"], names: Sequence[str]) -> Figure:
    """The cells fill the figure; what is around them lies outside, and `bbox_inches="tight"` makes room for it."""
    n_genres, counted = len(names), len(names) <= MAX_COUNTED
    side_in = min(max(n_genres * (0.48 if counted else 0.2), MIN_SIDE_IN), MAX_SIDE_IN)
    cell_points = side_in / n_genres * POINTS_PER_IN
    figure = Figure(figsize=(side_in, side_in))
    ax: Any = figure.add_axes((0, 0, 1, 1), facecolor="0.85")  # shows through where there is no share
    n_true = matrix.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(matrix / np.maximum(n_true, 1), np.broadcast_to(n_true == 0, matrix.shape))
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    if counted:
        _write_counts(ax, matrix, shares, cell_points)
    _name_axes(ax, names, cell_points)
    _name_colours(figure, image, side_in)
    ax.set_title(_title(matrix), fontsize=11, pad=10)
    return figure


def _write_counts(ax: Any, matrix: Int[np.ndarray, "genres genres"], shares: Any, cell_points: float) -> None:
    """The count in each cell, as large as the longest one allows, of the rows that have any."""
    longest = len(f"{matrix.max():,}")
    size = min(10, 0.85 * cell_points / (0.65 * longest))  # a digit is 0.64 of the font's size wide
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(shares)), strict=True):
        count, share = matrix[row, column], shares[row, column]
        colour = "0.6" if not count else "white" if share > 0.6 else "black"
        ax.text(column, row, f"{count:,}", ha="center", va="center", fontsize=size, color=colour)


def _name_axes(ax: Any, names: Sequence[str], cell_points: float) -> None:
    shown = [_shorten(name) for name in names]
    ticks = np.arange(len(names))
    style = {"fontsize": min(9, 0.6 * cell_points), "parse_math": False}  # a dollar is a dollar
    rotation = 45 if len(names) <= MAX_COUNTED else 90
    ax.set_xticks(ticks, shown, rotation=rotation, rotation_mode="anchor", ha="right", va="center", **style)
    ax.set_yticks(ticks, shown, **style)
    ax.tick_params(length=2)
    ax.set_xlabel("predicted genre", fontsize=10)
    ax.set_ylabel("true genre", fontsize=10)


def _name_colours(figure: Figure, image: Any, side_in: float) -> None:
    bar = figure.colorbar(image, cax=figure.add_axes((1 + 0.2 / side_in, 0, 0.15 / side_in, 1)))
    bar.set_label("share of the true genre's items", fontsize=10)
    bar.ax.tick_params(labelsize=9)


def _title(matrix: Int[np.ndarray, "genres genres"]) -> str:
    n_items = int(matrix.sum())
    return f"{n_items:,} items, top-1 accuracy {np.trace(matrix) / n_items:.1%}" if n_items else "no items"


def _shorten(name: str) -> str:
    """On one line, and of a width that leaves room for the cells."""
    name = " ".join(name.split())
    return name if len(name) <= MAX_CHARS else name[: MAX_CHARS - 1] + "…"
