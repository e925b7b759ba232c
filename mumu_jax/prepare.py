"""`python -m mumu_jax.prepare`: any source → manifest, labels and prepared audio in one folder."""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mumu_jax.atomic import only_one, replacing
from mumu_jax.cli import positive, run_command
from mumu_jax.config import validate
from mumu_jax.data import description, shards, store
from mumu_jax.data.beam import ForEach, for_each_under
from mumu_jax.data.entities.gazetteer import read_gazetteer
from mumu_jax.data.manifest import Album, read_manifest, write_labels, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.text import GAZETTEER
from mumu_jax.data.modality import Modality
from mumu_jax.data.sources import LAYOUTS, read_source
from mumu_jax.data.sources.files import files_below
from mumu_jax.data.sources.request import Collection, Request
from mumu_jax.errors import UserError

MANIFEST, LABELS = "manifest.jsonl", "labels.json"
REJECTED, MISSING = "rejected.jsonl", "missing.jsonl"
CORES = os.cpu_count() or 1
GENRES_SHOWN = 8
MAX_BAD = 0.05
BAD_FILES_ALLOWED = 3  # however few files there are
TOO_MANY_BAD = 3  # exit status
FOLDERS = ("audio", "covers", "msd", "entities")  # what a user may name beside the input

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

    def settings_of(self, modality: Modality) -> Any:
        return self.settings.get(modality.name) or modality.settings()


@dataclass(frozen=True)
class Summary:
    """What `prepare` did: each modality's `splits` as in `prepared.json`, albums by genre, rejections by reason."""

    data_dir: Path
    splits: dict[str, dict[str, dict[str, Any]]]
    genres: dict[str, int]
    rejected: dict[str, int]
    n_new: int
    seconds: float
    max_bad: float
    notes: Sequence[str] = ()

    @property
    def n_bad(self) -> int:
        return sum(self.rejected.values())

    @property
    def n_present(self) -> int:
        return self.n_bad + sum(split["records"] for splits in self.splits.values() for split in splits.values())

    @property
    def too_many_bad(self) -> bool:
        return self.n_bad > max(BAD_FILES_ALLOWED, self.max_bad * self.n_present)

    def __str__(self) -> str:
        lines = [line for name, splits in self.splits.items() for line in _table(MODALITIES[name], splits)]
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(self.rejected.items()))
        if reasons:
            lines.append(f"rejected: {reasons}; each is listed in {self.data_dir / REJECTED}")
        if any(split["missing"] for splits in self.splits.values() for split in splits.values()):
            lines.append(f"what is missing is listed in {self.data_dir / MISSING}")
        shown = sorted(self.genres.items(), key=lambda item: (-item[1], item[0]))[:GENRES_SHOWN]
        more = ", …" if len(self.genres) > GENRES_SHOWN else ""
        lines.append(f"{len(self.genres)} genres, by albums: {', '.join(f'{g} {n:,}' for g, n in shown)}{more}")
        lines += self.notes
        done = f"{self.n_new:,} items read" if self.n_new else "nothing to do: all was prepared before"
        lines.append(f"{done}, in {self.seconds:.0f} s; the data lies in {self.data_dir}")
        return "\n".join(lines)


def _table(modality: Modality, splits: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A modality's counts, a line a split."""
    columns = ["albums", *(["records"] if modality.item == "track" else []), "missing", "rejected", *modality.counts]
    titles = ({"records": modality.unit, "seconds": "hours"}.get(column, column) for column in columns)
    yield f"{modality.name:<8}" + "".join(f"{title:>10}" for title in titles)
    for name, split in splits.items():
        cells = (f"{split[c] / 3600:.2f}" if c == "seconds" else f"{split[c]:,.0f}" for c in columns)
        yield f"  {name:<6}" + "".join(f"{cell:>10}" for cell in cells)


def prepare(job: Job) -> Summary:
    """Read a source and write `manifest.jsonl`, `labels.json`, a folder a modality and two lists into `job.data_dir`.

    Goes on where a killed call stopped; does again only what other albums or files change.  What is damaged or missing
    is left out and listed in `rejected.jsonl` and `missing.jsonl`.  Items are read in `job.workers` processes, or where
    `job.for_each` calls them (`data/beam.py`); the shards are the same.  Raises UserError on a source that cannot be
    read, settings that do not fit, a folder that cannot be written or holds other data, and where nothing could be
    prepared.
    """
    start = time.monotonic()
    data_dir = job.data_dir
    try:
        with only_one(data_dir, "preparing"):
            settings = job.settings_of(MODALITIES["text"])
            request = Request(data_dir, job.workers, settings.max_chars, job.folders)
            found = read_source(job.source, job.input, request)
            found = dataclasses.replace(found, albums=with_entities(found.albums, job.folders.get("entities")))
            _check_not_other_data(job, found.albums)
            _keep_gazetteer(job.gazetteer or found.gazetteer, data_dir / "text")
            # The slow one, which is the first, comes last: what is wrong with the others is said before.
            written = [_write_modality(job, MODALITIES[name], found) for name in reversed(job.modalities)][::-1]
            # Only now, when no older shards lie beside them.
            write_manifest(data_dir / MANIFEST, found.albums)
            write_labels(data_dir / LABELS, found.labels)
            rejected = [*found.rejected, *(line for one in written for line in one.rejected)]
            missing = [line for one in written for line in one.missing]
            _write_lines(data_dir / REJECTED, rejected)
            _write_lines(data_dir / MISSING, missing)
            if not any(one.n_records for one in written):
                raise UserError(_nothing_prepared(data_dir, missing, rejected))
            splits = {one.modality.name: one.describe()["splits"] for one in written if one.is_there}
    except OSError as error:
        raise UserError(f"cannot write {error.filename or data_dir}: {error.strerror or error}") from error
    reasons = dict(Counter(str(line["reason"]) for line in rejected))
    genres = dict(Counter(genre for album in found.albums for genre in album.genres))
    n_new = sum(one.n_new for one in written)
    return Summary(data_dir, splits, genres, reasons, n_new, time.monotonic() - start, job.max_bad, found.notes)


@dataclass(frozen=True)
class _Written:
    """A modality whose shards are all there."""

    modality: Modality
    planned: Sequence[shards.Shard]
    sidecars: Sequence[shards.Sidecar]
    n_new: int
    describe: Callable[[], dict[str, Any]]

    @property
    def is_there(self) -> bool:
        """Whether the source names any of it: then what is missing is told."""
        return any(row.input is not None for shard in self.planned for row in shard.rows)

    @property
    def n_records(self) -> int:
        return sum(sidecar.records for sidecar in self.sidecars)

    @property
    def rejected(self) -> list[Line]:
        return [line for sidecar in self.sidecars for line in sidecar.rejected]

    @property
    def missing(self) -> list[Line]:
        if not self.is_there:
            return []
        missing = {item_id for sidecar in self.sidecars for item_id in sidecar.missing}
        rows = (row for shard in self.planned for row in shard.rows if row.item_id in missing)
        return [shards.row_line(row, self.modality) for row in rows]


def _write_modality(job: Job, modality: Modality, found: Collection) -> _Written:
    """The modality's shards; of one that the source does not have, what lies there is removed."""
    folder, settings = job.data_dir / modality.name, job.settings_of(modality)
    planned = shards.plan(found.albums, found.labels, modality, folder, job.shard_records)
    if not any(row.input is not None for shard in planned for row in shard.rows):
        shards.remove(folder)
        return _Written(modality, (), (), 0, dict)
    workers = min(job.workers, modality.most_workers or job.workers)
    sidecars, n_new = shards.write(folder, planned, modality, settings, workers, job.for_each)

    def describe() -> dict[str, Any]:
        return description.finish(folder, planned, sidecars, found.labels, modality, settings)

    return _Written(modality, planned, sidecars, n_new, describe)


def with_entities(albums: Sequence[Album], folder: Path | None) -> list[Album]:
    """The albums, each with the entity linker's output `folder`/ALBUM_ID.json where there is one."""
    if folder is None:
        return list(albums)
    if not folder.is_dir():
        raise UserError(f"--entities_dir={folder} is no folder; give the one with ALBUM_ID.json files")
    there = {path.stem: path for path in files_below(folder) if path.suffix.lower() == ".json"}
    return [dataclasses.replace(a, entities=there.get(a.album_id, a.entities)) for a in albums]


def _keep_gazetteer(gazetteer: Path | None, folder: Path) -> None:
    """A copy with the prepared text, for runs to take along; none where none is given."""
    kept = folder / GAZETTEER
    if gazetteer is None:
        kept.unlink(missing_ok=True)
        return
    next(read_gazetteer(gazetteer), None)  # raises UserError on another file
    if not kept.exists() or kept.read_bytes() != gazetteer.read_bytes():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as path:
            shutil.copyfile(gazetteer, path)


def _check_not_other_data(job: Job, albums: Sequence[Album]) -> None:
    """A mistyped --input, --data_dir or setting must not replace hours of decoding."""
    data_dir = job.data_dir
    for modality in map(MODALITIES.__getitem__, job.modalities):
        found: dict[str, Any] = {}
        with contextlib.suppress(UserError):  # nothing finished is there, or it is damaged: that may be replaced
            found = store.read_description(data_dir / modality.name)["settings"]
        for name, value in dataclasses.asdict(job.settings_of(modality)).items():
            if name not in modality.later_settings and found.get(name, value) != value:
                raise UserError(
                    f"{data_dir} was prepared with {modality.name}.{name}={found[name]!r}, not {value!r}; "
                    f"give another --data_dir, or remove {data_dir} first"
                )
    path = data_dir / MANIFEST
    there = {album.album_id for album in read_manifest(path)} if path.exists() else set()
    if there and there.isdisjoint(album.album_id for album in albums):
        raise UserError(
            f"{data_dir} holds other data: none of its {len(there)} albums is in this source; "
            f"give another --data_dir, or remove {data_dir} first"
        )


def _write_lines(path: Path, lines: Sequence[Line]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _nothing_prepared(data_dir: Path, missing: Sequence[Line], rejected: Sequence[Line]) -> str:
    if not rejected:
        first = next((line for line in missing if line.get("audio")), None)
        where = f", the first {first['audio']}; correct the paths in --input" if first else ""
        return f"nothing was prepared: none of the {len(missing)} files and texts is there{where}"
    *ids, reason, detail = rejected[0].values()
    return (
        f"nothing was prepared: {len(missing)} files and texts are missing and {len(rejected)} were rejected, "
        f"the first {ids[-1]} ({reason}: {detail}); see {data_dir / REJECTED}"
    )


def main(argv: Sequence[str]) -> int:
    """Prepare a source and print the summary."""
    options = _parse(argv)
    if options.beam_options and options.beam_runner is None:
        raise UserError(f"--beam_options={options.beam_options} without --beam_runner; name the runner too")
    for_each = for_each_under(options.beam_runner, shlex.split(options.beam_options)) if options.beam_runner else None
    folders = {name: getattr(options, f"{name}_dir") for name in FOLDERS}
    summary = prepare(
        Job(
            *(options.source, options.input, options.data_dir, options.workers, options.max_bad, options.modalities),
            settings={name: _settings(modality, options) for name, modality in MODALITIES.items()},
            folders={name: folder for name, folder in folders.items() if folder is not None},
            gazetteer=options.gazetteer,
            for_each=for_each,
        )
    )
    print(summary)
    if summary.too_many_bad:
        share = summary.n_bad / summary.n_present
        print(
            f"error: {summary.n_bad} of {summary.n_present} files are damaged ({share:.0%}, above "
            f"--max_bad={summary.max_bad:g}); the rest is prepared and can be used",
            file=sys.stderr,
        )
        return TOO_MANY_BAD
    return 0


def _settings(modality: Modality, options: argparse.Namespace) -> Any:
    names = [f.name for f in dataclasses.fields(modality.settings)]
    settings = modality.settings(**{name: getattr(options, f"{modality.name}.{name}") for name in names})
    validate(settings, modality.name)
    return settings


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mumu_jax.prepare",
        description="Turn a collection into data to train on.  A killed call goes on where it stopped.",
        epilog="sources:\n"
        + "\n".join(f"  {name:<10} --input is {layout}" for name, layout in LAYOUTS.items())
        + "\n\nexit status: 0 done, 2 wrong input, 3 done but too many files are damaged, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, metavar="NAME", help=f"one of {', '.join(LAYOUTS)}")
    parser.add_argument("--input", type=Path, metavar="PATH", help="what the source reads, see below")
    parser.add_argument("--data_dir", type=Path, required=True, metavar="OUT", help="where all is written")
    parser.add_argument("--workers", type=positive, default=CORES, metavar="N", help="processes (all cores)")
    parser.add_argument(
        "--max_bad",
        type=_share,
        default=MAX_BAD,
        metavar="SHARE",
        help=f"exit with status {TOO_MANY_BAD} if more than this share of the files that are there, and more than "
        f"{BAD_FILES_ALLOWED} files, are damaged ({MAX_BAD:g})",
    )
    parser.add_argument(
        "--beam_runner",
        metavar="NAME",
        help="decode under Apache Beam, such as DirectRunner or SparkRunner; --data_dir and the audio must lie under "
        "the same paths on all its machines",
    )
    parser.add_argument(
        "--beam_options",
        default="",
        metavar="OPTIONS",
        help='Beam\'s own, in one argument: --beam_options="--direct_num_workers=8 --direct_running_mode=…"',
    )
    parser.add_argument(
        "--modalities",
        type=_modalities,
        default=tuple(MODALITIES),
        metavar="A,B",
        help=f"what to prepare; by default all that the source has of {', '.join(MODALITIES)}",
    )
    parser.add_argument("--gazetteer", type=Path, metavar="FILE", help="scripts/build_gazetteer.py's: links entities")
    parser.add_argument("--entities_dir", type=Path, metavar="DIR", help="ALBUM_ID.json files of Babelfy or ELVIS")
    for name, what in {"audio": "songs", "covers": "covers", "msd": "the MSD's .h5 files"}.items():
        parser.add_argument(f"--{name}_dir", type=Path, metavar="DIR", help=f"where {what} lie (--source=mumu)")
    for modality in MODALITIES.values():
        for one in dataclasses.fields(modality.settings):
            kind, default = type(one.default), one.default
            parser.add_argument(f"--{modality.name}.{one.name}", type=kind, default=default, help=f"({default:g})")
    return parser.parse_args(argv)


def _modalities(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in MODALITIES:
            raise argparse.ArgumentTypeError(f"no modality {name!r}; choose among {', '.join(MODALITIES)}")
    return names


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return value


if __name__ == "__main__":
    run_command(main)
