"""What a run writes while it trains: metrics.jsonl (results), perf.jsonl (timings) and TensorBoard events."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError

# Where PyTorch is installed tensorboardX imports it, for seconds and for nothing: to an import, None is not there.
_hidden = sys.modules.setdefault("torch", None) is None  # type: ignore[arg-type]
from tensorboardX import SummaryWriter  # noqa: E402

if _hidden:
    del sys.modules["torch"]


METRICS, PERF = "metrics.jsonl", "perf.jsonl"


class MetricsLog:
    """metrics.jsonl holds nothing but what is computed, so that a resumed run writes the very same bytes.

    Timings differ from run to run and go to perf.jsonl.
    """

    def __init__(self, folder: Path) -> None:
        self._metrics = (folder / METRICS).open("ab")
        _cut_half_line(folder / PERF)
        self._perf = (folder / PERF).open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder / "events"), flush_secs=10)
        # Where the next line goes.  Lines beyond it are of steps that a kill undid: the next line removes them.
        self.position = 0

    def metrics(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None:
        line = _line(phase, epoch, step, values).encode()
        self._metrics.truncate(self.position)
        self._metrics.write(line)
        self._metrics.flush()
        self.position += len(line)
        self._add_scalars(phase, step, values)

    def perf(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None:
        self._perf.write(_line(phase, epoch, step, values))
        self._perf.flush()
        self._add_scalars(phase, step, values)

    def sync(self) -> None:
        """What was written is on the disk: a checkpoint that counts its bytes may follow."""
        os.fsync(self._metrics.fileno())

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        self._perf.close()
        self._events.close()

    def _add_scalars(self, phase: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(f"{phase}/{name}", value, step)


class Silent(MetricsLog):
    """For processes that train along, and leave the writing to another."""

    def __init__(self) -> None:
        self.position = 0

    def metrics(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None: ...

    def perf(self, phase: str, epoch: int, step: int, values: dict[str, float]) -> None: ...

    def sync(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines: a run that is under way, or was killed, may have begun another.

    None where there is no file.  Raises UserError on anything else.
    """
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it") from error


def _cut_half_line(path: Path) -> None:
    """What a kill left behind the last line would make the next one unreadable."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _line(phase: str, epoch: int, step: int, values: dict[str, Any]) -> str:
    return json.dumps({"phase": phase, "epoch": epoch, "step": step, **values}) + "\n"
