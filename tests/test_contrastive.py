"""The contrastive loss of pairs, and the graph of labels, against their formulas in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from scipy.special import logsumexp

from mumu_jax.compute.devices import on_each_device
from mumu_jax.objectives.contrastive import LEAST_TEMPERATURE, contrastive_loss
from mumu_jax.objectives.cosine import l2_normalize
from mumu_jax.objectives.label_graph import (
    ADJACENCY,
    FEATURES,
    conditional_probabilities,
    cosines,
    fit_label_graph,
    normalised,
)

LOG_TEMPERATURE = float(np.log(0.2))


def pairs(n_items: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    first, second = np.random.default_rng(seed).normal(size=(2, n_items, 8)).astype(np.float32)
    return l2_normalize(jnp.asarray(first)), l2_normalize(jnp.asarray(second))


def loss_of(first, second, mask=None, log_temperature=LOG_TEMPERATURE) -> jax.Array:
    mask = jnp.ones(len(first)) if mask is None else jnp.asarray(mask, jnp.float32)
    return contrastive_loss(first, second, jnp.asarray(log_temperature, jnp.float32), mask)


def test_it_is_the_formula():
    """Ru et al. 2023: the mean of the cross-entropies of rows and of columns of the similarities over τ."""
    first, second = pairs(6)
    s = np.asarray(first, np.float64) @ np.asarray(second, np.float64).T / np.exp(LOG_TEMPERATURE)
    expected = (logsumexp(s, axis=1) + logsumexp(s, axis=0)) / 2 - np.diagonal(s)
    np.testing.assert_allclose(loss_of(first, second), expected, rtol=1e-5)


def test_padding_changes_nothing():
    first, second = pairs(6)
    alone = loss_of(first[:4], second[:4])
    padded = loss_of(first, second, [1, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(padded[:4], alone, rtol=1e-6)
    np.testing.assert_array_equal(padded[4:], 0)

    def summed(first):
        return loss_of(first, second, [1, 1, 1, 1, 0, 0]).sum()

    gradient = jax.grad(summed)(first)
    np.testing.assert_array_equal(gradient[4:], 0)
    np.testing.assert_allclose(gradient[:4], jax.grad(lambda x: loss_of(x, second[:4]).sum())(first[:4]), rtol=1e-5)


def test_a_batch_of_one_loses_nothing():
    np.testing.assert_allclose(loss_of(*pairs(1)), 0, atol=1e-6)


def test_the_temperature_has_a_least_value():
    first, second = pairs(4)
    least = loss_of(first, second, log_temperature=np.log(LEAST_TEMPERATURE))
    np.testing.assert_allclose(loss_of(first, second, log_temperature=-20.0), least)


@pytest.mark.parametrize("n_devices", [2, 8])
def test_all_devices_are_one_batch(n_devices):
    """Loss and gradients of 16 items, the last 3 of them padding, on one device and split over several."""
    first, second = pairs(16)
    mask, log_temperature = jnp.ones(16).at[13:].set(0), jnp.asarray(LOG_TEMPERATURE)

    def summed(arguments, mask, axis=None):
        return contrastive_loss(*arguments, mask, axis).sum()

    one = jax.value_and_grad(summed)((first, second, log_temperature), mask)
    mesh, split, whole = Mesh(np.array(jax.devices()[:n_devices]), ("data",)), PartitionSpec("data"), PartitionSpec()

    def of_one_device(arguments, mask):
        loss, (in_first, in_second, in_temperature) = jax.value_and_grad(partial(summed, axis="data"))(arguments, mask)
        return jax.lax.psum(loss, "data"), (in_first, in_second, jax.lax.psum(in_temperature, "data"))

    specs = (split, split, whole)
    program = on_each_device(of_one_device, mesh, in_specs=(specs, split), out_specs=(whole, specs))
    several = jax.jit(program)((first, second, log_temperature), mask)
    for expected, found in zip(jax.tree.leaves(one), jax.tree.leaves(several), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# --- the graph ----------------------------------------------------------------------------------------------

LABELS = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 0]], np.uint8)  # the last is on no album


def test_probabilities_are_those_that_are_printed():
    """N(i and j) / N(j): both labels of two albums, by hand."""
    expected = [[1, 2 / 3, 1, 0], [2 / 3, 1, 0, 0], [1 / 3, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(conditional_probabilities(LABELS), expected)


def test_cosines_are_not_negative():
    features = np.array([[1.0, 0], [1, 1], [-1, 0], [0, 0]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(cosines(features), [[1, half, 0, 0], [half, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_the_adjacency_is_kipf_and_wellings():
    features = np.random.default_rng(0).normal(size=(4, 3))
    graph = fit_label_graph(LABELS, features)
    A = (conditional_probabilities(LABELS) + cosines(features)) / 2 + np.eye(4)
    D = np.diag(A.sum(axis=1) ** -0.5)
    np.testing.assert_allclose(graph[ADJACENCY], D @ A @ D, rtol=1e-6)
    np.testing.assert_allclose(graph[FEATURES], features, rtol=1e-6)
    assert graph[ADJACENCY].dtype == graph[FEATURES].dtype == np.float32
    np.testing.assert_allclose(normalised(np.zeros((3, 3))), np.eye(3))
