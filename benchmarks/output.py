"""Output of a benchmark's rows as they are measured: a table that grows on the terminal, and lines in `results/`."""

import sys
from collections.abc import Callable
from typing import Any

from benchmarks import results
from benchmarks.columns import TABLES, Row


class Output:
    """A benchmark's rows, printed and, with `save`, appended to `results/`; `status` is the command's exit status.

    `common` holds the values that all rows share.  Raises UserError if rows are to be saved from a changed tree.
    """

    def __init__(self, benchmark: str, save: bool, **common: Any):
        if save:
            results.check_committed()
        self._benchmark, self._save = benchmark, save
        self._common = common if "device" in common else {"device": results.device(), **common}
        self._columns = next(table.columns for table in TABLES if table.benchmark == benchmark)
        self.status = 0
        self._print([column.title for column in self._columns])

    def add(self, row: Row) -> None:
        """Print a row and keep it."""
        full = (results.append if self._save else results.make_row)(self._benchmark, {**self._common, **row})
        self._print([column.cell(full) for column in self._columns])

    def measure(self, case: Row, measure: Callable[[], Row]) -> None:
        """Add a row of the case's columns and those that `measure` returns; if that fails, say why, and go on.

        An error may be a batch that is too large for the device: the other rows still count.
        """
        try:
            self.add({**case, **measure()})
        except Exception as error:
            self.status = 1
            label = ", ".join(f"{name} {value}" for name, value in case.items())
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            print(f"error: {label}: {type(error).__name__}: {reason}", file=sys.stderr, flush=True)

    def _print(self, cells: list[str]) -> None:
        widths = [max(len(column.title), column.width) for column in self._columns]
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        print(line.rstrip(), flush=True)
