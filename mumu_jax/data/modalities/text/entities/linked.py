"""What an entity linker found in one album's text: Babelfy's raw JSON, and ELVIS's variant of it by sentences."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.text.entities.mentions import Mention, outermost
from mumu_jax.data.modalities.text.entities.resources import category_name, resource_name, underscored


def read_linked(
    path: Path, categories: Mapping[str, Sequence[str]] | None = None, n_chars: int | None = None
) -> tuple[str, ...]:
    """The categories of the entities that the file names, all those of each mention that counts, from left to right.

    They are the file's own where it has them, else those of `categories`, by DBpedia resource; none where neither
    knows any.  Only mentions that begin within the first `n_chars` characters are looked at.

    Raises Rejected as `read_mentions`.
    """
    found: list[str] = []
    within = (one for one in read_mentions(path) if n_chars is None or one.start < n_chars)
    for mention in outermost(within):
        found += (categories or {}).get(mention.entity, ()) if mention.categories is None else mention.categories
    return tuple(found)


def read_mentions(path: Path) -> list[Mention]:
    """Every fragment that the file links with a DBpedia resource, nested and overlapping ones too, in its order.

    Offsets are in the whole text.  ELVIS's are in a sentence: the sentences before it count, and a space after each.

    Raises Rejected: "missing", "unreadable", or "malformed" for what is not such a file.
    """
    try:
        items = orjson.loads(path.read_bytes())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise Rejected("missing" if missing else "unreadable", error.strerror or str(error)) from error
    except ValueError as error:
        raise Rejected("malformed", f"expected JSON in UTF-8: {error}") from error
    if not isinstance(items, list):
        raise Rejected(
            "malformed", f"expected a list of Babelfy's fragments or ELVIS's sentences, found {_short(items)}"
        )
    mentions: list[Mention] = []
    offset = 0
    for item in items:
        try:
            if "charFragment" in item:
                mentions += _of_fragment(item)
            else:
                mentions += _of_sentence(item, offset)
                offset += len(item["text"]) + 1
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            expected = "expected Babelfy's fragment or ELVIS's sentence"
            raise Rejected(
                "malformed", f"{expected}, found {_short(item)} ({type(error).__name__}: {error})"
            ) from error
    return mentions


def _of_fragment(item: dict[str, Any]) -> Iterator[Mention]:
    entity = resource_name(item["DBpediaURL"] or "")
    characters = item["charFragment"]
    if entity is not None:  # Babelfy's `end` is the last character
        yield Mention(int(characters["start"]), int(characters["end"]) + 1, entity, float(item["score"]))


def _of_sentence(sentence: dict[str, Any], offset: int) -> Iterator[Mention]:
    for item in sentence["entities"]:
        entity = resource_name(item["uri"] or "")
        if entity is None:
            continue
        start = offset + int(item["startChar"])
        # `endChar` is the last character in some files and the one behind it in others; `label` is the fragment itself
        yield Mention(start, start + len(item["label"]), entity, float(item["confidence"]), _own_categories(item))


def _own_categories(item: dict[str, Any]) -> tuple[str, ...] | None:
    found = item.get("categories")
    return None if found is None else tuple(category_name(underscored(name)) for name in found)


def _short(found: Any) -> str:
    said = repr(found)
    return said if len(said) <= 60 else f"{said[:60]}…"
