"""DBpedia's N-Triples, as a stream: the statements of one predicate about resources."""

import bz2
import gzip
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import BufferedIOBase
from pathlib import Path

from mumu_jax.data.modalities.text.entities.resources import category_name, resource_name, unescaped
from mumu_jax.errors import UserError

SUBJECT = "http://purl.org/dc/terms/subject"
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
REDIRECTS = "http://dbpedia.org/ontology/wikiPageRedirects"


class Triples:
    """One file, plain or packed by gzip or bzip2; `n_malformed` counts the lines that the last reading passed over."""

    def __init__(self, path: Path):
        self.path, self.n_malformed = path, 0

    def categories(self) -> Iterator[tuple[str, str]]:
        """Resource and category, such as `Adele` and `1988_births`."""
        return ((name, category_name(category)) for name, category in self._read(SUBJECT, _resource))

    def labels(self, language: str) -> Iterator[tuple[str, str]]:
        """Resource and its title in a language, such as `Queen_(band)` and `Queen (band)`."""
        tag = f"@{language}".encode()
        return self._read(LABEL, lambda value: _literal(value, tag))

    def redirects(self) -> Iterator[tuple[str, str]]:
        """Resource and the one that stands for it, such as `Robert_Zimmerman` and `Bob_Dylan`."""
        return self._read(REDIRECTS, _resource)

    def _read(self, predicate: str, of_object: Callable[[bytes], str | None]) -> Iterator[tuple[str, str]]:
        """Subject and object of the predicate's lines.  Raises UserError where the file cannot be unpacked.

        A line is cut at white space, which neither an IRI nor a predicate can hold.  DBpedia has tens of millions of
        lines, most of them of one predicate: an RDF library would parse and check every term of every line.
        """
        self.n_malformed = 0
        wanted = f"<{predicate}>".encode()
        try:
            with _open(self.path) as file:
                for line in file:
                    parts = line.split(None, 2)
                    if not parts or parts[0].startswith(b"#") or (len(parts) == 3 and parts[1] != wanted):
                        continue  # blank, a comment, or of another predicate
                    try:
                        subject, _, rest = parts
                        name, found = _resource(subject), of_object(_without_dot(rest))
                    except ValueError:
                        self.n_malformed += 1
                        continue
                    if found is not None:
                        yield name, found
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise UserError(f"cannot read {self.path}: {error.strerror}") from error
            raise UserError(f"{self.path} is damaged or was not loaded to its end ({error}); fetch it anew") from error


def _open(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        kind = file.read(3)
    if kind.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if kind == b"BZh" else path.open("rb")


def _without_dot(rest: bytes) -> bytes:
    rest = rest.rstrip()
    if rest[-1:] != b".":
        raise ValueError("no end")
    return rest[:-1].rstrip()


@lru_cache(maxsize=1 << 16)  # lines about one resource stand together, and many name the same categories
def _resource(term: bytes) -> str:
    """The name of `<http://…/resource/NAME>`.  Raises ValueError unless it is one."""
    if term[:1] != b"<" or term[-1:] != b">":
        raise ValueError("no IRI")
    name = resource_name(term[1:-1].decode())
    if name is None:
        raise ValueError("no resource of DBpedia")
    return name


def _literal(term: bytes, tag: bytes) -> str | None:
    """The text of `"…"@en`; None of another language.  Raises ValueError unless it is a literal."""
    end = term.rfind(b'"')
    if term[:1] != b'"' or end < 1:
        raise ValueError("no literal")
    return unescaped(term[1:end].decode()) if term[end + 1 :] == tag else None
