"""The manifest: what every source yields and everything after it reads.  JSON lines, one album a line."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Track:
    """One recording: a unique id and where its audio file is."""

    track_id: str
    audio: Path


@dataclass(frozen=True)
class Album:
    """One album: its genres (multi-label), its recordings, its review text and its cover, where there are any.

    `split` is None until `assign_splits` decides.  `text` is the text itself, `cover` a path.
    """

    album_id: str
    genres: tuple[str, ...]
    tracks: tuple[Track, ...]
    split: str | None = None
    text: str | None = None
    cover: Path | None = None


@dataclass(frozen=True)
class Label:
    """A genre: its name, and the genre above it in the taxonomy (None at the top or where unknown)."""

    name: str
    parent: str | None = None
