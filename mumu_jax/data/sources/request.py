"""What a source is asked for beside its input, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mumu_jax.data.manifest import Album, Label


@dataclass(frozen=True)
class Request:
    """`data_dir` is where a source may put files that it makes with `workers` processes.

    A text is wanted up to `max_chars` characters.  `folders` are places that the user names beside the input, by what
    lies there: audio, covers, msd.
    """

    data_dir: Path
    workers: int = 1
    max_chars: int = 1000
    folders: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """A source's albums, and the labels in column order.

    `rejected` are lines for `rejected.jsonl`, {"file", "line", "reason", "detail"}: what was in the input but could not
    be read.  `notes` are lines for the summary.  `gazetteer` is one that comes with the source.
    """

    albums: list[Album]
    labels: list[Label]
    rejected: list[dict[str, str | int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gazetteer: Path | None = None
