"""Training steps in which one convolution is computed in another formulation than the one that is chosen for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks.made_up_batches import Problem, item_of
from mumu_jax.compute.network import example_of
from mumu_jax.models.kernels import conv_pool
from mumu_jax.models.kernels.formulations import FAST_ALGORITHMS, fastest, supported

Shape = tuple[int, ...]  # of a kernel: frames, bins, channels in and out


def alternatives(problem: Problem) -> list[tuple[Shape, str]]:
    """Return a (kernel shape, formulation) for every formulation that a convolution supports and does not use."""
    pairs: dict[tuple[Shape, str], None] = {}

    def record(backend: str, x_shape: Shape, kernel_shape: Shape, pool: Any, dtype: Any) -> str:
        chosen = fastest(backend, x_shape, kernel_shape, pool, dtype)
        rounds_again = set() if dtype == jnp.float32 else FAST_ALGORITHMS
        others = supported(x_shape, kernel_shape, pool) - rounds_again - {chosen}
        pairs.update(dict.fromkeys((tuple(kernel_shape), name) for name in sorted(others)))
        return chosen

    with mock.patch.object(conv_pool, "fastest", record):
        example = jax.eval_shape(lambda: example_of(problem.network, item_of(problem.chunk(1, 1))))
        jax.eval_shape(problem.network.model.init, jax.random.key(0), example)
    return list(pairs)


@contextmanager
def formulated(shape: Shape, formulation: str) -> Iterator[None]:
    """Trace the convolutions whose kernel has this shape in that formulation, in this block."""

    def choose(backend: str, x_shape: Shape, kernel_shape: Shape, pool: Any, dtype: Any) -> str:
        return formulation if tuple(kernel_shape) == shape else fastest(backend, x_shape, kernel_shape, pool, dtype)

    with mock.patch.object(conv_pool, "fastest", choose):
        yield
