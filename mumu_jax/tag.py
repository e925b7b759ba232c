"""`python -m mumu_jax.tag`: genres for anyone's own songs, texts, covers or MSD files, from a finished run.

A fusion tags albums: a.mp3, a.txt and a.jpg are one.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from mumu_jax import objective, parallel
from mumu_jax.cli import positive, run_command
from mumu_jax.data.loader import array_items
from mumu_jax.data.sources.files import files_below
from mumu_jax.data.workers import map_in_order
from mumu_jax.errors import UserError
from mumu_jax.extract import predict_items
from mumu_jax.feed import Feed
from mumu_jax.fusion import fuse
from mumu_jax.predict import SplitPredictions
from mumu_jax.progress import bar
from mumu_jax.reading import Read, Reader, died_reading, reader_of
from mumu_jax.stems import Stem, Together, find_stems, put_together
from mumu_jax.tags import Tags, open_tags
from mumu_jax.workdir import Trained, TrainedRun, fingerprint, load_run


def main(argv: Sequence[str]) -> int:
    """Tag what is not tagged yet."""
    arguments = _parser().parse_intermixed_args(argv)  # files may follow options, too
    run = load_run(arguments.workdir)
    seeing = open_sources(run, arguments.workdir) or {run.config.modality: run}
    inputs = {name: one.inputs for name, one in seeing.items()}
    if arguments.gazetteer:
        inputs = {name: dataclasses.replace(one, gazetteer=arguments.gazetteer) for name, one in inputs.items()}
    readers = {name: reader_of(one) for name, one in inputs.items()}
    if any(one.config.tfidf.categories and one.gazetteer is None for one in inputs.values()):
        print(f"{arguments.workdir} has no gazetteer: entities are not looked up; add --gazetteer", file=sys.stderr)
    if run.inputs.sources is None:
        [reader] = readers.values()
        files: dict[Path, Any] = {path: path for path in find_files(arguments.paths, reader)}
        score = partial(score_files, run, reader=reader)
    else:
        files = {stem.path: stem for stem in find_stems(arguments.paths, readers)}
        score = partial(score_stems, run, seeing, readers=readers)
    top_k = min(arguments.top_k, len(run.labels))
    with open_tags(arguments.out, fingerprint(arguments.workdir)) as out:
        todo = [file for path, file in files.items() if not out.has(path)]
        if len(todo) < len(files):
            print(f"{len(files) - len(todo)} of {len(files)} files are in {arguments.out} already")
        n_failed = 0
        with bar(len(todo), "tagging") as progress:
            for read, scores in score(todo, batch_size=arguments.batch_size, workers=arguments.workers):
                out.write(_tags(read, scores, run, top_k))
                n_failed += scores is None
                progress.advance()
    if n_failed:
        print(f"{n_failed} of {len(todo)} files could not be tagged; their rows say why")
    return 0


def find_files(paths: Sequence[Path], reader: Reader) -> list[Path]:
    """The files among `paths` and those below the folders among them that `reader` is for, each once.

    A file named by the user is taken whatever its name.  Raises UserError where a folder holds none.
    """
    files: dict[str, Path] = {}
    for path in paths:
        found = [file for file in files_below(path) if reader.is_one(file)] if path.is_dir() else [path]
        if not found:
            raise UserError(f"{path} holds no {reader.kind} file; name a folder or files with some")
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


def score_files(
    run: TrainedRun, files: Sequence[Path], reader: Reader, batch_size: int, workers: int
) -> Iterator[tuple[Read, Float[np.ndarray, " labels"] | None]]:
    """Each file in order with its scores, None where it could not be read.

    A song is scored as an album of its patches: the album network on their mean penultimate vector.
    """
    return _score_reads(_read(files, reader, workers), partial(_score, run), batch_size)


def score_stems(
    run: TrainedRun,
    sources: Mapping[str, TrainedRun],
    stems: Sequence[Stem],
    readers: Mapping[str, Reader],
    batch_size: int,
    workers: int,
) -> Iterator[tuple[Read, Float[np.ndarray, " labels"] | None]]:
    """`score_files` of a fusion: each modality's files are seen by its own run."""
    reads = {
        name: _read([stem.files[name] for stem in stems if name in stem.files], reader, workers)
        for name, reader in readers.items()
    }
    found = put_together(stems, reads, run.config.fusion.missing)
    return _score_reads(found, partial(_score_fused, run, sources), batch_size)


def open_sources(run: TrainedRun, workdir: Path) -> dict[str, TrainedRun]:
    """The runs that a fusion joins, by modality; none of another run.  Raises UserError where one has changed."""
    sources = run.inputs.sources or {}
    for name, source in sources.items():
        path = Path(source.path)
        found = fingerprint(path) if (path / "config.json").exists() else "not there"
        if found != source.fingerprint:
            raise UserError(
                f"{workdir} sees {name} by the run {source.fingerprint} in {path}, and it is {found} now; put that run "
                "back in its place"
            )
    return {name: load_run(Path(source.path)) for name, source in sources.items()}


def _read(files: Sequence[Path], reader: Reader, workers: int) -> Iterator[Read]:
    if reader.in_process:
        return map(reader.read, files)
    return map_in_order(reader.read, files, min(workers, len(files)), died_reading)


def _score_reads(
    found: Iterable[Read], score: Callable[..., Float[np.ndarray, "files labels"]], batch_size: int
) -> Iterator[tuple[Read, Float[np.ndarray, " labels"] | None]]:
    mesh = parallel.make_mesh()
    for group in _groups(found, batch_size):
        whole = [one for one in group if one.records]
        scores = iter(score(whole, batch_size, mesh) if whole else ())
        for one in group:
            yield one, next(scores) if one.records else None


def _groups(found: Iterable[Read], n_records: int) -> Iterator[list[Read]]:
    """Runs of files that together fill a batch: most have fewer records than that."""
    group, filled = [], 0
    for one in found:
        group.append(one)
        filled += len(one.records)
        if filled >= n_records:
            yield group
            group, filled = [], 0
    if group:
        yield group


def _score(run: TrainedRun, reads: Sequence[Read], batch_size: int, mesh: Mesh) -> Float[np.ndarray, "files labels"]:
    found, vectors = _see(run, reads, batch_size, mesh)
    if run.track is not None:
        found = _predict(run.album, vectors, len(run.labels), batch_size, mesh)
    return objective.readable(run.album.network.kind, found.scores)


def _score_fused(
    run: TrainedRun, sources: Mapping[str, TrainedRun], stems: Sequence[Together], batch_size: int, mesh: Mesh
) -> Float[np.ndarray, "files labels"]:
    parts = []
    for width, (name, source) in zip(run.inputs.widths, sources.items(), strict=True):
        vectors = np.zeros((len(stems), width), np.float32)
        there = [i for i, stem in enumerate(stems) if name in stem.parts]
        if there:
            vectors[there] = _see(source, [stems[i].parts[name] for i in there], batch_size, mesh)[1]
        parts.append(vectors)
    found = _predict(run.album, fuse(parts), len(run.labels), batch_size, mesh)
    return objective.readable(run.album.network.kind, found.scores)


def _see(
    run: TrainedRun, reads: Sequence[Read], batch_size: int, mesh: Mesh
) -> tuple[SplitPredictions, Float[np.ndarray, "files d"]]:
    """(what the run's first network makes of all records, the mean penultimate vector of each file's)."""
    inputs = run.inputs.arrays([record for read in reads for record in read.records])
    found = _predict(run.first, inputs, len(run.labels), batch_size, mesh)
    ends = np.cumsum([len(read.records) for read in reads])[:-1]
    return found, np.stack([part.mean(axis=0) for part in np.split(found.embedding, ends)])


def _predict(trained: Trained, inputs: Any, n_labels: int, batch_size: int, mesh: Mesh) -> SplitPredictions:
    unknown = np.zeros((len(jax.tree.leaves(inputs)[0]), n_labels), np.uint8)
    feed = Feed(array_items(inputs, unknown), "streaming", read_threads=1, mesh=mesh)
    return predict_items(trained, feed, batch_size, chunk_steps=1)


def _tags(read: Read, scores: Float[np.ndarray, " labels"] | None, run: TrainedRun, top_k: int) -> Tags:
    best = [] if scores is None else np.argsort(-scores, kind="stable")[:top_k]
    genres = [(run.labels[i].name, float(scores[i])) for i in best] if scores is not None else []
    return Tags(read.path, read.seconds, genres, read.error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.tag", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="songs (or .txt, images or .h5 files, as the run was trained on), or folders of them",
    )
    parser.add_argument("--workdir", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, help="a .csv or .jsonl to write or go on with; the terminal by default")
    parser.add_argument("--gazetteer", type=Path, metavar="FILE", help="links entities in texts; the run's by default")
    parser.add_argument("--top_k", type=positive, default=5, help="genres a file (default: %(default)s)")
    parser.add_argument("--batch_size", type=positive, default=32, help="items at a time (default: %(default)s)")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count(), help="reading processes (default: all cores)"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
