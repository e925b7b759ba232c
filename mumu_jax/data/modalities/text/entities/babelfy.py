"""An album's file from an entity linker: Babelfy's raw JSON, or ELVIS's variant of it, sentence by sentence."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.text.entities.dbpedia import category_name, resource_name
from mumu_jax.data.modalities.text.entities.gazetteer import underscored
from mumu_jax.data.modalities.text.entities.linker import Mention, outermost
from mumu_jax.errors import UserError

_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")


def read_linked(
    path: Path, categories: Mapping[str, Sequence[str]] | None = None, n_chars: int | None = None
) -> tuple[str, ...]:
    """Return the categories of the outermost mentions in the file, mention by mention from left to right.

    An entity's categories are the file's own, or else those in `categories`, by DBpedia resource; an entity without
    either adds none.  Only mentions that begin within the first `n_chars` characters count.

    Raises Rejected as `read_mentions`.
    """
    named: list[str] = []
    mentions = (mention for mention in read_mentions(path) if n_chars is None or mention.start < n_chars)
    for mention in outermost(mentions):
        named += (categories or {}).get(mention.entity, ()) if mention.categories is None else mention.categories
    return tuple(named)


def read_mentions(path: Path) -> list[Mention]:
    """Return every fragment that the file links to a DBpedia resource, in the file's order, overlapping ones too.

    Offsets count from the beginning of the text.  ELVIS's count from the beginning of a sentence; the text is taken
    as its sentences joined by single spaces.

    Raises Rejected: "missing", "unreadable", or "malformed" if the file is of neither kind.
    """
    try:
        items = orjson.loads(path.read_bytes())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise Rejected("missing" if missing else "unreadable", error.strerror or str(error)) from error
    except ValueError as error:
        raise Rejected("malformed", f"expected JSON in UTF-8: {error}") from error
    if not isinstance(items, list):
        expected = "expected a list of Babelfy's fragments or ELVIS's sentences"
        raise Rejected("malformed", f"{expected}, found {items!r:.60}")
    mentions: list[Mention] = []
    offset = 0
    for item in items:
        try:
            if "charFragment" in item:
                mentions += _mentions_of_fragment(item)
            else:
                mentions += _mentions_of_sentence(item, offset)
                offset += len(item["text"]) + 1
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            expected = "expected Babelfy's fragment or ELVIS's sentence"
            found = f"found {item!r:.60} ({type(error).__name__}: {error})"
            raise Rejected("malformed", f"{expected}, {found}") from error
    return mentions


def entities_named(folder: Path) -> tuple[set[str], dict[Path, Rejected]]:
    """Return the resources that a linker's files in a folder name, and why the others could not be read, by file.

    Raises UserError if no resource is named.
    """
    names: set[str] = set()
    unusable = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            names |= {mention.entity for mention in read_mentions(path)}
        except Rejected as error:
            unusable[path] = error
    if not names:
        raise UserError(f"no file *.json under {folder} names an entity; give the folder of an entity linker's files")
    return names, unusable


def _mentions_of_fragment(item: dict[str, Any]) -> Iterator[Mention]:
    entity = _entity(item["DBpediaURL"])
    characters = item["charFragment"]
    if entity is not None:  # Babelfy's `end` is the last character
        yield Mention(int(characters["start"]), int(characters["end"]) + 1, entity, float(item["score"]))


def _mentions_of_sentence(sentence: dict[str, Any], offset: int) -> Iterator[Mention]:
    for item in sentence["entities"]:
        entity = _entity(item["uri"])
        if entity is None:
            continue
        start = offset + int(item["startChar"])
        # `endChar` is inclusive in some files and exclusive in others; `label` is the fragment itself
        yield Mention(start, start + len(item["label"]), entity, float(item["confidence"]), _own_categories(item))


def _entity(address: str | None) -> str | None:
    r"""Return the resource's name, None if there is none.  BabelNet's addresses hold escapes such as `\u0027`."""
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1] or escape[2], 16)), address or "")
    # Two escapes may be the halves of one character.
    return resource_name(plain.encode("utf-16", "surrogatepass").decode("utf-16"))


def _own_categories(item: dict[str, Any]) -> tuple[str, ...] | None:
    names = item.get("categories")
    return None if names is None else tuple(category_name(underscored(name)) for name in names)
