"""Repeated measurements: sides that are compared take turns in one run, so that a slow minute slows all of them.

Work whose memory or threads count is done in a process of its own.
"""

import operator
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np

from mumu_jax.errors import UserError
from mumu_jax.system import workers

Side = TypeVar("Side")


def columns(name: str, values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles as a row's values: NAME, NAME_low and NAME_high."""
    low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def figures(ours: Sequence[float], peer: Sequence[float] | None = None) -> dict[str, float]:
    """Return a row's values of our rates and, if there is a peer that took turns with us, of its rates beside ours."""
    row = columns("examples_per_s", ours)
    if peer is not None:
        row |= {"peer_examples_per_s": median(peer), **columns("ratio", ratios(ours, peer))}
    return row


def take_turns(sides: Mapping[Side, Callable[[], float]], repeats: int) -> dict[Side, list[float]]:
    """Call the sides one after the other, `repeats` times, and return each one's results.

    Call them once before, to warm up.
    """
    results: dict[Side, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            results[name].append(side())
    return results


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide rates that were taken in the same turn."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def rate(work: Callable[[], Any], amount: float, calls: int = 1) -> float:
    """Return the amount a second over `calls` calls, the last of which returns only when all is done."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return amount * calls / (time.perf_counter() - start)


def calls_within(seconds: float, work: Callable[[], Any]) -> int:
    """Return how many calls take about so many seconds; at least 1."""
    start = time.perf_counter()
    work()
    return max(1, round(seconds / max(time.perf_counter() - start, 1e-6)))


def timed(work: Callable[[], Any], amount: float, seconds: float) -> Callable[[], float]:
    """Return a side for `take_turns`: `amount` a second, measured over about so many seconds.  Warms `work` up."""
    calls = calls_within(seconds, work)
    return lambda: rate(work, amount, calls)


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return `work(*arguments)`, called in a fresh process of one thread, as `prepare` works."""
    (result,) = workers.map_in_order(operator.call, [partial(work, *arguments)], 1, _died)
    return result


def _died(work: Any) -> Any:
    raise UserError("a worker process died; free some memory, then call again")


def peak_bytes() -> int | None:
    """Return the most memory that this process had; None if the system does not tell.

    `getrusage` would count the memory of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
