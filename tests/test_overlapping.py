"""Max-pools whose windows may overlap have the values and gradients of XLA's windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from relative_errors import relative_errors

from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.models.kernels.overlapping import max_pool

WINDOWS = [
    ((8, 11), (3, 3), (2, 2), 1),
    ((9, 12), (3, 3), (2, 2), 0),
    ((112, 4), (3, 3), (2, 2), 1),
    ((11, 7), (4, 1), (2, 2), 0),
    ((9, 8), (2, 5), (3, 1), 0),
    ((9, 7), (2, 3), (2, 3), 0),
]


def xlas(x, window, strides, padding):
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), pads)


@pytest.mark.parametrize(("sides", "window", "strides", "padding"), WINDOWS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients(sides, window, strides, padding, dtype):
    """No two elements are equal, and half of them are negative."""
    size = 2 * sides[0] * sides[1] * 3
    order = np.random.default_rng(0).permutation(size)
    bits = (order * 8 + 0x80 + order % 2 * 0x8000).astype(np.uint16)  # of bfloat16: every other one with its sign bit
    x = jnp.asarray(bits.view(jnp.bfloat16).reshape(2, *sides, 3), dtype)
    of_values, of_gradients = relative_errors(
        lambda x: max_pool(x, window, strides, padding), lambda x: xlas(x, window, strides, padding), x
    )
    assert of_values == 0
    assert of_gradients < (1e-6 if dtype == jnp.float32 else 1e-2)  # sums of several windows' gradients


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_tie_goes_to_the_first_element(dtype):
    """After ReLU, whole windows are zero."""
    gradient = jax.grad(lambda x: max_pool(x, (3, 3), (2, 2)).sum().astype(jnp.float32))(jnp.zeros((1, 5, 5, 1), dtype))
    rows, columns = np.nonzero(np.asarray(gradient, np.float32)[0, :, :, 0])
    assert [*zip(rows.tolist(), columns.tolist(), strict=True)] == [(0, 0), (0, 2), (2, 0), (2, 2)]


def test_a_tpu_has_an_instruction_for_it():
    x = jnp.ones((1, 8, 8, 3))
    with traced_for("tpu"):
        text = jax.jit(lambda x: max_pool(x, (3, 3), (2, 2), padding=1)).lower(x).as_text()
        y = max_pool(x, (3, 3), (2, 2), padding=1)
    assert "reduce_window" in text
    np.testing.assert_array_equal(y, max_pool(x, (3, 3), (2, 2), padding=1))


def test_no_window_fits():
    y, pull = jax.vjp(lambda x: max_pool(x, (4, 4), (2, 2)), jnp.ones((1, 2, 9, 3)))
    assert y.shape == (1, 0, 3, 3)
    assert not pull(y)[0].any()


def test_a_window_of_too_many_elements_is_refused():
    with pytest.raises(ValueError, match=r"window is \(16, 16\), more than 255 elements"):
        max_pool(jnp.ones((1, 20, 20, 1)), (16, 16), (2, 2))
