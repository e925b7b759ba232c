"""What prepared data holds: how often each label comes, and what there is of every split."""

import statistics
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from mumu_jax.data.manifest import SPLITS, Album, Label

ALL = "all"


@dataclass(frozen=True)
class Contents:
    """What a split holds: `audio`, `text`, … are the albums that have any, `reviews` those that are known of.

    `reviews` is None where no album knows its number.
    """

    albums: int
    tracks: int
    reviews: int | None
    audio: int
    text: int
    cover: int
    entities: int
    timbre: int


@dataclass(frozen=True)
class Census:
    """`albums_by_label` has every label, the most frequent first, equal ones by name.

    Labels an album have the mean `labels_mean` and the standard deviation `labels_sd` (of all albums, not an
    estimate from a sample).  `contents` is by split, and of `ALL`.
    """

    albums_by_label: dict[str, int]
    labels_mean: float
    labels_sd: float
    contents: dict[str, Contents]


def take(albums: Sequence[Album], labels: Iterable[Label], left_out: Container[tuple[str, str]] = ()) -> Census:
    """The census of one album or more; ("audio" or "timbre", track id) in `left_out` does not count."""
    counts = Counter(genre for album in albums for genre in album.genres)
    names = sorted((label.name for label in labels), key=lambda name: (-counts[name], name))
    per_album = [len(album.genres) for album in albums]
    by_split = {split: [album for album in albums if album.split == split] for split in SPLITS}
    return Census(
        {name: counts[name] for name in names},
        statistics.fmean(per_album),
        statistics.pstdev(per_album),
        {split: _contents(members, left_out) for split, members in (by_split | {ALL: albums}).items()},
    )


def _contents(albums: Sequence[Album], left_out: Container[tuple[str, str]]) -> Contents:
    known = [album.n_reviews for album in albums if album.n_reviews is not None]
    return Contents(
        albums=len(albums),
        tracks=sum(len(album.tracks) for album in albums),
        reviews=sum(known) if known else None,
        audio=sum(any(t.audio and ("audio", t.track_id) not in left_out for t in album.tracks) for album in albums),
        text=sum(bool(album.text) for album in albums),
        cover=sum(album.cover is not None for album in albums),
        entities=sum(album.entities is not None for album in albums),
        timbre=sum(any(t.timbre and ("timbre", t.track_id) not in left_out for t in album.tracks) for album in albums),
    )
