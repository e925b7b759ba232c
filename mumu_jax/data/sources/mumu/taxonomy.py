"""Amazon's taxonomy: from the paths of an album to its genres, and from all paths to the tree of genres.

Oramas et al. 2017, section 3: an album carries every node of every branch it is in, below the root of music on discs.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

Paths = tuple[tuple[str, ...], ...]

ROOT = "CDs & Vinyl"  # the same genres stand again below `Digital Music`: those paths do not count
MIN_ALBUMS = 12  # a genre of the data set is on at least as many albums


def branches(paths: Paths) -> list[tuple[str, ...]]:
    """What stands below the root, path by path."""
    return [path[1:] for path in paths if path[:1] == (ROOT,)]


def genres_of(paths: Paths) -> tuple[str, ...]:
    """All genres of an album, each once, from the top down."""
    return tuple(dict.fromkeys(node for branch in branches(paths) for node in branch if node))


def frequent(genres: Iterable[Collection[str]], minimum: int = MIN_ALBUMS) -> list[str]:
    """Those that are on at least `minimum` albums, in code point order; `genres` has an item an album."""
    counts = Counter(genre for each in genres for genre in each)
    return sorted(genre for genre, count in counts.items() if count >= minimum)


def parents_of(labels: Collection[str], albums: Iterable[Paths]) -> dict[str, str | None]:
    """The genre above each label: the nearest above it that is a label, or None.

    A name that stands below several genres (`Compilations`) goes where it is on most albums, then to the first in code
    point order; a name that stands at the top of more albums than below any genre has none.
    """
    votes: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for paths in albums:
        votes_here = set()
        for branch in branches(paths):
            kept = [node for node in branch if node in votes]
            votes_here |= set(zip(kept, ["", *kept], strict=False))
        for label, parent in votes_here:
            if label != parent:
                votes[label][parent] += 1
    found = {label: min(counts, key=lambda p: (-counts[p], p), default="") or None for label, counts in votes.items()}
    return {label: None if _is_circular(label, found) else parent for label, parent in found.items()}


def _is_circular(label: str, parents: Mapping[str, str | None]) -> bool:
    """Whether the way up from the label leads back to it."""
    above, seen = parents[label], set()
    while above is not None and above not in seen:
        if above == label:
            return True
        seen.add(above)
        above = parents[above]
    return False
