"""A gazetteer out of DBpedia's N-Triples: labels and article categories, and redirects where they are there."""

import hashlib
from collections.abc import Callable, Iterable
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.text.entities.gazetteer import write_gazetteer
from mumu_jax.data.modalities.text.entities.linked import read_mentions
from mumu_jax.data.modalities.text.entities.ntriples import Triples
from mumu_jax.data.modalities.text.entities.surfaces import Candidate, candidate, choose, fold, is_entity
from mumu_jax.errors import UserError


class Sources(NamedTuple):
    labels: Path
    categories: Path
    redirects: Path | None = None


def build_gazetteer(out: Path, sources: Sources, language: str, only: set[str] | None = None) -> dict[str, Any]:
    """Write it, with the entities of `only` where given; the header and `malformed`, the lines passed over by file.

    Every source is read once, as a stream.  The entities' categories and names are in memory, nothing else is: 0.9 GB
    for a million entities with four categories each (benchmarks/linking.py), so that English DBpedia with its six
    million takes 5 to 6 GB.

    Raises UserError where a source cannot be read, where they do not belong together, and where `out` is a folder.
    """
    if out.is_dir():  # before the long reading
        raise UserError(f"{out} is a folder; name the gazetteer's file, such as {out / 'gazetteer.jsonl.gz'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    labels, articles = Triples(sources.labels), Triples(sources.categories)
    redirects = Triples(sources.redirects) if sources.redirects else None
    wanted = is_entity if only is None else lambda name: is_entity(name) and name in only
    categories = _categories(articles.categories(), wanted)
    titles = [((title, name) for name, title in labels.labels(language))]
    if redirects:
        titles.append((alias.replace("_", " "), name) for alias, name in redirects.redirects() if is_entity(alias))
    surfaces = _surfaces(titles, categories)
    if not surfaces:
        raise UserError(
            f"no entity has both a category in {sources.categories} and a label in @{language} in {sources.labels}; "
            "give DBpedia's article categories and labels, both of one language"
        )
    read = [one for one in (labels, articles, redirects) if one]
    header = write_gazetteer(out, surfaces, categories, [_described(one.path) for one in read])
    return {**header, "malformed": {str(one.path): one.n_malformed for one in read}}


def entities_named(folder: Path) -> tuple[set[str], dict[Path, Rejected]]:
    """The resources that the linker's files in a folder name, and the files that cannot be used."""
    names: set[str] = set()
    unusable = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            names |= {mention.entity for mention in read_mentions(path)}
        except Rejected as error:
            unusable[path] = error
    if not names:
        raise UserError(f"no file *.json under {folder} names an entity; give the folder of a linker's files")
    return names, unusable


def _categories(pairs: Iterable[tuple[str, str]], wanted: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
    """Of each wanted entity, in the file's order, each once.  A category's name is in memory once."""
    names: dict[str, str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for entity, group in groupby(pairs, itemgetter(0)):
        if wanted(entity):
            own = (names.setdefault(category, category) for _, category in group)
            found[entity] = tuple(dict.fromkeys((*found.get(entity, ()), *own)))
    return found


def _surfaces(titles: Iterable[Iterable[tuple[str, str]]], categories: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Surface form -> entity, by the rule of surfaces.py."""
    found: dict[str, tuple[Candidate, ...]] = {}
    for title, entity in chain.from_iterable(titles):
        if entity in categories and (one := candidate(title, entity)):
            known = found.get(fold(one.surface), ())
            if all(other.entity != entity for other in known):
                found[fold(one.surface)] = (*known, one)
    chosen = (choose(candidates, categories) for candidates in found.values())
    return {one.surface: one.entity for one in chosen if one}


def _described(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
