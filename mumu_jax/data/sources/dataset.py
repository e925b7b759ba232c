"""Public data sets' one grammar: what is published of one, its files, and the tracks that its reader lists."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.sources.finding import Report
from mumu_jax.errors import UserError

Sizes = tuple[int, int, int]  # numbers of tracks in train, val and test


class Choice(NamedTuple):
    """The part of a data set that a call asks for: a name of `Dataset.subsets`, and a number below its folds."""

    subset: str
    fold: int


@dataclass(frozen=True)
class Subset:
    """A published part of a data set: its content, and its numbers of labels and tracks if they are published.

    `sizes` are those of the published splits, by fold; empty if there are none.
    """

    content: str
    n_labels: int | None = None
    sizes: tuple[Sizes, ...] = ()
    n_tracks: int | None = None

    def __str__(self) -> str:
        return f"{self.n_labels} {self.content}" if self.n_labels else self.content


@dataclass(frozen=True)
class File:
    """A released file: the names that it may have below --input or one folder further down, and where it is to be had.

    `origin` is None if that is the data set's home.  An optional file may be missing: `content` says what is lost.
    """

    content: str
    names: tuple[str, ...]
    origin: str | None = None
    optional: bool = False


class Entry(NamedTuple):
    """A track as the released files have it.

    `audio` are the paths that its song may have below the folder of the audio, the best first, `covers` the names, by
    their stems, that its cover may have.  `split` is the published one.  Tracks of one `album` are one album, a track
    without is its own.
    """

    track_id: str
    genres: tuple[str, ...]
    audio: tuple[str, ...]
    split: str | None = None
    artist: str = ""
    album: str = ""
    covers: tuple[str, ...] = ()
    text: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The tracks of a data set, and the parents of its labels as far as there are any."""

    entries: list[Entry]
    parents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    `files` are the released files that a choice needs, by a key for the reader `list_tracks`, which gets the paths of
    those that are there, and reports what is not as expected.  A file of a split's list has the split's name as key.
    `audio` says where songs are to be had, `audio_folders` the folder of a subset's songs if it has one of its own.
    `faults` are known faults of the released songs, by track id.  Tracks without a label are left out, unless the
    published results are of these, too (`keeps_unlabelled`).
    """

    title: str
    citation: str
    licence: str
    home: str
    n_tracks: int
    subsets: Mapping[str, Subset]
    files: Callable[[Choice], Mapping[str, File]]
    list_tracks: Callable[[Mapping[str, Path], Choice, Report], Listing]
    audio: str
    audio_folders: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    keeps_unlabelled: bool = False

    @property
    def n_folds(self) -> int:
        """The number of published divisions into splits, at least 1."""
        return max(1, *(len(subset.sizes) for subset in self.subsets.values()))

    def choose(self, subset: str | None, fold: int | None) -> Choice:
        """Return the part that a call asks for, the first for None.  Raises UserError if there is no such part."""
        if subset is not None and subset not in self.subsets:
            parts = ", ".join(f"{name} ({one})" for name, one in self.subsets.items())
            raise UserError(f"--subset={subset}: {self.title} has no such part; choose one of {parts}")
        if fold is not None and not 0 <= fold < self.n_folds:
            there, remedy = f"folds 0 to {self.n_folds - 1}", "choose one of these"
            if self.n_folds == 1:
                there, remedy = "one division into splits", "leave it out"
            raise UserError(f"--fold={fold}: {self.title} has {there}; {remedy}")
        return Choice(subset or next(iter(self.subsets)), fold or 0)

    def sizes(self, choice: Choice) -> dict[str, int]:
        """Return the published number of tracks of each split, of none if there are no published splits."""
        sizes = self.subsets[choice.subset].sizes
        return dict(zip(SPLITS, sizes[choice.fold], strict=True)) if sizes else {}
