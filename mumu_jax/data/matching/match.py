"""The best match of every album and the runner-up, a part at a time, on any number of processes or machines."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from mumu_jax.data.matching.amazon import Product
from mumu_jax.data.matching.index import Index
from mumu_jax.data.matching.musicbrainz import KINDS
from mumu_jax.data.matching.parts import read_part
from mumu_jax.data.matching.scoring import Named, Scorer
from mumu_jax.system.files import replacing

GROUPS = "groups.npz"  # MBIDs and kinds of the albums that an index numbers
Decision = Literal["matched", "below threshold", "ambiguous", "nothing like it", "no artist", "no title"]


class Candidate(Struct):
    """An album of MusicBrainz beside one of Amazon."""

    album_mbid: str
    title: str
    artist: str
    kind: str
    score: float
    title_score: float
    artist_score: float


class Match(Struct):
    """An album of Amazon with the best album of MusicBrainz, and the best other one."""

    amazon_id: str
    title: str
    artist: str
    best: Candidate | None = None
    runner_up: Candidate | None = None

    def decide(self, threshold: float) -> Decision:
        """Return what the scores say; equal scores of two albums of one kind tell nothing."""
        if not self.title or not self.artist:
            return "no artist" if self.title else "no title"
        if self.best is None:
            return "nothing like it"
        if self.best.score < threshold:
            return "below threshold"
        other = self.runner_up
        is_tied = other is not None and (other.score, other.kind) == (self.best.score, self.best.kind)
        return "ambiguous" if is_tied else "matched"


class Matcher:
    """Matches of albums with those of an index."""

    def __init__(self, folder: Path):
        self._index = Index(folder)
        with np.load(folder / GROUPS) as groups:
            self._mbids, self._kinds = groups["mbids"], groups["kinds"]

    def match(self, named: Named) -> list[Candidate]:
        """Return the best album and the runner-up, as far as there are any whose score is above 0."""
        if not (named.title and named.names):
            return []
        score_of = Scorer(named)
        scored = []
        for row, other in self._index.candidates(named):
            scores = score_of(other)
            if scores.score:
                album = self._index.album(row)
                scored.append((-round(scores.score, 6), int(self._kinds[album]), album, row, scores))
        best: dict[int, Candidate] = {}
        for _, kind, album, row, scores in sorted(scored):
            if len(best) < 2 and album not in best:
                score, title, artist = (round(value, 6) for value in scores)
                kind_name = KINDS[kind] if kind < len(KINDS) else "other"
                names = self._index.shown(row)
                best[album] = Candidate(self._mbids[album].decode(), *names, kind_name, score, title, artist)
        return [*best.values()]


@dataclass(frozen=True)
class Task:
    """A part of Amazon's albums to match with an index, and the file of the matches."""

    index: Path
    part: Path
    out: Path


def match_part(task: Task) -> None:
    """Write the matches of a part, an album a line; those that are there already stay."""
    if task.out.exists():
        return
    matcher, encode = _matcher(task.index), msgspec.json.Encoder().encode
    task.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(task.out) as temporary, temporary.open("wb") as file:
        for product in read_part(task.part, Product):
            names = matcher.match(product.named) if product.artist else []
            file.write(encode(Match(product.amazon_id, product.title, product.artist, *names)) + b"\n")


@lru_cache(maxsize=1)
def _matcher(folder: Path) -> Matcher:
    return Matcher(folder)
