"""A tree of genres in YAML, as beets has one: nested lists of names; beside it, `aliases.yaml` with other spellings.

An alias is a line `name: [patterns]`; a genre that a regular expression matches as a whole has the name, in which `\\1`
is the first group.
"""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from mumu_jax.data.sources.files import composed
from mumu_jax.errors import UserError

BEETS, TREE, ALIASES = "beets", "genres-tree.yaml", "aliases.yaml"


@dataclass(frozen=True)
class GenreTree:
    """The genres of a tree, each with its parents (of a genre in several places, several), and its aliases."""

    path: Path
    parents: Mapping[str, tuple[str, ...]]
    aliases: tuple[tuple[re.Pattern[str], str], ...] = ()

    def name_of(self, genre: str) -> str | None:
        """Return the tree's name of a genre, whatever its case or, by an alias, its spelling; None if it has none."""
        name = composed(genre).lower()
        spellings = [match.expand(alias) for pattern, alias in self.aliases if (match := pattern.fullmatch(name))]
        return next((one for one in (name, *spellings) if one in self.parents), None)


def ancestors(name: str, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return all names above one, the nearest first."""
    found: dict[str, None] = {}
    level = parents.get(name, ())
    while level:
        found |= dict.fromkeys(level)
        level = [above for one in level for above in parents.get(one, ()) if above not in found]
    return tuple(found)


def find_tree(place: str) -> GenreTree:
    """Read the tree of a file, or with "beets" that of the installed package.  Raises UserError if there is none."""
    if place != BEETS:
        return read_tree(Path(place))
    try:
        path = importlib.metadata.distribution(BEETS).locate_file(f"beetsplug/lastgenre/{TREE}")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"--taxonomy=beets needs beets; pip install beets, or give the path of its {TREE}") from error
    return read_tree(Path(str(path)))


def read_tree(path: Path) -> GenreTree:
    """Read a tree, and the aliases if they are beside it.  Raises UserError on a file that is not as above."""
    parents: dict[str, tuple[str, ...]] = {}
    for genre, parent in _branches(read_yaml(path)):
        above = (parent,) if parent else ()
        parents[genre] = tuple(dict.fromkeys((*parents.get(genre, ()), *above)))
    if not parents:
        raise UserError(f"{path}: expected a tree of genres as nested lists, found none; give beets' {TREE}")
    check_no_cycle(parents, path)
    aliases = path.with_name(ALIASES)
    return GenreTree(path, parents, tuple(_patterns(aliases)) if aliases.exists() else ())


def check_no_cycle(parents: Mapping[str, tuple[str, ...]], where: object) -> None:
    """Raise UserError if a name leads back to itself."""
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        cycle = " → ".join(map(repr, error.args[1][::-1]))
        raise UserError(f"{where}: expected no genre that leads back to itself, found {cycle}; take one out") from error


def _branches(node: Any, parent: str = "") -> Iterator[tuple[str, str]]:
    """Yield (genre, parent) of all nodes, lower case; the parent of one at the top is ""."""
    if isinstance(node, list):
        for one in node:
            yield from _branches(one, parent)
    elif isinstance(node, dict):
        for name, below in node.items():
            yield from _branches(name, parent)
            yield from _branches(below, composed(name).lower())
    elif isinstance(node, str) and node.strip():
        yield composed(node).lower(), parent


def _patterns(path: Path) -> Iterator[tuple[re.Pattern[str], str]]:
    """Yield the patterns with the names that they stand for, in the file's order."""
    aliases = read_yaml(path)
    for name, patterns in aliases.items() if isinstance(aliases, dict) else [("", None)]:
        if not isinstance(patterns, list) or not all(isinstance(one, str) for one in patterns):
            raise UserError(f"{path}: expected lines 'name: [patterns]', found {name!r}: {patterns!r:.60}; correct it")
        for pattern in patterns:
            try:
                compiled = re.compile(pattern, re.IGNORECASE)
                compiled.sub(name, "")  # raises on a group that the pattern does not have
            except (re.error, IndexError) as error:
                raise UserError(f"{path}: {name!r}: {pattern!r} is not a pattern ({error}); correct it") from error
            yield compiled, name.lower()


# --- YAML ---------------------------------------------------------------------------------------------------


class _Loader(yaml.BaseLoader):
    """A reader of YAML whose values are all text (`1980`, `no`), and that refuses a key that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key, (key_node, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} occurs twice", key_node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return a YAML file's content: lists, dicts and strings.  Raises UserError if it cannot be read."""
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Loader) or ""
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the path of a file that exists") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected YAML in UTF-8, found: {reason}; correct it") from error
