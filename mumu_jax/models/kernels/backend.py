"""The backend whose formulations networks use: JAX's own, unless a program is traced for another one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jax import lax
from jaxtyping import Array

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


def stored(x: Array, on: str = "cpu") -> Array:
    """Return `x`, which on the backend `on` is computed once and stored, and so is its gradient.

    XLA for CPUs would compute it again wherever it is used: along whole chains of residual blocks.  A TPU's compiler
    takes twice as long, for as many cycles by its own count, if it may fuse a pool with the next convolution.
    """
    return lax.optimization_barrier(x) if backend() == on else x


@jax.custom_vjp
def with_stored_gradient(x: Array) -> Array:
    """Return `x`, whose gradient is `stored`, while `x` itself may be computed wherever it is used."""
    return x


def _forward(x: Array) -> tuple[Array, None]:
    return x, None


def _backward(_: None, g: Array) -> tuple[Array]:
    return (stored(g),)


with_stored_gradient.defvjp(_forward, _backward)
