"""The benchmark's peer is the same network: our weights in PyTorch give our outputs, our loss and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from quick import quick_jit

from benchmarks.options import SIX
from benchmarks.train_step import build_network, synthetic_chunk, synthetic_constants
from mumu_jax.compute.network import Network, apply, apply_in_training, see
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.config import OptimSettings
from mumu_jax.experiments import load_config
from mumu_jax.models import pretrained
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.resnet import ResNet
from mumu_jax.models.vit import ViT
from mumu_jax.objectives import objective


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("audio_low_4x96", "audio_high_4x70") else pytest.param(name, marks=pytest.mark.slow)
        for name in (*SIX, "audio_low_4x96_logistic")
    ],
)
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


@pytest.mark.parametrize("name", ["image_resnet101", "covers_vit_b16", "covers_densenet201", "covers_alexnet"])
def test_the_peer_of_an_image_network(name):
    """Has the published one's tensors."""
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_peer

    config = load_config(name)
    with torch.device("meta"):
        found = torch_peer.image_network(config, 250).state_dict()
    shapes = {n: tuple(tensor.shape) for n, tensor in found.items() if not n.endswith("num_batches_tracked")}
    expected = pretrained.expected_sources(pretrained.published_name(config.model), 250)
    assert shapes == dict(expected.values())


# Of each family a small network, ours and PyTorch's, and the side of its images.
SMALL = {
    "resnet": (ResNet, {"blocks": (1, 1, 1, 1), "bottleneck": True}, pretrained.RESNET, 64),
    "densenet": (DenseNet, {"blocks": (2, 2)}, pretrained.DENSENET, 64),
    "vit": (ViT, {"depth": 2}, pretrained.VIT, 48),
}


def by_name(tree, layout):
    """{PyTorch's name: tensor as PyTorch has it} of our variables or gradients."""
    leaves = flatten_dict(jax.device_get(tree))
    return {
        pretrained._source(layout, path, leaf.shape).name: np.transpose(leaf, (-1, -2, *range(leaf.ndim - 2)))
        if path[-1] == "kernel"
        else leaf
        for path, leaf in leaves.items()
    }


@pytest.mark.parametrize("family", SMALL)
def test_image_networks_are_the_same_in_training(family):
    """The output of a batch, and the gradient of its loss."""
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_networks, torch_peer

    ours, how, layout, side = SMALL[family]
    network = Network(ours(n_outputs=7, unit_output=False, **how), "softmax")
    rng = np.random.default_rng(0)
    images, mask = jnp.asarray(rng.normal(size=(6, side, side, 3)), jnp.float32), jnp.ones(6)
    labels = jnp.asarray(rng.integers(7, size=6)[:, None] == np.arange(7), jnp.uint8)
    variables = {"batch_stats": {}, **quick_jit(network.model.init)(jax.random.key(0), images)}
    constants = objective.Constants(None, None, jnp.zeros((7, 0)))

    @quick_jit
    def step(params):
        def loss(params):
            keys = jax.random.split(jax.random.key(0), 6)
            output, _ = apply_in_training(network, {**variables, "params": params}, images, keys, mask, None)
            total, weight = objective.loss_sum_and_weight("softmax", output, labels, constants, mask)
            return total / weight, output

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, output), gradient = step(variables["params"])
    theirs = {"resnet": torch_networks.ResNet, "densenet": torch_networks.DenseNet, "vit": torch_networks.ViT}[family]
    peer = theirs(n_outputs=7, **how, **({"side": side} if family == "vit" else {}))
    weights = {name: torch.tensor(tensor) for name, tensor in by_name(variables, layout).items()}
    assert not peer.load_state_dict(weights, strict=False).unexpected_keys
    found = peer.train()(torch.tensor(np.asarray(images)).permute(0, 3, 1, 2))
    its_loss = torch_peer.mean_loss("softmax", found, torch.tensor(np.asarray(labels)), torch.zeros(7, 0))
    its_loss.backward()
    np.testing.assert_allclose(found.detach(), output, atol=1e-4)
    np.testing.assert_allclose(float(its_loss.detach()), loss, rtol=1e-4)
    expected = by_name({"params": gradient}, layout)
    assert set(expected) == {name for name, _ in peer.named_parameters()}
    for name, parameter in peer.named_parameters():
        difference = np.linalg.norm(np.asarray(parameter.grad) - expected[name])
        assert difference < 2e-3 * np.linalg.norm(expected[name]) + 1e-6, name


@pytest.mark.parametrize("algorithm", ["adam", "adamw", "sgd"])
def test_optimizers_are_the_same(algorithm):
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_peer

    settings = OptimSettings(algorithm=algorithm, learning_rate=0.1, weight_decay=0.0 if algorithm == "adam" else 0.1)
    ours = np.array([1.0, -2.0, 3.0], np.float32)
    theirs = torch.tensor(ours, requires_grad=True)
    tx, optimizer = make_optimizer(settings), torch_peer.make_optimizer(settings, [theirs], capturable=False)
    state = tx.init(ours)
    for _ in range(3):
        updates, state = tx.update(2 * ours, state, ours)
        ours = ours + updates
        theirs.grad = 2 * theirs.detach()
        optimizer.step()
    np.testing.assert_allclose(theirs.detach(), ours, rtol=1e-5)
