"""Worker processes: one call an item, results in order, and no dead process takes the batch with it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from mumu_jax.errors import UserError
from mumu_jax.system.allocator import keep_freed_memory

_STARTING = threading.Lock()  # the surroundings belong to all threads

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # items in flight for each worker: enough that none waits for the one whose turn it is
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_in_order(
    call: Callable[[T], R], items: Iterable[T], workers: int, on_death: Callable[[T], R]
) -> Generator[R, None, None]:
    """`call(item)` for every item, computed by `workers` processes of one thread each, in the items' order.

    Where a process dies (a decoder crashes, memory runs out) the item that is next is tried again, alone; if
    its process dies again, `on_death(item)` is its result.  The workers' standard error is silent: decoders
    written in C report every damaged file there.  They end with this process, however it ends.

    Raises UserError where worker processes cannot be started at all, and whatever `call` raises.
    """
    todo, waiting = iter(items), deque[tuple[T, Future[R]]]()
    pool = None
    try:
        while True:
            for item in islice(todo, _AHEAD * workers - len(waiting)):
                pool = pool or _start_pool(workers)
                waiting.append((item, _submit(pool, call, item)))
            if pool is None or not waiting:
                return
            item, future = waiting.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:
                pool.shutdown()
                result = _call_alone(call, item, on_death)
                pool = _start_pool(workers)
                waiting = deque((i, f if _succeeded(f) else _submit(pool, call, i)) for i, f in waiting)
            yield result
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _call_alone(call: Callable[[T], R], item: T, on_death: Callable[[T], R]) -> R:
    with _start_pool(1) as pool:
        try:
            return pool.submit(call, item).result()
        except BrokenProcessPool:
            return on_death(item)


def _submit(pool: ProcessPoolExecutor, call: Callable[[T], R], item: T) -> Future[R]:
    try:
        return pool.submit(call, item)
    except BrokenProcessPool as error:  # broken since the last result: found out when this item's turn comes
        future = Future[R]()
        future.set_exception(error)
        return future


def _succeeded(future: Future[R]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _start_pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: JAX and Grain run threads in this process, and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    all_there = context.Barrier(workers)
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(all_there,))
    with _STARTING, _one_thread_each(), _deaf_and_mute():
        # A process is started for a call that finds none idle, and inherits the surroundings; none is before all are.
        started = [pool.submit(int) for _ in range(workers)]
    try:
        for future in started:
            future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "cannot start worker processes; free some memory, use fewer --workers, or in a script of your own put the "
            "call below `if __name__ == '__main__':`"
        ) from error
    return pool


@contextlib.contextmanager
def _deaf_and_mute() -> Iterator[None]:
    """Ctrl-C reaches the whole group, and processes that still import would answer it with tracebacks."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _start_worker(all_there: Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    all_there.wait()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
