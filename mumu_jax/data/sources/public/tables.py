"""Tables of public data sets: text separated by TAB, and arrays of NumPy, neither of which may run code."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mumu_jax.data.sources.finding import Finding, Report, rejecter

Row = tuple[int, list[str]]  # the line's number, and its cells


def read_tsv(path: Path, columns: Sequence[str], report: Report) -> tuple[dict[str, int], Iterator[Row]]:
    """Return the numbers of the columns by name, and the rows, each of which has the wanted `columns`.

    A cell never holds a line break; quotes around it do not belong to it.  It is an error if a wanted column is
    missing; a shorter row is rejected.
    """
    # newline: a lone CR does not end a line; surrogateescape: a byte that is not UTF-8 costs no more than itself
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
        header = _cells(next(lines, ""))
    at = {name: number for number, name in enumerate(header)}
    missing = [name for name in columns if name not in at]
    if missing:
        found = f"{len(at)} columns without {', '.join(missing)}: {' '.join(header)[:60]!r}"
        remedy = "use the file as it was released: a spreadsheet program may have saved it in another format"
        report(Finding("error", path, f"the columns {', '.join(columns)}, separated by TAB", found, remedy, line=1))
        return at, iter(())
    return at, _rows(path, 1 + max(at[name] for name in columns), report)


def _rows(path: Path, n_cells: int, report: Report) -> Iterator[Row]:
    reject = rejecter(report, path, "copy the file again")
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            cells = _cells(line)
            if number == 1 or cells == [""]:
                continue
            if len(cells) < n_cells:
                reject(number, "malformed", f"{n_cells} cells or more", f"{len(cells)}: {line.strip()[:60]!r}")
            else:
                yield number, cells


def _cells(line: str) -> list[str]:
    cells = line.rstrip("\r\n").split("\t")
    return [cell.strip().strip('"') for cell in cells] if '"' in line else [cell.strip() for cell in cells]


def read_lines(path: Path) -> list[str]:
    """Return the stripped lines of a file that are not blank."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        return [line.strip() for line in lines if line.strip()]


def read_array(path: Path, report: Report) -> np.ndarray | None:
    """Return a `.npy` file's array of numbers or strings; report an error, and return None, if it holds none."""
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TokenError) as error:  # the last two of a damaged header
        report(Finding("error", path, "a NumPy array of numbers or strings", str(error), "copy the file again"))
        return None
