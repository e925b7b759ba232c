"""Any source → manifest, labels, and a folder of records for each modality: the work of `mumu_jax.prepare`."""

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumu_jax.data.manifest import Album, read_manifest, write_labels, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import PreparedModality
from mumu_jax.data.modalities.image.duplicates import alike
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.data.modalities.text.entities.gazetteer import read_gazetteer
from mumu_jax.data.preparation.summary import DUPLICATES, MISSING, REJECTED, Summary
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.files import files_below
from mumu_jax.data.store import description, records, shards
from mumu_jax.data.store.beam import ForEach
from mumu_jax.errors import UserError
from mumu_jax.system.files import only_one, replacing

MANIFEST, LABELS = "manifest.jsonl", "labels.json"
CORES = os.cpu_count() or 1
MAX_BAD = 0.05

Line = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What is to be prepared, and how: see `prepare --help`."""

    source: str
    input: Path | None
    data_dir: Path
    workers: int = CORES
    max_bad: float = MAX_BAD
    modalities: tuple[str, ...] = tuple(MODALITIES)
    settings: Mapping[str, Any] = field(default_factory=dict)  # by modality; their defaults where not named
    folders: Mapping[str, Path] = field(default_factory=dict)
    gazetteer: Path | None = None
    shard_records: int | None = None
    for_each: ForEach | None = None

    def settings_of(self, modality: PreparedModality) -> Any:
        return self.settings.get(modality.name) or modality.settings()


def prepare(job: Job) -> Summary:
    """Read a source and write `manifest.jsonl`, `labels.json`, a folder a modality and lists into `job.data_dir`.

    Goes on where a killed call stopped; does again only what other albums or files change.  What is damaged or missing
    is left out and listed in `rejected.jsonl` and `missing.jsonl`; pictures that more than one split has are in
    `duplicates.jsonl`.  Items are read in `job.workers` processes, or where
    `job.for_each` calls them (`data/beam.py`); the shards are the same.  Raises UserError on a source that cannot be
    read, settings that do not fit, a folder that cannot be written or holds other data, files that were there before
    and are all gone, and where nothing could be prepared.
    """
    start = time.monotonic()
    try:
        with only_one(job.data_dir, "preparing"):
            found = _read(job)
            planned = _plan(job, found)
            # The slow one, which is the first, comes last: what is wrong with the others is said before.
            written = [_write(job, name, planned[name], found) for name in reversed(planned)][::-1]
            # Only now, when no older shards lie beside them.
            write_manifest(job.data_dir / MANIFEST, found.albums)
            write_labels(job.data_dir / LABELS, found.labels)
            others = {*MODALITIES} - {*job.modalities}
            rejected = [*found.rejected, *(line for one in written for line in one.rejected)]
            missing = [line for one in written for line in one.missing]
            _write_lines(job.data_dir / REJECTED, rejected + _lines_of(job.data_dir / REJECTED, others))
            _write_lines(job.data_dir / MISSING, missing + _lines_of(job.data_dir / MISSING, others))
            if not any(sidecar.records for one in written for sidecar in one.sidecars):
                raise UserError(_nothing_prepared(job, missing, rejected))
            duplicates = _write_duplicates(job, written)
            splits = {one.modality.name: one.describe()["splits"] for one in written}
    except OSError as error:
        raise UserError(f"cannot write {error.filename or job.data_dir}: {error.strerror or error}") from error
    reasons = dict(Counter(str(line["reason"]) for line in rejected))
    genres = dict(Counter(genre for album in found.albums for genre in album.genres))
    n_new, notes = sum(one.n_new for one in written), [*found.notes, *duplicates, *_notes(job, found, splits)]
    return Summary(job.data_dir, splits, genres, reasons, n_new, time.monotonic() - start, job.max_bad, notes)


def _read(job: Job) -> Collection:
    """The source's albums, with what is named beside them, if they may be written to the data folder."""
    max_chars = job.settings_of(MODALITIES["text"]).max_chars
    folders = {kind: folder for kind, folder in job.folders.items() if kind != "entities"}
    found = read_source(job.source, job.input, Request(job.data_dir, job.workers, max_chars, folders))
    _check_settings(job)
    _check_albums(job.data_dir, found.albums)
    return dataclasses.replace(found, albums=_with_entities(found.albums, job.folders.get("entities")))


def _with_entities(albums: Sequence[Album], folder: Path | None) -> list[Album]:
    """The albums, each with the entity linker's output `folder`/ALBUM_ID.json where there is one."""
    if folder is None:
        return list(albums)
    if not folder.is_dir():
        raise UserError(f"--entities_dir={folder} is no folder; give the one with ALBUM_ID.json files")
    there: dict[str, Path] = {}
    for path in files_below(folder):
        if path.suffix.lower() == ".json" and there.setdefault(path.stem, path) != path:
            raise UserError(f"--entities_dir={folder} has both {there[path.stem]} and {path}; give a folder with one")
    # An album that a spreadsheet names by its song's path is known by the file's name.
    names = [album.album_id if album.album_id in there else Path(album.album_id).stem for album in albums]
    if not there.keys() & {*names}:
        raise UserError(
            f"--entities_dir={folder} has {len(there)} .json files, and none is named by an album's id, such as "
            f"{names[0]}.json; rename them, or give another folder"
        )
    return [
        dataclasses.replace(album, entities=there.get(name, album.entities))
        for album, name in zip(albums, names, strict=True)
    ]


# --- one modality -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Written:
    """A modality whose shards are all there."""

    modality: PreparedModality
    planned: Sequence[shards.Shard]
    sidecars: Sequence[shards.Sidecar]
    n_new: int
    describe: Callable[[], dict[str, Any]]

    @property
    def rejected(self) -> list[Line]:
        return [line for sidecar in self.sidecars for line in sidecar.rejected]

    @property
    def missing(self) -> list[Line]:
        missing = {item_id for sidecar in self.sidecars for item_id in sidecar.missing}
        rows = (row for shard in self.planned for row in shard.rows if row.item_id in missing)
        return [shards.row_line(row, self.modality) for row in rows]


def _plan(job: Job, found: Collection) -> dict[str, list[shards.Shard]]:
    """The shards of each modality that the source names any input of; of others, unfinished ones are removed."""
    planned = {}
    for modality in map(MODALITIES.__getitem__, job.modalities):
        folder = job.data_dir / modality.name
        if modality.name == "text":
            _keep_gazetteer(job.gazetteer or found.gazetteer, folder)
        plan = shards.plan(found.albums, found.labels, modality, folder, job.shard_records)
        inputs = [row.input for shard in plan for row in shard.rows if row.input is not None]
        _check_not_gone(modality, folder, inputs)
        if inputs:
            planned[modality.name] = plan
        else:
            shards.remove(folder)
    return planned


def _write(job: Job, name: str, planned: Sequence[shards.Shard], found: Collection) -> _Written:
    modality = MODALITIES[name]
    folder, settings = job.data_dir / name, job.settings_of(modality)
    sidecars, n_new = shards.write(folder, planned, modality, settings, job.workers, job.for_each)

    def describe() -> dict[str, Any]:
        return description.finish(folder, planned, sidecars, found.albums, found.labels, modality, settings)

    return _Written(modality, planned, sidecars, n_new, describe)


def _keep_gazetteer(gazetteer: Path | None, folder: Path) -> None:
    """A copy with the prepared text, for runs to take along; that of the call before where none is named."""
    kept = folder / GAZETTEER
    if gazetteer is None:
        return
    try:
        next(read_gazetteer(gazetteer), None)  # raises UserError on another file
        changed = not kept.exists() or kept.read_bytes() != gazetteer.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read --gazetteer={gazetteer}: {error.strerror}; give a file") from error
    if changed:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / records.DESCRIPTION).unlink(missing_ok=True)  # what is there was linked with another
        with replacing(kept) as path:
            shutil.copyfile(gazetteer, path)


# --- what must not be lost ----------------------------------------------------------------------------------


def _check_settings(job: Job) -> None:
    """A mistyped setting must not replace hours of decoding."""
    for modality in map(MODALITIES.__getitem__, job.modalities):
        found: dict[str, Any] = {}
        with contextlib.suppress(UserError):  # nothing finished is there, or it is damaged: that may be replaced
            found = records.read_description(job.data_dir / modality.name)["settings"]
        for name, value in dataclasses.asdict(job.settings_of(modality)).items():
            if name not in modality.later_settings and found.get(name, value) != value:
                raise UserError(
                    f"{job.data_dir} was prepared with {modality.name}.{name}={found[name]!r}, not {value!r}; "
                    f"give another --data_dir, or remove {job.data_dir} first"
                )


def _check_albums(data_dir: Path, albums: Sequence[Album]) -> None:
    """Nor must a mistyped --input or --data_dir."""
    path = data_dir / MANIFEST
    there = {album.album_id for album in read_manifest(path)} if path.exists() else set()
    if there and there.isdisjoint(album.album_id for album in albums):
        raise UserError(
            f"{data_dir} holds other data: none of its {len(there)} albums is in this source; "
            f"give another --data_dir, or remove {data_dir} first"
        )


def _check_not_gone(modality: PreparedModality, folder: Path, inputs: Sequence[Any]) -> None:
    """Nor a disk that is not mounted: where there was something, something must be left."""
    n_before = 0
    with contextlib.suppress(UserError):
        n_before = sum(split["records"] for split in records.read_description(folder)["splits"].values())
    if n_before and not any(map(modality.exists, inputs)):
        first = f", such as {inputs[0]}" if inputs else ""
        raise UserError(
            f"{folder} has {n_before:,} {modality.unit}, and of their files none is there now{first}; "
            f"name the folder where they are, leave {modality.name} out of --modalities, or remove {folder} first"
        )


# --- pictures in more than one split ------------------------------------------------------------------------


def _write_duplicates(job: Job, written: Sequence[_Written]) -> list[str]:
    """List what looks like a picture of another split, and say so; no list where there is nothing."""
    path = job.data_dir / DUPLICATES
    if "image" not in job.modalities:
        return []
    lines = [line for one in written if one.modality.name == "image" for line in _duplicates(one)]
    if not lines:
        path.unlink(missing_ok=True)
        return []
    _write_lines(path, lines)
    return [f"{len(lines):,} covers of val and test look like one of another split; each is listed in {path}"]


def _duplicates(one: _Written) -> list[Line]:
    """A line for each picture of val and test that looks like one of another split: the first such."""
    pictures = [
        (shard.split, album_id, bytes.fromhex(likeness))
        for shard, sidecar in zip(one.planned, one.sidecars, strict=True)
        for (album_id, _), likeness in zip(sidecar.ids, sidecar.likeness, strict=True)
    ]
    lines = []
    for split in ("val", "test"):
        here = [picture for picture in pictures if picture[0] == split]
        others = [picture for picture in pictures if picture[0] != split]
        firsts: dict[int, int] = {}
        for i, j in alike([picture[2] for picture in here], [picture[2] for picture in others]):
            firsts.setdefault(i, j)
        for i, j in firsts.items():
            line = {"album_id": here[i][1], "split": split}
            lines.append(line | {"like": others[j][1], "like_split": others[j][0]})
    return lines


# --- what is said -------------------------------------------------------------------------------------------


def _notes(job: Job, found: Collection, splits: Mapping[str, Any]) -> list[str]:
    """What the tables of the modalities do not say."""
    absent = [name for name in job.modalities if name not in splits]
    notes = [f"{name:<8}none: the source names no {name}" for name in absent]
    for name in splits:
        notes += [
            f"{name}: the {split} split is empty, and training needs it"
            for split in ("train", "val")
            if not splits[name][split]["records"]
        ]
    if "entities" in job.folders and not any(split["linked"] for split in splits.get("text", {}).values()):
        notes.append("no entity has a category: Babelfy's own files have none; name a --gazetteer, too")
    return notes


def _lines_of(path: Path, modalities: set[str]) -> list[Line]:
    """What a former call wrote of modalities that are not prepared now."""
    if not path.exists():
        return []
    lines = map(json.loads, path.read_text().splitlines())
    return [line for line in lines if line.get("modality") in modalities]


def _write_lines(path: Path, lines: Sequence[Line]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _nothing_prepared(job: Job, missing: Sequence[Line], rejected: Sequence[Line]) -> str:
    kinds = ", ".join(job.modalities)
    if not (missing or rejected):
        return f"nothing was prepared: the source names no {kinds}; correct --input, or name other --modalities"
    if not rejected:
        first = next((line["file"] for line in missing if line["file"]), "a text")
        return f"nothing was prepared: of {len(missing)} items ({kinds}) none is there, the first {first}; mend --input"
    first = rejected[0]
    at = f":{first['line']}" if "line" in first else ""
    return (
        f"nothing was prepared: {len(missing)} items ({kinds}) are missing and {len(rejected)} were rejected, "
        f"the first {first['file']}{at} ({first['reason']}: {first['detail']}); see {job.data_dir / REJECTED}"
    )
