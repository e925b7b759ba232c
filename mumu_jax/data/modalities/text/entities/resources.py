"""The names of DBpedia's resources, written in one way wherever they come from."""

import re
from urllib.parse import unquote

_RESOURCE = "/resource/"  # http://dbpedia.org/resource/X, http://de.dbpedia.org/resource/X
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.|$)", re.DOTALL)
_SHORT_ESCAPES = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


def resource_name(iri: str) -> str | None:
    """`Beyoncé` of `http://dbpedia.org/resource/Beyonc%C3%A9`; None of what is no resource of DBpedia.

    Escapes of N-Triples are undone, which BabelNet's addresses have too.  Raises ValueError as `unescaped`, and where
    the percent-encoding is not of UTF-8.
    """
    _, found, name = unescaped(iri).partition(_RESOURCE)
    if not found or not name:
        return None
    return underscored(unquote(name, errors="strict"))


def unescaped(text: str) -> str:
    """Without N-Triples' escapes, such as `\\u00E9` and `\\"`.  Raises ValueError on what is no escape."""
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16")  # two \u escapes may be the halves of one character


def _character(escape: re.Match[str]) -> str:
    name = escape[1]
    if len(name) > 1:
        return chr(int(name[1:], 16))
    if name not in _SHORT_ESCAPES:
        raise ValueError(f"\\{name} is no escape")
    return _SHORT_ESCAPES[name]


def underscored(title: str) -> str:
    """`Living_people` of `Living people`: one token, whatever splits a text into words at white space."""
    return "_".join(title.split())


def category_name(resource: str) -> str:
    """`1988_births` of `Category:1988_births`, as of `Kategorie:…`, or of the bare name."""
    namespace, colon, name = resource.partition(":")
    return name if colon and namespace in _CATEGORY else resource


# What DBpedia's chapters call the namespace.
_CATEGORY = {
    *("Category", "Kategorie", "Catégorie", "Categoría", "Categoria", "Categorie"),
    *("Kategoria", "Kategori", "Категория", "Κατηγορία"),
}
