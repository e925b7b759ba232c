"""`python -m mumu_jax.prepare`: any source → manifest, labels and prepared audio in one folder."""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.atomic import only_one, replacing
from mumu_jax.cli import positive, run_command
from mumu_jax.config import AudioSettings, validate
from mumu_jax.data import description, shards, store
from mumu_jax.data.beam import ForEach, for_each_under
from mumu_jax.data.manifest import Album, read_manifest, write_labels, write_manifest
from mumu_jax.data.sources import LAYOUTS, read_source
from mumu_jax.data.sources.request import Request
from mumu_jax.errors import UserError

MANIFEST, LABELS = "manifest.jsonl", "labels.json"
REJECTED, MISSING = "rejected.jsonl", "missing.jsonl"
CORES = os.cpu_count() or 1
GENRES_SHOWN = 8
MAX_BAD = 0.05
BAD_FILES_ALLOWED = 3  # however few files there are
TOO_MANY_BAD = 3  # exit status


@dataclass(frozen=True)
class Summary:
    """What `prepare` did: `splits` as in `prepared.json`, albums by genre, rejections by reason, files read now."""

    data_dir: Path
    splits: dict[str, dict[str, Any]]
    genres: dict[str, int]
    rejected: dict[str, int]
    n_new: int
    seconds: float
    max_bad: float

    @property
    def n_bad(self) -> int:
        return sum(self.rejected.values())

    @property
    def n_present(self) -> int:
        return self.n_bad + sum(split["tracks"] for split in self.splits.values())

    @property
    def too_many_bad(self) -> bool:
        return self.n_bad > max(BAD_FILES_ALLOWED, self.max_bad * self.n_present)

    def __str__(self) -> str:
        columns = ("albums", "tracks", "silent", "missing", "rejected")
        lines = ["split  " + "".join(f"{column:>10}" for column in columns) + f"{'hours':>10}"]
        for name, split in self.splits.items():
            counts = "".join(f"{split[column]:>10,}" for column in columns)
            lines.append(f"{name:<7}{counts}{split['seconds'] / 3600:>10.2f}")
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.rejected.items()))
        if reasons:
            lines.append(f"rejected: {reasons}; each is listed in {self.data_dir / REJECTED}")
        if any(split["missing"] for split in self.splits.values()):
            lines.append(f"missing files are listed in {self.data_dir / MISSING}")
        shown = sorted(self.genres.items(), key=lambda item: (-item[1], item[0]))[:GENRES_SHOWN]
        more = ", …" if len(self.genres) > GENRES_SHOWN else ""
        lines.append(f"{len(self.genres)} genres, by albums: {', '.join(f'{g} {n:,}' for g, n in shown)}{more}")
        done = f"{self.n_new:,} files read" if self.n_new else "nothing to do: all was prepared before"
        lines.append(f"{done}, in {self.seconds:.0f} s; the data lies in {self.data_dir}")
        return "\n".join(lines)


def prepare(
    source: str,
    input: Path | None,
    data_dir: Path,
    workers: int = CORES,
    max_bad: float = MAX_BAD,
    settings: AudioSettings | None = None,
    shard_tracks: int = shards.SHARD_TRACKS,
    for_each: ForEach | None = None,
) -> Summary:
    """Read a source and write `manifest.jsonl`, `labels.json`, `audio/` and two lists of files into `data_dir`.

    Goes on where a killed call stopped; does again only what other albums or files change.  Audio files that are
    damaged or missing are left out and listed in `rejected.jsonl` and `missing.jsonl`.  The tracks are decoded in
    `workers` processes, or where `for_each` calls them (`data/beam.py`); the shards are the same.  Raises UserError
    on a source that cannot be read, settings that no filters fit, a folder that cannot be written or holds other
    data, and where no track could be prepared.
    """
    start = time.monotonic()
    settings = settings or AudioSettings()
    try:
        with only_one(data_dir, "preparing"):
            found = read_source(source, input, Request(data_dir, workers))
            albums, labels = found.albums, found.labels
            _check_not_other_data(data_dir, albums, settings)
            folder = data_dir / store.FOLDER
            planned = shards.plan(albums, labels, shard_tracks)
            sidecars, n_new = shards.write(folder, planned, settings, workers, for_each)
            # Only now, when no older shards lie beside them.
            write_manifest(data_dir / MANIFEST, albums)
            write_labels(data_dir / LABELS, labels)
            rejected = [line for sidecar in sidecars for line in sidecar.rejected]
            _write_lines(data_dir / REJECTED, rejected)
            missing = _missing_lines(planned, sidecars)
            _write_lines(data_dir / MISSING, missing)
            if not any(sidecar.records for sidecar in sidecars):
                raise UserError(_nothing_prepared(data_dir, missing, rejected))
            splits = description.finish(folder, planned, sidecars, labels, settings)["splits"]
    except OSError as error:
        raise UserError(f"cannot write {error.filename or data_dir}: {error.strerror or error}") from error
    reasons = dict(Counter(line["reason"] for line in rejected))
    genres = Counter(genre for album in albums for genre in album.genres)
    return Summary(data_dir, splits, dict(genres), reasons, n_new, time.monotonic() - start, max_bad)


def _check_not_other_data(data_dir: Path, albums: Sequence[Album], settings: AudioSettings) -> None:
    """A mistyped --input, --data_dir or setting must not replace hours of decoding."""
    found: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # nothing finished is there, or it is damaged: that may be replaced
        found = store.read_description(data_dir / store.FOLDER)["settings"]
    for name, value in dataclasses.asdict(settings).items():
        if not name.startswith("patch_") and found.get(name, value) != value:
            raise UserError(
                f"{data_dir} was prepared with audio.{name}={found[name]!r}, not {value!r}; "
                f"give another --data_dir, or remove {data_dir} first"
            )
    path = data_dir / MANIFEST
    there = {album.album_id for album in read_manifest(path)} if path.exists() else set()
    if there and there.isdisjoint(album.album_id for album in albums):
        raise UserError(
            f"{data_dir} holds other data: none of its {len(there)} albums is in this source; "
            f"give another --data_dir, or remove {data_dir} first"
        )


def _missing_lines(planned: Sequence[shards.Shard], sidecars: Sequence[shards.Sidecar]) -> list[dict[str, str]]:
    missing = {track_id for sidecar in sidecars for track_id in sidecar.missing}
    return [
        {"album_id": row.album_id, "track_id": row.track_id, "audio": str(row.path)}
        for shard in planned
        for row in shard.rows
        if row.track_id in missing
    ]


def _write_lines(path: Path, lines: Sequence[dict[str, str]]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _nothing_prepared(data_dir: Path, missing: Sequence[dict[str, str]], rejected: Sequence[dict[str, str]]) -> str:
    if not rejected:
        where = f", the first {missing[0]['audio']}; correct the paths in --input" if missing else ""
        return f"no track was prepared: none of the {len(missing)} audio files is there{where}"
    first = rejected[0]
    return (
        f"no track was prepared: {len(missing)} audio files are missing and {len(rejected)} were rejected, the first "
        f"{first['audio']} ({first['reason']}: {first['detail']}); see {data_dir / REJECTED}"
    )


def main(argv: Sequence[str]) -> int:
    """Prepare a source and print the summary."""
    options = _parse(argv)
    settings = AudioSettings(**{f.name: getattr(options, f"audio.{f.name}") for f in dataclasses.fields(AudioSettings)})
    validate(settings, "audio")
    if options.beam_options and options.beam_runner is None:
        raise UserError(f"--beam_options={options.beam_options} without --beam_runner; name the runner too")
    for_each = for_each_under(options.beam_runner, shlex.split(options.beam_options)) if options.beam_runner else None
    summary = prepare(
        *(options.source, options.input, options.data_dir, options.workers, options.max_bad, settings),
        for_each=for_each,
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


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mumu_jax.prepare",
        description="Decode a collection into log-CQTs for training.  A killed call goes on where it stopped.",
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
    for field in dataclasses.fields(AudioSettings):
        kind = type(field.default)
        parser.add_argument(f"--audio.{field.name}", type=kind, default=field.default, help=f"({field.default:g})")
    return parser.parse_args(argv)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return value


if __name__ == "__main__":
    run_command(main)
