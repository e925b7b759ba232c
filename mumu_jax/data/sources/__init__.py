"""The registry of sources: where albums come from, each a function that yields the same manifest.

To add one, write a file with `read(input, request) -> Collection` and name it below, twice.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mumu_jax.data.manifest import assign_splits
from mumu_jax.data.sources import covers, folder, jsonl, mumu, table, tartarus
from mumu_jax.data.sources.request import Collection, Request
from mumu_jax.errors import UserError, nearest


def _read_synthetic(input: Path | None, request: Request) -> Collection:
    from mumu_jax.data.sources.synthetic import read  # here, so that real data never pays for the renderer

    return read(input, request)


# `input` is what the user names: a path, or None for those in NO_INPUT.
SOURCES: dict[str, Callable[[Any, Request], Collection]] = {
    "synthetic": _read_synthetic,
    "tartarus": tartarus.read,
    "mumu": mumu.read,
    "folder": folder.read,
    "covers": covers.read,
    "csv": table.read,
    "manifest": jsonl.read,
}

# What --input must be, for help and errors.
LAYOUTS = {
    "synthetic": "nothing: the mini dataset is made, not read",
    "tartarus": "the folder with index/, splits/ and audio/ of the reference implementation",
    "mumu": "the folder with MuMu's released files and audio/, covers/ and msd/, or one of its CSV files",
    "folder": "a folder of GENRE/file.ext or GENRE/album/…/file.ext",
    "covers": "a folder of GENRE/…/image.ext, each image an album; what looks alike is taken once",
    "csv": "a CSV file with path, id or album, genres joined by ';', and optional text, cover, split",
    "manifest": 'a file of JSON lines {"album_id", "genres": […], "tracks": [{"track_id", "audio"}]}, '
    "and optional split, text, cover, entities, n_reviews, and timbre of a track",
}

NO_INPUT = frozenset({"synthetic"})
WITH_FOLDERS = frozenset({"mumu"})  # whose files lie in folders that the user may name


def read_source(name: str, input: Path | None, request: Request) -> Collection:
    """The albums of a source, every one with a split, and the labels in column order.

    Audio files need not exist: preparing the data finds and counts the missing ones.  Raises UserError on an unknown
    name, on an input that is missing or not what the source reads, and where there are no albums or no genres.
    """
    if name not in SOURCES:
        near = nearest(name, SOURCES)
        hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(SOURCES)}"
        raise UserError(f"no source {name!r}; {hint}")
    expected = f"--source={name} expects --input to be {LAYOUTS[name]}"
    if input is None and name not in NO_INPUT:
        raise UserError(f"{expected}; found none: add --input=PATH")
    if input is not None and not os.path.exists(input):  # unlike Path.exists, False also where we may not look
        raise UserError(f"{expected}; found nothing at {input}: correct the path")
    if request.folders and name not in WITH_FOLDERS:
        folder = next(iter(request.folders))
        uses = ", ".join(WITH_FOLDERS)
        raise UserError(f"--{folder}_dir is for --source={uses}; {name} names its own files: leave it out")
    try:
        found = SOURCES[name](input, request)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise UserError(f"--source={name} stopped at {reason}; mend that and call again") from error
    if not found.albums:
        raise UserError(f"{expected}; found no albums in {input}: correct the path or the files")
    if not found.labels:
        raise UserError(f"{expected}; found no genres in {input}: give the albums at least one")
    return dataclasses.replace(found, albums=assign_splits(found.albums))
