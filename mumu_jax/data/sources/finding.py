"""A finding: one thing about a source's files that is not as expected, worded so that a person can fix it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mumu_jax.errors import UserError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the worst first


@dataclass(frozen=True)
class Finding:
    """One finding.  `error`: preparing stops; `warning`: something is left out; `note`: worth knowing.

    `line` is the line (from 1) of the file `path`.  A line or record that is left out has a `reason`, one word for
    `rejected.jsonl`: malformed, not_utf8, truncated, too_long, conflict, no_genre or missing.
    """

    severity: Severity
    path: Path
    expected: str
    found: str
    remedy: str
    line: int | None = None
    reason: str | None = None

    @property
    def where(self) -> str:
        """The path, followed by the line if it is known."""
        return f"{self.path}:{self.line}" if self.line else str(self.path)

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}; {self.remedy}"

    def rejected_line(self) -> dict[str, str | int]:
        """Return the line of `rejected.jsonl`; only for a finding with a reason."""
        return {
            "file": str(self.path),
            "line": self.line or 1,
            "reason": str(self.reason),
            "detail": f"expected {self.expected}, found {self.found}",
        }


Report = Callable[[Finding], None]  # takes what a reader finds; a reader goes on after it, if `report` returns


def stop_at_errors(finding: Finding) -> None:
    """Raise an error as UserError; ignore other findings."""
    if finding.severity == "error":
        raise UserError(str(finding))


Reject = Callable[[int, str, str, str], None]  # takes a line's number, the reason, what was expected, and found


def rejecter(report: Report, path: Path, remedy: str) -> Reject:
    """Return a function that reports lines of one file which are left out."""
    return lambda line, reason, expected, found: report(Finding("warning", path, expected, found, remedy, line, reason))


def some(names: Collection[object], shown: int = 3) -> str:
    """Return the first few names, and the number of the others."""
    first = ", ".join(str(name) for name in list(names)[:shown])
    return first + (f" and {len(names) - shown:,} more" if len(names) > shown else "")
