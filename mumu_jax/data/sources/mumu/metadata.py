"""Amazon's metadata: the paths of every album in Amazon's taxonomy."""

import reprlib
from pathlib import Path
from typing import Any, NamedTuple

from mumu_jax.data.sources.mumu.json_records import read_records
from mumu_jax.data.sources.mumu.rejections import Reject
from mumu_jax.data.sources.mumu.taxonomy import Paths

KEYS = frozenset({"amazon_id", "asin", "title", "price", "imUrl", "related", "categories", "salesRank", "brand"})


class Entry(NamedTuple):
    """An album: the line where it stands, and its paths such as ("CDs & Vinyl", "Jazz", "Vocal Jazz")."""

    line: int
    paths: Paths


def read_metadata(path: Path, reject: Reject) -> dict[str, Entry]:
    """The albums by amazon_id, in the file's order; of an album that comes twice the first entry.

    A title, price, image or brand is often missing, and not read.  Raises UserError where the file holds no records.
    """
    entries: dict[str, Entry] = {}
    known: dict[Any, Any] = {}  # the same few paths again and again: keep one of each
    for line, key, record in read_records(path, KEYS, reject):
        fields = record if isinstance(record, dict) else {}
        album_id = key or fields.get("amazon_id") or fields.get("asin")
        paths = _paths(fields.get("categories"))
        if not isinstance(album_id, str) or paths is None:
            reject(line, "malformed", f"expected amazon_id and categories, found {reprlib.repr(record)}")
        elif album_id in entries:
            reject(line, "conflict", f"{album_id} is already in line {entries[album_id].line}")
        else:
            entries[album_id] = Entry(line, known.setdefault(paths, paths))
    return entries


def _paths(categories: Any) -> Paths | None:
    """None where it is not a list of lists of strings; no categories are no paths."""
    if categories is None:
        return ()
    if not isinstance(categories, list) or not all(isinstance(path, list) for path in categories):
        return None
    if not all(isinstance(node, str) for path in categories for node in path):
        return None
    return tuple(tuple(node.strip() for node in path) for path in categories)
