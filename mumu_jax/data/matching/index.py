"""Blocking: an index of albums by the words of their titles and artists, which gives the few that are worth comparing.

A million times a million comparisons would take years.  An album is compared with those that share its rarest words,
or its whole title and artist.  The index is a folder of arrays that processes map into memory and share; only blocks
that are asked for are read.
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer, Shaped, UInt64

from mumu_jax.data.matching.scoring import Named

ROWS = 1_000  # with the rarest words that are looked at
MOST_ROWS = 20_000  # with the rarest word, if it is not rare
COMPARED = 16  # rows whose strings are compared
LEAST_LIKE = 0.6  # of the likest row's likeness; the others are not compared
WIDTH = 10  # words of a row that count, the rarest first
_FIELD, _NAME = "\t", "\n"
_ONES = np.ones(WIDTH, np.float32)  # a product with them is a faster sum


class Entry(NamedTuple):
    """A row of the index: the number of its album, its normalised names, and its names as they are shown."""

    album: int
    named: Named
    shown: tuple[str, str]  # title and artist


def words_of(named: Named) -> list[str]:
    """Return the words by which an album is found, each once: those of its title and of all names."""
    return list(dict.fromkeys(word for text in (named.title, *named.names) for word in text.split()))


@lru_cache(maxsize=1 << 18)  # the same words again and again
def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _exact_hashes(named: Named) -> list[int]:
    return [_hash(f"{named.title}{_FIELD}{name}") for name in named.names]


# --- building -----------------------------------------------------------------------------------------------


class _Texts:
    """Texts of rows in one array of bytes, and where each ends."""

    def __init__(self) -> None:
        self.bytes, self.ends = bytearray(), array("q")

    def add(self, text: str) -> None:
        self.bytes += text.encode("utf-8", "replace")
        self.ends.append(len(self.bytes))


def build_index(folder: Path, entries: Iterable[Entry]) -> int:
    """Write the index of `entries`; equal rows of one album are one row.  Returns the number of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    albums, texts, shown = array("i"), _Texts(), _Texts()
    word_ids: dict[str, int] = {}
    rows, words, exact, exact_rows = array("i"), array("i"), array("Q"), array("i")
    seen: set[int] = set()
    for entry in entries:
        text = _NAME.join(map(_FIELD.join, ((entry.named.title,), entry.named.names, entry.named.parts)))
        key = hash((entry.album, text))
        if key in seen:
            continue
        seen.add(key)
        row = len(albums)
        albums.append(entry.album)
        texts.add(text)
        shown.add(_FIELD.join(" ".join(text.split()) for text in entry.shown))
        for word in words_of(entry.named):
            rows.append(row)
            words.append(word_ids.setdefault(word, len(word_ids)))
        for code in _exact_hashes(entry.named):
            exact.append(code)
            exact_rows.append(row)
    codes = np.fromiter(map(_hash, word_ids), np.uint64, len(word_ids))
    _write_words(folder, codes, np.frombuffer(rows, np.int32), np.frombuffer(words, np.int32), len(albums))
    order = np.argsort(np.frombuffer(exact, np.uint64), kind="stable")
    arrays = {
        "albums": np.frombuffer(albums, np.int32),
        "texts": np.frombuffer(texts.bytes, np.uint8),
        "text_ends": np.frombuffer(texts.ends, np.int64),
        "shown": np.frombuffer(shown.bytes, np.uint8),
        "shown_ends": np.frombuffer(shown.ends, np.int64),
        "exact": np.frombuffer(exact, np.uint64)[order],
        "exact_rows": np.frombuffer(exact_rows, np.int32)[order],
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return len(albums)


def _write_words(
    folder: Path,
    codes: UInt64[np.ndarray, " words"],
    rows: Int32[np.ndarray, " pairs"],
    words: Int32[np.ndarray, " pairs"],
    n_rows: int,
) -> None:
    """Write the words by their hashes, the rows that have each, and the rarest words of each row."""
    order = np.argsort(codes)
    rank = np.empty(len(codes), np.int32)
    rank[order] = np.arange(len(codes), dtype=np.int32)
    words = rank[words]
    counts = np.bincount(words, minlength=len(codes))
    weights = np.append(np.log1p(n_rows / np.maximum(counts, 1)), 0).astype(np.float32)  # the last is no word
    by_word = np.argsort(words, kind="stable")
    rarest = np.lexsort((counts[words], rows))
    starts = np.searchsorted(rows, np.arange(n_rows))
    places = np.arange(len(rows)) - starts[rows]
    of_rows = np.full((n_rows, WIDTH), len(codes), np.int32)
    kept = places < WIDTH
    of_rows[rows[kept], places[kept]] = words[rarest][kept]
    lengths = np.sqrt(weights[of_rows].sum(1))
    arrays = {
        "codes": codes[order],
        "weights": weights,
        "postings": rows[by_word],
        "posting_ends": np.cumsum(counts),
        "words": of_rows,
        "lengths": np.maximum(lengths, 1e-6),
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


# --- looking up ---------------------------------------------------------------------------------------------


class Index:
    """An index that was built, mapped into memory."""

    def __init__(self, folder: Path):
        def load(name: str) -> Shaped[np.ndarray, "..."]:
            return np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)

        self._albums, self._texts, self._ends = load("albums"), load("texts"), load("text_ends")
        self._shown, self._shown_ends = load("shown"), load("shown_ends")
        self._exact, self._exact_rows = load("exact"), load("exact_rows")
        self._codes, self._weights = load("codes"), load("weights")
        self._postings, self._posting_ends = load("postings"), load("posting_ends")
        self._words, self._lengths = load("words"), load("lengths")
        self._weight_here: Float32[np.ndarray, " words"] = np.zeros_like(self._weights)

    def candidates(self, named: Named) -> list[tuple[int, Named]]:
        """Return the rows that are most like an album by their words, the likest first, with their names."""
        words = self._known(words_of(named))
        blocks = [self._exact_rows_of(code) for code in _exact_hashes(named)] + self._blocks(words)
        rows = _unique(np.concatenate(blocks)) if blocks else np.empty(0, np.int32)
        here = self._weight_here
        here[words] = self._weights[words]
        likeness = here[self._words[rows]] @ _ONES / self._lengths[rows]
        here[words] = 0
        if len(rows) > COMPARED:
            likest = np.argpartition(-likeness, COMPARED)[:COMPARED]
            rows, likeness = rows[likest], likeness[likest]
        rows = rows[likeness >= LEAST_LIKE * likeness.max(initial=0)]
        return [(row, self._named(row)) for row in rows.tolist()]

    def album(self, row: int) -> int:
        """Return the number of a row's album."""
        return int(self._albums[row])

    def shown(self, row: int) -> tuple[str, str]:
        """Return a row's title and artist as they were written."""
        title, artist = _text(self._shown, self._shown_ends, row).split(_FIELD)
        return title, artist

    def _named(self, row: int) -> Named:
        title, names, parts = _text(self._texts, self._ends, row).split(_NAME)
        return Named(title, tuple(names.split(_FIELD)), tuple(parts.split(_FIELD)) if parts else ())

    def _known(self, words: Sequence[str]) -> Int64[np.ndarray, " words"]:
        """Return the numbers of the words that the index has, the rarest first."""
        codes = np.array([_hash(word) for word in words], np.uint64)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        places = np.unique(places[self._codes[places] == codes])
        return places[np.argsort(-self._weights[places], kind="stable")]

    def _blocks(self, words: Int64[np.ndarray, " words"]) -> list[Integer[np.ndarray, " rows"]]:
        """Return the rows of the rarest words, up to so many, and of the rarest one in any case."""
        ends = self._posting_ends[words]
        starts = np.where(words > 0, self._posting_ends[words - 1], 0)
        blocks, n = [], 0
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            n += end - start
            if n > (ROWS if blocks else MOST_ROWS):
                break
            blocks.append(self._postings[start:end])
        return blocks

    def _exact_rows_of(self, code: int) -> Int32[np.ndarray, " rows"]:
        low, high = (int(np.searchsorted(self._exact, np.uint64(code), side)) for side in ("left", "right"))
        return self._exact_rows[low : min(high, low + COMPARED)]


def _unique(rows: Integer[np.ndarray, " rows"]) -> Integer[np.ndarray, " unique"]:
    """Return each row once, in order; for a few thousand NumPy's own takes twice as long."""
    rows = np.sort(rows)
    return rows[np.append(True, rows[1:] != rows[:-1])[: len(rows)]]


def _text(texts: Shaped[np.ndarray, " bytes"], ends: Shaped[np.ndarray, " rows"], row: int) -> str:
    start = int(ends[row - 1]) if row else 0
    return texts[start : int(ends[row])].tobytes().decode()
