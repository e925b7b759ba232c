"""A gazetteer's file: gzipped JSON lines that depend on nothing but its content.

The first line holds format, version, counts and sources.  Then comes each category's name, in the order of its number,
then `[entity, [numbers of its categories], [its surface forms]]` for each entity; both in the order of their names.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from mumu_jax.data.modalities.text.entities.resources import underscored
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing

FORMAT, VERSION = "mumu_jax gazetteer", 1
_REMEDY = "make it by python scripts/build_gazetteer.py"


class Entity(NamedTuple):
    name: str
    categories: tuple[str, ...]
    surfaces: list[str]


def write_gazetteer(
    path: Path,
    surfaces: Mapping[str, str],
    categories: Mapping[str, Sequence[str]],
    sources: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Write surface form -> entity and entity -> categories; the header's content.

    Entities and categories may be written with spaces; they are kept with underscores, as DBpedia has them.
    An entity needs no surface form, but each surface form an entity that has categories, else KeyError.
    """
    numbers = {name: number for number, name in enumerate(sorted({one for own in categories.values() for one in own}))}
    by_entity: dict[str, list[str]] = {name: [] for name in sorted(categories)}
    for surface, entity in surfaces.items():
        by_entity[entity].append(surface)
    header = {"format": FORMAT, "version": VERSION, "entities": len(by_entity), "surfaces": len(surfaces)}
    header |= {"categories": len(numbers), "sources": list(sources)}
    with (
        replacing(path) as part,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,  # no name, no time: the same bytes
    ):
        file.write(json.dumps(header).encode() + b"\n")
        for name in numbers:
            file.write(orjson.dumps(underscored(name)) + b"\n")
        for name, forms in by_entity.items():
            line = [underscored(name), [numbers[one] for one in categories[name]], sorted(forms)]
            file.write(orjson.dumps(line) + b"\n")
    return header


def read_gazetteer(path: Path) -> Iterator[Entity]:
    """The entities, one after the other.  Raises UserError on any other file."""
    try:
        with gzip.open(path, "rb") as file:
            header = orjson.loads(file.readline())
            if (header["format"], header["version"]) != (FORMAT, VERSION):
                raise ValueError(f"version {header['version']} instead of {VERSION}")
            names = [orjson.loads(file.readline()) for _ in range(header["categories"])]
            for _ in range(header["entities"]):
                name, numbers, surfaces = orjson.loads(file.readline())
                yield Entity(name, tuple([names[number] for number in numbers]), surfaces)
            if file.read(1):  # which also compares gzip's checksum
                raise ValueError("there are more lines than its first line says")
    except FileNotFoundError as error:
        raise UserError(f"there is no gazetteer {path}; {_REMEDY}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is no whole gazetteer ({type(error).__name__}: {error}); {_REMEDY}") from error
