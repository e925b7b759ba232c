"""Measure the matmul peak of the device, of which a step's FLOP/s are a share."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.timing import calls_within, rate

# Rows, inner, columns: large ones, and one as tall as the products of a convolution.
SHAPES = {
    "cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (8192, 320, 1024)),
    "gpu": ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 16384, 16384), (65536, 2048, 2048)),
}


class Peak:
    """A matrix product of that shape in SHAPES which is fastest on the first device; `rate` measures it again."""

    def __init__(self, precision: str, seconds: float = 0.3):
        shapes = SHAPES.get(jax.default_backend(), SHAPES["gpu"])
        products = [_Product(shape, precision, seconds) for shape in shapes]
        self._best = max(products, key=_Product.rate)

    def rate(self) -> float:
        """Return FLOP/s."""
        return self._best.rate()


class _Product:
    """Two matrices on the device, and their product."""

    def __init__(self, shape: tuple[int, int, int], precision: str, seconds: float):
        rows, inner, columns = shape
        a = jax.random.normal(jax.random.key(0), (rows, inner), jnp.dtype(precision))
        b = jax.random.normal(jax.random.key(1), (inner, columns), jnp.dtype(precision))
        # float32 means float32, as in the networks: no TF32.
        multiply = jax.jit(partial(jnp.matmul, precision=lax.Precision.HIGHEST if precision == "float32" else None))
        self._work = lambda: multiply(a, b).block_until_ready()
        self._work()
        self._flops, self._calls = 2 * rows * inner * columns, calls_within(seconds, self._work)

    def rate(self) -> float:
        return rate(self._work, self._flops, self._calls)
