"""From tracks to albums: step 2 of Oramas et al. 2017, section 5.1."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8


class AlbumVectors(NamedTuple):
    """Albums in the order of their first track."""

    album_ids: list[str]
    vectors: Float32[np.ndarray, "albums d"]
    labels: UInt8[np.ndarray, "albums labels"]


def mean_by_album(
    embedding: Float32[np.ndarray, "tracks d"],
    labels: UInt8[np.ndarray, "tracks labels"],
    album_ids: Sequence[str],
) -> AlbumVectors:
    """The mean of the penultimate vectors of each album's tracks, and the album's labels."""
    row: dict[str, int] = {}
    group: Int[np.ndarray, " tracks"] = np.array([row.setdefault(album, len(row)) for album in album_ids])
    total = np.zeros((len(row), embedding.shape[1]))
    np.add.at(total, group, embedding)
    _, first = np.unique(group, return_index=True)
    vectors = total / np.bincount(group)[:, None]
    return AlbumVectors(list(row), vectors.astype(np.float32), labels[first])
