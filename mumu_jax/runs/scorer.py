"""From what was read of files to scores as people read them, by a trained run or by an export of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mumu_jax.compute import devices
from mumu_jax.data.loader import array_items
from mumu_jax.data.manifest import Label
from mumu_jax.errors import UserError
from mumu_jax.objectives import objective
from mumu_jax.runs.extract import predict_items
from mumu_jax.runs.folder import Trained, TrainedRun, fingerprint, load_run
from mumu_jax.runs.fusion import fuse
from mumu_jax.runs.inputs import Inputs
from mumu_jax.runs.reading import Read
from mumu_jax.runs.stems import Together
from mumu_jax.training.feed import Feed

Scores = Float[np.ndarray, "items labels"]
Vectors = Float[np.ndarray, "items d"]
# (the inputs of all items, batch size) → (scores as people read them, penultimate vectors)
Predict = Callable[[Any, int], tuple[Scores, Vectors]]


@dataclass(frozen=True)
class Scorer:
    """A trained model, ready to score; `name` is its run's fingerprint.

    `first` sees the items, `of_vectors` the mean of an album's track vectors; None where the items are albums.
    """

    name: str
    labels: list[Label]
    inputs: Inputs
    first: Predict
    of_vectors: Predict | None = None
    sources: Mapping[str, "Scorer"] = field(default_factory=dict)  # of a fusion, by modality

    def score(self, reads: Sequence[Read], batch_size: int) -> Scores:
        """Of files that could be read.  A song is scored as an album of its patches."""
        scores, vectors = self._see(reads, batch_size)
        return scores if self.of_vectors is None else self.of_vectors(vectors, batch_size)[0]

    def score_together(self, stems: Sequence[Together], batch_size: int) -> Scores:
        """`score` of a fusion: each modality's files are seen by its own model, and zeros stand for what lacks."""
        parts = []
        for width, (name, source) in zip(self.inputs.widths, self.sources.items(), strict=True):
            vectors = np.zeros((len(stems), width), np.float32)
            there = [i for i, stem in enumerate(stems) if name in stem.parts]
            if there:
                vectors[there] = source._see([stems[i].parts[name] for i in there], batch_size)[1]
            parts.append(vectors)
        return self.first(fuse(parts), batch_size)[0]

    def _see(
        self, reads: Sequence[Read], batch_size: int
    ) -> tuple[Float[np.ndarray, "records labels"], Float[np.ndarray, "files d"]]:
        """(the first network's scores of all records, the mean penultimate vector of each file's)."""
        inputs = self.inputs.arrays([record for read in reads for record in read.records])
        scores, embedding = self.first(inputs, batch_size)
        ends = np.cumsum([len(read.records) for read in reads])[:-1]
        return scores, np.stack([part.mean(axis=0) for part in np.split(embedding, ends)])


def open_run(workdir: Path) -> Scorer:
    """The finished run in `workdir`, a fusion with the runs that it joins.  Raises UserError where one has changed."""
    run = load_run(workdir)
    sources = {name: open_run(path) for name, path in source_folders(run.inputs, workdir).items()}
    return scorer_of(run, fingerprint(workdir), sources)


def scorer_of(run: TrainedRun, name: str, sources: Mapping[str, Scorer]) -> Scorer:
    """A run as it was loaded."""
    of_vectors = partial(_predict, run.album) if run.track is not None else None
    return Scorer(name, run.labels, run.inputs, partial(_predict, run.first), of_vectors, sources)


def source_folders(inputs: Inputs, workdir: Path) -> dict[str, Path]:
    """Where the runs lie that the fusion in `workdir` joins, by modality; none of another run.

    Raises UserError where one is not there or has changed.
    """
    sources = inputs.sources or {}
    for name, source in sources.items():
        path = source.folder(workdir)
        found = fingerprint(path) if (path / "config.json").exists() else "not there"
        if found != source.fingerprint:
            raise UserError(
                f"{workdir} sees {name} by the run {source.fingerprint} in {path}, and it is {found} now; put that run "
                "back in its place"
            )
    return {name: source.folder(workdir) for name, source in sources.items()}


def _predict(trained: Trained, inputs: Any, batch_size: int) -> tuple[Scores, Vectors]:
    """On all devices."""
    n_labels = len(trained.constants.label_factors)
    unknown = np.zeros((len(jax.tree.leaves(inputs)[0]), n_labels), np.uint8)
    feed = Feed(array_items(inputs, unknown), "streaming", read_threads=1, mesh=devices.make_mesh())
    found = predict_items(trained, feed, batch_size, chunk_steps=1)
    return np.asarray(objective.readable(trained.network.kind, found.scores)), found.embedding
