"""Entity linking without a network: the longest names of a gazetteer that are written as names in a text."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from mumu_jax.data.modalities.text.entities.gazetteer import read_gazetteer
from mumu_jax.data.modalities.text.entities.linked import read_linked
from mumu_jax.data.modalities.text.entities.mentions import Mention
from mumu_jax.data.modalities.text.entities.surfaces import fold, is_written_as_name

# Text and names get this sign before and behind every word, so that a name can be found at whole words only.  It is
# no rule to sort matches by afterwards: a longer match inside a word would hide a shorter one that is a name.
_EDGE = "\0"
_EDGES = re.compile(r"\b")


class Gazetteer:
    """Names, the entities they mean, and `categories`, by DBpedia resource."""

    def __init__(self, surfaces: Mapping[str, str], categories: Mapping[str, tuple[str, ...]]):
        self.categories = categories
        self._surfaces, self._entities = list(surfaces), list(surfaces.values())
        self._automaton = AhoCorasick(
            map(_marked, self._surfaces),
            matchkind=MatchKind.Standard,  # all of them: the longest that begins somewhere may not be written as a name
            store_patterns=False,
            # 100 MB for a million names; the non-contiguous one has 280 and finds them half as fast
            implementation=Implementation.ContiguousNFA,
        )

    @classmethod
    def load(cls, path: Path) -> "Gazetteer":
        """Raises UserError where the file is none."""
        surfaces: dict[str, str] = {}
        categories: dict[str, tuple[str, ...]] = {}
        for entity in read_gazetteer(path):
            categories[entity.name] = entity.categories
            surfaces |= dict.fromkeys(entity.surfaces, entity.name)
        return cls(surfaces, categories)

    def link(self, text: str) -> list[Mention]:
        """The names in it, from left to right, the longest first, none overlapping; see surfaces.py for the rule."""
        mentions, behind = [], 0
        marked, n_edges, seen = _marked(text), 0, 0
        found = self._automaton.find_matches_as_indexes(marked, overlapping=True)
        for number, start, _ in sorted(found, key=lambda match: (match[1], -match[2])):
            n_edges += marked.count(_EDGE, seen, start)
            begins, seen = start - n_edges, start
            ends = begins + len(self._surfaces[number])
            if begins >= behind and is_written_as_name(text[begins:ends], self._surfaces[number]):
                mentions.append(Mention(begins, ends, self._entities[number]))
                behind = ends
        return mentions


def _marked(text: str) -> str:
    return _EDGES.sub(_EDGE, fold(text))


@lru_cache(maxsize=1)
def gazetteer_of(path: Path) -> Gazetteer:
    """`Gazetteer.load(path)`, once a process: the automaton cannot be sent to another."""
    return Gazetteer.load(path)


def categories_of(text: str, linked: Path | None, gazetteer: Path | None) -> tuple[str, ...]:
    """The categories of the entities that `text`, the beginning of an album's reviews, names; () where nothing tells.

    `linked`, a linker's file for the album, goes before `gazetteer`, which then gives the categories that the file
    does not have.  A category comes once for each mention.

    Raises Rejected where `linked` cannot be used, and UserError as `Gazetteer.load`.
    """
    names = gazetteer_of(gazetteer) if gazetteer else None
    if linked is not None:
        return read_linked(linked, names.categories if names else None, len(text))
    if names is None:
        return ()
    return tuple(category for one in names.link(text) for category in names.categories[one.entity])
