"""On a CPU, what is stored is computed once; kernels' gradients are those of plain products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh

from mumu_jax.batch import Batch
from mumu_jax.compute import devices, predict
from mumu_jax.compute.compiler_options import compiler_options
from mumu_jax.compute.network import Constants, Network, Standardisation
from mumu_jax.models import resnet
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.products import dot_rows
from mumu_jax.objectives.logits import Logistic

MESH = Mesh(np.array(jax.devices()[:1]), (devices.AXIS,))


def operands_of_fusions(blocks: int) -> int:
    """Return the most arrays that one fusion reads in a training step of so many residual blocks."""
    model = resnet.ResNet(blocks=(blocks,), bottleneck=True, n_outputs=3, unit_output=False)
    images = jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def loss(params, variables, images):
        of_params = {**variables, "params": params}
        (output, _), _ = model.apply(of_params, images, None, Members(jnp.ones(2)), mutable=["batch_stats"])
        return jnp.sin(output).sum()

    lowered = jax.jit(jax.grad(loss)).lower(variables["params"], variables, images)
    return widest(lowered.compile(compiler_options(jax.devices()[0])).as_text())


def widest(program: str) -> int:
    """Return the most arrays that one fusion reads."""
    fusions = [line.split(" fusion(")[1] for line in program.splitlines() if " fusion(" in line]
    return max(fusion.split(")")[0].count("%") for fusion in fusions)


def test_residual_blocks_are_not_computed_again(monkeypatch):
    n_operands = operands_of_fusions(6)
    assert n_operands <= 16
    monkeypatch.setattr(resnet, "stored", lambda x: x)
    assert operands_of_fusions(6) > n_operands


def test_nor_in_predictions():
    network = Network(resnet.ResNet(blocks=(6,), bottleneck=True, n_outputs=3, unit_output=False), Logistic())
    images, n_images = jnp.zeros((1, 2, 32, 32, 3)), (1, 2)
    variables = jax.eval_shape(network.model.init, jax.random.key(0), images[0])
    batch = Batch({"image": images}, jnp.zeros((*n_images, 3), jnp.uint8), jnp.ones(n_images))
    constants = Constants({"image": Standardisation(jnp.zeros(()), jnp.ones(()))}, {})
    program = predict._program(MESH).lower(variables, batch, constants, network, MESH, True).compile()
    assert widest(program.as_text()) <= 16


@pytest.mark.parametrize("size", [4, 2**18])
def test_a_loop_over_few_bytes_may_store(size):
    """XLA makes one kernel of such a loop, depending on its version up to a megabyte, and that has no barriers."""

    def run(x):
        return lax.map(lambda item: jnp.sin(stored(2 * item)), x)

    x = jnp.arange(2.0 * size).reshape(2, size)
    compiled = jax.jit(run).lower(x).compile(compiler_options(jax.devices()[0]))
    assert "opt-barrier" in compiled.as_text()
    np.testing.assert_allclose(compiled(x), np.sin(2 * x), atol=1e-5)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 7)])
def test_gradients_of_a_dense_layer(shape):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (shape, (7, 5)))
    ours, plain = nn.Dense(5, dot_general=dot_rows), nn.Dense(5)
    params = {"params": {"kernel": kernel, "bias": jnp.ones(5)}}

    def loss(layer, params, x):
        return jnp.sin(layer.apply(params, x)).sum()

    one, other = (jax.grad(loss, argnums=(1, 2))(layer, params, x) for layer in (ours, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)
    half = jax.vmap(lambda x: nn.Dense(5, dtype=jnp.bfloat16, dot_general=dot_rows).apply(params, x))(x[None])
    assert half.dtype == jnp.bfloat16
