"""What prepared data holds: how often each label comes, and what there is of every split."""

import statistics
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mumu_jax.data.manifest import SPLITS, Album, Label

ALL = "all"


@dataclass(frozen=True)
class Contents:
    """What a split holds: `reviews` those that are known of, `cover` and `entities` the albums that have a file.

    `audio`, `text` and `timbre` are the albums that have a prepared record.  None is for what is not known: reviews
    where no album knows its number, and a modality that is not prepared.
    """

    albums: int
    tracks: int
    reviews: int | None
    audio: int | None
    text: int | None
    timbre: int | None
    cover: int
    entities: int


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


def take(albums: Sequence[Album], labels: Iterable[Label], prepared: Mapping[str, Container[str]]) -> Census:
    """The census of one album or more; `prepared` has, by modality, the ids of the albums with a record."""
    counts = Counter(genre for album in albums for genre in album.genres)
    names = sorted((label.name for label in labels), key=lambda name: (-counts[name], name))
    per_album = [len(album.genres) for album in albums]
    by_split = {split: [album for album in albums if album.split == split] for split in SPLITS}
    return Census(
        {name: counts[name] for name in names},
        statistics.fmean(per_album),
        statistics.pstdev(per_album),
        {split: _contents(members, prepared) for split, members in (by_split | {ALL: albums}).items()},
    )


def _contents(albums: Sequence[Album], prepared: Mapping[str, Container[str]]) -> Contents:
    def count(modality: str) -> int | None:
        return sum(album.album_id in prepared[modality] for album in albums) if modality in prepared else None

    known = [album.n_reviews for album in albums if album.n_reviews is not None]
    return Contents(
        albums=len(albums),
        tracks=sum(len(album.tracks) for album in albums),
        reviews=sum(known) if known else None,
        audio=count("audio"),
        text=count("text"),
        timbre=count("timbre"),
        cover=sum(album.cover is not None for album in albums),
        entities=sum(album.entities is not None for album in albums),
    )
