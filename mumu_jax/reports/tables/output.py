"""A measured table on the terminal, as Markdown and as a file of comma-separated values."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mumu_jax.errors import UserError
from mumu_jax.reports.tables.base import Table
from mumu_jax.system.files import replacing
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import print_table


def write_table(table: Table, path: Path, rows: Sequence[Any]) -> None:
    """Write a CSV with a line a row."""
    lines = [table.flat(row) for row in rows]
    with replacing(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, [*dict.fromkeys(name for line in lines for name in line)])
        writer.writeheader()
        writer.writerows(lines)


def read_table(table: Table, path: Path) -> list[Any]:
    """Read what `write_table` wrote.  Raises UserError on anything else."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return table.from_flat(
                [{name: text for name, text in line.items() if text} for line in csv.DictReader(file)]
            )
    except (OSError, ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        raise UserError(f"{path} is not a table of mumu_jax.reproduce ({error!r}); make it again with that") from error


def print_rows(table: Table, rows: Sequence[Any]) -> None:
    """Print the table on the terminal, and the remarks below it."""
    titles = [title for title, _ in table.columns]
    print_table(table.caption, titles, map(table.cells, rows), width=table.width, n_names=table.n_names)
    for line in table.remarks(rows):
        print_line(line)


def as_markdown(table: Table, rows: Sequence[Any]) -> str:
    """Return the same title, table and remarks as Markdown."""
    titles = [title for title, _ in table.columns]
    rules = ["---" if i < table.n_names else "---:" for i in range(len(titles))]
    lines = "".join(f"| {' | '.join(line)} |\n" for line in (titles, rules, *map(table.cells, rows)))
    return f"{table.caption}\n\n{lines}\n" + "".join(f"* {line}\n" for line in table.remarks(rows))
