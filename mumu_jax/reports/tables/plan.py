"""Planning a table: the jobs that are asked for and those that they join, and why the data rules some out."""

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mumu_jax.data.manifest import SPLITS, read_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.store.records import DESCRIPTION, Prepared, open_prepared
from mumu_jax.errors import UserError, nearest
from mumu_jax.experiments import load_config
from mumu_jax.fields import flatten
from mumu_jax.objectives import OBJECTIVES
from mumu_jax.reports.tables.base import Job, Plan, Table
from mumu_jax.runs.constants import check_single_label

FILES_BY = {  # the settings that name files, and what makes these
    "model.weights": "bash scripts/pretrained makes those of songs, scripts/convert_weights.py others",
    "tokens.vocabulary": "the vocab.txt that is published with BERT's weights",
}


def make_plan(table: Table, data_dir: Path, patterns: str, preset: str, seeds: int, image_weights: str) -> Plan:
    """Plan the jobs that match `patterns`, and the jobs that these join.

    Raises UserError if no job matches, if the data rules out all that match, and if the data is damaged.
    """
    if not (data_dir / "manifest.jsonl").exists():
        raise UserError(f"there is no prepared data in {data_dir}; correct --data_dir, or call mumu_jax.prepare")
    if table.single_label:
        check_single_label(read_manifest(data_dir / "manifest.jsonl"), data_dir, f"--table={table.name}")
    jobs = table.jobs(data_dir)
    opened = _open_all(data_dir, jobs)
    impossible = _impossible(table, preset, jobs, opened)
    wanted = _match(patterns, list(jobs))
    if all(row in impossible for row in wanted):
        raise UserError(f"{data_dir} allows none of the rows: {impossible[wanted[0]]}")
    joined = {other for row in wanted if row not in impossible for other in jobs[row].joins.values()}
    rows = [row for row in jobs if row in wanted or row in joined]
    prepared = [one for one in opened.values() if isinstance(one, Prepared)]
    return Plan(
        table=table,
        data_dir=data_dir,
        preset=preset,
        seeds=seeds,
        image_weights=image_weights,
        jobs=jobs,
        rows=rows,
        added=[row for row in rows if row not in wanted],
        impossible=impossible,
        checksums={table.data_name(one.name, one.settings): one.checksum for one in prepared},
        data=_describe(data_dir),
        albums=prepared[0].albums_sha256 if prepared else "",
    )


def training_job(name: str, **more: Any) -> Job:
    """Return the job of a named experiment; `more` are other fields of it."""
    config = load_config(name)
    sees = {} if more.get("joins") else {modality: getattr(config, modality) for modality in config.inputs}
    return Job("train", sees, config, flags=(f"--config={name}",), **more)


def describe_changes(table: Table, preset: str, row: str) -> str:
    """Return a preset's changes of a job as `optim.max_epochs 100 → 20 (÷ 5), …`."""
    changed = table.changes(preset, row)
    before, changes = flatten(load_config(row)) if changed else {}, []
    for name, new in changed.items():
        old = before[name]
        is_count = isinstance(old, int) and not isinstance(old, bool)
        factor = f" (÷ {old / new:.3g})" if is_count and old > new else ""
        changes.append(f"{name} {_shown(old)} → {_shown(new)}{factor}")
    return ", ".join(changes)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)


def _impossible(
    table: Table, preset: str, jobs: Mapping[str, Job], opened: Mapping[tuple[str, str], Prepared | str]
) -> dict[str, str]:
    """Return the reasons why the data rules out a job, by name."""
    reasons: dict[str, list[str]] = {}
    for row, job in jobs.items():  # those that it joins come first
        of_data = [one for seen in job.sees.items() if isinstance(one := opened[_key(*seen)], str)]
        reasons[row] = [*of_data, *(why for other in job.joins.values() for why in reasons[other])]
        if job.impossible:
            reasons[row].append(job.impossible)
        files = {**flatten(job.config), **table.changes(preset, row)} if job.config else {}
        reasons[row] += [
            f"there is no {files[name]} ({origin})"
            for name, origin in FILES_BY.items()
            if files.get(name) and not Path(files[name]).exists()
        ]
    return {row: "; ".join(dict.fromkeys(of_row)) for row, of_row in reasons.items() if of_row}


def _open_all(data_dir: Path, jobs: Mapping[str, Job]) -> dict[tuple[str, str], Prepared | str]:
    """Return the prepared data that each of the jobs sees, or why it cannot be used, by modality and settings."""
    opened = {}
    for job in jobs.values():
        for name, settings in job.sees.items():
            if _key(name, settings) not in opened:
                opened[_key(name, settings)] = _open(data_dir, name, settings)
    return opened


def _key(name: str, settings: Any) -> tuple[str, str]:
    return name, repr(settings)


def _open(data_dir: Path, name: str, settings: Any) -> Prepared | str:
    """Return the prepared data of a modality, or why networks of it cannot be trained and tested on the data.

    Raises UserError if data that is prepared by default is damaged, or was made with other settings.
    """
    modality = MODALITIES[name]
    if not (data_dir / name / DESCRIPTION).exists():
        how = "" if modality.by_default else f" with {name} among its --modalities"
        return f"the data has no {name}: name {modality.sees} in the source, and prepare again{how}"
    try:
        prepared = open_prepared(data_dir, settings)
    except UserError as error:
        if modality.by_default:
            raise
        return str(error)
    empty = [split for split in SPLITS if not len(prepared.split(split))]
    return f"no album of the {' and '.join(empty)} split has {name}" if empty else prepared


def _describe(data_dir: Path) -> str:
    albums = read_manifest(data_dir / "manifest.jsonl")
    n_albums = Counter(album.split for album in albums)
    counts = ", ".join(f"{n_albums[split]:,} {split}" for split in SPLITS)
    genres = {genre for album in albums for genre in album.genres}
    return f"{len(albums):,} albums ({counts}) with {len(genres):,} genres"


def _match(patterns: str, rows: list[str]) -> list[str]:
    """Return the jobs that match one of the patterns, separated by commas, with or without their target."""
    wanted = set()
    names = {row: {row, row.rpartition("_")[0] if row.rpartition("_")[2] in OBJECTIVES else row} for row in rows}
    for pattern in patterns.split(","):
        matches = [row for row in rows if any(fnmatchcase(name, pattern) for name in names[row])]
        if not matches:
            near = nearest(pattern, rows)
            hint = f"did you mean {near!r}?" if near else f"they are {', '.join(rows)}"
            raise UserError(f"--rows: no row of the table is named {pattern!r}; {hint}")
        wanted.update(matches)
    return [row for row in rows if row in wanted]
