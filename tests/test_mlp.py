"""The text network: its sparse first layer against the dense one, and the whole against PyTorch's."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import by_name

from mumu_jax.batch import Sparse
from mumu_jax.models.kernels import sparse
from mumu_jax.models.kernels.sparse import GRADIENTS, PRODUCTS, densify, fastest, sparse_dense
from mumu_jax.models.mlp import MLP

N_TERMS = 50


def rows(n_items, nnz, n_terms=N_TERMS):
    """Rows of 0 to nnz values; padding has the value 0 at any column, those of the row and 0 among them."""
    rng = np.random.default_rng(nnz)
    columns = np.stack([rng.permutation(n_terms)[:nnz] for _ in range(n_items)]).astype(np.int32)
    values = rng.uniform(0.1, 1, (n_items, nnz)).astype(np.float32)
    padding = np.arange(nnz) >= np.linspace(0, nnz, n_items).astype(int)[:, None]
    columns = np.where(padding, rng.choice([0, n_terms - 1, *columns[:, 0]], columns.shape), columns)
    return Sparse(columns.astype(np.int32), np.where(padding, 0, values).astype(np.float32), n_terms)


def dense_rows(inputs, n_terms=N_TERMS):
    found = np.zeros((len(inputs.columns), n_terms), np.float32)
    for row, columns, values in zip(found, inputs.columns, inputs.values, strict=True):
        np.add.at(row, columns, values)
    return found


@pytest.mark.parametrize("nnz", [1, 7, N_TERMS])
def test_densify(nnz):
    inputs = rows(5, nnz)
    np.testing.assert_array_equal(densify(inputs, N_TERMS), dense_rows(inputs))


def chosen(product, gradient):
    """Let the layer use these formulations, whatever the backend."""
    return mock.patch.object(sparse, "fastest", return_value=(product, gradient))


@pytest.mark.parametrize("nnz", [1, 7, N_TERMS])
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_formulations_equal_the_dense_layer(product, gradient, nnz):
    inputs, rng = rows(5, nnz), np.random.default_rng(0)
    kernel, g = rng.normal(size=(N_TERMS, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)

    @jax.jit
    def value_and_gradient(inputs, kernel, g):
        with chosen(product, gradient):
            y, pull = jax.vjp(lambda kernel: sparse_dense(inputs, kernel), kernel)
        return y, *pull(g)

    y, dkernel = value_and_gradient(inputs, kernel, g)
    x = dense_rows(inputs)
    np.testing.assert_allclose(y, x @ kernel, atol=1e-5)
    np.testing.assert_allclose(dkernel, x.T @ g, atol=1e-5)
    np.testing.assert_array_equal(y[0], 0)  # an empty row
    assert not np.any(np.asarray(dkernel)[~x.any(axis=0)])


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("n_rows", [1, 10**6])
def test_a_formulation_for_every_backend(backend, n_rows):
    product, gradient = fastest(backend, n_rows, N_TERMS)
    assert product in PRODUCTS
    assert gradient in GRADIENTS


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_bfloat16_is_near(product, gradient):
    inputs, kernel = rows(5, 20), jax.random.normal(jax.random.key(0), (N_TERMS, 8))

    def run(dtype):
        with chosen(product, gradient):
            return jax.vjp(lambda kernel: sparse_dense(inputs, kernel, dtype), kernel)

    (y, pull), (exact, exact_pull) = run(jnp.bfloat16), run(jnp.float32)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.02 * float(jnp.abs(exact).max()))
    (found,), (expected,) = pull(y), exact_pull(exact)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.02 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize(("n_outputs", "unit_output", "expected"), [(250, False, 25_190_650), (50, True, 24_780_850)])
def test_parameter_count(n_outputs, unit_output, expected):
    model = MLP(n_outputs, unit_output)
    shapes = jax.eval_shape(model.init, jax.random.key(0), rows(1, 3, n_terms=10_000))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))


def small_mlp(unit_output=False, dropout=0.5, dtype=jnp.float32):
    model = MLP(6, unit_output, widths=(32, 16), dropout=dropout, dtype=dtype)
    inputs = rows(5, 7)
    return model, model.init(jax.random.key(0), inputs), inputs


@pytest.mark.parametrize("unit_output", [False, True])
def test_an_empty_text_trains_and_jit_equals_eager(unit_output):
    model, params, inputs = small_mlp(unit_output)

    def loss(params, keys=None):
        output, embedding = model.apply(params, inputs, keys)
        return jnp.sum(output * jnp.arange(1.0, 7)), (output, embedding)

    eager, jitted = jax.grad(loss, has_aux=True)(params), jax.jit(jax.grad(loss, has_aux=True))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), eager, jitted)
    gradients, (output, embedding) = jax.jit(jax.grad(loss, has_aux=True))(
        params, jax.random.split(jax.random.key(1), 5)
    )
    assert output.shape == (5, 6)
    assert embedding.shape == (5, 16)
    assert output.dtype == embedding.dtype == jnp.float32
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((gradients, output, embedding)))


def test_dense_rows_give_the_same():
    model, params, inputs = small_mlp(dropout=0.0)

    def loss(params, inputs):
        return jnp.sum(model.apply(params, inputs)[0] ** 2)

    ours, expected = (jax.value_and_grad(loss)(params, x) for x in (inputs, jnp.asarray(dense_rows(inputs))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, expected)


def test_precision_bounds_the_output():
    model, params, inputs = small_mlp(dropout=0.0)
    exact, _ = model.apply(params, inputs)
    rough, _ = small_mlp(dropout=0.0, dtype=jnp.bfloat16)[0].apply(params, inputs)
    np.testing.assert_allclose(rough, exact, atol=0.03 * float(jnp.abs(exact).max()))


def test_dropout_is_the_items_own():
    model, params, inputs = small_mlp()
    keys = jax.random.split(jax.random.key(3), 5)
    output, embedding = model.apply(params, inputs, keys)
    order = np.array([3, 1, 4, 0, 2])
    moved = Sparse(inputs.columns[order], inputs.values[order], inputs.n_columns)
    np.testing.assert_allclose(model.apply(params, moved, keys[order])[0], output[order], atol=1e-6)
    others = model.apply(params, inputs, keys.at[2].set(jax.random.key(4)))[1]
    changed = np.any(np.asarray(others != embedding), axis=1)
    assert changed.tolist() == [False, False, True, False, False]


def test_equals_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_networks

    model, params, inputs = small_mlp(dropout=0.0)
    peer = torch_networks.MLP(N_TERMS, 6, model.widths, dropout=0.0)
    peer.load_state_dict({name: torch.tensor(tensor) for name, tensor in by_name(params).items()})
    theirs = peer(torch.tensor(dense_rows(inputs)))
    theirs.square().sum().backward()
    ours, gradients = jax.value_and_grad(lambda p: jnp.sum(model.apply(p, inputs)[0] ** 2))(params)
    np.testing.assert_allclose(theirs.detach(), model.apply(params, inputs)[0], atol=1e-5)
    np.testing.assert_allclose(float(theirs.square().sum().detach()), ours, rtol=1e-5)
    for i in range(2):
        found = np.asarray(peer.get_parameter(f"hidden.{i}.weight").grad).T
        np.testing.assert_allclose(found, gradients["params"][f"hidden{i}_kernel"], atol=1e-5)
