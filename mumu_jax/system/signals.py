"""Turn SIGTERM and Ctrl-C into a stop request that the loop honours between chunks."""

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from mumu_jax.system.processes import any_of_all

T = TypeVar("T")

SAME_REQUEST_S = 1.0  # signals that follow one so soon repeat it
EXIT_INTERRUPTED = 75  # sysexits' EX_TEMPFAIL: saved; the same command goes on from here


class Interrupted(Exception):
    """The run has been saved and can be resumed: the command exits with EXIT_INTERRUPTED."""


class StopRequest:
    """A flag that a signal sets: true from the first SIGTERM or SIGINT on.

    Signals within `repeat_s` of the first one repeat it.
    """

    def __init__(self, repeat_s: float = SAME_REQUEST_S) -> None:
        self._signal: int | None = None
        self._repeat_s = repeat_s

    def __bool__(self) -> bool:
        return self._signal is not None

    def __str__(self) -> str:
        return signal.Signals(self._signal).name if self._signal else "no signal"

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Yield `items`; raise Interrupted once a stop is requested.  For work that a resumed run does again anyway."""
        for item in items:
            if any_of_all(bool(self))[0]:
                raise Interrupted(str(self))
            yield item

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; the next one ends the process at once, unless it comes so soon that it repeats this one.

        Service managers, schedulers and Ctrl-C signal all processes, and `reproduce` also hands its signal on.
        """
        self._signal = number
        _handle_with(signal.SIG_IGN)
        time.sleep(self._repeat_s)
        _handle_with(signal.SIG_DFL)


def _handle_with(action: signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, action)


@contextmanager
def stop_on_signal(repeat_s: float = SAME_REQUEST_S) -> Iterator[StopRequest]:
    """Yield a request that the first SIGTERM or SIGINT sets while the block runs; the second one acts at once."""
    request = StopRequest(repeat_s)
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
