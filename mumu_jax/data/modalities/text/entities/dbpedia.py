"""DBpedia's dumps in N-Triples: labels, article categories and redirects, and the gazetteer that is built from them."""

import bz2
import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from io import BufferedIOBase
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from pyoxigraph import Literal, NamedNode, Quad, RdfFormat, parse

from mumu_jax.data.modalities.text.entities.gazetteer import underscored, write_gazetteer
from mumu_jax.data.modalities.text.entities.surfaces import Candidate, candidate, choose, fold, is_entity
from mumu_jax.errors import UserError
from mumu_jax.system.files import sha256_of

SUBJECT = "http://purl.org/dc/terms/subject"
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
REDIRECTS = "http://dbpedia.org/ontology/wikiPageRedirects"
_RESOURCE = "/resource/"  # http://dbpedia.org/resource/X, http://de.dbpedia.org/resource/X
_CATEGORY = {  # the namespace in DBpedia's chapters
    *("Category", "Kategorie", "Catégorie", "Categoría", "Categoria", "Categorie"),
    *("Kategoria", "Kategori", "Категория", "Κατηγορία"),
}
_BYTES_AT_ONCE = 1 << 14  # about a hundred lines are parsed by one call; more were slower


class Sources(NamedTuple):
    """The files that a gazetteer is built from, all of one language; redirects are further names of entities."""

    labels: Path
    categories: Path
    redirects: Path | None = None


def build_gazetteer(out: Path, sources: Sources, language: str, only: set[str] | None = None) -> dict[str, Any]:
    """Write a gazetteer, limited to the entities of `only` if given; return its header and, by file, `malformed`.

    `malformed` counts the triples that were skipped.  Each source is read once, as a stream.  Only the entities'
    categories and names are held in memory: 0.9 GB for a million entities with four categories each
    (benchmarks/linking.py), so that English DBpedia with its six million takes 5 to 6 GB.

    Raises UserError if a source cannot be read, if the sources do not fit together, or if `out` is a folder.
    """
    if out.is_dir():  # checked before the long reading
        raise UserError(f"{out} is a folder; name the gazetteer's file, such as {out / 'gazetteer.jsonl.gz'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    labels, articles = Triples(sources.labels), Triples(sources.categories)
    redirects = Triples(sources.redirects) if sources.redirects else None
    wanted = is_entity if only is None else lambda name: is_entity(name) and name in only
    categories = _categories(articles.categories(), wanted)
    titles = [((title, name) for name, title in labels.labels(language))]
    if redirects:
        titles.append((alias.replace("_", " "), name) for alias, name in redirects.redirects() if is_entity(alias))
    surfaces = _surfaces(chain.from_iterable(titles), categories)
    if not surfaces:
        raise UserError(
            f"no entity has both a category in {sources.categories} and a label in @{language} in {sources.labels}; "
            "give DBpedia's article categories and labels, both of one language"
        )
    files = [triples for triples in (labels, articles, redirects) if triples]
    described = [{"name": triples.path.name, "sha256": sha256_of(triples.path)} for triples in files]
    header = write_gazetteer(out, surfaces, categories, described)
    return {**header, "malformed": {str(triples.path): triples.n_malformed for triples in files}}


class Triples:
    """An N-Triples file, plain or packed by gzip or bzip2.

    `n_malformed` counts the triples that the last reading skipped: malformed lines, and triples of the predicate that
    was read whose terms are not resources of DBpedia.
    """

    def __init__(self, path: Path):
        self.path, self.n_malformed = path, 0

    def categories(self) -> Iterator[tuple[str, str]]:
        """Yield resource and category, such as `Adele` and `1988_births`."""
        return self._read(SUBJECT, lambda term: category_name(_resource(term)))

    def labels(self, language: str) -> Iterator[tuple[str, str]]:
        """Yield resource and its title in a language, such as `Queen_(band)` and `Queen (band)`."""
        return self._read(LABEL, lambda term: _text(term, language))

    def redirects(self) -> Iterator[tuple[str, str]]:
        """Yield resource and the resource that it redirects to, such as `Robert_Zimmerman` and `Bob_Dylan`."""
        return self._read(REDIRECTS, _resource)

    def _read(self, predicate: str, read_object: Callable[[Any], str | None]) -> Iterator[tuple[str, str]]:
        """Yield subject and object of the predicate's triples.  Raises UserError if the file cannot be unpacked."""
        self.n_malformed = 0
        wanted = NamedNode(predicate)
        for subject, found, term, _ in self._triples():
            if found != wanted:
                continue
            try:
                name, value = _resource(subject), read_object(term)
            except ValueError:
                self.n_malformed += 1
                continue
            if value is not None:
                yield name, value

    def _triples(self) -> Iterator[Quad]:
        try:
            with _open(self.path) as file:
                while lines := file.readlines(_BYTES_AT_ONCE):
                    yield from self._parse(lines)
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise UserError(f"cannot read {self.path}: {error.strerror}") from error
            raise UserError(f"{self.path} is damaged or incomplete ({error}); download it again") from error

    def _parse(self, lines: list[bytes]) -> list[Quad]:
        """Parse lines.  If one is malformed, parse each half by itself, so that this line alone is skipped.

        The parser would go on by itself after a malformed line, but often skips the next one with it.
        """
        try:
            return list(parse(b"".join(lines), format=RdfFormat.N_TRIPLES, lenient=True))
        except SyntaxError:
            if len(lines) == 1:
                self.n_malformed += 1
                return []
        middle = len(lines) // 2
        return self._parse(lines[:middle]) + self._parse(lines[middle:])


def resource_name(iri: str) -> str | None:
    """Return `Beyoncé` for `http://dbpedia.org/resource/Beyonc%C3%A9`, None if it is not a resource of DBpedia.

    Raises ValueError if its percent-encoding is not UTF-8.
    """
    _, _, name = iri.partition(_RESOURCE)
    return underscored(unquote(name, errors="strict")) if name else None


def category_name(resource: str) -> str:
    """Return `1988_births` for `Category:1988_births`, for `Kategorie:1988_births` and for the bare name."""
    namespace, colon, name = resource.partition(":")
    return name if colon and namespace in _CATEGORY else resource


def _open(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        magic = file.read(3)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if magic == b"BZh" else path.open("rb")


@lru_cache(maxsize=1 << 16)  # triples about one resource are neighbours, and many name the same categories
def _resource(term: Any) -> str:
    """Return the name of a resource.  Raises ValueError if the term is not a resource of DBpedia."""
    name = resource_name(term.value) if isinstance(term, NamedNode) else None
    if name is None:
        raise ValueError(f"{term} is not a resource of DBpedia")
    return name


def _text(term: Any, language: str) -> str | None:
    """Return a literal's text, None if it is in another language.  Raises ValueError if it is not a literal."""
    if not isinstance(term, Literal):
        raise ValueError(f"{term} is not a literal")
    return term.value if term.language == language else None


def _categories(pairs: Iterable[tuple[str, str]], wanted: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
    """Return each wanted entity's categories, in the file's order, without repetition; equal names share memory."""
    categories: dict[str, tuple[str, ...]] = {}
    for entity, group in groupby(pairs, itemgetter(0)):
        if wanted(entity):
            names = (sys.intern(category) for _, category in group)
            categories[entity] = tuple(dict.fromkeys((*categories.get(entity, ()), *names)))
    return categories


def _surfaces(titles: Iterable[tuple[str, str]], categories: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return surface form -> entity, by the rule of surfaces.py."""
    candidates: dict[str, tuple[Candidate, ...]] = {}
    for title, entity in titles:
        if entity in categories and (one := candidate(title, entity)):
            known = candidates.get(fold(one.surface), ())
            if all(other.entity != entity for other in known):
                candidates[fold(one.surface)] = (*known, one)
    chosen = (choose(rivals, categories) for rivals in candidates.values())
    return {one.surface: one.entity for one in chosen if one}
