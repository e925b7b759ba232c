"""The interface of a source: its registry entry, the request it gets, and the collection it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumu_jax.data.manifest import Album, Label
from mumu_jax.data.sources.dataset import Dataset


@dataclass(frozen=True)
class Request:
    """A call's settings beside the input.

    `data_dir` is where a source may put files that it makes with `workers` processes.  A text is wanted up to
    `max_chars` characters.  `folders` are the user's own places of files, by their names in `Source.folders`.
    `duplicates` is one of `same.WAYS` to settle files that several albums have, None for the source's own.
    `genre_map` and `taxonomy` change the genres: a map's file, and a tree's or "beets" (`genre_map.py`).  `subset` and
    `fold` choose a part of a public data set, None its first.
    """

    data_dir: Path
    workers: int = 1
    max_chars: int = 1000
    folders: Mapping[str, Path] = field(default_factory=dict)
    duplicates: str | None = None
    genre_map: Path | None = None
    taxonomy: str | None = None
    subset: str | None = None
    fold: int | None = None


@dataclass(frozen=True)
class Collection:
    """A source's albums, and the labels in column order.

    `rejected` are lines for `rejected.jsonl`, {"file", "line", "reason", "detail"}: parts of the input that could not
    be read.  `notes` are lines for the summary.  `gazetteer` is one that comes with the source.
    """

    albums: list[Album]
    labels: list[Label]
    rejected: list[dict[str, str | int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gazetteer: Path | None = None


@dataclass(frozen=True)
class Source:
    """A kind of collection that can be prepared, under the `name` that --source takes.

    `read` gets the user's input, a path that exists, or None if none is given, which only a source without
    `needs_input` sees.  `layout` says for help and errors what --input must be.  `folders` are the kinds of files
    (audio, covers, msd) that may be stored outside the input, in folders that the user names.  `dataset` is the public
    data set that the source reads.
    """

    name: str
    read: Callable[[Any, Request], Collection]
    layout: str
    needs_input: bool = True
    folders: tuple[str, ...] = ()
    dataset: Dataset | None = None
