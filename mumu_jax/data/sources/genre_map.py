"""A user's changes to the genres of any source: `--map`, a file of renamings and parents, and `--taxonomy`, a tree.

The map's names come first, then the tree's, for genres that the map does not name.  Then parents are added, and dropped
genres are taken out.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection as Names
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mumu_jax.data.manifest import Album, Name, labels_of
from mumu_jax.data.sources.base import Collection
from mumu_jax.data.sources.files import clean_name
from mumu_jax.data.sources.finding import some
from mumu_jax.data.sources.genre_tree import GenreTree, ancestors, check_no_cycle, find_tree, read_yaml
from mumu_jax.errors import UserError, nearest

Named = dict[Name, Name | Annotated[list[Name], Meta(min_length=1)]]  # a genre, and one or several others


class GenreMap(Struct, frozen=True, forbid_unknown_fields=True):
    """The file's sections: new names by genre (`rename`), genres by new name (`merge`), `drop`, `parents` by genre."""

    rename: Named = {}
    merge: Named = {}
    drop: list[Name] = []
    parents: Named = {}


@dataclass
class Rules:
    """The changes: the names that replace a genre, the parents of a name, and the names that go."""

    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    def final(self, genre: str) -> tuple[str, ...]:
        """Return the names of a genre, which may have been renamed in turn."""
        own = self.names.get(genre, (genre,))
        return _unique(last for one in own for last in ((one,) if one == genre else self.final(one)))

    def kept(self, genre: str) -> tuple[str, ...]:
        """Return the names of a genre that are not dropped."""
        return () if genre in self.dropped else tuple(name for name in self.final(genre) if name not in self.dropped)

    def above(self, name: str) -> tuple[str, ...]:
        """Return all names above one that are not dropped, the nearest first."""
        return tuple(one for one in ancestors(name, self.parents) if one not in self.dropped)

    def changed(self, genres: Iterable[str]) -> tuple[str, ...]:
        """Return an album's genres by their names, followed by those above them."""
        names = [name for genre in genres for name in self.kept(genre)]
        return _unique([*names, *(above for name in names for above in self.above(name))])


def map_genres(collection: Collection, genre_map: Path | None, taxonomy: str | None) -> Collection:
    """Return the collection with the genres of its albums changed, and with notes that count the changes.

    Labels come in code point order, their parent the nearest above them.  Albums that lose all genres leave.  Raises
    UserError on a file that is not a map or a tree, and on a genre in the map that no album has.
    """
    genres = {genre for album in collection.albums for genre in album.genres}
    tree = find_tree(taxonomy) if taxonomy else None
    of_tree = tree.parents if tree else {}
    rules = _rules_of(genre_map, genres, of_tree) if genre_map else Rules()
    unknown = _add_names(rules, tree, genres) if tree else []
    rules.parents = _by_final_names(rules, rules.parents, of_tree)
    check_no_cycle(rules.parents, genre_map or taxonomy)
    albums = [msgspec.structs.replace(album, genres=rules.changed(album.genres)) for album in collection.albums]
    left = [new for old, new in zip(collection.albums, albums, strict=True) if new.genres or not old.genres]
    if genres and not any(album.genres for album in left):
        raise UserError(f"{genre_map}: expected genres that are not dropped, found none; keep at least one")
    parents = _parents_of_labels(collection, rules, {genre for album in left for genre in album.genres})
    check_no_cycle({name: (above,) for name, above in parents.items()}, genre_map or taxonomy)
    notes = [_note(collection.albums, albums, rules)]
    if unknown:
        notes.append(f"--taxonomy: {len(unknown):,} genres are not in it, and stay as they are: {some(unknown)}")
    return dataclasses.replace(
        collection, albums=left, labels=labels_of(left, parents), notes=[*collection.notes, *notes]
    )


def _parents_of_labels(collection: Collection, rules: Rules, names: Names[str]) -> dict[str, str]:
    """Return the label above each label that has one: by the rules, or else by the source."""
    of_source = {
        name: above
        for label in collection.labels
        for name in rules.kept(label.name)
        for above in (rules.kept(label.parent) if label.parent else ())
        if above in names and above != name
    }
    by_rules = {name: above[0] for name in names if (above := rules.above(name))}
    return of_source | by_rules


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


# --- the map ------------------------------------------------------------------------------------------------


def read_map(path: Path) -> GenreMap:
    """Read a map's file.  Raises UserError on an unknown section and on a value of another type."""
    content = _cleaned(read_yaml(path))
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if value != ""}  # a section without lines
    try:
        return msgspec.convert(content, GenreMap)
    except msgspec.ValidationError as error:
        sections = GenreMap.__struct_fields__
        unknown = re.search(r"unknown field `(.*?)`", str(error))
        near = nearest(unknown[1], sections) if unknown else None
        hint = f" (did you mean {near!r}?)" if near else ""
        words = str(error).replace(r"`str` matching regex '\\S'", "text that is not blank")
        raise UserError(
            f"{path}: {words}{hint}; write sections {', '.join(sections)}: drop is a list of genres, the others have "
            "lines 'genre: other' or 'genre: [one, two]'"
        ) from error


def _cleaned(content: Any) -> Any:
    """Return YAML's content with its texts in the form of genres' names."""
    if isinstance(content, dict):
        return {clean_name(key): _cleaned(value) for key, value in content.items()}
    return [*map(_cleaned, content)] if isinstance(content, list) else clean_name(content)


def _rules_of(path: Path, genres: Names[str], of_tree: Names[str]) -> Rules:
    """Return a map's rules; what it drops, or gives parents, may also be a genre that it or the tree adds."""
    given = read_map(path)
    renames = [(old, _listed(new)) for old, new in given.rename.items()]
    merges = [(old, (new,)) for new, olds in given.merge.items() for old in _listed(olds)]
    for old, n in Counter(old for old, _ in renames + merges).items():
        if n > 1:
            raise UserError(f"{path}: expected one line that renames or merges {old!r}, found {n}; keep one")
    names, parents = dict(renames + merges), {name: _listed(above) for name, above in given.parents.items()}
    check_no_cycle({old: tuple(new for new in news if new != old) for old, news in names.items()}, path)
    targets = {new for news in (*names.values(), *parents.values()) for new in news}
    _check_known(path, "rename", given.rename, {*genres, *targets})
    _check_known(path, "merge", [old for old, _ in merges], {*genres, *targets})
    _check_known(path, "parents", parents, {*genres, *targets, *of_tree})
    _check_known(path, "drop", given.drop, {*genres, *targets, *of_tree})
    return Rules(names, parents, frozenset(given.drop))


def _listed(names: str | list[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _check_known(path: Path, section: str, names: Iterable[str], genres: Names[str]) -> None:
    """Raise UserError that lists the names which are no genre of an album, each with the one that is most like it."""
    near = {name: nearest(name, genres) for name in names if name not in genres}
    if near:
        listed = [repr(name) + (f" (did you mean {one!r}?)" if one else "") for name, one in near.items()]
        raise UserError(f"{path}: {section}: expected genres that albums have, found {some(listed)}; correct it")


# --- the tree -----------------------------------------------------------------------------------------------


def _add_names(rules: Rules, tree: GenreTree, genres: Names[str]) -> list[str]:
    """Add the tree's names to the rules, and return the genres that it does not have.

    A name that the map gives, for itself or as a parent, stays and replaces the tree's.
    """
    chosen = {name for names in (*rules.names.values(), *rules.parents.values()) for name in names}
    own = {name for genre in genres for name in rules.kept(genre)}
    for genre in sorted({*own, *chosen}):
        name = tree.name_of(genre)
        if name not in (None, genre):
            old, new = (name, genre) if genre in chosen else (genre, name)
            rules.names.setdefault(old, (new,))
    return sorted(genre for genre in own if tree.name_of(genre) is None)


def _by_final_names(rules: Rules, *tables: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the tables of parents as one, by the names that the rules give; the first that has a name counts."""
    parents: dict[str, tuple[str, ...]] = {}
    for table in tables:
        for name in sorted(table, key=lambda name: rules.final(name) != (name,)):  # its own before those joined to it
            above = _unique(last for one in table[name] for last in rules.final(one))
            for final in rules.final(name):
                parents.setdefault(final, tuple(one for one in above if one != final))
    return parents


# --- notes --------------------------------------------------------------------------------------------------


def _note(before: Sequence[Album], after: Sequence[Album], rules: Rules) -> str:
    """Return a line for the summary: genres renamed, dropped and added as parents, and the albums that leave."""
    genres = {genre for album in before for genre in album.genres}
    names: Mapping[str, tuple[str, ...]] = {genre: rules.kept(genre) for genre in genres}
    n_renamed = sum(news not in ((genre,), ()) for genre, news in names.items())
    n_dropped = sum(not news for news in names.values())
    added = Counter(
        above
        for old, new in zip(before, after, strict=True)
        for above in {*new.genres}.difference(name for genre in old.genres for name in names[genre])
    )
    n_gone = sum(bool(old.genres) and not new.genres for old, new in zip(before, after, strict=True))
    gone = f"; {n_gone:,} albums have no genre left and are left out" if n_gone else ""
    return (
        f"genres: {n_renamed:,} renamed, {n_dropped:,} dropped, {len(added):,} added above others to "
        f"{added.total():,} places on albums{gone}"
    )
