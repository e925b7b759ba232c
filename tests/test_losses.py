"""Losses against float64 NumPy, their gradients at the edges, and their mean over a masked batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mumu_jax.objectives import Objective
from mumu_jax.objectives.cosine import Cosine, cosine_loss
from mumu_jax.objectives.logits import Logistic, Shares, Softmax


def binary_cross_entropy(logits, labels):
    return Logistic().loss(logits, labels, {})[0]


@pytest.mark.parametrize("scale", [1, 10, 100, 1e4])
def test_binary_cross_entropy_equals_numpy(scale):
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(50, 7)) * scale).astype(np.float32)
    labels = rng.random((50, 7)) < 0.3
    z = logits.astype(np.float64)
    expected = np.where(labels, np.logaddexp(0, -z), np.logaddexp(0, z)).mean(axis=1)
    actual = binary_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(actual, expected, rtol=2e-6)
    jitted = jax.jit(binary_cross_entropy)(logits, labels)
    np.testing.assert_allclose(jitted, actual, rtol=1e-6)


def test_binary_cross_entropy_keeps_a_small_loss():
    """A sure and right logit still has a loss and a gradient, where 1 - sigmoid would round to 0."""
    logits, labels = jnp.asarray([[30.0, -30.0]]), jnp.asarray([[1, 0]])
    loss, gradient = jax.value_and_grad(lambda z: binary_cross_entropy(z, labels)[0])(logits)
    np.testing.assert_allclose(loss, np.exp(-30), rtol=1e-5)
    np.testing.assert_allclose(gradient, [[-np.exp(-30) / 2, np.exp(-30) / 2]], rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_cosine_loss_equals_numpy(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2, 40, 6)) * rng.choice([1e-3, 1, 1e3], size=(2, 40, 1))
    prediction, target = vectors.astype(np.float32)
    prediction[0] = 0
    target[1] = 0
    loss, weight = cosine_loss(jnp.asarray(prediction), jnp.asarray(target))
    p, t = prediction.astype(np.float64), target.astype(np.float64)
    lengths = np.linalg.norm(p, axis=1) * np.linalg.norm(t, axis=1)
    expected = (1 - np.sum(p * t, axis=1) / np.where(lengths > 0, lengths, 1)) / 2
    np.testing.assert_allclose(loss, expected, atol=1e-6)
    np.testing.assert_array_equal(weight, np.arange(40) != 1)
    np.testing.assert_allclose(jax.jit(cosine_loss)(prediction, target)[0], loss, atol=1e-6)


def test_cosine_loss_of_equal_orthogonal_and_opposite_vectors():
    prediction = jnp.asarray([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    loss, _ = cosine_loss(prediction, jnp.asarray([[5.0, 0.0]] * 3))
    np.testing.assert_allclose(loss, [0, 0.5, 1], atol=1e-7)


def test_losses_of_low_precision_networks_are_float32():
    x = jnp.ones((3, 4), jnp.bfloat16)
    assert binary_cross_entropy(x, x).dtype == jnp.float32
    assert cosine_loss(x, x)[0].dtype == jnp.float32


def mean_cosine(prediction, target, mask):
    """The labels of the four items are the items themselves, so that the label factors are the targets."""
    return Cosine(3).summed_loss(prediction, jnp.eye(4), {"label_factors": target}, mask)[0]


def mean_cross_entropy(logits, labels, mask):
    return Logistic().summed_loss(logits, labels, {}, mask)[0]


@pytest.mark.parametrize("value", [0.0, 1e-20, 1e-13, 1e-11, 1.0, 1e4])
def test_gradients_are_finite(value):
    output = jnp.full((4, 3), value)
    target = jnp.asarray([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    mask = jnp.asarray([1.0, 1, 0, 0])

    of_cosine = jax.jit(jax.grad(mean_cosine))(output, target, mask)
    of_cross_entropy = jax.jit(jax.grad(mean_cross_entropy))(output, target, mask)
    for gradient in (of_cosine, of_cross_entropy):
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[2:], 0)  # padding
    np.testing.assert_array_equal(of_cosine[0], 0)  # an item without a target direction
    assert np.any(of_cosine[1] != 0) == (value > 1e-12)
    assert np.any(of_cross_entropy != 0)


class Given(Objective):
    """An objective whose losses are the outputs, and whose weights are the labels."""

    def loss(self, output, labels, fitted):
        return output[:, 0], labels[:, 0].astype(jnp.float32)


def test_summed_loss_leaves_out_what_does_not_count():
    values = jnp.asarray([[1.0], [2.0], [np.nan], [6.0]])

    def summed(values, weights, mask):
        return Given().summed_loss(values, jnp.asarray(weights)[:, None], {}, jnp.asarray(mask, jnp.float32))

    assert summed(values, [1, 1, 0, 1], [1, 1, 1, 1]) == (9, 3)
    assert summed(values, [1, 1, 1, 1], [1, 1, 0, 0]) == (3, 2)
    value, gradient = jax.value_and_grad(lambda v: summed(v, [1, 1, 1, 1], [0, 0, 0, 0])[0])(values)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_shares_are_sigmoids_over_their_sum():
    """As Keras 1 takes categorical cross-entropy of sigmoid outputs; also where sigmoids are below the least number."""
    rng = np.random.default_rng(0)
    output, true = rng.normal(size=(50, 7)).astype(np.float32) * 3, rng.integers(0, 7, 50)
    sigmoids = 1 / (1 + np.exp(-output.astype(np.float64)))
    shares = sigmoids / sigmoids.sum(axis=1, keepdims=True)
    labels = jnp.asarray(np.eye(7, dtype=np.uint8)[true])
    loss, weight = Shares().loss(jnp.asarray(output), labels, {})
    np.testing.assert_allclose(loss, -np.log(shares[np.arange(50), true]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(weight, 1)
    scores = Shares().scores(jnp.asarray(output), {})
    np.testing.assert_allclose(Shares().readable(scores), shares, rtol=1e-5)
    of_songs = Shares().of_patches(np.asarray(scores).reshape(10, 5, 7))
    np.testing.assert_allclose(Shares().readable(of_songs), shares.reshape(10, 5, 7).mean(axis=1), rtol=1e-5)
    tiny, _ = Shares().loss(jnp.full((1, 7), -200.0), labels[:1], {})
    np.testing.assert_allclose(tiny, np.log(7), rtol=1e-6)


def test_softmax_equals_numpy():
    rng = np.random.default_rng(0)
    logits, true = rng.normal(size=(50, 7)).astype(np.float32) * 10, rng.integers(0, 7, 50)
    z = logits.astype(np.float64)
    expected = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(50), true]
    loss, weight = Softmax().loss(jnp.asarray(logits), jnp.asarray(np.eye(7, dtype=np.uint8)[true]), {})
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(weight, 1)
