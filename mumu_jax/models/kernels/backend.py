"""The backend whose formulations networks use: JAX's own, unless a program is traced for another one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

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
