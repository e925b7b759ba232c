"""Scores for a user's own files, by a trained run or by an export of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from mumu_jax.compute import devices
from mumu_jax.compute.network import VECTORS
from mumu_jax.data.loader import array_items
from mumu_jax.data.manifest import Label
from mumu_jax.data.modalities.audio.songs import Songs
from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.text import FittedText
from mumu_jax.data.modalities.vectors import Vectors
from mumu_jax.errors import UserError
from mumu_jax.runs.folder import Trained, TrainedRun, load_run
from mumu_jax.runs.fusion import fuse
from mumu_jax.runs.prediction import predict_items
from mumu_jax.runs.ranking import Ranking
from mumu_jax.runs.stems import Together
from mumu_jax.training.feed import Feed

Scores = Float[np.ndarray, "items labels"]
Embedding = Float[np.ndarray, "items d"]
# (the inputs of all items by modality, batch size) → (scores for people to read, penultimate vectors)
Predict = Callable[[Any, int], tuple[Scores, Embedding]]


class Seen(NamedTuple):
    """A model's view of a file: its scores, its vector, and the scores of the patches of a song by themselves.

    The vector is the mean of the first network's penultimate vectors; of a fusion, the joined vectors.
    """

    scores: Float[np.ndarray, " labels"]
    vector: Float[np.ndarray, " d"]
    patches: Float[np.ndarray, "records labels"]


@dataclass(frozen=True)
class Scorer:
    """A trained model, ready to score; `names` are its run's fingerprint, and another that the run had before.

    `first` sees the items, `of_vectors` the mean of an album's track vectors.  It is None if the items are albums, or
    if the scores of a song are the mean of its patches'.
    """

    names: tuple[str, ...]
    labels: list[Label]
    inputs: Inputs
    first: Predict
    of_vectors: Predict | None = None
    sources: Mapping[str, "Scorer"] = field(default_factory=dict)  # of a fusion, by modality
    ranking: Ranking | None = None  # of published tags; None: labels are genres, ranked by their scores

    @property
    def readers(self) -> dict[str, Reader]:
        """The ways to recognise and read a user's files, by modality."""
        return self.inputs.readers() | {name: source.readers[name] for name, source in self.sources.items()}

    @property
    def has_patches(self) -> bool:
        """True if it sees the patches of songs."""
        return any(isinstance(one, Songs) for one in self.inputs.modalities.values())

    def with_covering_patches(self) -> "Scorer":
        """Return a scorer of all patches of a song, one after the other, whatever `config.data.patches` is.

        It has another name: its scores are the mean of other patches.
        """
        config = self.inputs.config
        config = replace(config, data=replace(config.data, patches=0))
        names = tuple(f"{name}:patches" for name in self.names)
        return replace(self, names=names, inputs=replace(self.inputs, config=config))

    @property
    def missing(self) -> str:
        """The treatment of an album without one of the modalities: `drop` or `mask`."""
        return self.inputs.config.fusion.missing

    @property
    def wants_gazetteer(self) -> bool:
        """True if entities in texts are to be linked, and there is nothing to link them."""
        texts = [one for one in self.inputs.fitted.values() if isinstance(one, FittedText)]
        own = self.inputs.config.tfidf.categories and any(one.gazetteer is None for one in texts)
        return own or any(source.wants_gazetteer for source in self.sources.values())

    def with_gazetteer(self, path: Path) -> "Scorer":
        """Return the scorer with another gazetteer for texts."""
        sources = {name: source.with_gazetteer(path) for name, source in self.sources.items()}
        inputs = self.inputs
        for name, fitted in inputs.fitted.items():
            if isinstance(fitted, FittedText):
                inputs = inputs.with_fitted(name, gazetteer=path)
        return replace(self, inputs=inputs, sources=sources)

    def see(self, reads: Sequence[Read], batch_size: int) -> list[Seen]:
        """Return what is seen in files that could be read.  A song is scored as an album of its patches."""
        if self.sources:
            vectors = fuse(self._vectors_of_sources(reads, batch_size))
            scores = self.first({Vectors.name: vectors}, batch_size)[0]
            patches = [of_file[None] for of_file in scores]
        else:
            patches, vectors = self._see(reads, batch_size)
            if self.of_vectors is None:
                scores = np.stack([of_file.mean(axis=0) for of_file in patches])
            else:
                scores = self.of_vectors({VECTORS: vectors}, batch_size)[0]
        return [*map(Seen, scores, vectors, patches)]

    def best(self, scores: Float[np.ndarray, " labels"], n: int, all_tags: bool) -> list[tuple[str, float]]:
        """Return the `n` best genres of an item with their scores, best first; of all published tags if `all_tags`."""
        if self.ranking is not None:
            return self.ranking.best(self.labels, scores, n, all_tags)
        return best_scores(self.labels, scores, n)

    def _vectors_of_sources(self, reads: Sequence[Any], batch_size: int) -> list[Embedding]:
        """Return each modality's vectors, seen by its own model; zeros for those that are missing."""
        widths = [source.width for source in self.inputs.fitted[Vectors.name].values()]
        vectors = []
        for width, (name, source) in zip(widths, self.sources.items(), strict=True):
            of_modality = np.zeros((len(reads), width), np.float32)
            parts = {i: part for i, read in enumerate(reads) if (part := _part(read, name)) is not None}
            if parts:
                of_modality[[*parts]] = source._see([*parts.values()], batch_size)[1]
            vectors.append(of_modality)
        return vectors

    def _see(
        self, reads: Sequence[Read], batch_size: int
    ) -> tuple[list[Float[np.ndarray, "records labels"]], Float[np.ndarray, "files d"]]:
        """Return the first network's scores of each file's records, and the mean of their penultimate vectors."""
        records, counts = _align(reads, list(self.inputs.modalities))
        scores, embedding = self.first(self.inputs.arrays(records), batch_size)
        ends = np.cumsum(counts)[:-1]
        return np.split(scores, ends), np.stack([part.mean(axis=0) for part in np.split(embedding, ends)])


def best_scores(labels: Sequence[Label], scores: Float[np.ndarray, " labels"], n: int) -> list[tuple[str, float]]:
    """Return the names of the `n` labels with the highest scores, with these, best first."""
    return [(labels[i].name, float(scores[i])) for i in np.argsort(-scores, kind="stable")[:n]]


def _part(read: Read, name: str) -> Read | None:
    """Return the part of a modality of what was read together; of a model of one modality, all that was read."""
    return read.parts.get(name) if isinstance(read, Together) else read


def _align(reads: Sequence[Read], names: Sequence[str]) -> tuple[dict[str, list[dict[str, Any]]], list[int]]:
    """Return the records by modality, as many of each, and the number of records of each file.

    Of several modalities, the one record of a text or cover goes with every patch of its song.
    """
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    counts = []
    for read in reads:
        parts = (
            {name: read.parts[name].records for name in names}
            if isinstance(read, Together)
            else {names[0]: read.records}
        )
        count = max(map(len, parts.values()))
        for name, part in parts.items():
            records[name] += part if len(part) == count else part[:1] * count
        counts.append(count)
    return records, counts


def open_run(workdir: Path) -> Scorer:
    """Open the finished run in `workdir`, a fusion with the runs it joins.  Raises UserError if one has changed."""
    run = load_run(workdir)
    return scorer_of(run, {name: scorer_of(one, {}) for name, (_, one) in load_sources(run.inputs, workdir).items()})


def scorer_of(run: TrainedRun, sources: Mapping[str, Scorer]) -> Scorer:
    """Return a scorer of a run that was loaded; `sources` are those of the runs that it joins."""
    n_labels = len(run.labels)
    of_vectors = partial(_predict, run.album, n_labels) if run.track is not None else None
    return Scorer(run.names, run.labels, run.inputs, partial(_predict, run.first, n_labels), of_vectors, sources)


def scorer_of_songs(names: tuple[str, ...], labels: list[Label], inputs: Inputs, track: Trained) -> Scorer:
    """Return a scorer without an album network: a song's scores are the mean of its patches'."""
    return Scorer(names, labels, inputs, partial(_predict, track, len(labels)))


def load_sources(inputs: Inputs, workdir: Path) -> dict[str, tuple[Path, TrainedRun]]:
    """Load the runs that the fusion in `workdir` joins, by modality, each with its folder; none if it is not a fusion.

    Raises UserError if one is missing or has changed.
    """
    sources = {}
    for name, source in inputs.fitted.get(Vectors.name, {}).items():
        path = source.folder(workdir)
        run = load_run(path) if (path / "config.json").exists() else None
        if run is None or source.fingerprint not in run.names:
            raise UserError(
                f"{workdir} sees {name} by the run {source.fingerprint}: expected it in {path}, found "
                f"{run.fingerprint if run else 'nothing'}; move that run back, or train the fusion again"
            )
        sources[name] = (path, run)
    return sources


def _predict(trained: Trained, n_labels: int, inputs: Any, batch_size: int) -> tuple[Scores, Embedding]:
    """Score inputs on all devices."""
    unknown = np.zeros((len(jax.tree.leaves(inputs)[0]), n_labels), np.uint8)
    feed = Feed(array_items(inputs, unknown), "streaming", read_threads=1, mesh=devices.make_mesh())
    predictions = predict_items(trained, feed, batch_size, chunk_steps=1)
    return np.asarray(trained.network.objective.readable(predictions.scores)), predictions.embedding
