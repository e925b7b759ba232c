"""Repeated measurements: what is compared takes turns in one run, so that a slow minute slows all of it alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median, lower and upper quartile of repeated measurements."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    low, median, high = np.percentile(values, [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def columns(name: str, values: Sequence[float]) -> dict[str, float]:
    """A spread as a row has it: NAME, NAME_low and NAME_high."""
    found = spread(values)
    return {name: found.median, f"{name}_low": found.low, f"{name}_high": found.high}


def take_turns(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What each side returns, `repeats` times, the sides one after the other; call them once before, to warm up."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """How many times as fast, of rates taken in the same turn."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def rate(work: Callable[[], Any], amount: float, calls: int) -> float:
    """Amount a second over `calls` calls, the last of which returns only when all is done."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return amount * calls / (time.perf_counter() - start)


def calls_within(seconds: float, work: Callable[[], Any]) -> int:
    """How many calls take about as long; at least 1."""
    start = time.perf_counter()
    work()
    return max(1, round(seconds / max(time.perf_counter() - start, 1e-6)))
