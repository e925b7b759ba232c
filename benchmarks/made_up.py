"""Prepared data like that of `mumu_jax.prepare`, but made of noise: speed does not depend on the sound."""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from mumu_jax.config import Config
from mumu_jax.data.manifest import Album, Label, Track, write_labels, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.base import Content, PreparedModality
from mumu_jax.data.modalities.timbre import COLUMNS
from mumu_jax.data.store import shards
from mumu_jax.system.terminal import positive

N_LABELS, LABELS_PER_ALBUM, TRACKS_PER_ALBUM = 250, 6, 5
N_DIFFERENT = {"audio": 64, "timbre": 4096, "text": 4096, "image": 64}  # more would only take longer to make
N_VAL = 32
COUNTS = {"seconds": Config().audio.excerpt_s, "silent": 0, "empty": 0, "linked": 1}  # of each record
N_WORDS, WORD_EXPONENT, WORDS_A_TEXT, CATEGORIES_A_TEXT = 50_000, 1.2, 250, 10

Fields = dict[str, Any]


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that `prepared_data` reads."""
    parser.add_argument("--data_dir", type=Path, help="folder that mumu_jax.prepare wrote; default made up")
    help_text = "of the made-up split, 124 KB each; default %(default)s"
    parser.add_argument("--tracks", type=positive, default=2048, help=help_text)


@contextmanager
def prepared_data(arguments: argparse.Namespace) -> Iterator[Path]:
    """Yield `--data_dir` or, without it, a folder of made-up audio that is deleted after the block."""
    if arguments.data_dir is not None:
        yield arguments.data_dir
        return
    with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
        make(Path(folder), {"train": arguments.tracks, "val": N_VAL})
        yield Path(folder)


def make(data_dir: Path, n_tracks: dict[str, int], modalities: Sequence[str] = ("audio",)) -> None:
    """Write shards, description and manifest; `n_tracks` of 30 s (124 KB each) for each split, five an album."""
    rng = np.random.default_rng(0)
    labels = [Label(f"genre {i:03d}") for i in range(N_LABELS)]
    albums = [album for split, n in n_tracks.items() for album in _albums(split, n, labels, rng)]
    for name in modalities:
        store = shards.Store(data_dir / name, _made_up(MODALITIES[name], rng), getattr(Config(), name))
        store.write(store.plan(albums, labels), workers=1).finish(albums, labels)
    write_manifest(data_dir / "manifest.jsonl", albums)
    write_labels(data_dir / "labels.json", labels)


def _made_up(modality: PreparedModality, rng: np.random.Generator) -> PreparedModality:
    """Return the modality with records of noise, a few different ones in turn, in place of what is in files."""
    settings = getattr(Config(), modality.name)
    counts = {name: COUNTS[name] for name in modality.counts}
    contents = [Content(NOISE[modality.name](settings, rng), counts) for _ in range(N_DIFFERENT[modality.name])]
    in_turn, kind = itertools.cycle(contents), cast(Any, type(modality))

    class MadeUp(kind):
        in_process = True

        def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Path]]:
            return ((item_id, Path("made up")) for item_id, _ in super().inputs(album, folder))

        def state(self, source: Path) -> str:
            return str(source)

        def read(self, source: Path, settings: Any) -> Content:
            return next(in_turn)

    return MadeUp()


def _albums(split: str, n_tracks: int, labels: Sequence[Label], rng: np.random.Generator) -> list[Album]:
    albums = []
    for first in range(0, n_tracks, TRACKS_PER_ALBUM):
        ids = [f"{split}-{i}" for i in range(first, min(first + TRACKS_PER_ALBUM, n_tracks))]
        genres = tuple(labels[i].name for i in rng.choice(len(labels), LABELS_PER_ALBUM, replace=False))
        tracks = tuple(Track(one, Path(f"{one}.mp3")) for one in ids)
        albums.append(Album(f"album-{ids[0]}", genres, tracks, split))
    return albums


def _cqt(settings: Any, rng: np.random.Generator) -> Fields:
    shape = (patches.n_frames_of_excerpt(settings), settings.n_bins)
    return {"cqt": rng.uniform(settings.floor_db, 0, shape).astype(np.float16)}


def _timbre(settings: Any, rng: np.random.Generator) -> Fields:
    return {"timbre": rng.standard_normal(len(COLUMNS)).astype(np.float32)}


def _text(settings: Any, rng: np.random.Generator) -> Fields:
    """Return a text whose words are as frequent as those of a language, and categories."""
    words = [f"word{n}" for n in rng.zipf(WORD_EXPONENT, WORDS_A_TEXT) % N_WORDS]
    categories = tuple(f"category {n}" for n in rng.zipf(WORD_EXPONENT, CATEGORIES_A_TEXT) % N_WORDS)
    return {"text": " ".join(words)[: settings.max_chars], "categories": categories}


def _image(settings: Any, rng: np.random.Generator) -> Fields:
    return {"image": rng.integers(0, 256, (settings.side_px, settings.side_px, 3), np.uint8)}


NOISE: dict[str, Callable[[Any, np.random.Generator], Fields]] = {
    "audio": _cqt,
    "timbre": _timbre,
    "text": _text,
    "image": _image,
}
