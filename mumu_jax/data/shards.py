"""Tracks → shards: decodes and transforms every track in worker processes and writes ArrayRecord files.

Which track is in which shard follows from the albums alone, and a shard counts once its sidecar lies beside it:
both are finished by rename, the sidecar last, so a killed run loses at most the shard it was writing.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import soundfile
from array_record.python.array_record_module import ArrayRecordWriter

from mumu_jax.atomic import replacing, write_json
from mumu_jax.config import AudioSettings
from mumu_jax.data import audio, store
from mumu_jax.data.beam import ForEach
from mumu_jax.data.cqt import banks_of
from mumu_jax.data.manifest import SPLITS, Album, Label
from mumu_jax.data.workers import map_in_order
from mumu_jax.errors import UserError
from mumu_jax.progress import Bar, bar

SHARD_TRACKS = 256  # 32 MB of 30 s tracks: at most this much is done again after a kill

# One record a block, for random access; uncompressed, because zstd takes a fifth off a CQT and makes reading
# two and a half times as slow.
_WRITER_OPTIONS = "group_size:1,uncompressed"

# What the numbers in the shards depend on, beside files and settings.
DECODERS = {
    "librosa": version("librosa"),
    "libsndfile": soundfile.__libsndfile_version__,
    "soxr": version("soxr"),
}


@dataclass(frozen=True)
class Row:
    """One track to be prepared; `columns` are its labels."""

    album_id: str
    track_id: str
    path: Path
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Shard:
    """A run of a split's rows."""

    split: str
    index: int
    n_shards: int
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"mumu-{self.split}.array_record-{self.index:05d}-of-{self.n_shards:05d}"

    @property
    def sidecar(self) -> str:
        return store.sidecar_of(self.name)


@dataclass
class Sidecar:
    """What is known of a finished shard: its file, and what became of its rows.

    `fingerprint` stands for all that went in: rows, audio files, settings, decoders.  `ids` are (album, track) of
    each record; `silent` and `missing` are track ids; `rejected` the lines of `rejected.jsonl`.
    """

    fingerprint: str
    sha256: str = ""
    bytes: int = 0
    records: int = 0
    seconds: float = 0.0
    ids: list[list[str]] = dataclasses.field(default_factory=list)
    silent: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    rejected: list[dict[str, str]] = dataclasses.field(default_factory=list)


def plan(albums: Sequence[Album], labels: Sequence[Label], shard_tracks: int = SHARD_TRACKS) -> list[Shard]:
    """The shards of the albums' tracks: for each split, runs of `shard_tracks` in the albums' order."""
    column = {label.name: i for i, label in enumerate(labels)}
    shards = []
    for split in SPLITS:
        rows = [
            Row(album.album_id, track.track_id, track.audio, tuple(sorted({column[g] for g in album.genres})))
            for album in albums
            if album.split == split
            for track in album.tracks
        ]
        runs = [tuple(rows[i : i + shard_tracks]) for i in range(0, len(rows), shard_tracks)]
        shards += [Shard(split, i, len(runs), run) for i, run in enumerate(runs)]
    return shards


def write(
    folder: Path, shards: Sequence[Shard], settings: AudioSettings, workers: int, for_each: ForEach | None = None
) -> tuple[list[Sidecar], int]:
    """Write the shards that are not in `folder` yet; the sidecars of all, and how many tracks were prepared.

    A shard is there when the same rows, files, settings and decoders made it and its checksum still fits.
    Shards that are no longer wanted are removed.  The work is shared among `workers` processes here, track by
    track, or by `for_each` among machines that see the same files, shard by shard.  Raises UserError on settings
    that no filters fit, and where those machines did not write all.
    """
    banks_of(settings)  # before the first file
    (folder / "sidecars").mkdir(parents=True, exist_ok=True)
    fingerprints = {shard.name: _fingerprint(shard, settings) for shard in shards}
    sidecars = _read_sidecars(folder, shards, fingerprints)
    todo = [shard for shard in shards if shard.name not in sidecars]
    _remove_all_but(folder, sidecars)
    if todo:
        (folder / store.DESCRIPTION).unlink(missing_ok=True)
        if for_each is None:
            sidecars |= _write_shards(folder, todo, fingerprints, settings, workers)
        else:
            for_each(partial(_write_alone, folder=folder, settings=settings), todo)
            sidecars |= _read_sidecars(folder, todo, fingerprints)
            _check_written(folder, todo, sidecars)
    return [sidecars[shard.name] for shard in shards], sum(len(shard.rows) for shard in todo)


def _write_alone(shard: Shard, folder: Path, settings: AudioSettings) -> None:
    """One shard, on a machine that must find out by itself which files and decoders there are."""
    _write_shards(folder, [shard], {shard.name: _fingerprint(shard, settings)}, settings, workers=1, shown=False)


def _check_written(folder: Path, shards: Sequence[Shard], written: Container[str]) -> None:
    absent = [shard.name for shard in shards if shard.name not in written]
    if absent:
        raise UserError(
            f"{len(absent)} shards are not in {folder} as they should be, the first {absent[0]}; all workers must see "
            f"that folder and the audio files by the same paths, and have the same versions of {', '.join(DECODERS)}"
        )


def _write_shards(
    folder: Path,
    shards: Sequence[Shard],
    fingerprints: Mapping[str, str],
    settings: AudioSettings,
    workers: int,
    shown: bool = True,
) -> dict[str, Sidecar]:
    sidecars = {}
    paths = [row.path for shard in shards for row in shard.rows]
    outcomes = map_in_order(partial(audio.read_track, settings=settings), paths, workers, audio.died)
    with contextlib.closing(outcomes), bar(len(paths), "preparing tracks", shown=shown) as progress:
        for shard in shards:
            sidecar = Sidecar(fingerprints[shard.name])
            with replacing(folder / shard.name) as path:
                _write_records(path, shard.rows, outcomes, sidecar, progress)
            sidecar.sha256 = store.sha256_of(folder / shard.name)
            sidecar.bytes = (folder / shard.name).stat().st_size
            write_json(folder / shard.sidecar, dataclasses.asdict(sidecar))
            sidecars[shard.name] = sidecar
    return sidecars


def _write_records(
    path: Path,
    rows: Sequence[Row],
    outcomes: Iterator[audio.TrackCqt | audio.Rejected],
    sidecar: Sidecar,
    progress: Bar,
) -> None:
    writer = ArrayRecordWriter(str(path), _WRITER_OPTIONS)
    for row in rows:
        outcome = next(outcomes)
        if isinstance(outcome, audio.Rejected):
            _note_rejection(sidecar, row, outcome)
        else:
            cqt, seconds, silent = outcome
            writer.write(store.encode(row.album_id, row.track_id, row.columns, cqt))
            sidecar.records += 1
            sidecar.ids.append([row.album_id, row.track_id])
            sidecar.seconds += seconds
            sidecar.silent += [row.track_id] * silent
        progress.advance()
    writer.close()


def _note_rejection(sidecar: Sidecar, row: Row, why: audio.Rejected) -> None:
    if why.reason == "missing":
        sidecar.missing.append(row.track_id)
        return
    line = {"album_id": row.album_id, "track_id": row.track_id, "audio": str(row.path)}
    sidecar.rejected.append(line | {"reason": why.reason, "detail": why.detail})


def _fingerprint(shard: Shard, settings: AudioSettings) -> str:
    # Patches are cut when the records are read: their settings do not touch the shards.
    cqt_settings = {k: v for k, v in dataclasses.asdict(settings).items() if not k.startswith("patch_")}
    rows = [
        (row.album_id, row.track_id, os.path.abspath(row.path), row.columns, _state(row.path)) for row in shard.rows
    ]
    return hashlib.sha256(json.dumps([cqt_settings, DECODERS, rows], sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change of an audio file: another pair, and it is decoded again."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns


def _read_sidecars(folder: Path, shards: Sequence[Shard], fingerprints: Mapping[str, str]) -> dict[str, Sidecar]:
    """The sidecars of the shards that are there, by the shards' names."""
    sidecars = {}
    for shard in shards:
        with contextlib.suppress(OSError, ValueError, TypeError, UserError):
            sidecar = Sidecar(**json.loads((folder / shard.sidecar).read_bytes()))
            if sidecar.fingerprint == fingerprints[shard.name]:
                store.check_shard(folder / shard.name, dataclasses.asdict(sidecar), verify=True)
                sidecars[shard.name] = sidecar
    return sidecars


def _remove_all_but(folder: Path, wanted: Mapping[str, Sidecar]) -> None:
    for pattern in ("mumu-*.array_record-*", ".mumu-*.array_record-*", "sidecars/mumu-*", "sidecars/.mumu-*"):
        for path in folder.glob(pattern):
            if path.name.removesuffix(".json") not in wanted:
                path.unlink()
