"""Points in the plane as pictures: marks or covers, coloured by genre."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# In square points: of one album's mark times the number of marks, so that few are large and many stay apart; of a mark.
AREA, LEAST_AREA, MOST_AREA = 6_000, 8, 360

# Okabe and Ito's colours, told apart by everyone, with a darker yellow and without black: marks lie on white and black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B5A400", "#8C6BB1")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
STYLES = [(colour, MARKERS[(i + 3 * turn) % 8]) for turn in range(2) for i, colour in enumerate(COLOURS)]
OTHERS = ("#999999", ".")
DPI = 150
FRAME_PX = 5  # around a cover's 64


def draw_marks(
    places: Float[np.ndarray, "points 2"],
    genres: Int[np.ndarray, " points"],
    n_albums: Int[np.ndarray, " points"],
    names: Sequence[str],
) -> Figure:
    """A mark a point, as large as its albums are many; the most frequent genres have colours, `names` are of all."""
    figure = Figure(figsize=(9.6, 6.8), dpi=DPI, layout="constrained")
    (left, low), (right, high) = _square_around(places)
    ax: Any = figure.add_subplot(xlim=(left, right), ylim=(low, high), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=OTHERS[0], linewidth=0.6)
    large_first = np.argsort(-n_albums, kind="stable")
    places, genres, n_albums = places[large_first], genres[large_first], n_albums[large_first]
    areas = np.minimum(n_albums * np.clip(AREA / len(genres), LEAST_AREA, MOST_AREA / 10), MOST_AREA)
    columns = by_frequency(np.repeat(genres, n_albums))
    shown = [(names[column], style, genres == column) for column, style in zip(columns, STYLES, strict=False)]
    if len(columns) > len(STYLES):
        rest = columns[len(STYLES) :]
        shown.append((f"{len(rest)} other genres", OTHERS, np.isin(genres, rest)))
    handles = []
    for _, (colour, marker), mine in shown:
        ax.scatter(*places[mine].T, areas[mine], c=colour, marker=marker, alpha=0.8, linewidths=0)
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", markersize=7))
    _add_legend(figure, handles, [(name, n_albums[mine].sum()) for name, _, mine in shown])
    return figure


def _square_around(places: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "ends 2"]:
    """Its lower left and upper right corners, with a margin for marks."""
    least, most = places.min(axis=0), places.max(axis=0)
    half = 0.54 * np.max(most - least)
    return np.stack([(least + most) / 2 - half, (least + most) / 2 + half])


def draw_covers(
    places: Float[np.ndarray, "covers 2"],
    covers: UInt8[np.ndarray, "covers side side 3"],
    genres: Int[np.ndarray, " covers"],
    names: Sequence[str],
) -> Figure:
    """A cover a point, framed in its genre's colour, moved a little where it would hide another; at most 8 genres."""
    figure = Figure(figsize=(9.6, 8), dpi=DPI, layout="constrained")
    ax: Any = figure.add_subplot()
    ax.axis("off")
    columns = by_frequency(genres)
    colours = dict(zip(columns, COLOURS, strict=False))
    half = np.ptp(places, axis=0).max() * min(0.05, 0.36 / np.sqrt(len(places)))
    places = _apart(places, 2 * half)
    for (x, y), cover, genre in zip(places, covers, genres, strict=True):
        framed = _framed(cover, colours[genre])
        ax.imshow(framed, extent=(x - half, x + half, y - half, y + half), interpolation="antialiased")
    (left, low), (right, high) = places.min(axis=0) - half, places.max(axis=0) + half
    ax.set(xlim=(left, right), ylim=(low, high))
    handles = [Line2D([], [], color=colours[genre], marker="s", linestyle="", markersize=9) for genre in columns]
    _add_legend(figure, handles, [(names[genre], np.sum(genres == genre)) for genre in columns])
    return figure


def _framed(cover: UInt8[np.ndarray, "side side 3"], colour: str) -> UInt8[np.ndarray, "framed framed 3"]:
    side = len(cover) + 2 * FRAME_PX
    framed = np.full((side, side, 3), np.round(255 * np.array(to_rgb(colour))), np.uint8)
    framed[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = cover
    return framed


def _apart(places: Float[np.ndarray, "covers 2"], side: float) -> Float[np.ndarray, "covers 2"]:
    """The places, pushed away from one another until squares of this side hardly overlap."""
    for _ in range(300):
        away = places[:, None] - places
        overlap = np.maximum(side - np.abs(away), 0)
        overlap *= overlap[..., ::-1] > 0  # both ways, or none
        shorter = overlap <= overlap[..., ::-1]
        places = places + np.sum(np.sign(away) * overlap * shorter, axis=1) / 4
    return places


def by_frequency(genres: Int[np.ndarray, " items"]) -> list[int]:
    """The different ones, the most frequent first; of equals the first."""
    found, counts = np.unique(genres, return_counts=True)
    return found[np.argsort(-counts, kind="stable")].tolist()


def _add_legend(figure: Figure, handles: Sequence[Line2D], genres: Sequence[tuple[str, Any]]) -> None:
    """(name, number of albums) of each genre, beside the picture; a name may be anything."""
    placeholders = ["x"] * len(handles)  # a legend leaves out what begins with an underscore
    legend = figure.legend(
        handles, placeholders, loc="outside right upper", fontsize=9, frameon=False, handletextpad=0.4
    )
    for shown, (name, n_albums) in zip(legend.get_texts(), genres, strict=True):
        printable = "".join(char if char.isprintable() else " " for char in name)
        name = fill(printable, 26, max_lines=3, placeholder=" …")
        shown.set(text=f"{name} ({n_albums:,})", parse_math=False)
