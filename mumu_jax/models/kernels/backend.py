"""The backend whose formulations networks use: JAX's own, unless a program is traced for another one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jax import lax

_CHOSEN: ContextVar[str | None] = ContextVar("backend", default=None)


def backend() -> str:
    """Return the backend to choose formulations by: `cpu`, `gpu` or `tpu`."""
    return _CHOSEN.get() or jax.default_backend()


@contextmanager
def traced_for(name: str) -> Iterator[None]:
    """Trace networks in this block for the backend `name`."""
    token = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def stored(x: Any, on: str = "cpu") -> Any:
    """Return `x`, one or more arrays, which on the backend `on` are computed once and stored, and so are gradients.

    XLA for CPUs would compute them again wherever they are used: along whole chains of residual blocks.  A TPU's
    compiler takes twice as long, for as many cycles by its own count, if it may fuse a pool with the next convolution.
    """
    return lax.optimization_barrier(x) if backend() == on else x
