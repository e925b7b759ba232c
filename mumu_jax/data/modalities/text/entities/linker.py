"""Entity linking without a network: find the longest names of a gazetteer that are written as names in a text."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from mumu_jax.data.modalities.text.entities.gazetteer import read_gazetteer
from mumu_jax.data.modalities.text.entities.surfaces import fold, is_written_as_name

# Texts and names get this sign at both ends of each word, so that only whole words match.  Filtering the matches
# afterwards would not do: a longer match that ends inside a word would hide a shorter one that is a name.
_EDGE = "\0"
_EDGES = re.compile(r"\b")


class Mention(NamedTuple):
    """A fragment of a text that names an entity: characters `start` to `end`, exclusive.

    `entity` is a DBpedia resource such as `Paco_de_Lucía`.  `categories` are those in the linker's own file, None if
    it has none.
    """

    start: int
    end: int
    entity: str
    score: float = 1.0
    categories: tuple[str, ...] | None = None


class Gazetteer:
    """Names with the entities that they mean, and `categories` by entity."""

    def __init__(self, surfaces: Mapping[str, str], categories: Mapping[str, tuple[str, ...]]):
        self.categories = categories
        self._surfaces, self._entities = list(surfaces), list(surfaces.values())
        self._automaton = AhoCorasick(
            map(_marked, self._surfaces),
            matchkind=MatchKind.Standard,  # all matches: the longest one at a place may not be written as a name
            store_patterns=False,
            # 100 MB for a million names; the non-contiguous automaton takes 280 and is half as fast
            implementation=Implementation.ContiguousNFA,
        )

    @classmethod
    def load(cls, path: Path) -> "Gazetteer":
        """Read a gazetteer's file.  Raises UserError as `read_gazetteer`."""
        surfaces: dict[str, str] = {}
        categories: dict[str, tuple[str, ...]] = {}
        for entity, its_categories, its_surfaces in read_gazetteer(path):
            categories[entity] = its_categories
            surfaces |= dict.fromkeys(its_surfaces, entity)
        return cls(surfaces, categories)

    def link(self, text: str) -> list[Mention]:
        """Return the names in the text, left to right, the longest at each place, without overlaps.

        surfaces.py states the rule.
        """
        mentions: list[Mention] = []
        marked = _marked(text)
        n_edges = counted_to = last_end = 0
        matches = self._automaton.find_matches_as_indexes(marked, overlapping=True)
        for number, marked_start, _ in sorted(matches, key=lambda match: (match[1], -match[2])):
            n_edges += marked.count(_EDGE, counted_to, marked_start)
            counted_to = marked_start
            start = marked_start - n_edges
            end = start + len(self._surfaces[number])
            if start >= last_end and is_written_as_name(text[start:end], self._surfaces[number]):
                mentions.append(Mention(start, end, self._entities[number]))
                last_end = end
        return mentions


def outermost(mentions: Iterable[Mention]) -> list[Mention]:
    """Return mentions that do not overlap, left to right; the longest wins, then the higher score, then the first."""
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda one: (one.start - one.end, -one.score)):
        if all(mention.end <= other.start or other.end <= mention.start for other in kept):
            kept.append(mention)
    return sorted(kept, key=lambda one: one.start)


def _marked(text: str) -> str:
    return _EDGES.sub(_EDGE, fold(text))
