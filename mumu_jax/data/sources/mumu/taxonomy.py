"""Amazon's taxonomy: from the paths of an album to its genres, and from all paths to the tree of genres.

Oramas et al. 2017, section 3: an album carries every node of every branch it is in, below the root of music on discs.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

Paths = tuple[tuple[str, ...], ...]

ROOT = "CDs & Vinyl"  # the same genres are repeated below `Digital Music`: those paths do not count
MIN_ALBUMS = 12  # a genre of the data set is on at least as many albums


def branches(paths: Paths) -> list[tuple[str, ...]]:
    """Return the nodes below the root, path by path."""
    return [path[1:] for path in paths if path[:1] == (ROOT,)]


def genres_of(paths: Paths) -> tuple[str, ...]:
    """Return all genres of an album, each once, from the top down."""
    return tuple(dict.fromkeys(node for branch in branches(paths) for node in branch if node))


def frequent(genres: Iterable[Collection[str]], minimum: int = MIN_ALBUMS) -> list[str]:
    """Return the genres of at least `minimum` albums, in code point order; `genres` has an item for each album."""
    counts = Counter(genre for album_genres in genres for genre in album_genres)
    return sorted(genre for genre, count in counts.items() if count >= minimum)


def parents_of(labels: Collection[str], albums: Iterable[Paths]) -> dict[str, str | None]:
    """Return the genre above each label: the nearest above it that is a label, or None.

    A name that is below several genres (`Compilations`) goes where it is on most albums, then to the first in code
    point order; a name that is at the top of more albums than below any genre has none.
    """
    votes: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for paths in albums:
        edges = set()
        for branch in branches(paths):
            nodes = [node for node in branch if node in votes]
            edges |= set(zip(nodes, ["", *nodes], strict=False))
        for label, parent in edges:
            if label != parent:
                votes[label][parent] += 1
    parents = {label: min(counts, key=lambda p: (-counts[p], p), default="") or None for label, counts in votes.items()}
    return {label: None if _is_circular(label, parents) else parent for label, parent in parents.items()}


def _is_circular(label: str, parents: Mapping[str, str | None]) -> bool:
    """Tell if the way up from the label leads back to it."""
    above, seen = parents[label], set()
    while above is not None and above not in seen:
        if above == label:
            return True
        seen.add(above)
        above = parents[above]
    return False
