"""Pairwise similarity of albums by their normalised titles and artists' names: from 0 to 1, and 1 if both are equal.

Strings are compared by their longest common subsequence (Indel distance), in the order of their words or sorted.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from mumu_jax.data.matching.names import MANY_ARTISTS, artists_in, name_of, numbers_in, title_of
from mumu_jax.errors import UserError

THRESHOLD = 0.85  # of the product; by the labelled pairs of tests/matching_pairs.py
OF_A_PART = 0.96  # of a name that is one of several: `Bob Marley` of `Bob Marley & The Wailers`
OF_MANY_ARTISTS = 0.92  # the artist tells nothing: the title must be nearly the same
WITHOUT_NAMES = 0.97  # of titles that are alike but for the artists' names: `Bach: Goldberg Variations`
OF_OTHER_NUMBERS = 0.8  # of titles whose numbers differ: volumes, years, symphonies
LEAST_ARTIST = 0.5  # below it the title is not looked at


class Named(NamedTuple):
    """An album as it is compared: its title, its artists' full names, and the names that these join."""

    title: str
    names: tuple[str, ...]
    parts: tuple[str, ...] = ()


class Scores(NamedTuple):
    """The similarity of two albums: the product of that of their titles and that of their artists."""

    score: float
    title: float
    artist: float


def named(title: str, names: Sequence[str]) -> Named:
    """Return an album's normalised title and names."""
    whole = dict.fromkeys(filter(None, map(name_of, names)))
    parts = (part for name in names for part in artists_in(name))
    return Named(title_of(title), tuple(whole), tuple(dict.fromkeys(part for part in parts if part not in whole)))


def import_fuzz() -> Any:
    """Return RapidFuzz's similarities.  Raises UserError if it is not installed."""
    try:
        from rapidfuzz import fuzz
    except ImportError as error:
        raise UserError("matching needs the package rapidfuzz; install the extra: pip install -e '.[build]'") from error
    return fuzz


class Scorer:
    """Scores of albums beside one album."""

    def __init__(self, album: Named):
        self._ratio = import_fuzz().ratio
        self._album = album
        self._sorted = _sorted(album.title)
        self._numbers = numbers_in(album.title)

    def __call__(self, other: Named) -> Scores:
        """Return the scores of another album."""
        artist = self._artist(other)
        if artist < LEAST_ARTIST:
            return Scores(0.0, 0.0, artist)
        title = self._title(other)
        return Scores(title * artist, title, artist)

    def _artist(self, other: Named) -> float:
        if MANY_ARTISTS in self._album.names and MANY_ARTISTS in other.names:
            return OF_MANY_ARTISTS
        whole = max((self._alike(a, b) for a in self._album.names for b in other.names), default=0.0)
        if whole == 1 or not (self._album.parts or other.parts):
            return whole
        mine, theirs = (*self._album.names, *self._album.parts), (*other.names, *other.parts)
        return max(whole, OF_A_PART * max((self._alike(a, b) for a in mine for b in theirs), default=0.0))

    def _title(self, other: Named) -> float:
        title = self._alike(self._album.title, other.title)
        if title == 1:
            return title
        words = {word for name in (*self._album.names, *other.names) for word in name.split()}
        mine, theirs = (_without(one.title, words) for one in (self._album, other))
        if mine and theirs:
            title = max(title, WITHOUT_NAMES * self._alike(mine, theirs))
        return title * (1 if self._numbers == numbers_in(other.title) else OF_OTHER_NUMBERS)

    def _alike(self, a: str, b: str) -> float:
        if a == b:
            return 1.0
        ratio = self._ratio(a, b)
        if " " in a and " " in b:
            ratio = max(ratio, self._ratio(_sorted(a), _sorted(b)))
        return ratio / 100


@lru_cache(maxsize=1 << 12)  # of an album that is compared with twenty
def _sorted(words: str) -> str:
    return " ".join(sorted(words.split()))


def _without(title: str, words: set[str]) -> str:
    return " ".join(word for word in title.split() if word not in words)
