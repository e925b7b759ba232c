"""Prepare a collection: any source → manifest, labels, and a folder of records for each modality."""

import contextlib
import dataclasses
import filecmp
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mumu_jax.data.manifest import Album, read_manifest, write_labels, write_manifest
from mumu_jax.data.modalities import BY_DEFAULT, MODALITIES
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.data.modalities.text.entities.gazetteer import read_gazetteer
from mumu_jax.data.preparation import duplicates
from mumu_jax.data.preparation.census import FOR_FEW_SONGS, LABEL_MORE, warning_of_few
from mumu_jax.data.preparation.duplicates import DUPLICATES
from mumu_jax.data.preparation.summary import MISSING, REJECTED, SILENT, Summary
from mumu_jax.data.sources import SOURCES, read_source
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.files import files_below
from mumu_jax.data.sources.origin import Origin, write_origin
from mumu_jax.data.store import records
from mumu_jax.data.store.beam import ForEach
from mumu_jax.data.store.shards import Shard, Store, Written
from mumu_jax.errors import UserError
from mumu_jax.system.files import only_one, replacing
from mumu_jax.system.lines import print_remark
from mumu_jax.system.seals import check_seal

MANIFEST, LABELS = "manifest.jsonl", "labels.json"
CORES = os.cpu_count() or 1
MAX_BAD = 0.05

Line = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """The options of `prepare`, see its `--help`; settings are by modality, by default those of the modality."""

    source: str
    input: Path | None
    data_dir: Path
    workers: int = CORES
    max_bad: float = MAX_BAD
    modalities: tuple[str, ...] = BY_DEFAULT
    settings: Mapping[str, Any] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    gazetteer: Path | None = None
    duplicates: str | None = None
    genre_map: Path | None = None
    taxonomy: str | None = None
    subset: str | None = None
    fold: int | None = None
    shard_records: int | None = None
    for_each: ForEach | None = None

    @property
    def stores(self) -> list[Store]:
        return [Store(self.data_dir / name, MODALITIES[name], self.settings_of(name)) for name in self.modalities]

    def settings_of(self, name: str) -> Any:
        return self.settings.get(name) or MODALITIES[name].settings()


def prepare(job: Job) -> Summary:
    """Read a source and write the manifest, labels, origin, a folder a modality and lists into `job.data_dir`.

    Continues after a killed call; repeats only what other albums or files change.  Items that are damaged or missing
    are left out and listed in `rejected.jsonl` and `missing.jsonl`, songs and pictures of several splits are listed in
    `duplicates.jsonl`.  `job.workers` processes or `job.for_each` (`store/beam.py`) read the items; the shards are the
    same.  Raises UserError on a source that cannot be read, on settings that do not fit, on a folder that cannot be
    written or holds other data, if files that were prepared before are all gone, and if nothing can be prepared.
    """
    start = time.monotonic()
    with only_one(job.data_dir, "preparing"):
        collection = _read_collection(job)
        plans = _plan(job, collection)
        # The first modality takes longest.  It comes last, so that an error in another one is known before.
        parts = [store.write(shards, job.workers, job.for_each) for store, shards in reversed(plans)][::-1]
        rejected, missing = _write_lists(job, collection, parts)
        if not any(sidecar.records for part in parts for _, sidecar in part.shards):
            for note in collection.notes:  # they say where missing files are to be had
                print_remark(note)
            raise UserError(_nothing_prepared(job, missing, rejected))
        # A manifest is written when no shards of an earlier one are left beside it.
        write_manifest(job.data_dir / MANIFEST, collection.albums)
        write_labels(job.data_dir / LABELS, collection.labels)
        write_origin(job.data_dir, _origin(job))
        notes = _write_duplicates(job, parts)
        splits = {part.modality.name: part.finish(collection.albums, collection.labels).splits for part in parts}
    return Summary(
        data_dir=job.data_dir,
        splits=splits,
        genres=dict(Counter(genre for album in collection.albums for genre in album.genres)),
        rejected=dict(Counter(str(line["reason"]) for line in rejected)),
        n_new=sum(part.n_new for part in parts),
        seconds=time.monotonic() - start,
        max_bad=job.max_bad,
        notes=[*collection.notes, *notes, *_notes(job, splits, collection.albums)],
    )


def _read_collection(job: Job) -> Collection:
    """Read the source's albums with their entity files; raises UserError if they must not replace what is prepared."""
    max_chars = job.settings_of("text").max_chars
    folders = {kind: folder for kind, folder in job.folders.items() if kind != "entities"}
    options = {name: getattr(job, name) for name in ("duplicates", "genre_map", "taxonomy", "subset", "fold")}
    request = Request(job.data_dir, job.workers, max_chars, folders, **options)
    collection = read_source(job.source, job.input, request)
    _check_settings(job)
    n_gone = _check_albums(job.data_dir, collection.albums)
    if n_gone:
        note = f"{n_gone:,} albums that were prepared before are not in this source: they have left the data"
        collection = dataclasses.replace(collection, notes=[*collection.notes, note])
    if "entities" not in job.folders:
        return collection
    return dataclasses.replace(collection, albums=_with_entities(collection.albums, job.folders["entities"]))


def _origin(job: Job) -> Origin:
    dataset = SOURCES[job.source].dataset
    options = {"duplicates": job.duplicates, "map": job.genre_map, "taxonomy": job.taxonomy}
    changed_by = tuple(name for name, value in options.items() if value)
    if dataset is None:
        return Origin(job.source, changed_by=changed_by)
    return Origin(job.source, *dataset.choose(job.subset, job.fold), changed_by)


def _with_entities(albums: Sequence[Album], folder: Path) -> list[Album]:
    """Return the albums, each with an entity linker's output `folder`/ALBUM_ID.json if that exists."""
    if not folder.is_dir():
        raise UserError(f"--entities_dir={folder} is not a folder; name the one with ALBUM_ID.json files")
    files: dict[str, Path] = {}
    for path in files_below(folder):
        if path.suffix.lower() == ".json" and files.setdefault(path.stem, path) != path:
            raise UserError(f"--entities_dir={folder} has both {files[path.stem]} and {path}; remove one of them")
    # A table may identify an album by the path of its song; its file then has the name of that song.
    names = [album.album_id if album.album_id in files else Path(album.album_id).stem for album in albums]
    if not files.keys() & {*names}:
        raise UserError(
            f"--entities_dir={folder} has {len(files)} .json files, but no file is named after an album, such as "
            f"{names[0]}.json; rename them, or name another folder"
        )
    return [
        msgspec.structs.replace(album, entities=files.get(name, album.entities))
        for album, name in zip(albums, names, strict=True)
    ]


# --- the modalities -----------------------------------------------------------------------------------------


def _plan(job: Job, collection: Collection) -> list[tuple[Store, list[Shard]]]:
    """Plan the shards of each modality that the source has any input of; remove unfinished shards of the others."""
    plans = []
    for store in job.stores:
        if store.modality.uses_gazetteer:
            _keep_gazetteer(job.gazetteer or collection.gazetteer, store)
        shards = store.plan(collection.albums, collection.labels, job.shard_records)
        inputs = [row.input for shard in shards for row in shard.rows if row.input is not None]
        _check_not_gone(store, inputs)
        if inputs:
            plans.append((store, shards))
        else:
            store.remove()
    return plans


def _keep_gazetteer(gazetteer: Path | None, store: Store) -> None:
    """Copy the gazetteer beside the prepared text, from where runs take it; without one, keep the previous copy."""
    kept = store.folder / GAZETTEER
    if gazetteer is None:
        if kept.exists():
            check_seal(store.folder, "give it again: --gazetteer=FILE", GAZETTEER)
        return
    try:
        next(read_gazetteer(gazetteer), None)  # raises UserError on another file
        changed = not kept.exists() or not filecmp.cmp(kept, gazetteer, shallow=False)
    except OSError as error:
        raise UserError(f"cannot read --gazetteer={gazetteer}: {error.strerror}; give a file") from error
    if changed:
        store.folder.mkdir(parents=True, exist_ok=True)
        store.reopen()  # the prepared text was linked with another one
        with replacing(kept) as path:
            shutil.copyfile(gazetteer, path)


# --- what must not be lost ----------------------------------------------------------------------------------


def _check_settings(job: Job) -> None:
    """Raise UserError if a setting differs from that of finished data: a typing error must not undo hours of work."""
    for store in job.stores:
        stored: dict[str, Any] = {}
        with contextlib.suppress(UserError):  # unfinished or damaged data may be replaced
            stored = records.read_description(store.folder).settings
        for name, value in dataclasses.asdict(store.settings).items():
            if name not in store.modality.later_settings and stored.get(name, value) != value:
                raise UserError(
                    f"{job.data_dir} was prepared with {store.modality.name}.{name}={stored[name]!r}, not {value!r}; "
                    f"give another --data_dir, or remove {job.data_dir} first"
                )


def _check_albums(data_dir: Path, albums: Sequence[Album]) -> int:
    """Return the number of albums in the manifest of `data_dir` that are no longer there.

    Raises UserError if that is all of them: --input or --data_dir may be mistyped.
    """
    path = data_dir / MANIFEST
    prepared = {album.album_id for album in read_manifest(path)} if path.exists() else set()
    if prepared and prepared.isdisjoint(album.album_id for album in albums):
        raise UserError(
            f"{data_dir} holds other data: none of its {len(prepared)} albums is in this source; "
            f"give another --data_dir, or remove {data_dir} first"
        )
    return len(prepared.difference(album.album_id for album in albums))


def _check_not_gone(store: Store, inputs: Sequence[Any]) -> None:
    """Raise UserError if there are records but no input exists any more: a disk may not be mounted."""
    folder, modality, n_before = store.folder, store.modality, 0
    with contextlib.suppress(UserError):
        n_before = sum(split["records"] for split in records.read_description(folder).splits.values())
    if n_before and not any(map(modality.exists, inputs)):
        first = f" (first: {inputs[0]})" if inputs else ""
        raise UserError(
            f"{folder} has {n_before:,} {modality.unit}, but all of their files are missing now{first}; "
            f"name the folder where they are, leave {modality.name} out of --modalities, or remove {folder} first"
        )


# --- lists, notes and errors --------------------------------------------------------------------------------


def _write_lists(job: Job, collection: Collection, parts: Sequence[Written]) -> tuple[list[Line], list[Line]]:
    """Write the lists of rejected, missing and silent items; modalities not prepared now keep their lines.

    Returns the first two.
    """
    rejected = [*collection.rejected, *(line for part in parts for line in part.rejected)]
    missing = [line for part in parts for line in part.missing]
    silent = [line for part in parts for line in part.silent]
    for name, lines in ((REJECTED, rejected), (MISSING, missing), (SILENT, silent)):
        path = job.data_dir / name
        earlier = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        kept = [line for line in earlier if line.get("modality") in {*MODALITIES} - {*job.modalities}]
        _write_lines(path, lines + kept)
    return rejected, missing


def _write_duplicates(job: Job, parts: Sequence[Written]) -> list[str]:
    """List what is in several splits, and return notes; remove the list if nothing is."""
    if not any(store.modality.has_likeness for store in job.stores):
        return []
    path = job.data_dir / DUPLICATES
    lines = [line for part in parts if part.modality.has_likeness for line in duplicates.find(part)]
    kept = [line for line in duplicates.read_lines(job.data_dir) if line["modality"] not in job.modalities]
    if lines or kept:
        _write_lines(path, lines + kept)
    else:
        path.unlink(missing_ok=True)
    return duplicates.notes_of(lines, path)


def _write_lines(path: Path, lines: Sequence[Line]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _notes(job: Job, splits: Mapping[str, Any], albums: Sequence[Album]) -> list[str]:
    """Return what the tables do not show: modalities and splits that are empty, too few albums, entities of no use."""
    notes = [f"{name:<8}none: the source names no {name}" for name in job.modalities if name not in splits]
    for name in splits:
        notes += [
            f"{name}: the {split} split is empty, and training needs it"
            for split in ("train", "val")
            if not splits[name][split]["records"]
        ]
    if "entities" in job.folders and not any(split["linked"] for split in splits.get("text", {}).values()):
        notes.append("no entity has a category: Babelfy's own files have none; add --gazetteer")
    train, val = ([album for album in albums if album.split == split] for split in ("train", "val"))
    if train and val and (warning := warning_of_few(train, val, f"{LABEL_MORE}, or for songs {FOR_FEW_SONGS}")):
        notes.append(warning)
    return notes


def _nothing_prepared(job: Job, missing: Sequence[Line], rejected: Sequence[Line]) -> str:
    if not (missing or rejected):
        modalities = ", ".join(job.modalities)
        return f"nothing was prepared: the source names no {modalities}; check --input, or choose other --modalities"
    if not rejected:
        kinds = ", ".join(dict.fromkeys(line["modality"] for line in missing))
        first = next(line["file"] for line in missing if line["file"])
        folders = ", ".join(f"--{kind}_dir" for kind in SOURCES[job.source].folders)
        remedy = f"check --input{folders and f', or name their folder by {folders}'}"
        return f"none of the {len(missing):,} {kinds} files exists (first: {first}); {remedy}"
    first = rejected[0]
    line_number = f":{first['line']}" if "line" in first else ""
    return (
        f"nothing was prepared: {len(rejected)} files were rejected and {len(missing)} are missing (first rejected: "
        f"{first['file']}{line_number}, {first['reason']}: {first['detail']}); see {job.data_dir / REJECTED}"
    )
