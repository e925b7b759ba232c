"""A kernel of a training step, as a profiler's trace tells of it."""

from typing import NamedTuple

from benchmarks.columns import digits


class Kernel(NamedTuple):
    """A kernel's name, the operation of the compiled program that it computes, and its times of a step."""

    name: str
    operation: str
    seconds: float
    share: float  # of all kernels' time
    calls: float

    def __str__(self) -> str:
        name = self.name if self.operation in ("", self.name) else f"{self.operation}: {self.name}"
        return f"{self.share:4.0%} {digits(self.seconds * 1e6):>7} µs {self.calls:4.1f} ×  {name}"
