"""The DBpedia entities that a text names, and their categories, which VSM+SEM reads as further words."""

from functools import lru_cache
from pathlib import Path

from mumu_jax.data.modalities.text.entities.babelfy import read_linked
from mumu_jax.data.modalities.text.entities.gazetteer import write_gazetteer
from mumu_jax.data.modalities.text.entities.linker import Gazetteer

__all__ = ["Gazetteer", "categories_of", "write_gazetteer"]


def categories_of(
    text: str, linked: Path | None, gazetteer: Path | None, n_chars: int | None = None
) -> tuple[str, ...]:
    """Return the categories of the entities that `text`, the beginning of an album's reviews, names.

    `linked`, the album's file from an entity linker, has priority over `gazetteer`, which then only adds the
    categories that are missing in this file.  Without either there are none.  A category is repeated for each mention.
    `n_chars` is the length of the text as the linker saw it, if that had another form.

    Raises Rejected if `linked` cannot be used, and UserError if `gazetteer` is not a gazetteer.
    """
    names = _load_once(gazetteer) if gazetteer else None
    if linked is not None:
        return read_linked(linked, names.categories if names else None, len(text) if n_chars is None else n_chars)
    if names is None:
        return ()
    return tuple(category for mention in names.link(text) for category in names.categories[mention.entity])


@lru_cache(maxsize=1)
def _load_once(gazetteer: Path) -> Gazetteer:
    """Load a gazetteer once per process: its automaton cannot be sent from one process to another."""
    return Gazetteer.load(gazetteer)
