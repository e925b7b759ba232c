"""The terminal as every command uses it: error lines, exit statuses, tables and progress bars."""

import argparse
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from absl import logging
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from tqdm.utils import disp_len, disp_trim

from mumu_jax.errors import UserError
from mumu_jax.system.disk import fault_of, faults_of_threads
from mumu_jax.system.lines import print_in_any_encoding, print_remark, printable

SECONDS_BETWEEN_LINES = 10.0
BAR_FORMAT = "{desc}: {n_fmt}/{total_fmt} {bar:10} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"
NARROW_FORMAT = "{desc}: {percentage:.1f}% {bar:3} [{elapsed}<{remaining}]{postfix}"


def positive(text: str) -> int:
    """Parse a command-line argument that counts something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def share(text: str) -> float:
    """Parse a command-line argument from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not from 0 to 1")
    return value


def run_command(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> None:
    """Call `main(arguments)` and exit with its status; turn errors that the user can fix into one line and status 2."""
    logging.set_verbosity(logging.FATAL)  # Orbax and TFDS report internals, and errors that they raise anyway
    threading.excepthook = _report_in_thread
    sys.unraisablehook = _report_ignored
    print_in_any_encoding()
    try:
        sys.exit(main(sys.argv[1:] if argv is None else argv) or 0)
    except UserError as error:
        print_remark(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        print_remark("interrupted; give the same command again")
        sys.exit(130)
    except BrokenPipeError:  # `… | head` closed the pipe: nobody reads what would be printed
        sys.exit(1)
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        print_remark(f"error: {fault}")
        if argv is None:  # libraries would report once more what they cannot write when they are closed
            atexit.register(_exit_at_once, 2)
        sys.exit(2)


def _report_in_thread(failed: threading.ExceptHookArgs) -> None:
    """Report what ended a thread; a fault of the disk is left to the main thread, which it ends, too."""
    if failed.exc_value is not None and fault_of(failed.exc_value) is not None:
        faults_of_threads.append(failed.exc_value)
    else:
        threading.__excepthook__(failed)


def _report_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """Report an error that nobody can catch, but for TensorStore's, which calls writers that a fault has ended."""
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)


def _exit_at_once(status: int) -> None:
    """End the process without the exit handlers that were registered before this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], width: int, n_names: int = 1, caption: str = ""
) -> None:
    """Print a table of numbers at least `width` wide; its first `n_names` columns are names."""
    table = Table(title=title, title_justify="left", caption=caption or None, caption_justify="left")
    for i, column in enumerate(columns):
        is_name = i < n_names
        table.add_column(column, justify="left" if is_name else "right", no_wrap=is_name)
    for row in rows:
        table.add_row(*map(printable, row))
    wide_console(width).print(table)


def wide_console(width: int) -> Console:
    """Return a console at least `width` wide that prints text as it is: a genre may be named `[so]` or `:cat:`."""
    return Console(width=max(width, Console().width), markup=False, highlight=False, emoji=False)


def progress_bar(total: int, description: str, done: int = 0, shown: bool = True) -> "ProgressBar":
    """Start a progress bar over `total` items on stderr, `done` of which an earlier call did; use it in a `with`."""
    on_terminal = sys.stderr.isatty()
    columns, rows = _terminal_shape(sys.stderr) if on_terminal else (None, None)
    bar = (ProgressBar if on_terminal else ProgressLines)(
        total=total,
        desc=description,
        initial=done,
        disable=not (shown and total),
        file=sys.stderr,
        bar_format=BAR_FORMAT,
        ncols=columns,
        nrows=rows,
        leave=on_terminal,
        position=0,
        miniters=0,
        mininterval=0.1 if on_terminal else SECONDS_BETWEEN_LINES,
        delay=0 if on_terminal else SECONDS_BETWEEN_LINES,
    )
    bar.dynamic_ncols = _terminal_shape if on_terminal else None
    return bar


def _terminal_shape(terminal: TextIO) -> tuple[int, int]:
    """Return how many columns and rows a bar may have: one column fewer than the terminal; 80 × 24 without a size.

    Terminals that a program made, such as a container's, may say that they have none, in which tqdm draws no bar.
    """
    try:
        columns, rows = os.get_terminal_size(terminal.fileno())
    except OSError:  # it was closed: the work goes on without it
        columns, rows = 0, 0
    return (columns or 80) - 1, rows or 24


class ProgressBar(tqdm):
    """A bar that is redrawn in place, on a terminal; a shorter one, with less of its note, where there is no room."""

    monitor_interval = 0  # no thread that redraws it
    _lock = threading.RLock()  # tqdm's own is also a semaphore of the system, for bars of several processes

    def __str__(self) -> str:
        shown = self.format_dict
        columns, shown["ncols"] = shown["ncols"], None  # so that tqdm cuts nothing
        text = self.format_meter(**shown)
        if columns is None or disp_len(text) <= columns:
            return text
        notes, shown["bar_format"] = (shown["postfix"] or "").split(", "), NARROW_FORMAT
        for n_notes in range(len(notes), -1, -1):  # as many as fit, whole: half a number is another number
            shown["postfix"] = ", ".join(notes[:n_notes])
            text = self.format_meter(**shown)
            if disp_len(text) <= columns:
                break
        return disp_trim(text, columns)

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more items as done; `note` describes the last one."""
        self.set_postfix_str(printable(note), refresh=False)
        self.update(n)

    def finish(self) -> None:
        """Show the bar as full, although fewer items than expected were done."""
        self.total = self.n

    def paused(self) -> AbstractContextManager[None]:
        """Hide the bar while the block prints to stdout, which may be the same terminal."""
        return self.external_write_mode()


class ProgressLines(ProgressBar):
    """A line every few seconds, for logs; the last line when everything is done."""

    def advance(self, n: int = 1, note: str = "") -> None:
        super().advance(n, note)
        self._print_last()

    def finish(self) -> None:
        is_early = self.n < self.total  # else `advance` has printed the end
        super().finish()
        if is_early:
            self.refresh()

    def paused(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg is None:  # else tqdm erases a bar
            print(self, file=self.fp, flush=True)

    def _print_last(self) -> None:
        if not self.disable and self.n >= self.total and self.last_print_n < self.n:
            self.refresh()
