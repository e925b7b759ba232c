"""Genre words as entities: a gazetteer without DBpedia, whose categories are a genre and the genres above it.

It is not the paper's linker, which finds artists and works, too.  A genre's surface forms are its name, and its name
with hyphens for spaces and the reverse.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mumu_jax.data.modalities.text.entities.gazetteer import write_gazetteer
from mumu_jax.data.modalities.text.entities.surfaces import candidate
from mumu_jax.errors import UserError
from mumu_jax.system.files import sha256_of


def build_of_genres(out: Path, above: Mapping[str, tuple[str, ...]], source: Path) -> dict[str, Any]:
    """Write a gazetteer of genres, given all above each, and return its header.

    A genre is its own first category: a text that says `jazz` and one that says `bebop` have `jazz` in common.  Raises
    UserError if `out` is a folder.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the gazetteer's file, such as {out / 'genres.gz'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    surfaces: dict[str, str] = {}
    for spelled in (str, lambda name: name.replace(" ", "-"), lambda name: name.replace("-", " ")):
        for genre in above:  # every genre's own name, before another spelling of one is the same
            if one := candidate(spelled(genre), genre):
                surfaces.setdefault(one.surface, genre)
    categories = {genre: (genre, *names) for genre, names in above.items()}
    return write_gazetteer(out, surfaces, categories, [{"name": source.name, "sha256": sha256_of(source)}])
