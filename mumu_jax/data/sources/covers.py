"""A folder of covers: `GENRE/…/image.ext`, each image an album of one genre, and no picture twice."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Album, Rejected, labels_of
from mumu_jax.data.modalities.image.duplicates import alike, likeness
from mumu_jax.data.modalities.image.read import read_image
from mumu_jax.data.sources.files import as_id, files_below, is_audio, is_image
from mumu_jax.data.sources.request import Collection, Request
from mumu_jax.errors import UserError
from mumu_jax.system.progress import bar
from mumu_jax.system.workers import map_in_order


def read(input: Path, request: Request) -> Collection:
    """One album, without tracks, for every image, known by its path below `input`, without extension where it can be.

    Of images that look alike, in whichever genres, only the first by path stays, so that no picture is in two splits;
    `rejected` lists the others.  Damaged images stay: preparing the data finds them.  Files that are no images by their
    names, and hidden ones, are passed over.  Raises UserError on an image that lies in no genre's folder.
    """
    if not input.is_dir():
        raise UserError(f"expected a folder of genres, found a file: {input}; give the folder above it")
    images = [path for path in files_below(input) if is_image(path)]
    for path in images:
        if path.parent == input:
            raise UserError(
                f"expected covers in folders named by genre, found {path} in none; "
                "move it into one, or give the folder above as --input"
            )
    ids, like = _ids(images, input), _duplicates(images, request.workers)
    albums = [
        Album(ids[i], (as_id(path.relative_to(input).parts[0]),), (), cover=path)
        for i, path in enumerate(images)
        if i not in like
    ]
    rejected: list[dict[str, str | int]] = [
        {"file": str(images[i]), "reason": "duplicate", "detail": f"it looks like {images[first]}"}
        for i, first in like.items()
    ]
    if not images and any(map(is_audio, files_below(input))):
        raise UserError(f"expected images in folders named by genre, found songs in {input}; say --source=folder")
    deep = sum(len(path.relative_to(input).parts) > 2 for path in images)
    notes = [f"{deep:,} images lie deeper than GENRE/image; their genre is the first folder's name"] if deep else []
    return Collection(albums, labels_of(albums), rejected, notes)


def _ids(images: Sequence[Path], input: Path) -> list[str]:
    """`Rock/a` for `Rock/a.jpg`, but the whole name where another image has that name, with its suffix or without."""
    names = [path.relative_to(input) for path in images]
    taken = Counter(names) + Counter(name.with_suffix("") for name in names)
    short = {name: name.with_suffix("") for name in names}
    return [as_id((short[name] if taken[short[name]] == 1 else name).as_posix()) for name in names]


def _duplicates(images: Sequence[Path], workers: int) -> dict[int, int]:
    """Of each image that looks like one before it that stays, which that is."""
    found = map_in_order(_likeness, images, workers, lambda path: b"")
    there, likenesses = [], []
    with contextlib.closing(found), bar(len(images), "comparing covers", shown=bool(images)) as progress:
        for i, one in enumerate(found):
            if one:
                there.append(i)
                likenesses.append(one)
            progress.advance()
    like: dict[int, int] = {}
    for later, first in alike(likenesses, likenesses):
        if first < later and later not in like and first not in like:
            like[later] = first
    return {there[later]: there[first] for later, first in like.items()}


def _likeness(path: Path) -> bytes:
    """Empty for one that cannot be read."""
    try:
        return likeness(read_image(path, ImageSettings()))
    except Rejected:
        return b""
