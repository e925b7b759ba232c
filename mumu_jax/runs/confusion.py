"""The confusion matrix of a run's albums, as a table and as a picture."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from mumu_jax.system import pictures
from mumu_jax.system.files import replacing

MAX_COUNTED = 25  # genres; with more, the cells are too small for numbers
MAX_CHARS = 32  # of a genre's name in the picture; the table has all
POINTS_PER_IN = 72
DIGIT_WIDTH = 0.65  # of the font's size


def write_table(path: Path, matrix: Int[np.ndarray, "genres genres"], names: Sequence[str]) -> None:
    """Write a CSV of the counts: a row a true genre, a column a predicted one."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("true genre", *names))
        writer.writerows((name, *row) for name, row in zip(names, matrix.tolist(), strict=True))


def write_picture(path: Path, matrix: Int[np.ndarray, "genres genres"], names: Sequence[str]) -> None:
    """Write a PNG of the shares of each true genre's items, with the counts if there are few genres."""
    pictures.write_picture(path, draw(matrix, names), dpi=150, bbox_inches="tight", pad_inches=0.15)


def draw(matrix: Int[np.ndarray, "genres genres"], names: Sequence[str]) -> Figure:
    """Return the picture; `bbox_inches="tight"` makes room for the names around its cells."""
    counted = len(names) <= MAX_COUNTED
    side_in = np.clip(len(names) * (0.48 if counted else 0.2), 2.5, 20)  # the title has room; at most 10 megapixels
    cell_points = POINTS_PER_IN * side_in / len(names)
    figure = Figure(figsize=(side_in, side_in))
    ax: Any = figure.add_axes((0, 0, 1, 1), facecolor="0.85")  # shows through in the row of a genre without items
    n_true = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(n_true, 1)
    display: Any = ConfusionMatrixDisplay(shares, display_labels=[_shorten(name) for name in names])
    size = min(10, 0.85 * cell_points / (DIGIT_WIDTH * len(f"{matrix.max():,}")))
    colours = {"cmap": "Blues", "vmin": 0, "vmax": 1, "aspect": "auto"}
    display.plot(include_values=counted, ax=ax, colorbar=False, im_kw=colours, text_kw={"fontsize": size})
    display.im_.set_data(np.ma.masked_array(shares, np.broadcast_to(n_true == 0, matrix.shape)))
    if counted:
        for (row, column), text in np.ndenumerate(display.text_):
            text.set_text(f"{matrix[row, column]:,}")
            text.set_visible(n_true[row, 0] > 0)
    bar = figure.colorbar(display.im_, cax=figure.add_axes((1 + 0.2 / side_in, 0, 0.15 / side_in, 1)))
    bar.set_label("share of the true genre's items")
    ax.tick_params(labelsize=min(9, 0.6 * cell_points), length=2)
    ax.tick_params(axis="x", rotation=90)
    n_items = matrix.sum()
    accuracy = f"{n_items:,} items, top-1 accuracy {np.trace(matrix) / n_items:.1%}" if n_items else "no items"
    ax.set(xlabel="predicted genre", ylabel="true genre", title=accuracy)
    return figure


def _shorten(name: str) -> str:
    """Return the name on one line, and narrow enough to leave room for the cells."""
    name = " ".join(name.split())
    return name if len(name) <= MAX_CHARS else name[: MAX_CHARS - 1] + "…"
