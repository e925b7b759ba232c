"""A folder of covers: `GENRE/…/image.ext`, each image an album of one genre, and no picture twice."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Album, Rejected, labels_of
from mumu_jax.data.modalities.image.duplicates import alike, likeness
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.modalities.suffixes import is_audio, is_image
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.files import as_id, files_below, genre_of
from mumu_jax.data.sources.same import Copy, note_of, settle
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import progress_bar
from mumu_jax.system.workers import map_in_order


def read(root: Path, request: Request) -> Collection:
    """Return one album, without tracks, for every image; its id is the path below `root`, without suffix if possible.

    Images that look alike, in whichever genres, are settled as the request says, so that no picture is in two splits.
    By default only the first by path stays, and `rejected` lists the others.  Damaged images stay: preparing the data
    finds them.  Hidden files, and files without an image's suffix, are passed over.  Raises UserError on an image that
    is in no genre's folder.
    """
    if not root.is_dir():
        raise UserError(f"expected a folder of genres, found a file: {root}; give the folder above it")
    images = [path for path in files_below(root) if is_image(path)]
    if not images and any(map(is_audio, files_below(root))):
        raise UserError(f"expected images in folders named by genre, found songs in {root}; say --source=folder")
    genres = [genre_of(path, root, "covers") for path in images]
    ids, way = _ids(images, root), request.duplicates or "drop"
    every = [Album(ids[i], (genres[i],), (), cover=path) for i, path in enumerate(images)]
    pairs = _find_pairs(images, request.workers)
    if way == "drop":
        pairs = _without_chains(pairs)
    copies = [Copy(later, images[later], first, images[first]) for later, first in pairs]
    albums, rejected = settle(every, copies, way, "it looks like")
    notes = note_of(every, copies, way, "covers look like")
    n_deep = sum(len(path.relative_to(root).parts) > 2 for path in images)
    if n_deep:
        notes.append(f"{n_deep:,} images are stored deeper than GENRE/image; their genre is the first folder's name")
    return Collection(albums, labels_of(albums), rejected, notes)


def _ids(images: Sequence[Path], root: Path) -> list[str]:
    """Return `Rock/a` for `Rock/a.jpg`, but the whole name if another image has that name, with or without suffix."""
    names = [path.relative_to(root) for path in images]
    stems = [name.with_suffix("") for name in names]
    n_uses = Counter(names) + Counter(stems)
    return [as_id((stem if n_uses[stem] == 1 else name).as_posix()) for name, stem in zip(names, stems, strict=True)]


def _find_pairs(images: Sequence[Path], workers: int) -> list[tuple[int, int]]:
    """Return the pairs (later, earlier) of images that look alike, by their indices."""
    readable, likenesses = [], []
    results = map_in_order(_likeness, images, workers, lambda path: b"")
    with contextlib.closing(results), progress_bar(len(images), "comparing covers", shown=bool(images)) as progress:
        for i, likeness_bytes in enumerate(results):
            if likeness_bytes:
                readable.append(i)
                likenesses.append(likeness_bytes)
            progress.advance()
    return [(readable[later], readable[first]) for later, first in alike(likenesses, likenesses) if first < later]


def _without_chains(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a pair for each image that looks like an earlier one which stays."""
    first_of: dict[int, int] = {}
    for later, first in pairs:
        if later not in first_of and first not in first_of:
            first_of[later] = first
    return list(first_of.items())


def _likeness(path: Path) -> bytes:
    """Return the image's likeness, empty if it cannot be read."""
    try:
        return likeness(read_image(path, ImageSettings()))
    except Rejected:
        return b""


SOURCE = Source(
    name="covers",
    read=read,
    layout="a folder of GENRE/…/image.ext, each image an album; what looks alike is taken once",
)
