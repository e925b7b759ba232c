"""Albums → shards: read every item of a modality in worker processes, and write ArrayRecord files.

The albums alone decide which item is in which shard.  A shard counts once its sidecar is beside it: both are finished
by rename, the sidecar last, so that a killed run loses at most the shard that it was writing.  Last of all comes
`prepared.json`, with training statistics and TFDS metadata.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

import mumu_jax
from mumu_jax.data.manifest import SPLITS, Album, Label, Rejected, albums_sha256
from mumu_jax.data.modalities.base import Content, PreparedModality, died, read_item
from mumu_jax.data.store import earlier, records
from mumu_jax.data.store.beam import ForEach
from mumu_jax.data.store.records import Description, Made, ShardFile, ShardRecords, Sidecar
from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing, sha256_of, write_json, write_npz
from mumu_jax.system.seals import SEAL, remove_damaged, seal
from mumu_jax.system.terminal import ProgressBar, progress_bar
from mumu_jax.system.workers import map_in_order

# One record a block, for random access.  Uncompressed: zstd saves a fifth of a CQT's bytes, but reading then takes two
# and a half times as long.
WRITER_OPTIONS = "group_size:1,uncompressed"
VERSIONS = {"mumu_jax": mumu_jax.__version__, "numpy": np.__version__}


@dataclass(frozen=True)
class Row:
    """An item to prepare: its input (None if it is missing) and the columns of its labels."""

    album_id: str
    item_id: str
    input: Any
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of a split."""

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


@dataclass(frozen=True)
class Store:
    """A folder for the records of one modality, made with these settings."""

    folder: Path
    modality: PreparedModality
    settings: Any

    def plan(self, albums: Sequence[Album], labels: Sequence[Label], shard_records: int | None = None) -> list[Shard]:
        """Divide the items of each split, in the albums' order, into shards of `shard_records`."""
        column = {label.name: i for i, label in enumerate(labels)}
        size = shard_records or self.modality.shard_records
        shards = []
        for split in SPLITS:
            rows = [
                Row(album.album_id, item_id, source, tuple(sorted({column[g] for g in album.genres})))
                for album in albums
                if album.split == split
                for item_id, source in self.modality.inputs(album, self.folder)
            ]
            runs = [tuple(rows[i : i + size]) for i in range(0, len(rows), size)]
            shards += [Shard(split, i, len(runs), run) for i, run in enumerate(runs)]
        return shards

    def write(self, shards: Sequence[Shard], workers: int, for_each: ForEach | None = None) -> "Written":
        """Write the shards that the folder does not have.

        A shard is kept if the same rows, files, settings and versions made it and its checksum is right.  Of those that
        are no longer wanted, a record is copied if its file, settings and versions are the same (`earlier.py`).
        `workers` processes on this machine share the work item by item, or `for_each` gives it, shard by shard, to
        machines that see the same files.  Raises UserError on invalid settings, and if those machines did not write all
        shards.
        """
        self.modality.check(self.settings)
        (self.folder / "sidecars").mkdir(parents=True, exist_ok=True)
        if remove_damaged(self.folder):
            self.reopen()
        origins = {shard.name: self._origin(shard) for shard in shards}
        sidecars = self._read_sidecars(shards, origins)
        todo, n_new = [shard for shard in shards if shard.name not in sidecars], 0
        earlier.set_aside(self.folder, sidecars)
        if todo:
            self.reopen()
            if for_each is None:
                written, n_new = self._write_shards(todo, origins, workers)
                sidecars |= written
            else:
                for_each(self._write_alone, todo)
                sidecars |= self._read_sidecars(todo, origins)
                missing = [shard.name for shard in todo if shard.name not in sidecars]
                if missing:
                    raise UserError(self._not_written(missing, todo))
                n_new = sum(len(shard.rows) for shard in todo)
        earlier.remove(self.folder)
        self._add_likenesses(sidecars)
        return Written(self, [(shard, sidecars[shard.name]) for shard in shards], n_new)

    def remove(self) -> None:
        """Remove the shards of a modality that the source no longer has and their description; nothing else."""
        self.reopen()
        earlier.set_aside(self.folder, {})
        earlier.remove(self.folder)

    def reopen(self) -> None:
        """Declare the folder unfinished."""
        (self.folder / records.DESCRIPTION).unlink(missing_ok=True)
        (self.folder / SEAL).unlink(missing_ok=True)

    def _add_likenesses(self, sidecars: Mapping[str, Sidecar]) -> None:
        """Add the likenesses to sidecars from before the modality had one, as `prepare` would store them now."""
        old = {name: one for name, one in sidecars.items() if self.modality.has_likeness and not one.likeness}
        n_records = sum(sidecar.records for sidecar in old.values())
        if n_records:
            (self.folder / SEAL).unlink(missing_ok=True)  # `finish` writes it again
        with progress_bar(n_records, f"comparing {self.modality.name}", shown=n_records > 0) as progress:
            for name, sidecar in old.items():
                shard = ShardFile(name, sidecar.records, sidecar.bytes, sidecar.sha256)
                for record in ShardRecords(self.folder, [shard], self.modality, self.settings):
                    sidecar.likeness.append(self.modality.likeness(record, self.settings).hex())
                    progress.advance()
                if sidecar.records:
                    write_json(self.folder / records.sidecar_of(name), msgspec.to_builtins(sidecar))

    def _write_alone(self, shard: Shard) -> None:
        """Write a shard on a machine that must look for itself which files and versions it has."""
        self._write_shards([shard], {shard.name: self._origin(shard)}, workers=1, shown=False)

    def _not_written(self, missing: Sequence[str], shards: Sequence[Shard]) -> str:
        sources = (row.input for shard in shards for row in shard.rows)
        return (
            f"expected {len(shards)} new shards in {self.folder}, but {len(missing)} are missing or differ (first: "
            f"{missing[0]}); check that all workers see that folder and the files under the same paths, and that they "
            f"have the same versions of {', '.join(self.modality.versions_of(sources))}"
        )

    def _write_shards(
        self, shards: Sequence[Shard], origins: Mapping[str, "Origin"], workers: int, shown: bool = True
    ) -> tuple[dict[str, Sidecar], int]:
        """Write shards; return their sidecars, and the number of items that no earlier shard had."""
        rows = [(row, state) for shard in shards for row, state in origins[shard.name].states_of(shard)]
        wanted = {(row.item_id, state) for row, state in rows}
        sidecars, before = {}, earlier.Earlier(self.folder, self.modality, self.settings, wanted)
        new = [row.input for row, state in rows if not before.has(row.item_id, state)]
        inputs = [source for source in new if source is not None]
        contents = self._read_all(inputs, workers)
        bar = progress_bar(len(rows), f"preparing {self.modality.name}", shown=shown)
        with contextlib.closing(contents), bar as progress:
            for shard in shards:
                path, origin = self.folder / shard.name, origins[shard.name]
                sidecar = Sidecar(origin.fingerprint)
                with replacing(path) as temporary:
                    self._write_records(temporary, origin.states_of(shard), before, contents, sidecar, progress)
                sidecar.sha256, sidecar.bytes = sha256_of(path), path.stat().st_size
                write_json(self.folder / shard.sidecar, msgspec.to_builtins(sidecar))
                sidecars[shard.name] = sidecar
        return sidecars, len(new)

    def _read_all(self, inputs: Sequence[Any], workers: int) -> Generator[Content | Rejected, None, None]:
        """Read each input in order, in `workers` processes, or in this one if the modality is `in_process`."""
        read = partial(read_item, self.modality, settings=self.settings)
        if self.modality.in_process:
            return (read(source) for source in inputs)
        return map_in_order(read, inputs, workers, died)

    def _write_records(
        self,
        path: Path,
        rows: Sequence[tuple[Row, str]],
        before: earlier.Earlier,
        contents: Iterator[Content | Rejected],
        sidecar: Sidecar,
        progress: ProgressBar,
    ) -> None:
        modality, settings = self.modality, self.settings
        writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
        counts = Counter[str]()
        for row, state in rows:
            if row.input is None:
                content = Rejected("missing", "none is named")
            else:
                content = before.read(row.item_id, state) if before.has(row.item_id, state) else next(contents)
            if isinstance(content, Content):
                writer.write(records.encode(row.album_id, row.item_id, row.columns, content.fields, modality, settings))
                sidecar.records += 1
                sidecar.ids.append((row.album_id, row.item_id))
                amounts = [content.counts[name] for name in modality.counts]
                sidecar.made.append(Made("" if content.damaged else state, amounts))
                sidecar.likeness += [content.likeness] if content.likeness else []
                counts.update(content.counts)
                if content.damaged:
                    file, why = content.damaged
                    sidecar.rejected.append(_rejected_line(row, why, modality) | {"file": str(file)})
            elif content.reason == "missing":
                sidecar.missing.append(row.item_id)
            else:
                sidecar.rejected.append(_rejected_line(row, content, modality))
            progress.advance()
        writer.close()
        sidecar.counts = {name: counts[name] for name in modality.counts}

    def _origin(self, shard: Shard) -> "Origin":
        modality = self.modality
        making = {k: v for k, v in dataclasses.asdict(self.settings).items() if k not in modality.later_settings}
        states = [row.input and modality.state(row.input) for row in shard.rows]
        rows = [(row.album_id, row.item_id, state, row.columns) for row, state in zip(shard.rows, states, strict=True)]
        words = [
            records.digest([making, modality.versions_of([row.input]), row.item_id, state])[:24]
            for row, state in zip(shard.rows, states, strict=True)
        ]
        versions = modality.versions_of(row.input for row in shard.rows)
        return Origin(records.digest([making, versions, rows]), words)

    def _read_sidecars(self, shards: Sequence[Shard], origins: Mapping[str, "Origin"]) -> dict[str, Sidecar]:
        """Return by name the sidecars of the shards that are finished and undamaged."""
        sidecars = {}
        for shard in shards:
            with contextlib.suppress(OSError, ValueError, UserError):
                sidecar = records.read_as(Sidecar, self.folder / shard.sidecar)
                if sidecar.fingerprint == origins[shard.name].fingerprint:
                    records.check_shard(self.folder / shard.name, sidecar, verify=True)
                    sidecars[shard.name] = sidecar
        return sidecars


@dataclass(frozen=True)
class Origin:
    """Everything that a shard depends on, in a word, and that each of its records depends on, in a word each."""

    fingerprint: str
    states: list[str]

    def states_of(self, shard: Shard) -> list[tuple[Row, str]]:
        """Return the shard's rows, each with its record's word."""
        return list(zip(shard.rows, self.states, strict=True))


@dataclass(frozen=True)
class Written:
    """A modality's shards with their sidecars, all written, and `n_new`, the number of items that were read now."""

    store: Store
    shards: Sequence[tuple[Shard, Sidecar]]
    n_new: int

    @property
    def modality(self) -> PreparedModality:
        return self.store.modality

    @property
    def rejected(self) -> list[dict[str, str]]:
        """The lines of `rejected.jsonl`."""
        return [line for _, sidecar in self.shards for line in sidecar.rejected]

    @property
    def missing(self) -> list[dict[str, str]]:
        """The lines of `missing.jsonl`."""
        missing = {item_id for _, sidecar in self.shards for item_id in sidecar.missing}
        rows = (row for shard, _ in self.shards for row in shard.rows if row.item_id in missing)
        return [_line_of(row, self.modality) for row in rows]

    @property
    def silent(self) -> list[dict[str, str]]:
        """The lines of `silent.jsonl`: records of songs without any sound, which are kept."""
        if "silent" not in self.modality.counts:
            return []
        column = self.modality.counts.index("silent")
        ids = {
            item_id
            for _, sidecar in self.shards
            for (_, item_id), made in zip(sidecar.ids, sidecar.made, strict=False)
            if made.counts[column]
        }
        rows = (row for shard, _ in self.shards for row in shard.rows if row.item_id in ids)
        return [_line_of(row, self.modality) | {"reason": "silent"} for row in rows]

    def finish(self, albums: Sequence[Album], labels: Sequence[Label]) -> Description:
        """Write statistics, TFDS metadata and `prepared.json` unless they are there; return the last."""
        folder, modality, settings = self.store.folder, self.modality, self.store.settings
        sources = (row.input for shard, _ in self.shards for row in shard.rows)
        description = Description(
            albums_sha256=albums_sha256(albums),
            settings=dataclasses.asdict(settings),
            labels=list(labels),
            splits={split: self._describe(split) for split in SPLITS},
            versions={**modality.versions_of(sources), **VERSIONS},
        )
        if (finished := _read_finished(folder, description)) is not None:
            if not (folder / SEAL).exists():
                seal(folder, *records.SEALED)
            return finished
        self.store.reopen()
        train = ShardRecords(folder, description.shards("train"), modality, settings)
        mean, std = modality.statistics(train, settings)
        write_npz(folder / records.STATISTICS, mean=mean, std=std)
        self._write_tfds_metadata(records.features(labels, modality, settings))
        description = msgspec.structs.replace(description, statistics_sha256=records.sha256_of_arrays(mean, std))
        description = msgspec.structs.replace(description, checksum=records.checksum_of(description))
        write_json(folder / records.DESCRIPTION, msgspec.to_builtins(description))
        seal(folder, *records.SEALED)
        return description

    def _describe(self, split: str) -> dict[str, Any]:
        shards = [(shard, sidecar) for shard, sidecar in self.shards if shard.split == split]
        sidecars = [sidecar for _, sidecar in shards]
        return {
            "albums": len({album_id for sidecar in sidecars for album_id, _ in sidecar.ids}),
            "records": sum(sidecar.records for sidecar in sidecars),
            "missing": sum(len(sidecar.missing) for sidecar in sidecars),
            "rejected": sum(len(sidecar.rejected) for sidecar in sidecars),
            **{name: round(sum(sidecar.counts[name] for sidecar in sidecars), 3) for name in self.modality.counts},
            "shards": [
                msgspec.to_builtins(ShardFile(shard.name, sidecar.records, sidecar.bytes, sidecar.sha256))
                for shard, sidecar in shards
            ],
        }

    def _write_tfds_metadata(self, features: tfds.features.FeaturesDict) -> None:
        folder = epath.Path(self.store.folder)
        split_infos = []
        for split in SPLITS:
            sidecars = [sidecar for shard, sidecar in self.shards if shard.split == split]
            if sidecars:  # TFDS has no split without files
                template = tfds.core.ShardedFileTemplate(
                    dataset_name="mumu", data_dir=folder, split=split, filetype_suffix="array_record"
                )
                lengths, n_bytes = [sidecar.records for sidecar in sidecars], sum(sidecar.bytes for sidecar in sidecars)
                split_infos.append(tfds.core.SplitInfo(split, lengths, n_bytes, filename_template=template))
        tfds.folder_dataset.write_metadata(
            data_dir=folder,
            features=features,
            split_infos=split_infos,
            version="1.0.0",
            check_data=False,  # would need TensorFlow
        )


def _rejected_line(row: Row, why: Rejected, modality: PreparedModality) -> dict[str, str]:
    return _line_of(row, modality) | {"reason": why.reason, "detail": why.detail}


def _line_of(row: Row, modality: PreparedModality) -> dict[str, str]:
    """Return what `rejected.jsonl` and `missing.jsonl` say of a row: its ids, and its file if it has one."""
    ids = {"modality": modality.name, "album_id": row.album_id, f"{modality.item}_id": row.item_id}
    return ids | {"file": str(row.input) if isinstance(row.input, Path) else ""}


def _read_finished(folder: Path, wanted: Description) -> Description | None:
    """Read `prepared.json` if it describes what is `wanted`, and its statistics are undamaged."""
    try:
        finished = records.read_description(folder)
        records.read_statistics(folder / records.STATISTICS, finished.statistics_sha256)
    except UserError:
        return None
    return finished if msgspec.structs.replace(finished, statistics_sha256="", checksum="") == wanted else None
