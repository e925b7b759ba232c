"""Amazon's albums on disc with title and artist, from any of McAuley's metadata dumps (2014, 2018, 2023).

The artist is `artist`, `brand` or `store`; `categories` are paths, or in the later dumps one path.
"""

import html
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mumu_jax.data.matching.scoring import Named, named
from mumu_jax.data.sources.finding import Report, rejecter
from mumu_jax.data.sources.mumu.amazon import METADATA_KEYS, read_records
from mumu_jax.data.sources.mumu.taxonomy import ROOT, Paths

ID_KEYS = ("amazon_id", "asin", "parent_asin")
ARTIST_KEYS = ("artist", "brand", "store")
PATH_KEYS = ("categories", "category")
_KEYS = METADATA_KEYS | {*ID_KEYS, *ARTIST_KEYS, *PATH_KEYS, "main_category", "description", "features"}
_REMEDY = "download the metadata again"


class Product(Struct):
    """An album as Amazon sells it; `record` is all that Amazon tells about it, as JSON in the form of MuMu's files."""

    amazon_id: str
    title: str
    artist: str
    paths: Paths
    record: msgspec.Raw

    @property
    def named(self) -> Named:
        return named(self.title, (self.artist,))


def read_products(path: Path, report: Report) -> Iterator[Product | None]:
    """Yield the albums, in the file's order; None for products that are no discs.

    Records that cannot be read, and albums that are repeated, are reported; it is an error if there are no records.
    """
    reject = rejecter(report, path, _REMEDY)
    seen: set[str] = set()
    for line, key, record in read_records(path, _KEYS, report):
        fields = record if isinstance(record, dict) else {}
        amazon_id = key or id_of(fields)
        paths = _paths(fields)
        if not amazon_id or paths is None:
            reject(line, "malformed", "asin and categories", reprlib.repr(record))
            continue
        if not any(path[:1] == (ROOT,) for path in paths):
            yield None
            continue
        if amazon_id in seen:
            reject(line, "conflict", "each album once", amazon_id)
            continue
        seen.add(amazon_id)
        renamed = {name: value for name, value in fields.items() if name not in (*ID_KEYS, *PATH_KEYS)}
        content = msgspec.Raw(encoded({"amazon_id": amazon_id, **renamed, "categories": paths}))
        title, artist = (html.unescape(_text(fields, keys)) for keys in (("title",), ARTIST_KEYS))
        yield Product(amazon_id, _encodable(title), _encodable(artist), paths, content)


def id_of(fields: Mapping[str, Any]) -> str:
    """Return the id in a record, empty if there is none."""
    return _text(fields, ID_KEYS)


def _text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first of the fields that has text; a number as an id has lost the zeros before its ten digits."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int) and name in ID_KEYS:
            return f"{value:010d}"
        if isinstance(value, str) and value.strip():
            return " ".join(value.split())
    return ""


def _paths(fields: Mapping[str, Any]) -> Paths | None:
    categories = next((fields[name] for name in PATH_KEYS if fields.get(name)), [])
    if isinstance(categories, list) and all(isinstance(node, str) for node in categories):
        categories = [categories] if categories else []
    try:
        paths = msgspec.convert(categories, list[list[str]])
    except msgspec.ValidationError:
        return None
    return tuple(tuple(html.unescape(node).strip() for node in path) for path in paths)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def encoded(record: dict[str, Any]) -> bytes:
    """Return the record as JSON on one line; halves of surrogate pairs, which UTF-8 may not hold, become `?`."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(_replaced(record))


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, dict):
        return {_encodable(str(name)): _replaced(one) for name, one in value.items()}
    return [_replaced(one) for one in value] if isinstance(value, list | tuple) else value
