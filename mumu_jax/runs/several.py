"""Several published networks as one scorer: together they know more genres than each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mumu_jax.config import Config
from mumu_jax.data.manifest import Label
from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.fields import flatten
from mumu_jax.runs.published import open_published, plain, remark_on
from mumu_jax.runs.ranking import Ranking
from mumu_jax.runs.scorer import Scorer, Seen
from mumu_jax.runs.stems import Together
from mumu_jax.system.lines import print_remark

SONGS = ("audio", "mel", "descriptors")  # modalities that are read of songs, by their settings alone


@dataclass(frozen=True)
class Several:
    """Scorers of songs, by what they see of one, which are used as one `Scorer`.

    `columns` are those of each scorer's labels among `labels`.  Of a tag that several know, the mean of their scores
    and of their priors counts.
    """

    scorers: Sequence[tuple[str, Scorer]]
    labels: list[Label]
    columns: list[list[int]]
    ranking: Ranking
    missing: str = "drop"
    wants_gazetteer: bool = False

    @classmethod
    def of(cls, scorers: Sequence[Scorer]) -> "Several":
        """Join the vocabularies; spellings of one tag are one label, called as the first scorer calls it."""
        labels: dict[str, Label] = {}
        for scorer in scorers:
            for label in scorer.labels:
                labels.setdefault(plain(label.name), label)
        column = {name: i for i, name in enumerate(labels)}
        columns = [[column[plain(label.name)] for label in scorer.labels] for scorer in scorers]
        rankings = [scorer.ranking for scorer in scorers if scorer.ranking is not None]
        is_genre = _means([one.is_genre[None].astype(np.float32) for one in rankings], columns, len(labels))[0] > 0
        prior = _means([one.prior[None] for one in rankings], columns, len(labels))[0]
        viewed = [(view_of(scorer.inputs.config), scorer) for scorer in scorers]
        return cls(viewed, list(labels.values()), columns, Ranking(is_genre, prior))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all, as one."""
        return ("+".join(scorer.names[0] for _, scorer in self.scorers),)

    @property
    def readers(self) -> dict[str, Reader]:
        """One reader, which reads a song once for each of the networks' views of it."""
        readers = {view: next(iter(scorer.readers.values())) for view, scorer in self.scorers}
        reads = {view: reader.read for view, reader in readers.items()}
        return {"songs": replace(next(iter(readers.values())), read=partial(read_each, reads))}

    def see(self, reads: Sequence[Any], batch_size: int) -> list[Seen]:
        """Return what is seen in songs that could be read, the networks' vectors side by side.

        Two networks may cut a song into different patches, so that it has scores as a whole alone.
        """
        of_each = [one.see([read.parts[view] for read in reads], batch_size) for view, one in self.scorers]
        scores = _means([np.stack([seen.scores for seen in of]) for of in of_each], self.columns, len(self.labels))
        vectors = [np.concatenate([seen.vector for seen in of_song]) for of_song in zip(*of_each, strict=True)]
        return [Seen(of_song, vector, of_song[None]) for of_song, vector in zip(scores, vectors, strict=True)]

    def best(self, scores: np.ndarray, n: int, all_tags: bool) -> list[tuple[str, float]]:
        """Return the `n` best labels of a song with their scores, as `Scorer.best`."""
        return self.ranking.best(self.labels, scores, n, all_tags)


def open_models(paths: Sequence[Path]) -> Scorer | Several:
    """Open published networks, several as one; print what they know."""
    scorers = [open_published(path) for path in paths]
    scorer = Several.of(scorers) if len(scorers) > 1 else scorers[0]
    assert scorer.ranking is not None
    print_remark(remark_on(" + ".join(path.stem for path in paths), scorer.labels, scorer.ranking))
    return scorer


def _means(parts: Sequence[np.ndarray], columns: Sequence[list[int]], n_labels: int) -> np.ndarray:
    """Return of each label the mean over the parts that have a column for it."""
    total, counts = np.zeros((len(parts[0]), n_labels), np.float32), np.zeros(n_labels, np.float32)
    for part, own in zip(parts, columns, strict=True):
        total[:, own] += part
        counts[own] += 1
    return total / counts


def view_of(config: Config) -> str:
    """Return what a model sees of a song, in words that are the same for two that see the same; "" if it sees none."""
    if config.modality not in SONGS:
        return ""
    return repr((config.modality, flatten(getattr(config, config.modality)), config.data.patches))


def read_each(reads: Mapping[str, Callable[[Path], Read]], path: Path) -> Read:
    """Read a song for each view; if it cannot be read for one, it is not read."""
    parts = {view: read(path) for view, read in reads.items()}
    failed = next((part for part in parts.values() if not part.records), None)
    if failed is not None:
        return failed
    first = next(iter(parts.values()))
    return Together(path, first.records, first.seconds, parts=parts)
