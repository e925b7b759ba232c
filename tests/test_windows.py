"""Convolutions by products of windows have the values and gradients of XLA's own: few and many, in any chunks."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from relative_errors import relative_errors

from mumu_jax.models.kernels import windows

SHAPES = [  # sides, channels, kernel, stride, padding
    ((12, 9), 2, (7, 5), 1, ((3, 3), (0, 0))),
    ((12, 9), 1, (7, 5), 2, ((1, 2), (0, 1))),
    ((12, 9), 2, (7, 5), 1, ((0, 0), (31, 32))),
    ((17, 15), 3, (3, 3), 2, ((1, 1), (1, 1))),
    ((16, 16), 3, (5, 5), 3, ((2, 2), (2, 2))),
    ((16, 15), 3, (4, 4), 4, ((0, 0), (0, 0))),
    ((7, 8), 3, (1, 1), 2, ((1, 1), (0, 0))),
]


@pytest.mark.parametrize("cached_bytes", [windows.CACHED_BYTES, 0])  # the whole batch, and items one by one
@pytest.mark.parametrize("few", [0, 10**6])
@pytest.mark.parametrize(("sides", "channels", "size", "stride", "padding"), SHAPES)
def test_values_and_gradients(sides, channels, size, stride, padding, few, cached_bytes, monkeypatch):
    monkeypatch.setattr(windows, "FEW_WINDOWS", few)
    monkeypatch.setattr(windows, "CACHED_BYTES", cached_bytes)
    monkeypatch.setattr(windows, "CACHED_KERNELS", 0)
    x = jax.random.normal(jax.random.key(0), (4, *sides, channels))
    kernel = jax.random.normal(jax.random.key(1), (*size, channels, 3))

    def ours(x, kernel):
        return windows.convolve(x, kernel, stride, padding, lax.Precision.HIGHEST)

    def plain(x, kernel):
        return windows.plain(x, kernel, stride, padding, lax.Precision.HIGHEST)

    assert max(relative_errors(ours, plain, x, kernel)) <= 1e-5


@pytest.mark.parametrize("few", [0, 10**6])
def test_bfloat16_stays_bfloat16(few, monkeypatch):
    monkeypatch.setattr(windows, "FEW_WINDOWS", few)
    x = jax.random.normal(jax.random.key(0), (4, 9, 8, 3), jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 5), jnp.bfloat16)
    y, pull = jax.vjp(lambda x, kernel: windows.convolve(x, kernel, 2, ((1, 1), (1, 1)), None), x, kernel)
    dx, dkernel = pull(y)
    assert y.dtype == dx.dtype == dkernel.dtype == jnp.bfloat16
    expected = jax.vjp(lambda x, kernel: windows.plain(x, kernel, 2, ((1, 1), (1, 1)), None), x, kernel)[1](y)
    for found, other in zip((dx, dkernel), expected, strict=True):
        assert float(jnp.abs(found - other).max() / jnp.abs(other).max()) < 0.02
