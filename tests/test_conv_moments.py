"""A norm's block whose convolution is not stored computes what the one does whose is: values, gradients, statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from mumu_jax.models import tagging
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.kernels import conv_moments
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


@pytest.mark.parametrize("members", [None, Members(MASK), Members(MASK, trainable="conv")])
@pytest.mark.parametrize("frames", [None, 4, 8])
def test_as_with_a_stored_convolution(x, members, frames, monkeypatch):
    """Tagging, training and frozen; in one piece, and in pieces of so many frames, which do not divide an item's."""
    if frames:
        monkeypatch.setattr(conv_moments, "PIECE_BYTES", frames * x.shape[2] * FEATURES * x.dtype.itemsize)
    variables = variables_of(x)
    found = steps_of(block(), variables, x, members)
    monkeypatch.setattr(conv_moments, "suits", lambda *_: False)
    assert_close(found, steps_of(block(), variables, x, members))


@pytest.mark.parametrize(("pool", "activation"), [((1, 1), nn.elu), ((5, 3), nn.relu), ((2, 9), nn.elu)])
def test_other_pools_and_activations(x, pool, activation, monkeypatch):
    variables, members = variables_of(x), Members(MASK)
    found = steps_of(block(pool, activation), variables, x, members)
    monkeypatch.setattr(conv_moments, "suits", lambda *_: False)
    assert_close(found, steps_of(block(pool, activation), variables, x, members))


def test_no_value_of_the_convolution_is_stored(x, monkeypatch):
    variables, members = variables_of(x), Members(MASK)

    def stores() -> bool:
        text = str(jax.make_jaxpr(lambda x: steps_of(block(), variables, x, members))(x))
        return f"f32[{N_ITEMS},{x.shape[1]},{x.shape[2]},{FEATURES}]" in text

    assert not stores()
    monkeypatch.setattr(conv_moments, "suits", lambda *_: False)
    assert stores()


def test_statistics_are_those_of_all_devices(x):
    variables = variables_of(x)
    whole = steps_of(block(), variables, x, Members(MASK))
    mesh = Mesh(np.array(jax.devices()[:4]), ("device",))
    parts, everywhere = PartitionSpec("device"), PartitionSpec()

    def part(x, mask):
        found = steps_of(block(), variables, x, Members(mask, "device"))
        of_params, of_x = found["gradients"]
        return {**found, "gradients": (jax.lax.psum(of_params, "device"), of_x)}

    specs = {"y": parts, "statistics": everywhere, "gradients": (everywhere, parts)}
    split = jax.shard_map(part, mesh=mesh, in_specs=(parts, parts), out_specs=specs, check_vma=False)
    assert_close(jax.jit(split)(x, MASK), whole)


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
        ((2, 8, 8, 1), jnp.float32, (2, 2), "tpu"),
    ],
)
def test_not_used_elsewhere(shape, dtype, pool, backend):
    suits = partial(conv_moments.suits, jnp.zeros(shape, dtype), pool)
    assert conv_moments.suits(jnp.zeros((2, 8, 8, 1)), (2, 2))
    with traced_for(backend):
        assert not suits()
