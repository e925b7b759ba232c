"""Prepared data like that of `mumu_jax.prepare`, but made of noise: speed does not depend on the sound."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mumu_jax.config import Config
from mumu_jax.data.manifest import Album, Label, Track, write_labels, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.timbre import N_VALUES
from mumu_jax.data.store import records, shards
from mumu_jax.system.files import sha256_of, write_json

N_LABELS, LABELS_PER_ALBUM, TRACKS_PER_ALBUM = 250, 6, 5
N_DIFFERENT = {"audio": 64, "timbre": 4096, "text": 4096, "image": 64}  # more would only take longer to make
N_WORDS, WORD_EXPONENT, WORDS_A_TEXT, CATEGORIES_A_TEXT = 50_000, 1.2, 250, 10

Fields = dict[str, Any]


@contextmanager
def prepared_data(data_dir: Path | None, n_tracks: dict[str, int]) -> Iterator[Path]:
    """Yield `data_dir` or, without one, a folder of made-up audio that is deleted after the block."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
        make(Path(folder), n_tracks)
        yield Path(folder)


def make(data_dir: Path, n_tracks: dict[str, int], modalities: Sequence[str] = ("audio",)) -> None:
    """Write shards, description and manifest; `n_tracks` of 30 s (124 KB each) for each split, five an album."""
    rng = np.random.default_rng(0)
    labels = [Label(f"genre {i:03d}") for i in range(N_LABELS)]
    albums = [album for split, n in n_tracks.items() for album in _albums(split, n, labels, rng)]
    for modality in (MODALITIES[name] for name in modalities):
        store = shards.Store(data_dir / modality.name, modality, getattr(Config(), modality.name))
        (store.folder / "sidecars").mkdir(parents=True, exist_ok=True)
        contents = [NOISE[modality.name](store.settings, rng) for _ in range(N_DIFFERENT[modality.name])]
        written = [(shard, _write(store, shard, contents)) for shard in store.plan(albums, labels)]
        shards.Written(store, written, n_new=0).finish(albums, labels)
    write_manifest(data_dir / "manifest.jsonl", albums)
    write_labels(data_dir / "labels.json", labels)


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
    return {"timbre": rng.standard_normal(N_VALUES).astype(np.float32)}


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


def _write(store: shards.Store, shard: shards.Shard, contents: Sequence[Fields]) -> records.Sidecar:
    """Write a shard and its sidecar."""
    path, n_records = store.folder / shard.name, len(shard.rows)
    writer = ArrayRecordWriter(str(path), shards.WRITER_OPTIONS)
    for i, row in enumerate(shard.rows):
        fields = contents[(shard.index * n_records + i) % len(contents)]
        writer.write(records.encode(row.album_id, row.item_id, row.columns, fields, store.modality, store.settings))
    writer.close()
    sidecar = records.Sidecar(
        fingerprint="made up",
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        records=n_records,
        counts={"seconds": Config().audio.excerpt_s * n_records, "silent": 0, "empty": 0, "linked": n_records},
        ids=[(row.album_id, row.item_id) for row in shard.rows],
    )
    write_json(store.folder / shard.sidecar, msgspec.to_builtins(sidecar))
    return sidecar
