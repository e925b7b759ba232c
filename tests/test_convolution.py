"""Every formulation of every layer of the six CNNs against the convolution as one would write it down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mumu_jax.models.cnn import VARIANTS
from mumu_jax.models.kernels import conv_pool as convolution
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.models.kernels.conv_pool import conv_pool
from mumu_jax.models.kernels.formulations import FIXED, FORMULATIONS, fastest, supported
from mumu_jax.models.kernels.pooling import max_and_place, unpool

CHANNELS = 5


def plain_conv_pool(x, kernel, bias, pool, padding):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), padding.upper(), dimension_numbers=numbers, precision=lax.Precision.HIGHEST
    )
    window = (1, *pool, 1)
    return lax.reduce_window(jax.nn.relu(y + bias), -jnp.inf, lax.max, window, window, "VALID")


def layers_of(variant):
    """(input shape of an item, kernel shape, pool, padding) of each convolution, narrowed to few channels."""
    shape = (322, 96, 1)
    for size, pool in zip(variant.kernels, variant.pools, strict=True):
        yield shape, (*size, shape[2], CHANNELS), pool, variant.padding
        lost = (0, 0) if variant.padding == "same" else (size[0] - 1, size[1] - 1)
        shape = ((shape[0] - lost[0]) // pool[0], (shape[1] - lost[1]) // pool[1], CHANNELS)


LAYERS = sorted({layer for variant in VARIANTS.values() for layer in layers_of(variant)})


def shapes(layer):
    """Of what two items' pooled positions read of the padded input, and of the kernel."""
    shape, kernel_shape, pool, padding = layer
    lost = (0, 0) if padding == "same" else (kernel_shape[0] - 1, kernel_shape[1] - 1)
    read = [(n - less) // p * p + k - 1 for n, less, p, k in zip(shape[:2], lost, pool, kernel_shape[:2], strict=True)]
    return (2, *read, shape[2]), kernel_shape, pool


def assert_equal_to_plain(layer, formulation=None):
    shape, kernel_shape, pool, padding = layer
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    kernel = jax.random.normal(jax.random.key(1), kernel_shape) / np.sqrt(np.prod(kernel_shape[:3]))
    bias = 0.1 * jax.random.normal(jax.random.key(2), kernel_shape[3:])

    def value_and_gradients(function):
        def run(*arguments):
            y, pull = jax.vjp(function, *arguments)
            return y, *pull(jax.random.normal(jax.random.key(3), y.shape))

        return jax.jit(run)(x, kernel, bias)

    plain = value_and_gradients(lambda *a: plain_conv_pool(*a, pool, padding))
    choose = FIXED if formulation is None else lambda *_: formulation
    ours = value_and_gradients(lambda *a: conv_pool(*a, pool, padding, choose))
    for one, other in zip(ours, plain, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-5 * float(jnp.abs(other).max()))


PAIRS = [(layer, name) for layer in LAYERS for name in sorted(supported(*shapes(layer)))]


@pytest.mark.parametrize(("layer", "formulation"), PAIRS, ids=str)
def test_formulation_equals_plain_convolution(layer, formulation):
    with traced_for("gpu"):  # all items at once
        assert_equal_to_plain(layer, formulation)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_smallest_chunks_equal_plain_convolution(layer, backend, monkeypatch):
    for name in ("CACHED_BYTES", "CACHED_MATRICES", "VECTOR_MEMORY", "VECTOR_BYTES"):
        monkeypatch.setattr(convolution, name, 0)
    with traced_for(backend):
        assert_equal_to_plain(layer)


# Pools that the six networks do not have: phases that do not divide them are put in order.
OTHER_POOLS = [
    *(((27, 1, 3), (4, 1, 3, CHANNELS), (pt, 1), "valid", "quartered_im2col") for pt in (1, 2, 6)),
    *(((14, 10, 3), (3, 3, 3, CHANNELS), pool, "valid", "winograd") for pool in ((1, 1), (2, 1), (1, 2))),
]


@pytest.mark.parametrize(("shape", "kernel_shape", "pool", "padding", "formulation"), OTHER_POOLS, ids=str)
def test_phases_that_do_not_divide_the_pool(shape, kernel_shape, pool, padding, formulation):
    assert_equal_to_plain((shape, kernel_shape, pool, padding), formulation)


@pytest.mark.parametrize("pool", [(15, 17), (16, 16), (17, 16)])
def test_a_place_in_a_large_window_may_need_more_than_a_byte(pool):
    assert_equal_to_plain(((36, 35, 2), (2, 2, 2, CHANNELS), pool, "valid"))


def test_pieces_of_an_item_suit_the_formulation(monkeypatch):
    monkeypatch.setattr(convolution, "CACHED_BYTES", 2**16)
    monkeypatch.setattr(convolution, "CACHED_MATRICES", 0)
    assert_equal_to_plain(((79, 96, 1), (8, 89, 1, CHANNELS), (6, 4), "valid"), "quartered_banded")


def test_every_formulation_is_compared():
    assert {name for _, name in PAIRS} == set(FORMULATIONS)


@pytest.mark.parametrize(
    ("backend", "experiment", "choices"),
    [
        ("cpu", ("4x70", "high"), ["quartered_banded", "quartered_im2col", "quartered_im2col", "im2col"]),
        ("cpu", ("4x96", "low"), ["quartered_im2col"] * 3 + ["im2col"]),
        ("cpu", ("3x3", "high"), ["im2col", "winograd", "winograd", "im2col"]),
        ("gpu", ("4x70", "low"), ["banded", "folded", "folded", "folded"]),
        ("gpu", ("4x96", "high"), ["folded"] * 4),
        ("gpu", ("3x3", "low"), ["window", "plain", "plain", "plain"]),
    ],
)
def test_choice_of_formulation(backend, experiment, choices):
    layers = layers_of(VARIANTS["_".join(reversed(experiment))])
    assert [fastest(backend, *shapes(layer)) for layer in layers] == choices


def test_fewer_products_do_not_pay_for_a_matrix_of_more_columns_than_positions():
    assert fastest("cpu", (32, 79, 6, 256), (4, 6, 256, 512), (4, 1)) == "quartered_im2col"
    assert fastest("cpu", (32, 19, 1, 512), (4, 1, 512, 1024), (4, 1)) == "im2col"
    assert fastest("cpu", (32, 79, 1, 512), (4, 1, 512, 1024), (4, 1)) == "quartered_im2col"


def test_bfloat16_is_not_added_before_it_is_multiplied():
    assert fastest("cpu", (32, 79, 1, 256), (4, 1, 256, 512), (4, 1), jnp.bfloat16) == "im2col"
    assert fastest("cpu", (32, 319, 93, 1), (4, 70, 1, 256), (4, 4), jnp.bfloat16) == "banded"


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (4, 2)])
def test_pool_of_phases_equals_that_of_the_whole(counts):
    n, m = counts
    y = jax.random.randint(jax.random.key(0), (2, 8, 12, 3), 0, 4).astype(jnp.float32)  # with ties
    phases = tuple(tuple(y[:, i::n, j::m] for j in range(m)) for i in range(n))
    largest, place = max_and_place([((y,),)], (4, 2))
    for one, other in zip(max_and_place([phases], (4, 2)), (largest, place), strict=True):
        np.testing.assert_array_equal(one, other)
    ((whole,),) = unpool(largest, place, (4, 2), (1, 1))
    for i, row in enumerate(unpool(largest, place, (4, 2), counts)):
        for j, phase in enumerate(row):
            np.testing.assert_array_equal(phase, whole[:, i::n, j::m])


def test_pool_of_bfloat16_equals_that_of_float32():
    """One maximum finds value and place; negative values, ties and infinities included."""
    y = jax.random.randint(jax.random.key(0), (4, 8, 12, 5), -4, 4) / 4
    y = y.at[0, :4, :2, 0].set(-jnp.inf).at[0, 1, 3, 0].set(jnp.inf).at[1, :4, :2].multiply(1e-3)
    y = y.at[2, 0, 0, 0].set(jnp.nan).at[2, 5, 5, 0].set(-jnp.nan)
    pieces = [((part,),) for part in jnp.split(y, 3, axis=2)]
    packed = max_and_place([((part.astype(jnp.bfloat16),),) for ((part,),) in pieces], (4, 2))
    rounded = max_and_place([((part.astype(jnp.bfloat16).astype(jnp.float32),),) for ((part,),) in pieces], (4, 2))
    assert packed[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(packed[0].astype(jnp.float32), rounded[0])
    assert jnp.isnan(packed[0]).sum() == 2
    np.testing.assert_array_equal(*(jnp.where(jnp.isnan(largest), 0, place) for largest, place in (packed, rounded)))


def test_pool_gradient_goes_to_the_first_of_equal_maxima():
    y = jnp.array([[0.0, 2.0, 1.0, 1.0], [2.0, 2.0, 1.0, 1.0]])[None, :, :, None]
    largest, place = max_and_place([((y,),)], (2, 2))
    np.testing.assert_array_equal(largest.ravel(), [2, 1])
    ((gradient,),) = unpool(jnp.array([3.0, 4.0]).reshape(1, 1, 2, 1), place, (2, 2), (1, 1))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 3, 4, 0], [0, 0, 0, 0]])


def test_first_layer_makes_no_gradient_of_its_input():
    """A product as large as the layer's own, which nothing would read."""
    kernel, bias = jnp.ones((4, 70, 1, 8)), jnp.zeros(8)

    def count_products(argnums):
        loss = jax.grad(lambda x, kernel: conv_pool(x, kernel, bias, (4, 4), "valid").sum(), argnums)
        with traced_for("gpu"):
            lowered = jax.jit(loss).lower(jnp.ones((2, 322, 96, 1)), kernel)
        return lowered.compile().as_text().count(" dot(")

    assert count_products(1) < count_products((0, 1))
