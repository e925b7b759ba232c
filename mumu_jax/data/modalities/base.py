"""What a kind of prepared data is: what is read for each of its items, and how its records look."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mumu_jax.data.manifest import Album, Rejected


@dataclass(frozen=True)
class Content:
    """What an item's file or text became: the fields of its record, and what a summary adds up.

    `damaged` is a file beside it that could not be used, and why; the record is made without.  `likeness` is that of a
    picture (`data/duplicates.py`) in hexadecimal digits.
    """

    fields: dict[str, Any]
    counts: Mapping[str, float] = field(default_factory=dict)
    damaged: tuple[Path, Rejected] | None = None
    likeness: str = ""


@dataclass(frozen=True)
class Modality:
    """One kind of prepared data; it lies in DATA/`name`, and `config.<name>` are its settings.

    All functions are of a module, so that other processes and machines can be sent them.
    """

    name: str
    item: str  # what a record is of: track or album
    settings: type
    # (id, input) of each item of an album; an input of None is missing.  The folder is DATA/name.
    inputs: Callable[[Album, Path], Iterator[tuple[str, Any]]]
    # What (input, settings) become; also in other processes.  An odd file never raises: it must not end a night's work.
    read: Callable[..., Content | Rejected]
    # Whether an input is there to be read, without reading it.
    exists: Callable[[Any], bool]
    # What, beside the settings, the content depends on, as JSON; asked before a shard is made again.
    state: Callable[[Any], Any]
    # The fields' TFDS features; each field as the byte strings of a `tf.train.Example`; and back.
    features: Callable[[Any], dict[str, Any]]
    encode: Callable[[Mapping[str, Any]], dict[str, list[bytes]]]
    decode: Callable[[Mapping[str, list[Any]], Any], dict[str, Any]]
    versions: Mapping[str, str]  # of the libraries that the numbers depend on
    shard_records: int  # at most this much is done again after a kill
    counts: tuple[str, ...] = ()  # the names in Content.counts
    in_process: bool = False  # read here: other processes would take more memory and time than they save
    # Settings that matter when records are read, not when they are made.
    later_settings: frozenset[str] = frozenset()
    # Raises UserError on settings that cannot be prepared with, before the first file is read.
    check: Callable[[Any], Any] | None = None
    # (mean, std) that standardise the networks' inputs, of training records; None where they are not standardised.
    statistics: Callable[[Iterable[dict[str, Any]], Any], tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def unit(self) -> str:
        return f"{self.item}s"


def path_state(path: Path) -> tuple[str, tuple[int, int] | None]:
    """The `state` of an input that is a file: where it is, and the state of what lies there."""
    return os.path.abspath(path), file_state(path)


def file_state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change of a file: another pair, and it is read again."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns


def died(item: Any) -> Rejected:
    """What becomes of an item whose reading kills the process."""
    return Rejected("crashed", "the process that read it died, twice")
