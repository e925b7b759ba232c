"""`python -m mumu_jax.tag`: genres for anyone's own songs, from a finished run."""

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float16

from mumu_jax import objective, parallel
from mumu_jax.cli import positive, run_command
from mumu_jax.config import AudioSettings
from mumu_jax.data import audio, patches
from mumu_jax.data.loader import array_items
from mumu_jax.data.sources.files import files_below, is_audio
from mumu_jax.data.workers import map_in_order
from mumu_jax.errors import UserError
from mumu_jax.evaluate import predict_items
from mumu_jax.feed import Feed
from mumu_jax.predict import SplitPredictions
from mumu_jax.progress import bar
from mumu_jax.tags import Tags, open_tags
from mumu_jax.workdir import Trained, TrainedRun, fingerprint, load_run


@dataclass(frozen=True)
class Song:
    """One file as the track network sees it: patches that cover it, or the reason why there are none."""

    path: Path
    patches: Float16[np.ndarray, "patches frames bins"] | None
    seconds: float = 0.0
    error: str = ""


def main(argv: Sequence[str]) -> int:
    """Tag what is not tagged yet."""
    arguments = _parser().parse_intermixed_args(argv)  # files may follow options, too
    files = find_files(arguments.paths)
    run = load_run(arguments.workdir)
    top_k = min(arguments.top_k, len(run.labels))
    with open_tags(arguments.out, fingerprint(arguments.workdir)) as out:
        todo = [path for path in files if not out.has(path)]
        if len(todo) < len(files):
            print(f"{len(files) - len(todo)} of {len(files)} files are in {arguments.out} already")
        n_failed = 0
        with bar(len(todo), "tagging") as progress:
            for song, scores in score_songs(run, todo, arguments.batch_size, arguments.workers):
                out.write(_tags(song, scores, run, top_k))
                n_failed += scores is None
                progress.advance()
    if n_failed:
        print(f"{n_failed} of {len(todo)} files could not be tagged; their rows say why")
    return 0


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths` and the audio files below the folders among them, each once.

    A file named by the user is taken whatever its name.  Raises UserError where a folder holds no audio file.
    """
    files: dict[str, Path] = {}
    for path in paths:
        found = [file for file in files_below(path) if is_audio(file)] if path.is_dir() else [path]
        if not found:
            raise UserError(f"{path} holds no audio file; name a folder or files with songs")
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


def read_song(path: Path, settings: AudioSettings) -> Song:
    """The patches of a whole song: of each of its 30 s excerpts, as many as cover it.

    15 MB an hour of music; the decoding holds one excerpt at a time.
    """
    found = audio.read_track(path, settings)
    if isinstance(found, audio.Rejected):
        return Song(path, None, error=str(found))
    cqt, seconds, silent = found
    if silent:
        return Song(path, None, seconds, error="silent: there is no sound in it")
    size = patches.n_frames_of_excerpt(settings)
    excerpts = np.split(cqt, range(size, len(cqt) - size + 1, size))
    cuts = [
        patches.cut(excerpt, start, settings)
        for excerpt in excerpts
        for start in patches.consecutive_starts(len(excerpt), settings)
    ]
    return Song(path, np.stack(cuts), seconds)


def score_songs(
    run: TrainedRun, files: Sequence[Path], batch_size: int, workers: int
) -> Iterator[tuple[Song, Float[np.ndarray, " labels"] | None]]:
    """Each file in order with its scores, None where it could not be read.

    A song is scored as an album of its patches: the album network on their mean penultimate vector.
    """
    mesh = parallel.make_mesh()
    read = partial(read_song, settings=run.config.audio)
    for group in _groups(map_in_order(read, files, min(workers, len(files)), _died), batch_size):
        readable = [song.patches for song in group if song.patches is not None]
        scores = iter(_score(run, readable, batch_size, mesh))
        for song in group:
            yield song, None if song.patches is None else next(scores)


def _died(path: Path) -> Song:
    return Song(path, None, error=str(audio.died(path)))


def _groups(songs: Iterable[Song], n_patches: int) -> Iterator[list[Song]]:
    """Runs of songs that together fill a batch: most songs have fewer patches than that."""
    group, filled = [], 0
    for song in songs:
        group.append(song)
        filled += 0 if song.patches is None else len(song.patches)
        if filled >= n_patches:
            yield group
            group, filled = [], 0
    if group:
        yield group


def _score(
    run: TrainedRun, songs: Sequence[np.ndarray], batch_size: int, mesh: Mesh
) -> Float[np.ndarray, "songs labels"]:
    if not songs:
        return np.zeros((0, len(run.labels)))
    embedding = _predict(run.track, np.concatenate(songs), len(run.labels), batch_size, mesh).embedding
    ends = np.cumsum([len(song) for song in songs])[:-1]
    vectors = np.stack([part.mean(axis=0) for part in np.split(embedding, ends)])
    scores = _predict(run.album, vectors, len(run.labels), batch_size, mesh).scores
    return objective.readable(run.album.network.kind, scores)


def _predict(trained: Trained, inputs: np.ndarray, n_labels: int, batch_size: int, mesh: Mesh) -> SplitPredictions:
    unknown = np.zeros((len(inputs), n_labels), np.uint8)
    feed = Feed(array_items(inputs, unknown), "streaming", read_threads=1, mesh=mesh)
    return predict_items(trained, feed, batch_size, chunk_steps=1)


def _tags(song: Song, scores: Float[np.ndarray, " labels"] | None, run: TrainedRun, top_k: int) -> Tags:
    best = [] if scores is None else np.argsort(-scores, kind="stable")[:top_k]
    genres = [(run.labels[i].name, float(scores[i])) for i in best] if scores is not None else []
    return Tags(song.path, song.seconds, genres, song.error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.tag", description=__doc__, allow_abbrev=False)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="songs, or folders of songs")
    parser.add_argument("--workdir", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, help="a .csv or .jsonl to write or go on with; the terminal by default")
    parser.add_argument("--top_k", type=positive, default=5, help="genres a song (default: %(default)s)")
    parser.add_argument("--batch_size", type=positive, default=32, help="patches at a time (default: %(default)s)")
    parser.add_argument(
        "--workers", type=positive, default=os.cpu_count(), help="decoding processes (default: all cores)"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
