"""A benchmark as a command: its options, and its rows, which are printed and kept as they are measured."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import results
from benchmarks.columns import TABLES, Row
from mumu_jax.errors import reason_of
from mumu_jax.system.terminal import positive


class Benchmark:
    """The parser of `python -m benchmarks.NAME`, and its rows: a table that grows on the terminal, kept in `results/`.

    With `repeats` and `seconds`, which are defaults, the command has options for how often and how long to measure.
    `status` is the command's exit status.
    """

    def __init__(self, name: str, doc: str | None, repeats: int | None = None, seconds: float | None = None):
        self.name, self.status = name, 0
        self.parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
        self.option = self.parser.add_argument
        self.option("--no_save", action="store_true", help="print the rows without adding them to results/")
        if repeats is not None:
            self.option("--repeats", type=positive, default=repeats, help="measurements of each; default %(default)s")
        if seconds is not None:
            self.option("--seconds", type=float, default=seconds, help="of a measurement; default %(default)g")

    def start(self, argv: Sequence[str], **common: Any) -> argparse.Namespace:
        """Parse the command line and print the table's head; `common` holds the values that all rows share.

        Raises UserError if rows are to be saved from a changed tree.
        """
        arguments = self.parser.parse_args(argv)
        self._save = not arguments.no_save
        if self._save:
            results.check_committed()
        if "repeats" in arguments:
            common = {"repeats": arguments.repeats, **common}
        self._common = common if "device" in common else {"device": results.device(), **common}
        self._columns = next(table.columns for table in TABLES if table.benchmark == self.name)
        self._print([column.title for column in self._columns])
        return arguments

    def add(self, row: Row) -> None:
        """Print a row and keep it."""
        full = results.make_row(self.name, {**self._common, **row})
        if self._save:
            results.append(full)
        self._print([column.cell(full) for column in self._columns])

    def measure(self, case: Row, measure: Callable[..., Row], *arguments: Any, **named: Any) -> None:
        """Add a row of the case's columns and those that `measure(*arguments, **named)` returns.

        If that fails, say why, and go on: an error may be a batch that is too large for the device, and the other rows
        still count.
        """
        try:
            self.add({**case, **measure(*arguments, **named)})
        except Exception as error:
            self.status = 1
            label = ", ".join(f"{name} {value}" for name, value in case.items())
            print(f"error: {label}: {reason_of(error)}", file=sys.stderr, flush=True)

    def _print(self, cells: list[str]) -> None:
        widths = [max(len(column.title), column.width) for column in self._columns]
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        print(line.rstrip(), flush=True)
