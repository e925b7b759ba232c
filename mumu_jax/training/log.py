"""The files that a run writes while it trains: metrics.jsonl (results), perf.jsonl (timings) and TensorBoard events."""

import errno
import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.system.disk import faults_of_threads, naming
from mumu_jax.system.lines import print_remark
from mumu_jax.system.seals import unseal

METRICS, PERF = "metrics.jsonl", "perf.jsonl"


class MetricsLog:
    """The log of a run, open for writing.

    metrics.jsonl holds only computed values, so that a resumed run writes the very same bytes.  Timings differ from run
    to run and go to perf.jsonl.
    """

    def __init__(self, folder: Path) -> None:
        with _without_pytorch():
            from tensorboardX import SummaryWriter

        unseal(folder, METRICS, PERF)
        self._folder = folder
        self._metrics = (folder / METRICS).open("ab")
        _cut_half_line(folder / PERF)
        self._perf = (folder / PERF).open("a", encoding="utf-8")
        before = {*threading.enumerate()}
        self._events = SummaryWriter(str(folder / "events"), flush_secs=10)
        self._writers = {*threading.enumerate()} - before
        # The end of the last valid line.  Later lines belong to steps that a kill undid: the next line replaces them.
        self.position = 0

    def go_on_from(self, position: int) -> None:
        """Continue metrics.jsonl after its first `position` bytes; after the whole lines of these if some are lost."""
        path = self._folder / METRICS
        self.position = path.read_bytes()[:position].rfind(b"\n") + 1
        if self.position < position:
            n_lost = position - self.position
            print_remark(f"warning: {path} has lost lines ({n_lost:,} bytes): it goes on without")

    def metrics(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None:
        """Write results of a step to metrics.jsonl."""
        line = _line(phase, epoch, step, values).encode()
        with naming(self._folder / METRICS):
            self._metrics.truncate(self.position)
            self._metrics.write(line)
            self._metrics.flush()
        self.position += len(line)
        self._add_scalars(phase, step, values)

    def perf(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None:
        """Write timings of a step to perf.jsonl."""
        with naming(self._folder / PERF):
            self._perf.write(_line(phase, epoch, step, values))
            self._perf.flush()
        self._add_scalars(phase, step, values)

    def sync(self) -> None:
        """Wait until metrics.jsonl is on the disk, so that a checkpoint may record its length."""
        os.fsync(self._metrics.fileno())

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        with naming(self._folder):
            self._metrics.close()
            self._perf.close()
        self._check_writers()
        with naming(self._folder / "events"):
            self._events.close()

    def _add_scalars(self, phase: str, step: int, values: dict[str, float]) -> None:
        self._check_writers()
        for name, value in values.items():
            self._events.add_scalar(f"{phase}/{name}", value, step)

    def _check_writers(self) -> None:
        """Raise the fault of the disk that ended the thread that writes events: its queue would fill, and block."""
        if not all(writer.is_alive() for writer in self._writers):
            faults = [*faults_of_threads, OSError(errno.EIO, os.strerror(errno.EIO))]
            with naming(self._folder / "events"):
                raise faults[0]


@contextmanager
def _without_pytorch() -> Iterator[None]:
    """Let an import not find PyTorch: tensorboardX would import it, which takes seconds, only to know its tensors."""
    modules: dict[str, Any] = sys.modules
    hidden = "torch" not in modules
    if hidden:
        modules["torch"] = None
    try:
        yield
    finally:
        if hidden:
            del modules["torch"]


class Silent(MetricsLog):
    """A log that writes nothing, for all processes of a run but one."""

    def __init__(self) -> None:
        self.position = 0

    def metrics(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None: ...

    def perf(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None: ...

    def go_on_from(self, position: int) -> None:
        self.position = position

    def sync(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the complete lines of a JSON-lines file, an empty list if it does not exist.

    A last line that a running or killed run has not finished is left out.  Raises UserError if another is damaged.
    """
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it") from error


def _cut_half_line(path: Path) -> None:
    """Drop a half-written last line left by a kill: the next line would continue it."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _line(phase: str, epoch: int, step: int, values: dict[str, Any]) -> str:
    return json.dumps({"phase": phase, "epoch": epoch, "step": step, **values}) + "\n"


class PhaseLog:
    """The run's log, with the phase and the epoch of each step."""

    def __init__(self, log: MetricsLog, phase: str, epoch_steps: int) -> None:
        self._log, self._phase, self._epoch_steps = log, phase, epoch_steps

    def epoch(self, step: int) -> int:
        """Return the zero-based epoch of a one-based step."""
        return (max(step, 1) - 1) // self._epoch_steps

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Log results.  JSON has no NaN: a metric without a value, such as an AUC over no label, is left out."""
        defined = {name: value for name, value in values.items() if math.isfinite(value)}
        self._log.metrics(self._phase, self.epoch(step), step, defined)

    def perf(self, step: int, values: dict[str, float]) -> None:
        """Log timings."""
        self._log.perf(self._phase, self.epoch(step), step, values)
