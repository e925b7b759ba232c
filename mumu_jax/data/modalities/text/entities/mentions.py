"""Where a text names an entity, and which of the fragments that nest or overlap count."""

from bisect import bisect, insort
from collections.abc import Iterable
from typing import NamedTuple


class Mention(NamedTuple):
    """Characters `start` to `end`, without `end`, of a text name `entity`, a DBpedia resource such as `Paco_de_Lucía`.

    `categories` are those that the linker's own file gives, None where it gives none.
    """

    start: int
    end: int
    entity: str
    score: float = 1.0
    categories: tuple[str, ...] | None = None


def outermost(mentions: Iterable[Mention]) -> list[Mention]:
    """Those that count, from left to right: the longest fragment first, of equals the higher score, then the first.

    A fragment that shares a character with one that counts already does not count.
    """
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda one: (one.start - one.end, -one.score)):
        place = bisect(kept, mention.start, key=lambda one: one.start)
        free_before = place == 0 or kept[place - 1].end <= mention.start
        free_behind = place == len(kept) or mention.end <= kept[place].start
        if free_before and free_behind:
            insort(kept, mention, key=lambda one: one.start)
    return kept
