"""Prepared data as `mumu_jax.prepare` leaves it, but with noise for CQTs: loading does not depend on the sound."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mumu_jax.config import AudioSettings
from mumu_jax.data import description, patches, store
from mumu_jax.data.manifest import Album, Label, Track, write_labels, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.shards import WRITER_OPTIONS, Shard, Sidecar, plan

N_LABELS, LABELS_PER_ALBUM, TRACKS_PER_ALBUM = 250, 6, 5
N_SOUNDS = 64  # different CQTs; more would only take longer to make


@contextmanager
def prepared_data(data_dir: Path | None, n_tracks: dict[str, int], settings: AudioSettings) -> Iterator[Path]:
    """`data_dir`, or made-up data for as long as the block runs."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
        make(Path(folder), n_tracks, settings)
        yield Path(folder)


def make(data_dir: Path, n_tracks: dict[str, int], settings: AudioSettings) -> None:
    """Shards, description and manifest with so many tracks of 30 s (124 KB each) in each split."""
    rng = np.random.default_rng(0)
    labels = [Label(f"genre {i:03d}") for i in range(N_LABELS)]
    albums = [album for split, n in n_tracks.items() for album in _albums(split, n, labels, rng)]
    shape = (patches.n_frames_of_excerpt(settings), settings.n_bins)
    sounds = [rng.uniform(settings.floor_db, 0, shape).astype(np.float16) for _ in range(N_SOUNDS)]
    audio = MODALITIES["audio"]
    folder = data_dir / audio.name
    (folder / "sidecars").mkdir(parents=True, exist_ok=True)
    planned = plan(albums, labels, audio, folder)
    sidecars = [_write(folder, shard, sounds, settings) for shard in planned]
    description.finish(folder, planned, sidecars, albums, labels, audio, settings)
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


def _write(folder: Path, shard: Shard, sounds: Sequence[np.ndarray], settings: AudioSettings) -> Sidecar:
    """One shard and what is known of it."""
    path = folder / shard.name
    writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    for i, row in enumerate(shard.rows):
        writer.write(
            store.encode(row.album_id, row.item_id, row.columns, {"cqt": sounds[i % len(sounds)]}, MODALITIES["audio"])
        )
    writer.close()
    return Sidecar(
        fingerprint="made up",
        sha256=store.sha256_of(path),
        bytes=path.stat().st_size,
        records=len(shard.rows),
        counts={"seconds": settings.excerpt_s * len(shard.rows), "silent": 0},
        ids=[[row.album_id, row.item_id] for row in shard.rows],
    )
