"""A block whose first convolution is not stored has the values, gradients and statistics of one that stores it."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from mumu_jax.models import tagging
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.kernels import conv_moments, plain
from mumu_jax.models.kernels.backend import traced_for

N_ITEMS, FEATURES = 8, 6
MASK = jnp.array([1.0, 1, 0, 1, 1, 1, 1, 1])


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(1, 2, (N_ITEMS, 23, 9, 1)), jnp.float32)


def block(pool=(4, 2), activation=nn.relu):
    return tagging.Block(FEATURES, pool, activation, jnp.float32)


def variables_of(x):
    """Parameters and statistics that are no identity; some scales are negative."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(block().init, jax.random.key(0), x, None)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) ** 2 + 0.1, leaf.dtype), shapes) | {
        "params": jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes["params"])
    }


def steps_of(block, variables, x, members=None):
    """Return output and new statistics, and the gradients of parameters and input."""

    def loss(params, x):
        y, new = block.apply({**variables, "params": params}, x, members, mutable=["batch_stats"])
        weights = jnp.cos(jnp.arange(y[0].size)).reshape(y[0].shape)
        mask = 1 if members is None else members.mask[:, None, None, None]
        return (weights * mask * y).sum(), (y, new)

    gradients, (y, new) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables["params"], x)
    return {"y": y, "statistics": new, "gradients": gradients}


def assert_close(found, expected):
    def close(path, a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=jax.tree_util.keystr(path))

    jax.tree.map_with_path(close, found, expected)


def steps_with_a_stored_convolution(monkeypatch, *arguments):
    monkeypatch.setattr(conv_moments, "suits", lambda *_: False)
    return steps_of(*arguments)


def set_piece(monkeypatch, frames, x):
    monkeypatch.setattr(conv_moments, "PIECE_BYTES", frames * x.shape[2] * FEATURES * x.dtype.itemsize)


@pytest.mark.parametrize("members", [None, Members(MASK), Members(MASK, trainable="conv")])
@pytest.mark.parametrize(("frames", "length"), [(100, 23), (4, 23), (8, 23), (8, 17), (0, 16)])
def test_as_with_a_stored_convolution(x, members, frames, length, monkeypatch):
    """Tagging, training and frozen; in one piece, and in pieces of so many frames, of which the last lack some."""
    x = x[:, :length]
    set_piece(monkeypatch, frames, x)
    arguments = block(), variables_of(x), x, members
    assert_close(steps_of(*arguments), steps_with_a_stored_convolution(monkeypatch, *arguments))


@pytest.mark.parametrize(("pool", "activation"), [((1, 1), nn.elu), ((5, 3), nn.relu), ((2, 9), nn.elu)])
def test_other_pools_and_activations(x, pool, activation, monkeypatch):
    arguments = block(pool, activation), variables_of(x), x, Members(MASK)
    assert_close(steps_of(*arguments), steps_with_a_stored_convolution(monkeypatch, *arguments))


def test_an_activation_that_falls_precedes_the_pool(x, monkeypatch):
    arguments = block(activation=nn.gelu), variables_of(x), x, Members(MASK)
    assert_close(steps_of(*arguments), steps_with_a_stored_convolution(monkeypatch, *arguments))


@pytest.mark.parametrize("sides", [(3, 3), (5, 3), (1, 7)])
def test_kernels(x, sides):
    rng = np.random.default_rng(2)
    kernel, scale = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((*sides, 1, FEATURES), FEATURES))
    assert {*np.sign(scale)} == {-1, 1}

    def ours(x, kernel):
        return conv_moments.pool_and_moments(x, kernel, scale, (4, 2))[:3]

    def plainly(x, kernel):
        padding = [(side // 2, side // 2) for side in sides]
        y = plain.convolve(x, kernel, 1, padding, jax.lax.Precision.HIGHEST)
        windows = (scale * y)[:, :20, :8].reshape(N_ITEMS, 5, 4, 4, 2, FEATURES)
        return windows.max((2, 4)) / scale, y.mean((1, 2)), y.var((1, 2))

    found, pull = jax.vjp(ours, x, kernel)
    expected, pull_plainly = jax.vjp(plainly, x, kernel)
    given = tuple(jnp.asarray(rng.normal(size=part.shape), jnp.float32) for part in expected)
    assert_close((found, pull(given)), (expected, pull_plainly(given)))


def test_no_array_is_as_large_as_the_convolution(x, monkeypatch):
    features = 32  # more than the nine places of the kernel, whose products are stored
    set_piece(monkeypatch, 2, x)
    block = tagging.Block(features, (4, 2), nn.relu, jnp.float32)
    variables = block.init(jax.random.key(0), x, None)

    def largest() -> int:
        steps = jax.make_jaxpr(lambda x: steps_of(block, variables, x, Members(MASK)))(x)
        return max(math.prod(map(int, size.split(","))) for size in re.findall(r"f32\[([\d,]+)\]", str(steps)))

    assert largest() < x.size * features
    monkeypatch.setattr(conv_moments, "suits", lambda *_: False)
    assert largest() >= x.size * features


@pytest.mark.parametrize("trainable", ["", "conv"])
def test_statistics_are_those_of_all_devices(x, trainable):
    variables = variables_of(x)
    whole = steps_of(block(), variables, x, Members(MASK, trainable=trainable))
    mesh = Mesh(np.array(jax.devices()[:4]), ("device",))
    parts, everywhere = PartitionSpec("device"), PartitionSpec()

    def part(x, mask):
        found = steps_of(block(), variables, x, Members(mask, "device", trainable))
        of_params, of_x = found["gradients"]
        return {**found, "gradients": (jax.lax.psum(of_params, "device"), of_x)}

    specs = {"y": parts, "statistics": everywhere, "gradients": (everywhere, parts)}
    split = jax.shard_map(part, mesh=mesh, in_specs=(parts, parts), out_specs=specs, check_vma=False)
    assert_close(jax.jit(split)(x, MASK), whole)


def test_parameters_from_a_file(x):
    """They are of NumPy, where a network is not compiled."""
    variables = variables_of(x)
    found = block().apply(jax.tree.map(np.asarray, variables), x, None)
    assert_close(found, block().apply(variables, x, None))


def test_the_same_parameters(x, monkeypatch):
    found = block().init(jax.random.key(0), x, None)
    monkeypatch.setattr(conv_moments, "suits", lambda *_: False)
    jax.tree.map_with_path(
        lambda path, a, b: np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path)),
        found,
        block().init(jax.random.key(0), x, None),
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "pool", "backend"),
    [
        ((2, 8, 8, 2), jnp.float32, (2, 2), "cpu"),
        ((2, 8, 8, 1), jnp.bfloat16, (2, 2), "cpu"),
        ((2, 8, 8, 1), jnp.float32, (16, 16), "cpu"),
        ((2, 8, 1, 1), jnp.float32, (2, 2), "cpu"),
        ((2, 0, 8, 1), jnp.float32, (2, 2), "cpu"),
        ((0, 8, 8, 1), jnp.float32, (2, 2), "cpu"),
        ((2, 8, 8, 1), jnp.float32, (2, 2), "tpu"),
        ((2, 8, 8, 1), jnp.float32, (2, 2), "gpu"),
    ],
)
def test_not_used_elsewhere(shape, dtype, pool, backend):
    suits = partial(conv_moments.suits, jnp.zeros(shape, dtype), pool)
    assert conv_moments.suits(jnp.zeros((2, 8, 8, 1)), (2, 2))
    with traced_for(backend):
        assert not suits()
