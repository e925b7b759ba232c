"""Winograd's algorithm has the values and gradients of the plain convolution, and is used where it is faster."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from relative_errors import relative_errors

from mumu_jax.models.kernels import plain, winograd
from mumu_jax.models.kernels.padded import convolve

N_ITEMS, CIN, COUT = 4, 32, 40
PAD = (1, 1), (1, 1)


def exact(x, kernel, padding):
    return plain.convolve(x, kernel, 1, padding, lax.Precision.HIGHEST)


@pytest.mark.parametrize("padding", [PAD, ((0, 2), (1, 0))])
@pytest.mark.parametrize(
    ("sides", "rows", "is_whole"),
    [
        ((8, 6), 16, True),
        ((7, 9), 16, True),
        ((8, 7), 8, False),
        ((7, 6), 4, False),
        ((9, 8), 3, False),
        ((8, 8), 0, False),
    ],
)
def test_values_and_gradients(padding, sides, rows, is_whole, monkeypatch):
    """Of even and odd sides, whole, in chunks of items, and in bands of an item: chunks of so many rows of tiles."""
    x = jax.random.normal(jax.random.key(0), (N_ITEMS, *sides, CIN)) + 1
    kernel = jax.random.normal(jax.random.key(1), (3, 3, CIN, COUT))
    assert winograd.suits(x.shape, kernel.shape, padding, x.dtype)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", rows * 16 * -(-sides[1] // 2) * COUT * x.dtype.itemsize)
    ours = lambda x, kernel: convolve(x, kernel, padding)  # noqa: E731
    text = jax.jit(lambda *arguments: ours(*arguments)).lower(x, kernel).as_text()
    assert ("while" in text) != is_whole
    assert "convolution" not in text
    assert max(relative_errors(ours, lambda x, kernel: exact(x, kernel, padding), x, kernel)) < 1e-5


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "padding", "dtype"),
    [
        ((4, 8, 8, 32), (5, 5, 32, 32), 1, jnp.float32),
        ((4, 8, 8, 32), (3, 3, 32, 32), 3, jnp.float32),
        ((4, 8, 8, 32), (3, 3, 32, 31), 1, jnp.float32),
        ((4, 8, 8, 31), (3, 3, 31, 32), 1, jnp.float32),
        ((4, 8, 8, 32), (3, 3, 32, 32), 1, jnp.bfloat16),
        ((1, 4, 4, 64), (3, 3, 64, 64), 1, jnp.float32),
    ],
)
def test_not_used_where_it_is_slower_or_less_exact(x_shape, kernel_shape, padding, dtype):
    assert winograd.suits((4, 8, 8, 32), (3, 3, 32, 32), PAD, jnp.float32)
    assert not winograd.suits(x_shape, kernel_shape, ((padding, padding), (padding, padding)), dtype)


def test_not_used_with_a_stride(monkeypatch):
    monkeypatch.setattr(winograd, "convolve", None)
    x, kernel = jnp.ones((4, 8, 8, 32)), jnp.ones((3, 3, 32, 32))
    assert convolve(x, kernel, PAD, stride=2).shape == (4, 4, 4, 32)
