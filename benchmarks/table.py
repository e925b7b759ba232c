"""`python -m benchmarks.table`: print the tables of all results; `--write` puts them into the READMEs.

The newest row of each thing that was measured counts.  `results/table2.csv` was written by `mumu_jax.reproduce` for the
mini dataset.
"""

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import columns, results
from benchmarks.columns import TABLES, WANTED, Column, Row, Table
from benchmarks.options import SIX
from benchmarks.roofline import scaling
from mumu_jax.errors import UserError
from mumu_jax.reports.tables.multiframe import MULTIFRAME
from mumu_jax.reports.tables.output import as_markdown, read_table
from mumu_jax.reports.tables.table2 import TABLE2
from mumu_jax.reports.tables.table2 import Row as PaperRow
from mumu_jax.system.terminal import run_command

HERE = Path(__file__).parent
README, BENCHMARKS, CODE = HERE.parent / "README.md", HERE / "README.md", HERE.parent / "mumu_jax" / "README.md"
CONFIGS = HERE.parent / "configs" / "README.md"
MARK = "†"
NOTE = f"{MARK} from a changed tree: no commit holds the code that was measured, and the row cannot be made again."
UNMEASURED = f"Nothing is measured on an {WANTED} yet."

# The top README's rows: speed with audio, text, covers and of preparation; the paper's A, T and I, and their fusion.
SPEED = (
    {"benchmark": "train_step", "config": "audio_high_4x70", "n_devices": 1},
    {"benchmark": "text_step", "config": "text_vsm"},
    {"benchmark": "train_step", "config": "image_resnet101", "n_devices": 1},
    {"benchmark": "prepare", "mode": "track"},
)
# The promises of mumu_jax/README.md: each with the harm that `benchmarks.promises` does, if any, and its tests.
PROMISES = (
    (
        "a kill at any moment costs minutes at most; the same command ends with the same bytes",
        *("kills", "test_resume test_prepare test_fusion"),
    ),
    (
        "a full, read-only or failing disk ends any command in one line that names the path; with room again, it goes "
        "on",
        *("full disks", "test_disk"),
    ),
    (
        "no changed byte of a run, of prepared data (shards of up to 1 GB in all; ArrayRecord checks larger ones) or "
        "of an export is used",
        *("flipped bytes", "test_flips"),
    ),
    (
        "odd, damaged or mislabelled files cost their own row, with a reason; what passes is finite and of its shape",
        *("odd files", "test_reading test_audio test_containers_av test_images"),
    ),
    (
        "genres written into songs leave the sound unchanged, and are undone byte for byte",
        *(None, "test_song_tags"),
    ),
    ("one new song costs one decode", None, "test_store"),
    (
        "one recording is in one split: the same file is refused, the same bytes or sound are listed",
        *(None, "test_same test_duplicates"),
    ),
    (
        "names are compared normalised, and printed literally on any terminal; results go to the output, bars to the "
        "terminal",
        *(None, "test_names test_terminal test_places"),
    ),
    (
        "data too small to learn from is said to be so, and every network is printed beside a linear baseline",
        *(None, "test_baseline test_census"),
    ),
)
SHOWN = ("audio_high_4x70_cosine", "text_vsm_sem_cosine", "image_resnet101_logistic", "fusion_ati_logistic")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write them into the READMEs")
    write = parser.parse_args(argv).write
    for path, blocks in all_blocks().items():
        if write:
            path.write_text(renewed(path), encoding="utf-8")
        else:
            print("\n\n".join(blocks.values()))
    return 0


def all_blocks() -> dict[Path, dict[str, str]]:
    """Return each README's generated blocks in Markdown, by the marker that they stand behind."""
    rows, paper = results.read(), read_table(TABLE2, results.FOLDER / TABLE2.csv)
    tables, markdown = render(rows), as_markdown(TABLE2, paper).strip()
    return {
        README: {"results": summary(rows, paper)},
        CONFIGS: {"few songs": few_songs(rows)},
        CODE: {"promises": promises(rows)},
        BENCHMARKS: {"commands": commands(), "benchmarks": tables, "table2": markdown, "multiframe": multiframe()},
    }


def multiframe() -> str:
    """Return the multiframe table of the mini dataset of one genre an album."""
    return as_markdown(MULTIFRAME, read_table(MULTIFRAME, results.FOLDER / MULTIFRAME.csv)).strip()


def renewed(path: Path) -> str:
    """Return the README's text with its blocks generated again."""
    text = path.read_text(encoding="utf-8")
    for marker, block in all_blocks()[path].items():
        text = insert(text, marker, block, path)
    return text


def insert(text: str, marker: str, block: str, path: Path) -> str:
    """Return `text` with `block` between <!-- marker --> and <!-- /marker -->, in place of the old one."""
    before, begin, rest = text.partition(f"<!-- {marker} -->")
    _, end, after = rest.partition(f"<!-- /{marker} -->")
    if not begin or not end:
        raise UserError(f"{path} has no <!-- {marker} --> … <!-- /{marker} -->; add the two lines where these belong")
    return f"{before}{begin}\n{block}\n{end}{after}"


def commands() -> str:
    """Return the commands as a list, each with the first line of its docstring."""
    docs = [ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in sorted(HERE.glob("*.py"))]
    lines = [doc.partition("\n")[0] for doc in docs]
    return "\n".join(f"* {line}" for line in lines if line.startswith("`python -m benchmarks"))


def render(rows: list[Row]) -> str:
    """Return all tables in Markdown."""
    rows = with_efficiency(results.latest(rows))
    rows = sorted([*rows, *scaling(rows)], key=_place)
    return "\n\n".join(filter(None, (render_table(table, rows) for table in TABLES)))


def render_table(table: Table, rows: list[Row]) -> str:
    """Return a table below its title; nothing if it has no rows."""
    shown = [row for row in rows if row["benchmark"] == table.benchmark and table.shows(row)]
    if not any(WANTED in row["device"] for row in shown):
        shown += table.wanted
    return f"### {table.title}\n\n{_markdown(table.columns, shown)}" if shown else ""


def with_efficiency(rows: list[Row]) -> list[Row]:
    """Return the rows, those of training steps with their share of perfect scaling from one device.

    Strong scaling compares with the same batch in all, weak scaling with the same batch on each device.
    """
    rates = {_step(row, row["batch_size"]): row["examples_per_s"] for row in rows if row["n_devices"] == 1}

    def efficiency(row: Row, batch_size: int) -> float | None:
        alone = rates.get(_step(row, batch_size))
        return row["examples_per_s"] / alone / row["n_devices"] if alone else None

    def complete(row: Row) -> Row:
        strong = efficiency(row, row["batch_size"])
        weak = efficiency(row, row["batch_size"] // row["n_devices"])
        return {**row, "strong_efficiency": strong, "weak_efficiency": weak}

    return [complete(row) if row["benchmark"] == "train_step" else row for row in rows]


def summary(rows: list[Row], paper: Sequence[PaperRow]) -> str:
    """Return the top README's few rows of speed and of Table 2."""
    speed = _markdown(columns.SUMMARY, [_newest(rows, values) for values in SPEED])
    scores = as_markdown(TABLE2, [row for row in paper if TABLE2.job_of(row) in SHOWN])
    measured = any(WANTED in row["device"] and row["examples_per_s"] for row in rows)
    return "\n\n".join([speed, *([] if measured else [UNMEASURED]), scores.strip()])


def promises(rows: list[Row]) -> str:
    """Return the promises, each with the tries to break it, those that did not, and its tests."""
    newest = {(row["config"], row["mode"]): row for row in rows if row["benchmark"] == "promises"}.values()

    def total(column: str, harm: str | None) -> str:
        numbers = [row[column] for row in newest if row["config"] == harm]
        return columns.grouped(sum(numbers)) if numbers else columns.ABSENT

    lines = ["| promise | harm | tries | survivors | tests |", "| --- | --- | ---: | ---: | --- |"]
    for words, harm, tests in PROMISES:
        files = ", ".join(f"`tests/{test}.py`" for test in tests.split())
        figures = (total(column, harm) for column in ("tries", "survivors"))
        lines.append(f"| {words} | {' | '.join([harm or columns.ABSENT, *figures])} | {files} |")
    return "\n".join(lines)


def few_songs(rows: list[Row]) -> str:
    """Return how many clips each way to learn from few songs gets right, a column for each number of clips."""
    newest = {(row["config"], row["mode"]): row for row in rows if row["benchmark"] == "few_songs"}
    numbers = sorted({mode for _, mode in newest}, key=int)
    ways = dict.fromkeys(config for config, _ in newest)

    def cell(way: str, mode: str) -> str:
        row = newest.get((way, mode))
        return columns.ABSENT if row is None else f"{row['accuracy']:.2f} ({row['roc_auc']:.3f})"

    lines = [f"| clips a genre to train on | {' | '.join(numbers)} |", f"| --- |{' ---: |' * len(numbers)}"]
    lines += [f"| {way} | {' | '.join(cell(way, mode) for mode in numbers)} |" for way in ways]
    return "\n".join(lines)


def _newest(rows: list[Row], values: Row) -> Row:
    """Return the newest row with these values, on the wanted device if it was measured there."""
    matches = [row for row in reversed(rows) if values.items() <= row.items()]
    return max(matches, key=lambda row: WANTED in row["device"])


def _step(row: Row, batch_size: int) -> tuple[Any, ...]:
    names = ("benchmark", "config", "precision", "device")
    return *(row[name] for name in names), columns.jax_version(row), batch_size


def _place(row: Row) -> tuple[Any, ...]:
    order = SIX.index(row["config"]) if row["config"] in SIX else len(SIX)
    return row["device"], order, row["precision"] or "", row["batch_size"] or 0


def _markdown(shown: Sequence[Column], rows: list[Row]) -> str:
    """Return a table, in which a row that no commit can repeat is marked."""
    lines = [[column.title for column in shown], ["---"] * len(shown)]
    for row in rows:
        first, *others = (column.cell(row) for column in shown)
        lines.append([first if results.is_reproducible(row) else f"{first} {MARK}", *others])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return table if all(map(results.is_reproducible, rows)) else f"{table}\n\n{NOTE}"


if __name__ == "__main__":
    run_command(main)
