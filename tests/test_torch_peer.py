"""The benchmark's peer is the same network: our weights in PyTorch give our outputs, our loss and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.train_step import CONFIGS, build_network, synthetic_chunk, synthetic_constants
from mumu_jax import objective
from mumu_jax.experiments import load_config
from mumu_jax.network import apply, see


@pytest.mark.parametrize("name", [*CONFIGS, "audio_low_4x96_logistic"])
def test_the_peer_is_the_same_network(name):
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_peer

    config = load_config(name)
    config.model.dropout, config.model.precision = 0.0, "float32"
    chunk, constants = synthetic_chunk(config, 1, 2), synthetic_constants(config)
    inputs, labels, mask = (jnp.asarray(leaf[0]) for leaf in (chunk.inputs, chunk.labels, chunk.mask))
    network = build_network(config, constants)
    patches = see(network, inputs, constants)
    params = jax.jit(network.model.init)(jax.random.key(0), patches)["params"]

    @jax.jit
    def ours(params, patches):
        def loss(params):
            output, _ = apply(network, {"params": params}, patches)
            total, weight = objective.loss_sum_and_weight(network.kind, output, labels, constants, mask)
            return total / weight, output

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, output), gradient = jax.device_get(ours(params, patches))
    for first in ("conv", "banded") if torch_peer.has_bands(config) else ("conv",):
        peer = torch_peer.CNN(config, network.model.n_outputs, first).load(jax.device_get(params))
        found = peer(torch.tensor(np.asarray(patches)))
        np.testing.assert_allclose(found.detach(), output, atol=1e-4)
        tensors = torch.tensor(np.asarray(labels)), torch.tensor(constants.label_factors)
        its_loss = torch_peer.mean_loss(network.kind, found, *tensors)
        its_loss.backward()
        np.testing.assert_allclose(float(its_loss.detach()), loss, rtol=1e-4)
        convs = [peer.get_submodule(f"convs.{i}") for i in range(4)]
        pairs = [(conv.weight.grad.permute(2, 3, 1, 0), gradient[f"conv{i}_kernel"]) for i, conv in enumerate(convs)]
        pairs += [(conv.bias.grad, gradient[f"conv{i}_bias"]) for i, conv in enumerate(convs)]
        pairs.append((peer.dense.weight.grad.T, gradient["output"]["dense"]["kernel"]))
        for theirs, expected in pairs:  # where two values of a pool's window nearly tie, rounding decides which gets it
            difference = np.linalg.norm(np.asarray(theirs) - expected)
            assert difference < 2e-3 * np.linalg.norm(expected)
