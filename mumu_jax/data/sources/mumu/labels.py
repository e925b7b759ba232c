"""The labels: those that are published, and what the taxonomy gives an album where no CSV file says it."""

from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.csv_files import Listed
from mumu_jax.data.sources.mumu.first_bytes import other_than_data
from mumu_jax.data.sources.mumu.metadata import Entry
from mumu_jax.data.sources.mumu.rejections import Reject
from mumu_jax.data.sources.mumu.release import FROM_HOME
from mumu_jax.data.sources.tartarus import read_list
from mumu_jax.errors import UserError


def read_labels(path: Path) -> list[str]:
    """The published names, a line each.  Raises UserError where one comes twice, or the file is something else."""
    if other := other_than_data(path):
        raise UserError(
            f"{path}: expected a genre a line, found {other}; copy the file again, or remove it: {FROM_HOME}"
        )
    return read_list(path)


def from_taxonomy(entries: Mapping[str, Entry], published: list[str], reject: Reject) -> dict[str, Listed]:
    """The metadata's albums with those of their paths' genres that are published, or else frequent enough."""
    genres = {album_id: taxonomy.genres_of(entry.paths) for album_id, entry in entries.items()}
    labels = frozenset(published or taxonomy.frequent(genres.values()))
    listed = {}
    for album_id, found in genres.items():
        kept = tuple(genre for genre in found if genre in labels)
        if kept:
            listed[album_id] = Listed(kept)
        else:
            detail = f"none of the genres of {album_id} is a label: {', '.join(found) or 'it has none'}"
            reject(entries[album_id].line, "no_genre", detail)
    return listed
