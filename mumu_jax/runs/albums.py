"""Vectors of albums: the means of their tracks', summed up while these are predicted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from mumu_jax.compute.network import VECTORS
from mumu_jax.data.loader import Items, array_items


class AlbumVectors(NamedTuple):
    """Albums in the order of their first track."""

    album_ids: list[str]
    vectors: Float32[np.ndarray, "albums d"]
    labels: UInt8[np.ndarray, "albums labels"]

    @property
    def items(self) -> Items:
        """The albums as an album network sees them."""
        return array_items({VECTORS: self.vectors}, self.labels)


class AlbumMeans:
    """The mean vector of each album's items, summed up while the items are predicted, in their order.

    MuMu's tracks have 2 GB of vectors, its albums 0.4 GB: sums are in float64 within a call of `add`, in float32 from
    one to the next.  `patches` is the number of vectors of each item.
    """

    def __init__(self, album_ids: Sequence[str], patches: int = 1) -> None:
        self.album_ids, group, self.first = group_by_album(album_ids)
        self._group, self._n_added, self._sums = group.repeat(patches), 0, np.zeros((), np.float32)

    def add(self, vectors: Float[np.ndarray, "items d"]) -> None:
        """Add the vectors of the next items."""
        if not self._n_added:
            self._sums = np.zeros((len(self.album_ids), vectors.shape[1]), np.float32)
        albums, place = np.unique(self._group[self._n_added : self._n_added + len(vectors)], return_inverse=True)
        sums = np.zeros((len(albums), vectors.shape[1]))
        np.add.at(sums, place, vectors)
        self._sums[albums] += sums
        self._n_added += len(vectors)

    def means(self) -> Float32[np.ndarray, "albums d"]:
        """Return the means, when all items were added."""
        return self._sums / np.bincount(self._group).astype(np.float32)[:, None]

    def albums(self, labels: UInt8[np.ndarray, "items labels"]) -> AlbumVectors:
        """Return the albums, when all items were added, whose labels these are."""
        return AlbumVectors(self.album_ids, self.means(), labels[self.first])


def mean_by_album(
    vectors: Float[np.ndarray, "items d"], album_ids: Sequence[str]
) -> tuple[list[str], Float32[np.ndarray, "albums d"], Int[np.ndarray, " albums"]]:
    """Return the albums in the order of their first item, the mean of each one's vectors, and its first item's row."""
    means = AlbumMeans(album_ids)
    means.add(vectors)
    return means.album_ids, means.means(), means.first


def group_by_album(
    album_ids: Sequence[str],
) -> tuple[list[str], Int[np.ndarray, " items"], Int[np.ndarray, " albums"]]:
    """Return the albums in the order of their first item, the number of each item's album, and each one's first row."""
    row: dict[str, int] = {}
    group = np.array([row.setdefault(album, len(row)) for album in album_ids])
    _, first = np.unique(group, return_index=True)
    return list(row), group, first
