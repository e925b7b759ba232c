"""Counts of prepared data: the albums of each label, and the contents of each split."""

import statistics
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mumu_jax.data.manifest import SPLITS, Album, Label

ALL = "all"
ENOUGH_OF_A_GENRE, ENOUGH_TO_VALIDATE = 20, 30  # albums; below, linear models beat networks, and the best epoch is luck
LABEL_MORE = "label more albums"
FOR_FEW_SONGS = "use --config=audio_musicnn on mel spectrograms, or audio_low_4x96_small"

Contents = dict[str, int | None]


@dataclass(frozen=True)
class Census:
    """The counts of a data set.

    `albums_by_label` has every label, the most frequent first, equally frequent ones by name.  `labels_mean` and
    `labels_sd` are the mean and the standard deviation (of the population) of the number of labels per album.

    `contents` is by split, and of `ALL`: the albums, their tracks and reviews, the albums that have a prepared record
    of `audio`, `text` and `timbre`, and those with a file of `cover` and `entities`.  It is None what is not known: the
    reviews if no album knows its number, and a modality that is not prepared.
    """

    albums_by_label: dict[str, int]
    labels_mean: float
    labels_sd: float
    n_albums: int
    contents: dict[str, Contents]


def take(albums: Sequence[Album], labels: Iterable[Label], prepared: Mapping[str, Container[str]]) -> Census:
    """Count at least one album; `prepared` has by modality the ids of the albums that have a record."""
    counts = Counter(genre for album in albums for genre in album.genres)
    names = sorted((label.name for label in labels), key=lambda name: (-counts[name], name))
    per_album = [len(album.genres) for album in albums]
    by_split = {split: [album for album in albums if album.split == split] for split in SPLITS}
    return Census(
        albums_by_label={name: counts[name] for name in names},
        labels_mean=statistics.fmean(per_album),
        labels_sd=statistics.pstdev(per_album),
        n_albums=len(albums),
        contents={split: _contents(members, prepared) for split, members in (by_split | {ALL: albums}).items()},
    )


def _contents(albums: Sequence[Album], prepared: Mapping[str, Container[str]]) -> Contents:
    def count(modality: str) -> int | None:
        return sum(album.album_id in prepared[modality] for album in albums) if modality in prepared else None

    known = [album.n_reviews for album in albums if album.n_reviews is not None]
    return {
        "albums": len(albums),
        "tracks": sum(len(album.tracks) for album in albums),
        "reviews": sum(known) if known else None,
        **{modality: count(modality) for modality in ("audio", "text", "timbre")},
        "cover": sum(album.cover is not None for album in albums),
        "entities": sum(album.entities is not None for album in albums),
    }


def warning_of_few(train: Sequence[Album], val: Sequence[Album], remedy: str) -> str:
    """Return a warning that ends with `remedy` if a network from random weights learns little from so few, else ""."""
    genres = [genre for album in train for genre in album.genres]
    of_a_genre = len(genres) / max(1, len({*genres}))
    few = []
    if of_a_genre < ENOUGH_OF_A_GENRE:
        few.append(f"{of_a_genre:.0f} training albums a genre ({ENOUGH_OF_A_GENRE} or more are enough)")
    if len(val) < ENOUGH_TO_VALIDATE:
        few.append(f"{len(val)} validation albums ({ENOUGH_TO_VALIDATE} or more)")
    if not few:
        return ""
    return (
        f"few data: {' and '.join(few)}; a network from random weights may rank worse than the linear baseline, which "
        f"train prints beside it: {remedy}"
    )
