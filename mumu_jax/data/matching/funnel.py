"""Counts from Amazon's albums to the data set beside those of the paper, and a check by ASINs in MusicBrainz."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

from mumu_jax.data.matching.match import Match

PAPER = {  # Oramas et al. 2017, section 3
    "matched": "60 %",
    "genres": "almost 500",
    "labels": "250",
    "albums": "31,471",
    "songs": "147,295",
    "labels_a_song": "5.97",
    "reviews": "447,583",
}


class Agreement(Struct):
    """The matches of albums whose ASIN MusicBrainz has: how many there are, are matched, and are matched with that one.

    An ASIN is one edition's, and some are wrong there, so the shares are lower bounds.
    """

    known: int = 0
    matched: int = 0
    right: int = 0


class Funnel(Struct):
    """The counts of section 3, in the order in which albums are lost; `lines` are those of releases, used or not."""

    decisions: dict[str, int]
    lines: int
    releases: int
    groups: int
    recordings: int
    tracks: int
    tracks_of_one_album: int
    albums_with_tracks: int
    genres: int
    labels: int
    albums: int
    songs: int
    labels_a_song: float
    reviews: int | None
    splits: dict[str, int]
    asins: Agreement


class Row(NamedTuple):
    """A line of the table: the name of a count, its value, and the paper's."""

    name: str
    count: str
    paper: str


def agreement(matches: Iterable[Match], groups_of: Mapping[str, set[str]], threshold: float) -> Agreement:
    """Compare the matches with the release groups that MusicBrainz names by ASIN."""
    found = Agreement()
    for match in matches:
        groups = groups_of.get(match.amazon_id)
        if groups:
            found.known += 1
            if match.best and match.decide(threshold) == "matched":
                found.matched += 1
                found.right += match.best.album_mbid in groups
    return found


def rows_of(funnel: Funnel) -> list[Row]:
    """Return the table of the counts."""
    decisions = funnel.decisions
    n, n_matched = sum(decisions.values()), decisions.get("matched", 0)
    n_named = n - decisions.get("no artist", 0) - decisions.get("no title", 0)
    lost = [Row(f"  {name}", f"{count:,}", "") for name, count in sorted(decisions.items()) if name != "matched"]
    asins = funnel.asins
    return [
        Row("releases of MusicBrainz that could be read", _of(funnel.releases, funnel.lines), ""),
        Row("Amazon's albums", f"{n:,}", ""),
        Row("with title and artist", f"{n_named:,}", ""),
        Row("matched with an album of MusicBrainz", f"{n_matched:,} ({n_matched / n:.0%})", PAPER["matched"]),
        *lost,
        Row("different albums of MusicBrainz", f"{funnel.groups:,}", ""),
        Row("their recordings in the mapping", f"{funnel.recordings:,}", ""),
        Row("tracks of the MSD", f"{funnel.tracks:,}", ""),
        Row("tracks of one album alone", f"{funnel.tracks_of_one_album:,}", ""),
        Row("albums with such tracks", f"{funnel.albums_with_tracks:,}", ""),
        Row("their genres", f"{funnel.genres:,}", PAPER["genres"]),
        Row("genres on enough albums", f"{funnel.labels:,}", PAPER["labels"]),
        Row("albums of the data set", f"{funnel.albums:,}", PAPER["albums"]),
        Row("songs", f"{funnel.songs:,}", PAPER["songs"]),
        Row("genres a song", f"{funnel.labels_a_song:.2f}", PAPER["labels_a_song"]),
        Row("reviews", "–" if funnel.reviews is None else f"{funnel.reviews:,}", PAPER["reviews"]),
        Row("train / val / test albums", " / ".join(f"{count:,}" for count in funnel.splits.values()), "80/10/10 %"),
        *(
            [Row("matches that MusicBrainz' ASINs confirm", _of(asins.right, asins.matched), "")]
            if asins.matched
            else []
        ),
        *([Row("albums with ASIN that are so matched", _of(asins.right, asins.known), "")] if asins.known else []),
    ]


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})"
