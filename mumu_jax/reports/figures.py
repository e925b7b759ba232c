"""Figures 1 and 2 of Oramas et al. 2017: t-SNE of album factors as marks, and of image vectors as covers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from mumu_jax.data.loader import multi_hot
from mumu_jax.data.manifest import SPLITS, Label, read_labels, read_manifest
from mumu_jax.errors import UserError
from mumu_jax.objectives.cosine import item_factors
from mumu_jax.reports.tables import table_in
from mumu_jax.runs.constants import read_constants
from mumu_jax.runs.folder import check_run, read_about
from mumu_jax.system.files import read_npz

MAX_ALBUMS = 2_000  # of figure 1: t-SNE takes 20 s then, at worst
MAX_COVERS = 200  # of figure 2: more hide one another
N_GENRES_OF_COVERS = 5  # the paper's
MIN_VECTORS = 5
# Okabe and Ito's colours, told apart by everyone, with a darker yellow and without black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B5A400", "#8C6BB1")
STYLES = [(colour, marker) for marker in "os" for colour in COLOURS]
GREY = "#999999"
AREA, MAX_AREA = 20, 360  # in square points, of one album's mark and of any mark
FRAME_PX = 5  # around a thumbnail


@dataclass(frozen=True)
class Drawing:
    """A figure and what it shows.  If there is none, `caption` says why, and what to do."""

    name: str
    title: str
    caption: str
    figure: Figure | None


def figures_of(workdir: Path) -> list[Drawing]:
    """Draw figures 1 and 2 of a run, or of the first run that has what they need in a folder of `reproduce`.

    The same files give the same figures.  Raises UserError if `workdir` is neither.
    """
    runs = _runs_in(workdir)
    for run in runs:
        check_run(run)
    drawings = []
    for name, title, draw in (
        ("figure1", "Albums by their factors", _figure_1),
        ("figure2", "Covers by their feature vectors", _figure_2),
    ):
        try:
            drawings.append(Drawing(name, title, *draw(runs)))
        except UserError as error:
            drawings.append(Drawing(name, title, str(error), None))
    return drawings


def _runs_in(workdir: Path) -> list[Path]:
    """Return the run itself, or the finished runs of `reproduce`."""
    if (workdir / "config.json").exists():
        return [workdir]
    if table_in(workdir) is None:
        raise UserError(
            f"{workdir} has neither config.json nor a table; give the --workdir of a run or of mumu_jax.reproduce"
        )
    return sorted(path.parent for path in workdir.glob("*/seed*/config.json") if _saved(path.parent, "predictions"))


# --- figure 1 -----------------------------------------------------------------------------------------------


def _figure_1(runs: Sequence[Path]) -> tuple[str, Figure]:
    """Draw the factors of albums with one genre of the top level: a mark for all with the same factor (section 6)."""
    factors = ((run, _label_factors(run)) for run in runs)
    first = next(((run, C) for run, C in factors if C is not None and C.shape[1]), None)
    if first is None:
        raise UserError(
            "no finished run here has cosine targets, and only those have factors; train one, such as text_vsm"
        )
    run, C = first
    labels = read_labels(run / "labels.json")
    M, which = _labels_of_albums(run, labels)
    genres = _only_one(M, _top_level(labels))
    rows = np.flatnonzero(genres >= 0)
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:MAX_ALBUMS])
    # Albums with the same labels have the same factor.
    F = np.asarray(item_factors(M[chosen], C)).round(5)
    points, n_albums = np.unique(np.column_stack([genres[chosen], F]), axis=0, return_counts=True)
    known = points[:, 1:].any(axis=1)  # a zero row has no direction
    points, n_albums = points[known], n_albums[known]
    places = _tsne(points[:, 1:], f"factors of {which} with exactly one genre of the top level")
    figure = draw_marks(places, points[:, 0].astype(int), n_albums, [label.name for label in labels])
    n = f"{n_albums.sum():,}" if len(rows) == len(chosen) else f"{n_albums.sum():,} (at random, of {len(rows):,})"
    caption = (
        f"t-SNE of album factors: {n} {which} that have exactly one genre of the top level, coloured by it. Albums "
        f"with the same labels share a mark, which is the larger the more they are. Factors of the run {_name(run)}."
    )
    return caption, figure


def _label_factors(run: Path) -> Float[np.ndarray, "labels d"] | None:
    """Return a run's label factors; None if its targets are not cosine."""
    _, config = read_about(run / "config.json")
    return read_constants(run, config)[0].fitted.get("label_factors")


def _labels_of_albums(run: Path, labels: Sequence[Label]) -> tuple[UInt8[np.ndarray, "albums labels"], str]:
    """Return multi-hot labels, and which albums have them: those of the factors if the run's data is still there."""
    column = {label.name: i for i, label in enumerate(labels)}
    manifest = Path(read_about(run / "config.json")[0]["data"]["dir"]) / "manifest.jsonl"
    albums = read_manifest(manifest) if manifest.exists() else []
    genres = [album.genres for album in albums if album.split in ("train", "val")]
    if genres and all(genre in column for of_album in genres for genre in of_album):
        columns = ([column[genre] for genre in of_album] for of_album in genres)
        return np.stack([multi_hot(of_album, len(labels)) for of_album in columns]), "training and validation albums"
    saved = _saved(run, "predictions")
    if saved is None:
        raise UserError(f"{manifest} has not the run's albums, and the run is not finished: train it to the end")
    path, split = saved
    arrays = read_npz(path, "write it again (mumu_jax.evaluate)", "album_labels")
    return arrays["album_labels"], f"{split} albums (the run's data is no longer in {manifest.parent})"


def draw_marks(
    places: Float[np.ndarray, "points 2"],
    genres: Int[np.ndarray, " points"],
    n_albums: Int[np.ndarray, " points"],
    names: Sequence[str],
) -> Figure:
    """Draw a mark a point, as large as its albums are many; the most frequent genres have colours."""
    figure = Figure(figsize=(9.6, 6.8), dpi=150, layout="constrained")
    ax: Any = figure.add_subplot(xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")
    ranked = by_frequency(np.repeat(genres, n_albums))
    shown = [(names[genre], style, genres == genre) for genre, style in zip(ranked, STYLES, strict=False)]
    if others := ranked[len(STYLES) :]:
        shown.append((f"{len(others)} other genres", (GREY, "."), np.isin(genres, others)))
    for name, (colour, marker), mine in shown:
        areas, label = np.minimum(AREA * n_albums[mine], MAX_AREA), _legend_label(name, n_albums[mine].sum())
        ax.scatter(*places[mine].T, areas, c=colour, marker=marker, alpha=0.8, linewidths=0, label=label)
    for handle in _add_legend(figure).legend_handles:
        handle.set_sizes([2 * AREA])
    return figure


# --- figure 2 -----------------------------------------------------------------------------------------------


def _figure_2(runs: Sequence[Path]) -> tuple[str, Figure]:
    """Draw covers of five of the most frequent genres, each where t-SNE puts its feature vector (section 6.3)."""
    first = next(((run, *saved) for run in runs if (saved := _saved(run, "covers"))), None)
    if first is None:
        raise UserError(
            "no finished run of images here has covers_<split>.npz; train one, or let an older one write it: "
            "python -m mumu_jax.evaluate --workdir=RUN"
        )
    run, path, split = first
    saved = read_npz(path, "score the run again (mumu_jax.evaluate)", "vectors", "covers", "labels")
    labels = read_labels(run / "labels.json")
    top = _top_level(labels)
    columns = top[by_frequency(np.nonzero(saved["labels"][:, top])[1])][:N_GENRES_OF_COVERS]
    genres = _only_one(saved["labels"], columns)
    rows = np.flatnonzero(genres >= 0)[:MAX_COVERS]  # in random order already
    places = _tsne(saved["vectors"][rows].astype(np.float32), f"covers in {path} with one of the most frequent genres")
    figure = draw_covers(places, saved["covers"][rows], genres[rows], [label.name for label in labels])
    caption = (
        f"t-SNE of image vectors, drawn with the covers: {len(rows):,} {split} albums, chosen at random, that have "
        f"exactly one of the {len(columns)} most frequent genres of the top level, framed in its colour. Vectors of "
        f"the run {_name(run)}."
    )
    return caption, figure


def draw_covers(
    places: Float[np.ndarray, "covers 2"],
    covers: UInt8[np.ndarray, "covers side side 3"],
    genres: Int[np.ndarray, " covers"],
    names: Sequence[str],
) -> Figure:
    """Draw a cover a point, framed in its genre's colour; at most as many genres as COLOURS."""
    figure = Figure(figsize=(9.6, 8), dpi=150, layout="constrained")
    ax: Any = figure.add_subplot()
    colours = dict(zip(by_frequency(genres), COLOURS, strict=False))
    half = 0.02 * np.ptp(places, axis=0).max()
    for (x, y), cover, genre in zip(places, covers, genres, strict=True):
        framed = np.full(np.add(cover.shape, (2 * FRAME_PX, 2 * FRAME_PX, 0)), to_rgb(colours[genre]))
        framed[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX] = cover / 255
        ax.imshow(framed, extent=(x - half, x + half, y - half, y + half))
    (left, low), (right, high) = places.min(axis=0) - half, places.max(axis=0) + half
    ax.set(xlim=(left, right), ylim=(low, high))
    ax.axis("off")
    labels = {genre: _legend_label(names[genre], np.count_nonzero(genres == genre)) for genre in colours}
    _add_legend(figure, handles=[Patch(color=colour, label=labels[genre]) for genre, colour in colours.items()])
    return figure


# --- parts of both ------------------------------------------------------------------------------------------


def _saved(run: Path, name: str) -> tuple[Path, str] | None:
    """Return (path, split) of what an evaluation left in the run's folder, of the test split if it can."""
    paths = ((run / f"{name}_{split}.npz", split) for split in reversed(SPLITS))
    return next((saved for saved in paths if saved[0].exists()), None)


def _name(run: Path) -> str:
    run = run.absolute()
    return f"{run.parent.name}/{run.name}" if run.name.startswith("seed") else run.name


def _top_level(labels: Sequence[Label]) -> Int[np.ndarray, " genres"]:
    return np.array([i for i, label in enumerate(labels) if label.parent is None], int)


def _only_one(
    labels: UInt8[np.ndarray, "items labels"], columns: Int[np.ndarray, " genres"]
) -> Int[np.ndarray, " items"]:
    """Return which of `columns` an item has, if it has only one of them; -1 for other items."""
    carried = labels[:, columns] != 0
    return np.where(carried.sum(axis=1) == 1, carried @ columns, -1)


def _tsne(vectors: Shaped[np.ndarray, "points d"], described: str) -> Float[np.ndarray, "points 2"]:
    """Return places in the plane, the same for the same vectors.  Raises UserError on too few different vectors."""
    n_points, n_different = len(vectors), len(np.unique(vectors, axis=0))
    if n_different < MIN_VECTORS:
        raise UserError(
            f"t-SNE needs {MIN_VECTORS} different vectors, and there are {n_different} {described}; it takes albums "
            "of more genres"
        )
    tsne = TSNE(init="pca", random_state=0, perplexity=min(30, (n_points - 1) / 3))
    with threadpool_limits(1):  # threads would add up in a random order
        return tsne.fit_transform(vectors)


def by_frequency(genres: Int[np.ndarray, " items"]) -> list[int]:
    """Return the different genres, the most frequent first; of equals the first."""
    different, counts = np.unique(genres, return_counts=True)
    return different[np.argsort(-counts, kind="stable")].tolist()


def _legend_label(name: str, n_albums: int | np.integer) -> str:
    """Return a genre's line of the legend; the name may be anything."""
    printable = "".join(char if char.isprintable() else " " for char in name)
    # Matplotlib leaves out what begins with an underscore.
    return f" {fill(printable, 26, max_lines=3, placeholder=' …')} ({n_albums:,})"


def _add_legend(figure: Figure, **how: Any) -> Any:
    return figure.legend(loc="outside right upper", fontsize=9, frameon=False, handletextpad=0.2, **how)
