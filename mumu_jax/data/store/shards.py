"""Albums → shards: reads every item of a modality in worker processes and writes ArrayRecord files.

Which item is in which shard follows from the albums alone, and a shard counts once its sidecar lies beside it:
both are finished by rename, the sidecar last, so a killed run loses at most the shard it was writing.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from mumu_jax.data.manifest import SPLITS, Album, Label, Rejected
from mumu_jax.data.modalities.base import Content, PreparedModality, died
from mumu_jax.data.store import records
from mumu_jax.data.store.beam import ForEach
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing, write_json
from mumu_jax.system.terminal import ProgressBar, progress_bar
from mumu_jax.system.workers import map_in_order

# One record a block, for random access; uncompressed, because zstd takes a fifth off a CQT and makes reading
# two and a half times as slow.
WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class Row:
    """One item to be prepared: what is read for it (None: it is missing), and the columns of its labels."""

    album_id: str
    item_id: str
    input: Any
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
        return records.sidecar_of(self.name)


@dataclass
class Sidecar:
    """What is known of a finished shard: its file, and what became of its rows.

    `fingerprint` stands for all that went in: rows, files, settings, versions.  `ids` are (album, item) of each
    record, and `likeness` that of each, if they are pictures; `counts` the sums over its contents; `missing` item ids;
    `rejected` the lines of `rejected.jsonl`.
    """

    fingerprint: str
    sha256: str = ""
    bytes: int = 0
    records: int = 0
    ids: list[list[str]] = dataclasses.field(default_factory=list)
    likeness: list[str] = dataclasses.field(default_factory=list)
    counts: dict[str, float] = dataclasses.field(default_factory=dict)
    missing: list[str] = dataclasses.field(default_factory=list)
    rejected: list[dict[str, str]] = dataclasses.field(default_factory=list)


def plan(
    albums: Sequence[Album],
    labels: Sequence[Label],
    modality: PreparedModality,
    folder: Path,
    shard_records: int | None = None,
) -> list[Shard]:
    """The shards of the albums' items: for each split, runs of `shard_records` in the albums' order."""
    column = {label.name: i for i, label in enumerate(labels)}
    size = shard_records or modality.shard_records
    shards = []
    for split in SPLITS:
        rows = [
            Row(album.album_id, item_id, input, tuple(sorted({column[g] for g in album.genres})))
            for album in albums
            if album.split == split
            for item_id, input in modality.inputs(album, folder)
        ]
        runs = [tuple(rows[i : i + size]) for i in range(0, len(rows), size)]
        shards += [Shard(split, i, len(runs), run) for i, run in enumerate(runs)]
    return shards


def write(
    folder: Path,
    shards: Sequence[Shard],
    modality: PreparedModality,
    settings: Any,
    workers: int,
    for_each: ForEach | None = None,
) -> tuple[list[Sidecar], int]:
    """Write the shards that are not in `folder` yet; the sidecars of all, and how many items were prepared.

    A shard is there when the same rows, files, settings and versions made it and its checksum still fits.
    Shards that are no longer wanted are removed.  The work is shared among `workers` processes here, item by
    item, or by `for_each` among machines that see the same files, shard by shard.  Raises UserError on settings
    that cannot be prepared with, and where those machines did not write all.
    """
    modality.check(settings)
    (folder / "sidecars").mkdir(parents=True, exist_ok=True)
    fingerprints = {shard.name: _fingerprint(shard, modality, settings) for shard in shards}
    sidecars = _read_sidecars(folder, shards, fingerprints)
    todo = [shard for shard in shards if shard.name not in sidecars]
    _remove_all_but(folder, sidecars)
    if todo:
        (folder / records.DESCRIPTION).unlink(missing_ok=True)
        if for_each is None:
            sidecars |= _write_shards(folder, todo, fingerprints, modality, settings, workers)
        else:
            for_each(partial(_write_alone, folder=folder, modality=modality, settings=settings), todo)
            sidecars |= _read_sidecars(folder, todo, fingerprints)
            _check_written(folder, todo, sidecars, modality)
    return [sidecars[shard.name] for shard in shards], sum(len(shard.rows) for shard in todo)


def _write_alone(shard: Shard, folder: Path, modality: PreparedModality, settings: Any) -> None:
    """One shard, on a machine that must find out by itself which files and versions there are."""
    fingerprints = {shard.name: _fingerprint(shard, modality, settings)}
    _write_shards(folder, [shard], fingerprints, modality, settings, workers=1, shown=False)


def _check_written(folder: Path, shards: Sequence[Shard], written: Container[str], modality: PreparedModality) -> None:
    absent = [shard.name for shard in shards if shard.name not in written]
    if absent:
        raise UserError(
            f"{len(absent)} shards are not in {folder} as they should be, the first {absent[0]}; all workers must see "
            f"that folder and the files by the same paths, and have the same versions of {', '.join(modality.versions)}"
        )


def _write_shards(
    folder: Path,
    shards: Sequence[Shard],
    fingerprints: Mapping[str, str],
    modality: PreparedModality,
    settings: Any,
    workers: int,
    shown: bool = True,
) -> dict[str, Sidecar]:
    sidecars = {}
    inputs = [row.input for shard in shards for row in shard.rows if row.input is not None]
    contents = read_all(modality, settings, inputs, workers)
    n_rows = sum(len(shard.rows) for shard in shards)
    shown = shown and bool(inputs)
    with contextlib.closing(contents), progress_bar(n_rows, f"preparing {modality.name}", shown=shown) as progress:
        for shard in shards:
            sidecar = Sidecar(fingerprints[shard.name])
            with replacing(folder / shard.name) as path:
                _write_records(path, shard.rows, contents, sidecar, modality, settings, progress)
            sidecar.sha256 = records.sha256_of(folder / shard.name)
            sidecar.bytes = (folder / shard.name).stat().st_size
            write_json(folder / shard.sidecar, dataclasses.asdict(sidecar))
            sidecars[shard.name] = sidecar
    return sidecars


def read_all(
    modality: PreparedModality, settings: Any, inputs: Sequence[Any], workers: int
) -> Generator[Content | Rejected, None, None]:
    """What each input became, in order: read in `workers` processes, or here where the modality is `in_process`."""
    read = partial(modality.read, settings=settings)
    if modality.in_process:
        return (read(input) for input in inputs)
    return map_in_order(read, inputs, workers, died)


def _write_records(
    path: Path,
    rows: Sequence[Row],
    contents: Iterator[Content | Rejected],
    sidecar: Sidecar,
    modality: PreparedModality,
    settings: Any,
    progress: ProgressBar,
) -> None:
    writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    counts = Counter[str]()
    for row in rows:
        found = Rejected("missing", "none is named") if row.input is None else next(contents)
        if isinstance(found, Rejected):
            _note_rejection(sidecar, row, found, modality)
        else:
            writer.write(records.encode(row.album_id, row.item_id, row.columns, found.fields, modality, settings))
            sidecar.records += 1
            sidecar.ids.append([row.album_id, row.item_id])
            if found.likeness:
                sidecar.likeness.append(found.likeness)
            counts.update(found.counts)
            if found.damaged:
                path_beside, why = found.damaged
                line = row_line(row, modality) | {"file": str(path_beside)}
                sidecar.rejected.append(line | {"reason": why.reason, "detail": why.detail})
        progress.advance()
    writer.close()
    sidecar.counts = {name: counts[name] for name in modality.counts}


def _note_rejection(sidecar: Sidecar, row: Row, why: Rejected, modality: PreparedModality) -> None:
    if why.reason == "missing":
        sidecar.missing.append(row.item_id)
        return
    line = row_line(row, modality)
    sidecar.rejected.append(line | {"reason": why.reason, "detail": why.detail})


def row_line(row: Row, modality: PreparedModality) -> dict[str, str]:
    """How a row is named in `rejected.jsonl` and `missing.jsonl`: its ids, and the file it was to be read from."""
    ids = {"modality": modality.name, "album_id": row.album_id, f"{modality.item}_id": row.item_id}
    return ids | {"file": str(row.input) if isinstance(row.input, Path) else ""}


def _fingerprint(shard: Shard, modality: PreparedModality, settings: Any) -> str:
    making = {k: v for k, v in dataclasses.asdict(settings).items() if k not in modality.later_settings}
    rows = [(row.album_id, row.item_id, row.input and modality.state(row.input), row.columns) for row in shard.rows]
    return hashlib.sha256(json.dumps([making, modality.versions, rows], sort_keys=True).encode()).hexdigest()


def _read_sidecars(folder: Path, shards: Sequence[Shard], fingerprints: Mapping[str, str]) -> dict[str, Sidecar]:
    """The sidecars of the shards that are there, by the shards' names."""
    sidecars = {}
    for shard in shards:
        with contextlib.suppress(OSError, ValueError, TypeError, UserError):
            sidecar = Sidecar(**json.loads((folder / shard.sidecar).read_bytes()))
            if sidecar.fingerprint == fingerprints[shard.name]:
                records.check_shard(folder / shard.name, dataclasses.asdict(sidecar), verify=True)
                sidecars[shard.name] = sidecar
    return sidecars


def remove(folder: Path) -> None:
    """Remove the shards of a modality that the source no longer has, and what describes them; nothing else."""
    (folder / records.DESCRIPTION).unlink(missing_ok=True)
    _remove_all_but(folder, {})


def _remove_all_but(folder: Path, wanted: Mapping[str, Sidecar]) -> None:
    for pattern in ("mumu-*.array_record-*", ".mumu-*.array_record-*", "sidecars/mumu-*", "sidecars/.mumu-*"):
        for path in folder.glob(pattern):
            if path.name.removesuffix(".json") not in wanted:
                path.unlink()
