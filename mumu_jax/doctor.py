"""`python -m mumu_jax.doctor`: check MuMu or a public data set before training, or count what prepared data holds."""

import argparse
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from rich.table import Table

from mumu_jax.data.manifest import read_labels, read_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.preparation import census, duplicates, public
from mumu_jax.data.preparation.diagnosis import Coverage, Diagnosis, diagnose
from mumu_jax.data.preparation.duplicates import DUPLICATES
from mumu_jax.data.preparation.job import LABELS, MANIFEST
from mumu_jax.data.sources import SOURCES, check_options, mumu
from mumu_jax.data.sources.base import Request
from mumu_jax.data.sources.finding import SEVERITIES
from mumu_jax.data.store import records
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_line, print_lines, printable
from mumu_jax.system.terminal import run_command, wide_console

OWNED = mumu.SOURCE.folders
KNOWN = [name for name, source in SOURCES.items() if source.dataset or source is mumu.SOURCE]
TOP = 10  # labels shown from either end, as in the paper's Table 1


def main(argv: Sequence[str]) -> int:
    """Print the findings in a data set's folder, or what prepared data holds; return 1 if training cannot start."""
    options = _parse(argv)
    if options.statistics:
        print_statistics(statistics(options.statistics))
        for note in duplicates.notes_of(duplicates.read_lines(options.statistics), options.statistics / DUPLICATES):
            print_lines(f"\n{note}")
        return 0
    path = options.input or options.mumu
    if (path / MANIFEST).is_file():
        print_prepared(path)
        return 0
    named = {name: getattr(options, f"{name}_dir") for name in OWNED}
    folders = {name: folder for name, folder in named.items() if folder is not None}
    source = SOURCES[options.source]
    check_options(source, Request(path, folders=folders, subset=options.subset, fold=options.fold))
    if source.dataset:
        choice = source.dataset.choose(options.subset, options.fold)
        diagnosis = public.diagnose(source, source.dataset, path, choice, folders)
    else:
        diagnosis = diagnose(path, folders)
    print_diagnosis(diagnosis)
    return 0 if diagnosis.can_start else 1


def print_prepared(data_dir: Path) -> None:
    """Print what a folder of prepared data holds, and the command that comes next."""
    print_line(f"{data_dir} is not MuMu as it was released but prepared data:")
    print_line()
    print_statistics(statistics(data_dir))
    names = [name for name in MODALITIES if (data_dir / name / records.DESCRIPTION).exists()]
    if names:
        experiment = f"--config=NAME with an experiment of {', '.join(names)}; --list shows them"
        print_line(f"next: python -m mumu_jax.train --data_dir={data_dir} {experiment}")
    else:
        print_line("next: call mumu_jax.prepare again, which has not finished")


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print a paragraph for each finding, then a line for each modality."""
    console = wide_console(100)
    for finding in diagnosis.findings:
        print_line(f"{finding.severity:8} {finding.where}")  # not wrapped: it is to be copied
        for name in ("expected", "found", "remedy"):
            text = f"  {name:9}{printable(getattr(finding, name))}"
            print_lines(textwrap.fill(text, console.width, subsequent_indent=" " * 11, break_long_words=False))
        print_line()
    if diagnosis.coverage:
        console.print(_coverage(diagnosis.coverage))
    counts = Counter(finding.severity for finding in diagnosis.findings)
    print_line(", ".join(f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}" for severity in SEVERITIES))
    names = ", ".join(row.modality for row in diagnosis.coverage if row.can_start)
    print_line(f"training can start with: {names}" if diagnosis.can_start else "training cannot start")


def _coverage(coverage: Sequence[Coverage]) -> Table:
    rows = []
    for row in coverage:
        share = f"{100 * row.n / row.n_all:.1f}" if row.n_all else "–"
        start = "yes" if row.can_start else "no"
        rows.append((row.modality, row.unit, f"{row.n:,}", f"{row.n_all:,}", share, start, row.remark))
    return _table("Coverage", ("modality", "of", "found", "all", "%", "training can start", ""), "llrrrll", rows)


def _table(title: str, columns: Sequence[str], justify: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return a table whose columns are justified by a letter each: l for left, r for right."""
    table = Table(title=title, title_justify="left")
    for name, letter in zip(columns, justify, strict=True):
        table.add_column(name, justify="left" if letter == "l" else "right")
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def statistics(data_dir: Path) -> census.Census:
    """Return the census of prepared data.  Raises UserError if there is none."""
    if not data_dir.is_dir():
        raise UserError(f"expected a folder of prepared data, found none at {data_dir}; correct the path")
    albums = read_manifest(data_dir / MANIFEST)
    if not albums:
        raise UserError(f"{data_dir / MANIFEST}: expected albums, found none; prepare the data again")
    return census.take(albums, read_labels(data_dir / LABELS), _prepared(data_dir))


def _prepared(data_dir: Path) -> dict[str, set[str]]:
    """Return the albums that have a record, by modality that is prepared."""
    album_ids = {}
    for name, modality in MODALITIES.items():
        folder = data_dir / name
        if (folder / records.DESCRIPTION).exists():
            description = records.read_description(folder)
            shards = [shard for split in description.splits for shard in description.shards(split)]
            album_ids[name] = set(records.ShardRecords(folder, shards, modality, description.settings).album_ids)
    return album_ids


def print_statistics(statistics: census.Census) -> None:
    """Print the paper's Table 1, then the contents of each split."""
    console = wide_console(100)
    ranked = list(statistics.albums_by_label.items())
    n_albums = statistics.n_albums
    console.print(_frequencies(ranked[:TOP], ranked[TOP:][-TOP:], n_albums))
    print_line(
        f"{len(ranked):,} labels; labels per album: mean {statistics.labels_mean:.2f}, "
        f"standard deviation {statistics.labels_sd:.2f}"
    )
    print_line()
    console.print(_contents(statistics.contents))


def _frequencies(most: Sequence[tuple[str, int]], least: Sequence[tuple[str, int]], n_albums: int) -> Table:
    def cells(ranked: Sequence[tuple[str, int]]) -> list[tuple[str, ...]]:
        return [(name, f"{count:,}", f"{100 * count / n_albums:.2f}") for name, count in ranked]

    rows = [left + right for left, right in zip_longest(cells(most), cells(least), fillvalue=())]
    n = 2 if least else 1
    return _table("Most and least frequent labels", ("label", "albums", "% of albums") * n, "lrr" * n, rows)


def _contents(contents: dict[str, census.Contents]) -> Table:
    columns = list(contents[census.ALL])
    rows = [
        (split, *("–" if count is None else f"{count:,}" for count in counts.values()))
        for split, counts in contents.items()
    ]
    title = "Albums, tracks and reviews, and the albums that have …"
    return _table(title, ["split", *columns], "l" + "r" * len(columns), rows)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.doctor", description=__doc__, allow_abbrev=False)
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        "mumu",
        type=Path,
        nargs="?",
        metavar="MUMU",
        help="the folder of MuMu's released files, or one of the two CSV files in it; or prepared data",
    )
    subject.add_argument("--input", type=Path, metavar="PATH", help="the same, or the folder of --source")
    subject.add_argument("--statistics", type=Path, metavar="OUT", help="prepared data, to be counted instead")
    parser.add_argument("--source", choices=KNOWN, default=mumu.SOURCE.name, help="the data set (mumu)", metavar="NAME")
    parser.add_argument("--subset", metavar="NAME", help="the part of a public data set, see mumu_jax.prepare --help")
    parser.add_argument("--fold", type=int, metavar="N", help="the number of its division into splits (0)")
    parser.add_argument("--audio_dir", type=Path, help="the owner's audio, named as the data set names it")
    parser.add_argument("--covers_dir", type=Path, help="the owner's covers, likewise")
    parser.add_argument("--msd_dir", type=Path, help="the Million Song Dataset's .h5 files")
    options = parser.parse_args(argv)
    others = [*(f"{name}_dir" for name in OWNED), "subset", "fold"]
    if options.statistics and any(getattr(options, name) is not None for name in others):
        parser.error("--statistics counts prepared data, which needs no other folder and no part: leave it out")
    return options


if __name__ == "__main__":
    run_command(main)
