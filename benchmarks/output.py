"""The rows of a benchmark as they are measured: a table that grows on the terminal, and lines in `results/`."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import results

Row = dict[str, Any]

# Width and text of each column by its title; a row that has no such value shows a dash.
_COLUMNS: dict[str, tuple[int, Callable[[Row], Any]]] = {
    "config": (24, lambda row: row["config"]),
    "precision": (9, lambda row: row["precision"]),
    "batch": (5, lambda row: row["batch_size"]),
    "mode": (10, lambda row: row["mode"]),
    "devices": (7, lambda row: row["n_devices"]),
    "examples/s (quartiles)": (24, lambda row: _spread(row, "examples_per_s", digits(row["examples_per_s"]))),
    "MB/s": (6, lambda row: f"{row['bytes_per_s'] / 1e6:,.0f}"),
    "s/epoch": (7, lambda row: f"{row['epoch_s']:,.4g}"),
    "GFLOP/s": (8, lambda row: f"{row['flops_per_s'] / 1e9:,.0f}"),
    "MFU": (4, lambda row: f"{row['mfu']:.0%}"),
    "wait": (5, lambda row: f"{row['input_wait_fraction']:.1%}"),
    "MB": (6, lambda row: f"{row['peak_bytes'] / 1e6:,.0f}"),
    "compile s": (9, lambda row: f"{row['compile_s']:.1f}"),
    "peer/s": (8, lambda row: f"{row['peer_examples_per_s']:{digits(row['peer_examples_per_s'])}}"),
    "ratio (quartiles)": (17, lambda row: _spread(row, "ratio", ".2f")),
    "peer's way": (10, lambda row: row["peer_way"]),
    "kernels": (7, lambda row: row["n_kernels"]),
    "MB/example": (10, lambda row: f"{row['bytes_per_example'] / 1e6:.1f}"),
    "giant": (5, lambda row: row["n_giant_windows"]),
    "runs": (4, lambda row: row["n_runs"]),
    "failed": (6, lambda row: row["n_failed"]),
    "epochs": (6, lambda row: row["n_epochs"]),
    "minutes": (7, lambda row: f"{row['seconds'] / 60:.1f}"),
}
_WHAT = ("config", "precision", "batch", "mode", "devices", "examples/s (quartiles)")
TRAINING = (*_WHAT, "s/epoch", "GFLOP/s", "MFU", "wait", "MB", "compile s", "peer/s", "ratio (quartiles)", "peer's way")
LOADING = (*_WHAT, "MB/s")
COMPARISON = (*_WHAT, "peer/s", "ratio (quartiles)", "peer's way")


class Output:
    """Prints every row and, if `save`, appends it; `status` is the command's exit status."""

    def __init__(self, benchmark: str, save: bool, titles: Sequence[str] = TRAINING):
        self._benchmark, self._save = benchmark, save
        self._columns = [_COLUMNS[title] for title in titles]
        self.status = 0
        print(f"{benchmark} on {results.device()}", flush=True)
        print("  ".join(f"{title:{_COLUMNS[title][0]}}" for title in titles), flush=True)

    def add(self, row: Row) -> None:
        full = (results.append if self._save else results.make_row)(self._benchmark, row)
        print("  ".join(f"{_cell(full, text):{width}}" for width, text in self._columns), flush=True)

    def fail(self, what: str, error: Exception) -> None:
        """Say which row there is none of, and why, and go on."""
        self.status = 1
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        print(f"error: {what}: {type(error).__name__}: {reason}", file=sys.stderr, flush=True)


def digits(rate: float) -> str:
    """How to write examples a second: of less than ten, fractions count."""
    return ",.0f" if rate >= 10 else ".2f"


def _cell(row: Row, text: Callable[[Row], Any]) -> str:
    try:
        found = text(row)
    except (TypeError, KeyError):  # null cannot be formatted
        found = None
    return "–" if found is None else str(found)


def _spread(row: Row, name: str, how: str) -> str:
    return f"{row[name]:{how}} ({row[f'{name}_low']:{how}}–{row[f'{name}_high']:{how}})"
