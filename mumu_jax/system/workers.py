"""Worker processes: one call an item, results in order, and a process that dies costs one item only."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.machinery import ModuleSpec
from itertools import islice
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from mumu_jax.errors import UserError
from mumu_jax.system.allocator import keep_freed_memory

T = TypeVar("T")
R = TypeVar("R")

LIMIT_S = 1800.0  # longer than any file takes; one that blocks (its drive does not answer) is given up
_AHEAD = 4  # items in flight for each worker: enough that none is idle while the next result in order is awaited
_STARTING = threading.Lock()  # held while the environment, which all threads share, is changed for new processes
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_in_order(
    call: Callable[[T], R], items: Iterable[T], workers: int, on_death: Callable[[T], R], limit_s: float = LIMIT_S
) -> Generator[R, None, None]:
    """Yield `call(item)` for every item in order, computed by `workers` processes of one thread each.

    If a process dies (a decoder crashes, memory runs out), or is stopped because an item takes longer than `limit_s`,
    every item in flight is tried again, one at a time; if that happens again, `on_death(item)` is its result.  The
    workers' standard error is discarded: decoders written in C
    report every damaged file there.  The workers end with this process, however it ends.

    Raises UserError if worker processes cannot be started at all, and whatever `call` raises.
    """
    todo = iter(items)
    waiting = deque[tuple[T, Future[R]]]()
    pool = None
    try:
        while True:
            for item in islice(todo, _AHEAD * workers - len(waiting)):
                pool = pool or _start_pool(workers)
                waiting.append((item, _submit(pool, call, item)))
            if not waiting:
                return
            try:
                result = _result(pool, waiting[0][1], limit_s)  # begun before all others that have no result
            except BrokenProcessPool:
                if pool is not None:
                    pool.shutdown()
                    pool = None
                waiting = _retry_lost(waiting, call, on_death, limit_s)
                continue
            waiting.popleft()
            yield result
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _result(pool: ProcessPoolExecutor | None, future: Future[R], limit_s: float) -> R:
    """Return a call's result.  Raises BrokenProcessPool if its process died, or was killed for taking too long."""
    wait([future], limit_s)
    if not future.done() and pool is not None:
        for process in list(pool._processes.values()):  # Python 3.14 has `kill_workers`
            process.kill()
    return future.result()


def _retry_lost(
    waiting: Iterable[tuple[T, Future[R]]], call: Callable[[T], R], on_death: Callable[[T], R], limit_s: float
) -> deque[tuple[T, Future[R]]]:
    """Compute the items in flight that have no result, each alone in its process, so that it is known which ends it."""
    retried = deque[tuple[T, Future[R]]]()
    for item, future in waiting:
        if not _succeeded(future):
            future = Future[R]()
            future.set_result(_call_alone(call, item, on_death, limit_s))
        retried.append((item, future))
    return retried


def _call_alone(call: Callable[[T], R], item: T, on_death: Callable[[T], R], limit_s: float) -> R:
    with _start_pool(1) as pool:
        try:
            return _result(pool, pool.submit(call, item), limit_s)
        except BrokenProcessPool:
            return on_death(item)


def _submit(pool: ProcessPoolExecutor, call: Callable[[T], R], item: T) -> Future[R]:
    try:
        return pool.submit(call, item)
    except BrokenProcessPool as error:  # since the last result; handled when this item is the next
        future = Future[R]()
        future.set_exception(error)
        return future


def _succeeded(future: Future[R]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _start_pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: JAX and Grain run threads in this process, and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    with _STARTING, _one_thread_each(), _without_interrupts_and_stderr(), _without_the_command():
        # The first semaphore starts Python's tracker of them, which would report on standard error what Ctrl-C leaves.
        all_started = context.Barrier(workers)
        pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(all_started,))
        # A process is started for each call that finds none idle, and inherits this environment.  None is idle before
        # all have started, because of the barrier.
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
def _without_interrupts_and_stderr() -> Iterator[None]:
    """Let new processes ignore Ctrl-C, which reaches the whole group, and print nothing, even while they import."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _without_the_command() -> Iterator[None]:
    """Let new processes not import the command that starts them, and JAX with it: no call is defined in a command.

    A user's script is imported: it may register a front end.
    """
    main = sys.modules["__main__"]
    spec = main.__spec__
    if spec is not None and spec.name.startswith("mumu_jax."):
        main.__spec__ = ModuleSpec("command.__main__", None)  # multiprocessing imports no module of such a name again
    try:
        yield
    finally:
        main.__spec__ = spec


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


def _start_worker(all_started: Barrier) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    all_started.wait()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
