"""`python -m benchmarks.device`: measure what matters most on a bare accelerator machine, within so many minutes.

What matters most comes first.  A row is written as soon as it is measured, each task has a process of its own, and what
does not fit into the minutes is left out and named.  A table beside the predictions ends it.  On a CPU it is a
rehearsal with small networks and batches, whose rows are only kept with --out.  benchmarks/README.md lists the few
packages that it needs.
"""

import argparse
import importlib.util
import signal
import tempfile
import textwrap
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import device_table, results
from benchmarks.columns import Row
from benchmarks.device_process import Died, Process
from benchmarks.device_table import FIRST, WIDTH
from benchmarks.options import IMAGES
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import run_command

END_S = 2.0  # kept for the table
PATIENCE = 4  # times the expected seconds: then a case hangs

Case = dict[str, Any]

CNNS = [FIRST, *(f"audio_{name}" for name in ("low_4x70", "high_4x96", "low_4x96", "low_3x3", "high_3x3"))]
METRICS = ("roc_auc_macro", "pr_auc_macro")
FORMS = (("channels-last", "conv"), ("channels-last", "banded"))  # PyTorch's best two, on paper
MEASURED = {"large": device_table.LARGE, "small": device_table.SMALL, "patches": 117_836, "how": "compile+graph"}
REHEARSED = {"large": 4, "small": 2, "patches": 40, "how": "eager"}


class Task(NamedTuple):
    """Cases that one process measures, and the seconds that one of them is expected to take, compiling included."""

    title: str
    expected_s: float
    cases: list[Case]


def main(argv: Sequence[str]) -> int:
    """Measure until all is done or the time is up; 1 if a case failed or nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, default=7.0, help="for all of it; default %(default)g")
    parser.add_argument("--out", type=Path, help=f"a folder for the rows; default {results.FOLDER}")
    parser.add_argument("--no_save", action="store_true", help="print the rows without keeping them")
    parser.add_argument("--commit", help="the commit of these files, where they are no checkout")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no process is left behind
    with tempfile.TemporaryDirectory(prefix="mumu_jax_device_") as folder:
        session = Session(60 * arguments.minutes, Path(folder))
        try:
            session.start(arguments)
            session.measure()
        finally:
            session.close()
    return int(bool(session.failed) or not session.rows)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return minutes


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def tasks(rows: Sequence[Row], rehearsal: bool, predictions: device_table.Predictions) -> Iterator[Task]:
    """Yield the tasks by importance; the last one depends on the rows that there are by then."""
    sizes: dict[str, Any] = REHEARSED if rehearsal else MEASURED
    precision = "float32" if rehearsal else "bfloat16"

    def case(measure: str, config: str, size: str = "large", **more: Any) -> Case:
        return {"measure": measure, "config": config, "precision": precision, "batch_size": sizes[size], **more}

    for size, names in (("large", CNNS), ("small", CNNS[: 2 if rehearsal else None])):
        yield Task(f"CNNs at batch {sizes[size]}", 25, [case("step", name, size) for name in names])
    quickest = "audio_low_4x96"
    epochs = [
        case("epoch", FIRST, n_items=sizes["patches"]),
        case("epoch", quickest, "small", n_items=sizes["patches"]),
    ]
    yield Task(f"epochs of {sizes['patches']:,} patches on the device", 30, epochs)
    yield Task(f"other formulations of {FIRST}", 20, [case("formulations", FIRST)])
    if has_torch():
        ways = [(*form, sizes["how"]) for form in FORMS]
        yield Task("beside PyTorch", 60, [case("peer", name, ways=ways) for name in (FIRST, quickest)])
    yield Task("metrics beside scikit-learn", 15, [{"measure": "metric", "config": name} for name in METRICS])
    yield Task("image networks", 40, [case("step", name) for name in IMAGES])
    yield Task("text", 20, [case("step", "text_vsm", "small")])
    yield Task("kernels of the slowest network", 25, [case("kernels", _slowest(rows, predictions))])


def _slowest(rows: Sequence[Row], predictions: device_table.Predictions) -> str:
    """Return the CNN that is the slowest beside its prediction, at the large batch size."""
    measured = device_table.steps(rows)
    ratios = {
        name: device_table.slowness(measured[name, device_table.LARGE], predictions) or 0.0
        for name in CNNS
        if (name, device_table.LARGE) in measured
    }
    return max(ratios, key=lambda name: ratios[name], default=FIRST)


class Session:
    """The rows of one call, measured before its time is up, and what failed or was left out."""

    def __init__(self, seconds: float, compiled: Path) -> None:
        self.rows: list[Row] = []
        self.failed: list[str] = []
        self._left_out: list[str] = []
        self._started_at, self._seconds = time.monotonic(), seconds
        self._process: Process | None = None
        self._predictions = device_table.read_predictions()
        # Later tasks take programs of earlier ones, whose rows have the seconds that these took to compile.
        self._environment = {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self._started_at

    @property
    def left_s(self) -> float:
        return self._seconds - END_S - self.passed_s

    def start(self, arguments: argparse.Namespace) -> None:
        """Start the first process, and say which machine it is on.  Raises UserError if it does not start."""
        self._commit = arguments.commit
        try:
            self._process = Process(self._environment, self.left_s)
        except Died as died:
            raise UserError(
                f"JAX does not start in {self._seconds / 60:g} minutes: {died}; give more --minutes"
            ) from died
        self._machine, folder = self._process.machine, arguments.out
        if folder is None and not self._machine["rehearsal"]:
            folder = results.FOLDER
        self._folder = None if arguments.no_save else folder
        if self._folder is not None and self._folder.resolve() == results.FOLDER.resolve():
            results.check_committed()
        kind = "a rehearsal with small networks, " if self._machine["rehearsal"] else ""
        kept = f"rows go to {self._folder}" if self._folder else "no row is kept"
        _print(f"{self._machine['device']}: {kind}{self._seconds / 60:g} min, {kept}")

    def measure(self) -> None:
        """Measure the tasks, each in a process of its own, until all are done or the time is up."""
        if not has_torch():
            print("PyTorch is not installed: no peer", flush=True)
        try:
            for task in tasks(self.rows, self._machine["rehearsal"], self._predictions):
                self._measure(task)
                self.close()
        finally:
            self.close()
            self._print_end()

    def close(self) -> None:
        """End the process that is running, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _measure(self, task: Task) -> None:
        cases = deque(task.cases)
        if self.left_s >= task.expected_s:
            print(f"{self.passed_s:5.0f} s  {task.title}", flush=True)
        while cases:
            if self.left_s < task.expected_s:
                self._leave_out(task, cases)
                return
            case = cases.popleft()
            answer: dict[str, Any]
            try:
                answer = self._ask(case, min(self.left_s, PATIENCE * task.expected_s))
            except Died as died:  # the next case has a new process
                self.close()
                if self.left_s <= 0:
                    self._leave_out(task, [case, *cases])
                    return
                answer = {"failed": str(died)}
            cases.extendleft(reversed(answer.get("cases", [])))
            for row in answer.get("rows", []):
                self._add(row)
            if "failed" in answer:
                self.failed.append(f"{_label(case)}: {answer['failed']}")
                _print(f"failed: {self.failed[-1]}")

    def _leave_out(self, task: Task, cases: Collection[Case]) -> None:
        names = "" if [*cases] == task.cases else f" ({', '.join(map(_label, cases))})"
        self._left_out.append(task.title + names)

    def _ask(self, case: Case, limit_s: float) -> dict[str, Any]:
        ends_at = self.passed_s + limit_s
        if self._process is None:
            self._process = Process(self._environment, limit_s)
        return self._process.ask(case, ends_at - self.passed_s)

    def _add(self, row: Row) -> None:
        row["commit"] = row["commit"] or self._commit
        self.rows.append(row)
        if self._folder is not None:
            results.append(row, self._folder)
        print(device_table.line_of(row, self.passed_s, self._predictions), flush=True)

    def _print_end(self) -> None:
        """Print the tables and what to look at, if anything was measured, and what failed or was left out."""
        for line in device_table.summary(self.rows, self._predictions) if self.rows else ():
            print(line)
        for text in self.failed:
            _print(f"failed: {text}")
        if self._left_out:
            _print(f"left out for lack of time: {'; '.join(self._left_out)}")
        print(f"{self.passed_s:.0f} s of {self._seconds:.0f}", flush=True)


def _label(case: Case) -> str:
    place = f" at {case['batch_size']}" if "batch_size" in case else ""
    return f"{case['config']}{place}" + (f" {case['formulation']}" if "formulation" in case else "")


def _print(text: str) -> None:
    print(textwrap.fill(text, WIDTH - 1, subsequent_indent="  "), flush=True)


if __name__ == "__main__":
    run_command(main)
