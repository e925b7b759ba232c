"""Convolutions by windows equal the plain one, with their gradients: of few windows and many, and in any chunks."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from relative_errors import relative_errors

from mumu_jax.models.kernels import plain, windows

N_ITEMS = 4
SHAPES = [  # sides, channels, kernel, stride, padding
    ((12, 9), 2, (7, 5), 1, ((3, 3), (0, 0))),
    ((12, 9), 1, (7, 5), 1, ((3, 2), (0, 1))),
    ((12, 9), 1, (7, 5), 2, ((1, 2), (0, 1))),
    ((12, 9), 2, (7, 5), 1, ((0, 0), (31, 32))),
    ((17, 15), 3, (3, 3), 2, ((1, 1), (1, 1))),
    ((16, 16), 3, (5, 5), 3, ((2, 2), (2, 2))),
    ((11, 13), 2, (2, 3), 5, ((1, 0), (2, 3))),
    ((7, 8), 3, (1, 1), 2, ((1, 1), (0, 0))),
]
# All in chunks of two; one also whole, and item by item.
IN_CHUNKS = [*((*shape, 2) for shape in SHAPES), *((*SHAPES[4], size) for size in (N_ITEMS, 1))]
EITHER_WAY = pytest.mark.parametrize("few", [0, 10**6])


def both_ways(stride, padding):
    return [
        lambda x, kernel, one=one: one.convolve(x, kernel, stride, padding, lax.Precision.HIGHEST)
        for one in (windows, plain)
    ]


@EITHER_WAY
@pytest.mark.parametrize(("sides", "channels", "places", "stride", "padding", "size"), IN_CHUNKS)
def test_values_and_gradients(sides, channels, places, stride, padding, few, size, monkeypatch):
    monkeypatch.setattr(windows, "FEW_WINDOWS", few)
    monkeypatch.setattr(windows, "items_a_chunk", lambda *_: size)
    x = jax.random.normal(jax.random.key(0), (N_ITEMS, *sides, channels))
    kernel = jax.random.normal(jax.random.key(1), (*places, channels, 3))
    assert max(relative_errors(*both_ways(stride, padding), x, kernel)) <= 1e-5


@EITHER_WAY
@pytest.mark.parametrize("channels", [1, 64])
def test_bfloat16_is_rounded_once(few, channels, monkeypatch):
    monkeypatch.setattr(windows, "FEW_WINDOWS", few)
    x = jax.random.normal(jax.random.key(0), (N_ITEMS, 9, 8, channels), jnp.bfloat16)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, 64), jnp.bfloat16)
    ours, exact = both_ways(1, ((1, 1), (1, 1)))
    y, pull = jax.vjp(ours, x, kernel)
    wide = jax.tree.map(lambda array: array.astype(jnp.float32), (x, kernel, y))
    expected, pull_exact = jax.vjp(exact, *wide[:2])
    for found, other in zip((y, *pull(y)), (expected, *pull_exact(wide[2])), strict=True):
        assert found.dtype == jnp.bfloat16
        assert float(jnp.linalg.norm(found - other) / jnp.linalg.norm(other)) < 0.003


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sides", [(0, 8), (1, 8), (2, 1)])
def test_an_empty_output_is_empty(sides, stride):
    x, kernel = jnp.ones((N_ITEMS, *sides, 2)), jnp.ones((4, 3, 2, 5))
    (found, expected) = (jax.vjp(one, x, kernel) for one in both_ways(stride, ((0, 0), (0, 0))))
    assert found[0].shape == expected[0].shape
    for ours, theirs in zip(found[1](found[0]), expected[1](expected[0]), strict=True):
        assert ours.shape == theirs.shape
        assert not jnp.any(ours)


def test_few_windows_are_products():
    def program(n_items, places=(3, 3)):
        x, kernel = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((n_items, 3, 3, 8), (*places, 8, 4)))
        return jax.jit(both_ways(1, ((1, 1), (1, 1)))[0]).lower(x, kernel).as_text()

    n_values = 3 * 3 * 8  # of a window; an item has 9
    most_items = windows.FEW_WINDOWS * n_values // 9
    assert "convolution" not in program(most_items)
    assert "while" not in program(most_items)
    assert "convolution" in program(most_items + 1)
    assert "convolution" in program(1, places=(5, 10))  # too many places


def test_copies_stay_in_the_cache(monkeypatch):
    monkeypatch.setattr(windows, "CACHED_BYTES", 2 * 9 * 72 * 4)
    monkeypatch.setattr(windows, "CACHED_KERNELS", 0)
    x, kernel = jnp.ones((N_ITEMS, 3, 3, 8)), jnp.ones((3, 3, 8, 4))
    text = jax.jit(both_ways(1, ((1, 1), (1, 1)))[0]).lower(x, kernel).as_text()
    assert "while" in text
    assert "tensor<18x72xf32>" in text  # the windows of two items
