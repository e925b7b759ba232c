"""What of a released file could not be read: lines for `rejected.jsonl`."""

from collections.abc import Callable
from pathlib import Path

# Takes the line's number (from 1), a reason in one word (`malformed`, `not_utf8`, `too_long`, `truncated`, `conflict`,
# `no_genre`, `missing`) and a detail for a person.
Reject = Callable[[int, str, str], None]


class Rejections:
    """The lines so far, of all files."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str | int]] = []

    def of(self, file: Path) -> Reject:
        """What adds a line about that file."""

        def reject(line: int, reason: str, detail: str) -> None:
            self.lines.append({"file": str(file), "line": line, "reason": reason, "detail": detail})

        return reject
