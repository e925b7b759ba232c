"""Measure the matmul peak of the device, of which a step's FLOP/s are a share."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import timing

# Rows, inner, columns: large ones, and one as tall as the products of a convolution.
SHAPES = {
    "cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (8192, 320, 1024)),
    "gpu": ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 16384, 16384), (65536, 2048, 2048)),
}


class Peak:
    """A matrix product of that shape in SHAPES which is fastest on the first device; `rate` measures its FLOP/s."""

    def __init__(self, precision: str, seconds: float = 0.3):
        shapes = SHAPES.get(jax.default_backend(), SHAPES["gpu"])
        self.rate = max((_product(shape, precision, seconds) for shape in shapes), key=lambda rate: rate())


def _product(shape: tuple[int, int, int], precision: str, seconds: float) -> Callable[[], float]:
    rows, inner, columns = shape
    a = jax.random.normal(jax.random.key(0), (rows, inner), jnp.dtype(precision))
    b = jax.random.normal(jax.random.key(1), (inner, columns), jnp.dtype(precision))
    # float32 means float32, as in the networks: no TF32.
    multiply = jax.jit(partial(jnp.matmul, precision=lax.Precision.HIGHEST if precision == "float32" else None))
    multiply(a, b).block_until_ready()  # compiles
    return timing.timed(lambda: multiply(a, b).block_until_ready(), 2 * rows * inner * columns, seconds)
