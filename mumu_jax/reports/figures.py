"""`python -m mumu_jax.report figures`: figures 1 and 2 of Oramas et al. 2017, of a run or of reproduce."""

import argparse
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from mumu_jax.data.loader import multi_hot
from mumu_jax.data.manifest import SPLITS, Label, read_labels, read_manifest
from mumu_jax.errors import UserError
from mumu_jax.objectives.cosine import item_factors
from mumu_jax.reports.maps import by_frequency, draw_covers, draw_marks
from mumu_jax.reports.table2 import TABLE
from mumu_jax.runs.folder import read_about, read_constants
from mumu_jax.runs.thumbnails import read_thumbnails
from mumu_jax.system.files import replacing

MAX_ALBUMS = 2_000  # of figure 1: t-SNE takes 20 s then, at worst
MAX_COVERS = 200  # of figure 2: of more one sees less
N_GENRES_OF_COVERS = 5  # the paper's
LEAST_POINTS = 5


@dataclass(frozen=True)
class Drawing:
    """A figure and what it shows, or, where it is None, the reason why there is none, and the remedy."""

    name: str
    title: str
    caption: str
    figure: Figure | None
    reason: str


def report_figures(arguments: argparse.Namespace) -> None:
    """Write the figures as PNG and SVG, and say what they show, or why there is none."""
    drawings = figures_of(arguments.workdir)
    if not any(drawing.figure for drawing in drawings):
        raise UserError("no figure can be drawn. " + " ".join(f"{d.name}: {d.reason}." for d in drawings))
    out = arguments.out or arguments.workdir / "report"
    for drawing in drawings:
        if drawing.figure is None:
            print(f"{drawing.name}: none: {drawing.reason}")
            continue
        try:
            out.mkdir(parents=True, exist_ok=True)
            written = [_save(out / f"{drawing.name}.{kind}", drawing.figure) for kind in ("png", "svg")]
        except OSError as error:
            raise UserError(f"cannot write {error.filename or out}: {error.strerror}; give another --out") from error
        print(f"{drawing.name}: {drawing.caption}")
        print(f"written: {', '.join(map(str, written))}")


def figures_of(workdir: Path) -> list[Drawing]:
    """Figures 1 and 2 of a run's folder, or of the first run that has what they need in a folder of `reproduce`.

    The same files give the same figures.  Raises UserError where `workdir` is neither.
    """
    runs = _runs_in(workdir)
    drawings = []
    for name, title, draw in (
        ("figure1", "Albums by their factors", _figure_1),
        ("figure2", "Covers by their feature vectors", _figure_2),
    ):
        try:
            drawings.append(Drawing(name, title, *draw(runs), ""))
        except UserError as error:
            drawings.append(Drawing(name, title, "", None, str(error)))
    return drawings


def _runs_in(workdir: Path) -> list[Path]:
    """The run itself, or the finished ones of `reproduce`."""
    if (workdir / "config.json").exists():
        return [workdir]
    if not (workdir / TABLE).exists():
        raise UserError(
            f"{workdir} has neither config.json nor {TABLE}; give the --workdir of a run or of mumu_jax.reproduce"
        )
    return sorted(path.parent for path in workdir.glob("*/seed*/config.json") if _saved(path.parent, "predictions"))


# --- figure 1 -----------------------------------------------------------------------------------------------


def _figure_1(runs: Sequence[Path]) -> tuple[str, Figure]:
    """Album factors of the albums with one genre of the top level: a mark for all with the same factor (section 6)."""
    factors = ((run, read_constants(run)[0].label_factors) for run in runs)
    found = next(((run, C) for run, C in factors if C.shape[1]), None)
    if found is None:
        raise UserError(
            "no finished run here has cosine targets, and only those have factors; train one, such as text_vsm"
        )
    run, C = found
    labels = read_labels(run / "labels.json")
    M, of_what = _labels_of_albums(run, labels)
    genres = _only_one(M, _top_level(labels))
    rows = np.flatnonzero(genres >= 0)
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:MAX_ALBUMS])
    # Albums with the same labels have the same factor.
    F = np.asarray(item_factors(M[chosen], C)).round(5)
    points, n_albums = np.unique(np.column_stack([genres[chosen], F]), axis=0, return_counts=True)
    known = points[:, 1:].any(axis=1)  # a zero row is no direction
    points, n_albums = points[known], n_albums[known]
    places = _tsne(points[:, 1:], f"factors of {of_what} with exactly one genre of the top level")
    figure = draw_marks(places, points[:, 0].astype(int), n_albums, [label.name for label in labels])
    n = f"{n_albums.sum():,}" if len(rows) == len(chosen) else f"{n_albums.sum():,} (at random, of {len(rows):,})"
    caption = (
        f"t-SNE of album factors: {n} {of_what} that have exactly one genre of the top level, coloured by it. Albums "
        f"with the same labels share a mark, which is the larger the more they are. Factors of the run {_name(run)}."
    )
    return caption, figure


def _labels_of_albums(run: Path, labels: Sequence[Label]) -> tuple[UInt8[np.ndarray, "albums labels"], str]:
    """(multi-hot labels, what albums they are of): those the factors were made from, where the data are still there."""
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
    try:
        with np.load(path) as arrays:
            return arrays["album_labels"], f"{split} albums (the run's data are not in {manifest.parent} any more)"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error!r}); write it anew (mumu_jax.evaluate)") from error


# --- figure 2 -----------------------------------------------------------------------------------------------


def _figure_2(runs: Sequence[Path]) -> tuple[str, Figure]:
    """Covers of five of the most frequent genres, each where t-SNE puts its feature vector (section 6.3)."""
    found = next(((run, *saved) for run in runs if (saved := _saved(run, "covers"))), None)
    if found is None:
        raise UserError(
            "no finished run of images here has covers_<split>.npz; train one, or let an older one write it: "
            "python -m mumu_jax.evaluate --workdir=RUN"
        )
    run, path, split = found
    kept, labels = read_thumbnails(path), read_labels(run / "labels.json")
    top = _top_level(labels)
    columns = top[by_frequency(np.nonzero(kept.labels[:, top])[1])][:N_GENRES_OF_COVERS]
    genres = _only_one(kept.labels, columns)
    rows = np.flatnonzero(genres >= 0)[:MAX_COVERS]  # in random order already
    places = _tsne(kept.vectors[rows].astype(np.float32), f"covers in {path} with one of the most frequent genres")
    figure = draw_covers(places, kept.covers[rows], genres[rows], [label.name for label in labels])
    caption = (
        f"t-SNE of image vectors, drawn with the covers: {len(rows):,} {split} albums, chosen at random, that have "
        f"exactly one of the {len(columns)} most frequent genres of the top level, framed in its colour, and moved a "
        f"little where one would hide another. Vectors of the run {_name(run)}."
    )
    return caption, figure


# --- what both need -----------------------------------------------------------------------------------------


def _saved(run: Path, name: str) -> tuple[Path, str] | None:
    """(path, split) of what the evaluation of the test split, or else of another, left in the run's folder."""
    paths = ((run / f"{name}_{split}.npz", split) for split in reversed(SPLITS))
    return next((found for found in paths if found[0].exists()), None)


def _name(run: Path) -> str:
    run = run.absolute()
    return f"{run.parent.name}/{run.name}" if run.name.startswith("seed") else run.name


def _top_level(labels: Sequence[Label]) -> Int[np.ndarray, " genres"]:
    return np.array([i for i, label in enumerate(labels) if label.parent is None], int)


def _only_one(
    labels: UInt8[np.ndarray, "items labels"], columns: Int[np.ndarray, " genres"]
) -> Int[np.ndarray, " items"]:
    """Which of `columns` an item carries, if it is only one of them; -1 for other items."""
    carried = labels[:, columns] != 0
    return np.where(carried.sum(axis=1) == 1, carried @ columns, -1)


def _tsne(vectors: Shaped[np.ndarray, "points d"], of_what: str) -> Float[np.ndarray, "points 2"]:
    """Places in the plane; the same vectors give the same ones.  Raises UserError on too few different vectors."""
    n_points, n_different = len(vectors), len(np.unique(vectors, axis=0))
    if n_different < LEAST_POINTS:
        raise UserError(
            f"t-SNE needs {LEAST_POINTS} different vectors, and there are {n_different} {of_what}; it takes albums of "
            "more genres"
        )
    tsne = TSNE(init="pca", random_state=0, perplexity=min(30, (n_points - 1) / 3))
    with threadpool_limits(1):  # the order in which threads add up is left to chance
        return tsne.fit_transform(vectors)


def _save(path: Path, figure: Figure) -> Path:
    with (
        replacing(path) as part,
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.hashsalt": path.stem}),  # the same figure, the same bytes
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # boxes then
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(part, format=path.suffix[1:], metadata=metadata)
    return path
