"""The folder layout of tartarus, the code of MuMu's authors, for a data set named D.

    splits/genre_labels_<D>.tsv                     a genre a line: line number = column
    splits/items_index_{train,val,test}_<D>.tsv     an id a line
    splits/y_{train,val,test}_class_<n>_<D>.npy     multi-hot, a row an id, a column a genre
    index/index_{audio,text}_<D>.tsv                id<TAB>file, below audio/ or text/; an id may come again

`index/y_<D>.tsv` says the same as the .npy files and is not read.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mumu_jax.data.manifest import SPLITS, Album, Label, Track
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.files import Texts, as_id, numbered_lines, read_list
from mumu_jax.errors import UserError

LABELS_PREFIX = "genre_labels_"


def read(path: Path, request: Request) -> Collection:
    """Return one album for each item, with the audio files its index lists: one for tracks, several for albums.

    `path` is the folder, or, if it holds several data sets, the `genre_labels_<D>.tsv` of one.  A track has its item's
    id, or `id/file` if the item has several files.  An item without audio keeps its album.  Raises UserError if files
    are missing or contradict each other.
    """
    root, dataset = _find_dataset(path)
    genres = read_list(root / "splits" / f"{LABELS_PREFIX}{dataset}.tsv")
    audio = _read_index(root / "index" / f"index_audio_{dataset}.tsv")
    text_index = root / "index" / f"index_text_{dataset}.tsv"
    text_files = _read_index(text_index) if text_index.exists() else {}
    texts = Texts(request.max_chars)
    albums: dict[str, Album] = {}
    for split in SPLITS:
        for item, row in _read_split(root / "splits", dataset, split, len(genres)):
            if item in albums:
                raise UserError(
                    f"expected items_index_*_{dataset}.tsv in {root / 'splits'} to share no item, "
                    f"found {item!r} in {albums[item].split} and {split}; take it out of one, with its row in y_*"
                )
            albums[item] = Album(
                album_id=item,
                genres=tuple(genres[column] for column in np.flatnonzero(row)),
                tracks=_tracks(item, audio.get(item, []), root / "audio"),
                split=split,
                text=_text(text_files.get(item, []), root / "text", texts),
            )
    return Collection(list(albums.values()), [Label(genre) for genre in genres], texts.rejected)


def _find_dataset(path: Path) -> tuple[Path, str]:
    """Return the root folder and D, from the folder or from one `genre_labels_<D>.tsv` in it."""
    folder = path / "splits" if path.is_dir() else path.absolute().parent
    pattern = f"{LABELS_PREFIX}*.tsv"
    paths = sorted(folder.glob(pattern)) if path.is_dir() else [path] if path.match(pattern) else []
    if not paths:
        raise UserError(f"expected {folder / pattern}, found none; give the folder above splits/ as --input")
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise UserError(f"expected one data set in {folder}, found {names}; choose with --input={paths[0]}")
    return folder.parent, paths[0].stem.removeprefix(LABELS_PREFIX)


def _tracks(item: str, files: list[str], folder: Path) -> tuple[Track, ...]:
    is_single = len(files) == 1
    return tuple(Track(item if is_single else as_id(f"{item}/{file}"), folder / file) for file in files)


def _text(names: list[str], folder: Path, texts: Texts) -> str | None:
    return "\n".join(texts.read(folder / name) or "" for name in names) or None


def _read_split(folder: Path, dataset: str, split: str, n_genres: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (item, its multi-hot row) of every item in the split."""
    items = read_list(items_index(folder, split, dataset))
    rows = _read_rows(folder / f"y_{split}_class_{n_genres}_{dataset}.npy", len(items), n_genres)
    return zip(items, rows, strict=True)


def items_index(folder: Path, split: str, dataset: str) -> Path:
    """Return the path of the file that lists a split's items."""
    return folder / f"items_index_{split}_{dataset}.tsv"


def _read_index(path: Path) -> dict[str, list[str]]:
    """Return the files of every item, in the index's order."""
    files = defaultdict(list)
    for number, line in numbered_lines(path):
        item, _, file = (part.strip() for part in line.partition("\t"))
        if not file:
            raise UserError(f"{path}:{number}: expected id<TAB>file, found {line!r}; correct the line")
        if file not in files[item]:
            files[item].append(file)
    return files


def _read_rows(path: Path, n_items: int, n_genres: int) -> np.ndarray:
    """Return the multi-hot array (items × genres).  Raises UserError if the file is missing or is not that array."""
    if not path.is_file():
        others = ", ".join(sorted(other.name for other in path.parent.glob("y_*.npy"))) or "no y_*.npy"
        raise UserError(
            f"expected {path} for the {n_genres} genres of {LABELS_PREFIX}*.tsv, found {others}; "
            "take both from one release"
        )
    try:
        with path.open("rb") as file:
            rows = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TokenError) as error:  # the header is a Python literal
        raise UserError(f"{path}: expected a NumPy array, found {error}; copy the file again") from error
    if rows.shape != (n_items, n_genres):
        raise UserError(
            f"{path}: expected {n_items} × {n_genres} numbers (lines of items_index × genre_labels), "
            f"found shape {rows.shape}; take all three from one release"
        )
    if not np.isin(rows, (0, 1)).all():
        raise UserError(f"{path}: expected only 0 and 1, found other numbers; copy the file again")
    return rows


SOURCE = Source(
    name="tartarus",
    read=read,
    layout="the folder with index/, splits/ and audio/ of the reference implementation",
)
