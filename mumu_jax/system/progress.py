"""Progress with an estimate of the time left: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0
SHARE_THAT_TELLS = 0.02  # before this much is done, start-up dominates and the rate says nothing


class Bar:
    """What `bar` yields: `advance(n, note)` counts n more as done."""

    def __init__(self, total: int, description: str, progress: Progress | None, done: int, shown: bool):
        self._total, self._description, self._progress, self._shown = total, description, progress, shown
        self._done = self._done_before = done
        self._start = self._last_line = time.monotonic()
        self._file = sys.stderr
        self._task = progress.add_task(description, total=total, completed=done, note="") if progress else None

    def advance(self, n: int = 1, note: str = "") -> None:
        """`n` more are done; `note` says something of the last one."""
        self._done += n
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=n, note=note)
            return
        now = time.monotonic()
        if self._shown and (now - self._last_line >= SECONDS_BETWEEN_LINES or self._done >= self._total):
            self._last_line = now
            line = f"{self._description}: {self._done}/{self._total}"
            done_now = self._done - self._done_before
            if done_now > SHARE_THAT_TELLS * self._total:
                line += f", {(now - self._start) / done_now * (self._total - self._done):.0f} s left"
            print(f"{line}  {note}".rstrip(), file=self._file, flush=True)

    def finish(self) -> None:
        """There is nothing more to do, though fewer things than foreseen were done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=self._done, completed=self._done)


@contextmanager
def bar(total: int, description: str, done: int = 0, shown: bool = True) -> Iterator[Bar]:
    """A progress bar over `total` things, on stderr; `done` of them were done by an earlier call."""
    console = Console(file=sys.stderr, quiet=not shown)  # this one, wherever stderr is sent while the bar is shown
    if not console.is_terminal:
        yield Bar(total, description, None, done, shown)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(total, description, progress, done, shown)
