"""Work in a process of its own, so that its threads and its memory are not those of the benchmark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.system import workers


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return `work(*arguments)`, called in a fresh process of one thread, as `prepare` works."""
    (result,) = workers.map_in_order(_call, [(work, arguments)], 1, _died)
    return result


def peak_bytes() -> int | None:
    """Return the most memory that this process had; None if the system does not tell.

    `getrusage` would count the memory of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _call(item: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    work, arguments = item
    return work(*arguments)


def _died(item: Any) -> Any:
    raise UserError("a worker process died; free some memory, then call again")
