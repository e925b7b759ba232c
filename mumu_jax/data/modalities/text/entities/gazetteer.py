"""A gazetteer's file: gzipped JSON lines, whose bytes depend on the content alone.

The first line holds format, version, counts and sources.  Then comes each category's name, numbered from 0, then
`[entity, [numbers of its categories], [its surface forms]]` for each entity; both are sorted by name.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing

FORMAT, VERSION = "mumu_jax gazetteer", 1
_REMEDY = "make one with python scripts/build_gazetteer.py"


def write_gazetteer(
    path: Path,
    surfaces: Mapping[str, str],
    categories: Mapping[str, Sequence[str]],
    sources: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Write surface form -> entity and entity -> categories; return the header.

    Spaces in the names of entities and categories are stored as underscores, as in DBpedia.  An entity may have no
    surface form, but a surface form's entity must have categories.  Raises KeyError otherwise.
    """
    names = sorted({category for of_entity in categories.values() for category in of_entity})
    numbers = {name: number for number, name in enumerate(names)}
    by_entity: dict[str, list[str]] = {name: [] for name in sorted(categories)}
    for surface, entity in surfaces.items():
        by_entity[entity].append(surface)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "entities": len(by_entity),
        "surfaces": len(surfaces),
        "categories": len(names),
        "sources": list(sources),
    }
    with (
        replacing(path) as part,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,  # no name and no time in the bytes
    ):
        file.write(json.dumps(header).encode() + b"\n")
        for name in names:
            file.write(orjson.dumps(underscored(name)) + b"\n")
        for name, forms in by_entity.items():
            entry = [underscored(name), [numbers[category] for category in categories[name]], sorted(forms)]
            file.write(orjson.dumps(entry) + b"\n")
    return header


def read_gazetteer(path: Path) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """Yield each entity with its categories and the surface forms that mean it.

    Raises UserError if the file is missing, damaged or of another kind.
    """
    try:
        with gzip.open(path, "rb") as file:
            header = orjson.loads(file.readline())
            if (header["format"], header["version"]) != (FORMAT, VERSION):
                raise ValueError(f"version {header['version']} instead of {VERSION}")
            names = [orjson.loads(file.readline()) for _ in range(header["categories"])]
            for _ in range(header["entities"]):
                name, numbers, surfaces = orjson.loads(file.readline())
                yield name, tuple([names[number] for number in numbers]), surfaces
            if file.read(1):  # this read also makes gzip compare its checksum
                raise ValueError("it has more lines than its first line says")
    except FileNotFoundError as error:
        raise UserError(f"the gazetteer {path} does not exist; {_REMEDY}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is not a complete gazetteer ({type(error).__name__}: {error}); {_REMEDY}") from error


def underscored(title: str) -> str:
    """Return `Living_people` for `Living people`: a single word, even if a text is split at white space."""
    return "_".join(title.split())
