"""`python -m mumu_jax.doctor`: what a MuMu folder lacks for training, or what prepared data holds."""

import argparse
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mumu_jax.data.manifest import read_labels, read_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.preparation import census
from mumu_jax.data.preparation.diagnosis import Coverage, Diagnosis, diagnose
from mumu_jax.data.preparation.diagnosis.fault import SEVERITIES
from mumu_jax.data.preparation.job import LABELS, MANIFEST
from mumu_jax.data.store import records
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import run_command

OWNED = ("audio", "covers", "msd")
TOP = 10  # labels shown from either end, as in the paper's Table 1


def main(argv: Sequence[str]) -> int:
    """Say what is wrong with a MuMu folder, or what prepared data holds; 1 if training cannot start."""
    options = _parse(argv)
    if options.statistics:
        print_statistics(statistics(options.statistics))
        return 0
    folders = {name: getattr(options, f"{name}_dir") for name in OWNED}
    found = diagnose(options.mumu, {name: folder for name, folder in folders.items() if folder is not None})
    print_diagnosis(found)
    return 0 if found.can_start else 1


def print_diagnosis(found: Diagnosis) -> None:
    """A paragraph a fault, then a line a modality."""
    console = _console()
    for fault in found.faults:
        print(f"{fault.severity:8} {_printable(str(fault.path))}")  # not wrapped: it is to be copied
        for name in ("expected", "found", "remedy"):
            text = f"  {name:9}{_printable(getattr(fault, name))}"
            print(textwrap.fill(text, console.width, subsequent_indent=" " * 11, break_long_words=False))
        print()
    if found.coverage:
        console.print(_coverage(found.coverage))
    counts = Counter(fault.severity for fault in found.faults)
    print(", ".join(f"{counts[severity]} {severity}{'s' * (counts[severity] != 1)}" for severity in SEVERITIES))
    names = ", ".join(one.modality for one in found.coverage if one.can_start)
    print(f"training can start with: {names}" if found.can_start else "training cannot start")


def _printable(text: str) -> str:
    """Names of files and genres may be no Unicode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _coverage(coverage: Sequence[Coverage]) -> Table:
    table = Table(title="What there is", title_justify="left")
    for column in ("modality", "of", "there", "all", "%"):
        table.add_column(column, justify="left" if column in ("modality", "of") else "right")
    table.add_column("training can start")
    table.add_column("")
    for one in coverage:
        share = f"{100 * one.n / one.n_all:.1f}" if one.n_all else "–"
        start = "yes" if one.can_start else "no"
        table.add_row(one.modality, one.unit, f"{one.n:,}", f"{one.n_all:,}", share, start, one.remark)
    return table


def statistics(data_dir: Path) -> census.Census:
    """The census of prepared data.  Raises UserError where there is none."""
    if not data_dir.is_dir():
        raise UserError(f"expected a folder of prepared data, found none at {data_dir}; correct the path")
    albums = read_manifest(data_dir / MANIFEST)
    if not albums:
        raise UserError(f"{data_dir / MANIFEST}: expected albums, found none; prepare the data again")
    return census.take(albums, read_labels(data_dir / LABELS), _prepared(data_dir))


def _prepared(data_dir: Path) -> dict[str, set[str]]:
    """By modality that is prepared, the albums that have a record."""
    found = {}
    for name, modality in MODALITIES.items():
        folder = data_dir / name
        if (folder / records.DESCRIPTION).exists():
            description = records.read_description(folder)
            shards = [shard for split in description.splits for shard in description.shards(split)]
            found[name] = set(records.ShardRecords(folder, shards, modality, description.settings).album_ids)
    return found


def print_statistics(found: census.Census) -> None:
    """The paper's Table 1, then what each split holds."""
    console = _console()
    ranked = list(found.albums_by_label.items())
    n_albums = found.contents[census.ALL].albums
    console.print(_frequencies(ranked[:TOP], ranked[TOP:][-TOP:], n_albums))
    print(
        f"{len(ranked):,} labels; labels per album: mean {found.labels_mean:.2f}, "
        f"standard deviation {found.labels_sd:.2f}\n"
    )
    console.print(_contents(found.contents))


def _frequencies(most: Sequence[tuple[str, int]], least: Sequence[tuple[str, int]], n_albums: int) -> Table:
    table = Table(title="Most and least frequent labels", title_justify="left")
    for _ in range(2 if least else 1):
        table.add_column("label")
        table.add_column("albums", justify="right")
        table.add_column("% of albums", justify="right")
    for i in range(len(most)):
        cells = [
            (name, f"{count:,}", f"{100 * count / n_albums:.2f}")
            for name, count in (*most[i : i + 1], *least[i : i + 1])
        ]
        table.add_row(*(cell for group in cells for cell in group))
    return table


def _contents(contents: dict[str, census.Contents]) -> Table:
    table = Table(
        title="Albums, tracks and reviews, and the albums that have …",
        title_justify="left",
    )
    table.add_column("split")
    columns = ("albums", "tracks", "reviews", "audio", "text", "timbre", "cover", "entities")
    for column in columns:
        table.add_column(column, justify="right")
    for split, held in contents.items():
        counts = (getattr(held, column) for column in columns)
        table.add_row(split, *("–" if count is None else f"{count:,}" for count in counts))
    return table


def _console() -> Console:
    return Console(width=max(100, Console().width), markup=False, highlight=False)  # genres may be named [so]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.doctor", description=__doc__, allow_abbrev=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "mumu",
        type=Path,
        nargs="?",
        metavar="MUMU",
        help="the folder of MuMu's released files, or one of the two CSV files in it",
    )
    what.add_argument("--statistics", type=Path, metavar="OUT", help="prepared data, to be counted instead")
    parser.add_argument("--audio_dir", type=Path, help="the owner's audio, named by MSD track id")
    parser.add_argument("--covers_dir", type=Path, help="the owner's covers, named by amazon_id")
    parser.add_argument("--msd_dir", type=Path, help="the Million Song Dataset's .h5 files")
    options = parser.parse_args(argv)
    if options.statistics and any(getattr(options, f"{name}_dir") for name in OWNED):
        parser.error("--statistics counts what is prepared, and goes with no folder of the owner's")
    return options


if __name__ == "__main__":
    run_command(main)
