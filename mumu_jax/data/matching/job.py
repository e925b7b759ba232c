"""Build a data set as MuMu was built: Amazon's albums × MusicBrainz × the Million Song Dataset.

Stages, each of which is kept: Amazon's albums and MusicBrainz' releases as numbered parts, the index, the matches of
each part.  Another threshold repeats none of them.
"""

import json
import os
import shutil
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mumu_jax.data.matching import amazon, musicbrainz
from mumu_jax.data.matching.amazon import Product, encoded, id_of
from mumu_jax.data.matching.funnel import Funnel, agreement
from mumu_jax.data.matching.index import Entry, build_index
from mumu_jax.data.matching.match import GROUPS, Match, Task, match_part
from mumu_jax.data.matching.msd import Tracks, read_mapping, read_songs
from mumu_jax.data.matching.musicbrainz import KINDS, Release
from mumu_jax.data.matching.parts import counts_of, parts_of, read_parts, write_parts
from mumu_jax.data.matching.release import (
    choose_editions,
    choose_genres,
    find_tracks,
    write_files,
    write_matches,
    write_records,
)
from mumu_jax.data.matching.scoring import THRESHOLD, import_fuzz
from mumu_jax.data.sources.finding import Finding, stop_at_errors
from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.amazon import REVIEW_KEYS, read_records
from mumu_jax.data.sources.mumu.release import REVIEWS
from mumu_jax.data.store.beam import ForEach
from mumu_jax.errors import UserError
from mumu_jax.system.files import only_one, replacing, write_json
from mumu_jax.system.lines import print_remark
from mumu_jax.system.terminal import progress_bar
from mumu_jax.system.workers import map_in_order

WORK, MATCHES, FUNNEL, REJECTED = "work", "matches.jsonl", "funnel.json", "rejected.jsonl"
INPUTS, READY = "inputs.json", "index.json"  # what `work` was made of; an index that is whole
ALBUMS_A_PART, RELEASES_A_PART = 5_000, 100_000
LIMIT_S = 3600.0  # longer than matching a part takes


@dataclass(frozen=True)
class Job:
    """The options of `build`, see its `--help`."""

    amazon: Path
    musicbrainz: Path
    mapping: Path
    out: Path
    msd: Path | None = None
    reviews: Path | None = None
    threshold: float = THRESHOLD
    minimum: int = taxonomy.MIN_ALBUMS
    workers: int = os.cpu_count() or 1
    for_each: ForEach | None = None
    albums_a_part: int = ALBUMS_A_PART
    releases_a_part: int = RELEASES_A_PART

    @property
    def work(self) -> Path:
        return self.out / WORK


def build(job: Job) -> Funnel:
    """Match, choose and write the data set into `job.out`, in the files of MuMu's release; return the counts.

    Beside them are every match with its scores (`matches.jsonl`), the counts (`funnel.json`) and the records of Amazon
    that cannot be read (`rejected.jsonl`).  After a kill the same call goes on.  Raises UserError if RapidFuzz is not
    installed, on inputs that cannot be read or are others than those that `job.out` was begun with, and if nothing is
    left.
    """
    import_fuzz()
    with only_one(job.out, "building"):
        _check_inputs(job)
        tracks_of = read_mapping(job.mapping, read_songs(job.msd) if job.msd else None)
        _read_amazon(job)
        read = partial(musicbrainz.read_releases, job.musicbrainz, tracks_of)
        write_parts(job.work / "musicbrainz", read, job.releases_a_part, "releases")
        _build_index(job.work)
        _match(job)
        return _write(job, tracks_of)


def _check_inputs(job: Job) -> None:
    """Raise UserError if an earlier call read other files."""
    named = {"amazon": job.amazon, "musicbrainz": job.musicbrainz, "mapping": job.mapping, "msd": job.msd}
    inputs = {name: _signature(path) for name, path in named.items() if path is not None}
    path = job.work / INPUTS
    job.work.mkdir(exist_ok=True)
    if not path.exists():
        write_json(path, inputs)
        return
    earlier = json.loads(path.read_bytes())
    for name in dict.fromkeys((*earlier, *inputs)):
        if earlier.get(name) != inputs.get(name):
            raise UserError(
                f"{job.out} was begun with another --{name} than {named[name] or 'none'}; give another --out, "
                f"or remove {job.work} first"
            )


def _signature(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give the path of a file that exists") from error
    return [os.path.abspath(path), 0 if path.is_dir() else status.st_size, 0 if path.is_dir() else status.st_mtime_ns]


# --- reading ------------------------------------------------------------------------------------------------


def _read_amazon(job: Job) -> None:
    folder = job.work / "amazon"
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        stop_at_errors(finding)
        findings.append(finding)

    def read(skip: int) -> Iterator[Product | None]:
        products = amazon.read_products(job.amazon, report)
        for _ in zip(range(skip), products, strict=False):
            pass
        return products

    write_parts(folder, read, job.albums_a_part, "Amazon's albums")
    if findings:
        with replacing(job.out / REJECTED) as temporary:
            temporary.write_text("".join(json.dumps(one.rejected_line()) + "\n" for one in findings))
    if not counts_of(folder)[1]:
        shutil.rmtree(folder)
        raise UserError(
            f"expected albums in {job.amazon} whose categories begin with {taxonomy.ROOT!r}, found none; give Amazon's "
            "metadata of CDs & Vinyl"
        )


def _build_index(work: Path) -> None:
    folder = work / "index"
    if (folder / READY).exists():
        return
    _, n_releases = counts_of(work / "musicbrainz")
    if not n_releases:
        shutil.rmtree(work)
        raise UserError("no release of MusicBrainz could be read; give release.tar.xz of its JSON dumps, or mbdump/")
    numbers: dict[str, int] = {}
    kinds: list[int] = []
    with progress_bar(n_releases, "index") as progress:

        def entries() -> Iterator[Entry]:
            for release in read_parts(work / "musicbrainz", Release):
                number = numbers.setdefault(release.group, len(numbers))
                if number == len(kinds):
                    kinds.append(KINDS.index(release.kind) if release.kind in KINDS else len(KINDS))
                yield Entry(number, release.named, (release.title, release.names[0]))
                progress.advance()

        n_rows = build_index(folder, entries())
    np.savez(folder / GROUPS, mbids=np.array([*numbers], "S36"), kinds=np.array(kinds, np.uint8))
    write_json(folder / READY, {"rows": n_rows, "albums": len(numbers)})


# --- matching -----------------------------------------------------------------------------------------------


def _match(job: Job) -> None:
    """Match the parts that have no matches yet, by processes or by `job.for_each`."""
    parts = parts_of(job.work / "amazon")
    tasks = [Task(job.work / "index", part, job.work / "matches" / part.name) for part in parts]
    todo = [task for task in tasks if not task.out.exists()]
    if job.for_each:
        job.for_each(match_part, todo)
    elif todo:
        with progress_bar(len(tasks), "matching", len(tasks) - len(todo)) as progress:
            for _ in map_in_order(match_part, todo, min(job.workers, len(todo)), _died, LIMIT_S):
                progress.advance()
    missing = [task.out for task in tasks if not task.out.exists()]
    if missing:
        raise UserError(
            f"expected {len(tasks)} parts in {job.work / 'matches'}, but {len(missing)} are missing (first: "
            f"{missing[0].name}); all machines must see {job.out} under the same path"
        )


def _died(task: Task) -> None:
    raise UserError(
        f"a process that matched {task.part} died; free some memory or use fewer --workers, then give the same command "
        "again"
    )


# --- choosing and writing -----------------------------------------------------------------------------------


def _write(job: Job, tracks_of: Tracks) -> Funnel:
    """Choose albums, tracks and genres, and write the data set's files."""
    decisions = write_matches(job.out / MATCHES, read_parts(job.work / "matches", Match), job.threshold)
    amazon_of = choose_editions(read_parts(job.work / "matches", Match), job.threshold)
    found = find_tracks(read_parts(job.work / "musicbrainz", Release), amazon_of, tracks_of)
    albums = dict(found.albums)
    paths_of = {one.amazon_id: one.paths for one in read_parts(job.work / "amazon", Product) if one.amazon_id in albums}
    labels = choose_genres(albums, paths_of, job.minimum)
    if not albums:
        raise UserError(
            f"no album is left: of {sum(decisions.values()):,} of Amazon {decisions['matched']:,} are matched, and "
            f"{len(found.albums):,} different ones have tracks of the MSD; see {job.out / MATCHES}"
        )
    splits = write_files(job.out, albums, labels, job.work / "amazon")
    n_reviews = _write_reviews(job, albums) if job.reviews else None
    genres = {genre for paths in paths_of.values() for genre in taxonomy.genres_of(paths)}
    n_songs = [len(one.tracks) for one in albums.values()]
    n_labels = [len(one.genres) for one in albums.values()]
    n_lines, n_releases = counts_of(job.work / "musicbrainz")
    funnel = Funnel(
        decisions=dict(decisions),
        lines=n_lines,
        releases=n_releases,
        groups=len(amazon_of),
        recordings=found.n_recordings,
        tracks=found.n_tracks,
        tracks_of_one_album=found.n_of_one_album,
        albums_with_tracks=len(found.albums),
        genres=len(genres),
        labels=len(labels),
        albums=len(albums),
        songs=sum(n_songs),
        labels_a_song=sum(map(mul, n_songs, n_labels)) / sum(n_songs),
        reviews=n_reviews,
        splits=splits,
        asins=agreement(read_parts(job.work / "matches", Match), found.asins, job.threshold),
    )
    write_json(job.out / FUNNEL, msgspec.to_builtins(funnel) | {"threshold": job.threshold})
    return funnel


def _write_reviews(job: Job, albums: Container[str]) -> int:
    """Write the reviews of the data set's albums, and return their number; say how many records cannot be read."""
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        stop_at_errors(finding)
        findings.append(finding)

    def reviews(path: Path) -> Iterator[bytes]:
        for _, key, review in read_records(path, REVIEW_KEYS, report):
            if isinstance(review, dict) and (amazon_id := key or id_of(review)) in albums:
                yield encoded({"amazon_id": amazon_id, **review})

    assert job.reviews is not None
    n_reviews = write_records(job.out / REVIEWS, reviews(job.reviews))
    if findings:
        print_remark(f"warning: {len(findings):,} reviews cannot be read and are left out, the first: {findings[0]}")
    return n_reviews
