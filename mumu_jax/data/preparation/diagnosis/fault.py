"""One thing that is wrong, said so that it can be mended."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from mumu_jax.data.sources.mumu.release import HOME
from mumu_jax.errors import UserError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

MUMU = f"see {HOME} for where the files are to be had"
TARTARUS = "see https://github.com/sergiooramas/tartarus, the authors' code, for the lists"
NOTHING_TO_DO = "nothing, if that is meant so"

# What the readers of the source reject, by their reason for it: what was expected, and found.
_REJECTED = {
    "malformed": ("rows and records in the released format", "malformed"),
    "not_utf8": ("UTF-8", "not in UTF-8"),
    "truncated": ("the whole file", "truncated"),
    "too_long": ("records of usual length", "too long"),
}


@dataclass(frozen=True)
class Fault:
    """`error`: training cannot start; `warning`: something is left out of it; `note`: worth knowing."""

    severity: Severity
    path: Path
    expected: str
    found: str
    remedy: str


def of_error(path: Path, expected: str, error: UserError) -> Fault:
    """What stops a reader of the source, and so the preparation; the error's line is what is found."""
    return Fault("error", path, expected, str(error), f"mend that, or copy the file again; {MUMU}")


def of_rejected(lines: Iterable[dict[str, Any]], conflict: str, remedy: str = MUMU) -> list[Fault]:
    """One fault for each file and reason; `conflict` is what lines that contradict others were expected to be."""

    def kind(line: dict[str, Any]) -> tuple[str, str]:
        return line["file"], line["reason"]

    faults = []
    for (file, reason), group in groupby(sorted(lines, key=kind), key=kind):
        first, *others = group
        expected, found = _REJECTED.get(reason, (conflict, "in conflict"))
        found = f"{1 + len(others):,} {found}, the first in line {first['line']}: {first['detail']}"
        faults.append(Fault("warning", Path(file), expected, found, f"mend it, or copy the file again; {remedy}"))
    return faults


def some(names: Collection[object], shown: int = 3) -> str:
    """The first few names, and how many there are beside them."""
    first = ", ".join(str(name) for name in list(names)[:shown])
    return first + (f" and {len(names) - shown:,} more" if len(names) > shown else "")
