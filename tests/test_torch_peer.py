"""The benchmark's peer is the same network: our weights in PyTorch give our outputs, our loss and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import quick_jit
from torch_weights import by_name

from benchmarks.made_up_batches import Problem
from benchmarks.options import SIX
from mumu_jax.compute.network import Constants, Network, apply, apply_in_training, see
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.config import OptimSettings
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models import pretrained
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.resnet import ResNet
from mumu_jax.models.vit import ViT
from mumu_jax.objectives import Objective
from mumu_jax.objectives.logits import Softmax


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("audio_low_4x96", "audio_high_4x70") else pytest.param(name, marks=pytest.mark.slow)
        for name in (*SIX, "audio_low_4x96_logistic")
    ],
)
def test_the_peer_is_the_same_network(name):
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_networks, torch_peer

    config = load_config(name)
    config.model.dropout, config.model.precision = 0.0, "float32"
    problem = Problem(config)
    network, constants = problem.network, problem.constants
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), problem.chunk(1, 2))
    patches = see(network, batch.inputs, constants)
    params = jax.jit(network.model.init)(jax.random.key(0), patches)["params"]

    @jax.jit
    def ours(params, patches):
        def loss(params):
            output, _ = apply(network, {"params": params}, patches, constants)
            total, weight = network.objective.summed_loss(output, batch.labels, constants.fitted, batch.mask)
            return total / weight, output

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, output), gradient = ours(params, patches)
    weights = {name: torch.tensor(tensor) for name, tensor in by_name({"params": params}).items()}
    labels = torch.tensor(np.asarray(batch.labels), dtype=torch.float32)
    fitted = {name: torch.tensor(np.asarray(array)) for name, array in constants.fitted.items()}
    for first in ("conv", "banded") if torch_networks.has_bands(config) else ("conv",):
        peer = torch_networks.CNN(config, network.model.n_outputs, first)
        peer.load_state_dict(weights)
        its_output = peer(torch.tensor(np.asarray(patches)))
        its_loss = torch_peer.loss_of(network.objective)(its_output, labels, fitted)
        its_loss.backward()
        if network.objective.unit_output:
            its_output = torch.nn.functional.normalize(its_output, dim=1)
        np.testing.assert_allclose(its_output.detach(), output, atol=1e-4)
        np.testing.assert_allclose(float(its_loss.detach()), loss, rtol=1e-4)
        expected = by_name({"params": gradient})
        assert set(expected) == {path for path, _ in peer.named_parameters()}
        for path, parameter in peer.named_parameters():
            # Where two values of a pool's window nearly tie, rounding decides which gets it.
            difference = np.linalg.norm(np.asarray(parameter.grad) - expected[path])
            assert difference < 2e-3 * np.linalg.norm(expected[path]), path


def test_the_peer_is_tried_in_the_ways_that_are_given():
    pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks.torch_peer import Peer, Way

    problem = Problem(load_config("audio_low_4x96"))
    ways = [Way("channels-last", "banded"), Way("contiguous", "no such layer", "no such way")]
    peer = Peer(problem, problem.chunk(1, 2), 0.01, ways)
    assert peer.tried.keys() == {*map(str, ways)}
    assert peer.way == ways[0]
    assert peer.side(2, 0.01)() > 0


@pytest.mark.parametrize("name", ["image_resnet101", "covers_vit_b16", "covers_densenet201", "covers_alexnet"])
def test_the_peer_of_an_image_network(name):
    """Has the published one's tensors."""
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_networks

    settings = load_config(name).model
    with torch.device("meta"):
        tensors = torch_networks.NETWORKS[pretrained.name_of(settings)](n_outputs=250).state_dict()
    shapes = {n: tuple(tensor.shape) for n, tensor in tensors.items() if not n.endswith("num_batches_tracked")}
    expected = pretrained.expected_sources(pretrained.published_name(settings), 250)
    assert shapes == dict(expected.values())


# Of each family a small network, ours and PyTorch's, and the side of its images.
SMALL = {
    "resnet": (ResNet, {"blocks": (1, 1, 1, 1), "bottleneck": True}, pretrained.RESNET, 64),
    "densenet": (DenseNet, {"blocks": (2, 2)}, pretrained.DENSENET, 64),
    "vit": (ViT, {"depth": 2}, pretrained.VIT, 48),
}


@pytest.mark.parametrize("family", SMALL)
def test_image_networks_are_the_same_in_training(family):
    """The output of a batch, and the gradient of its loss."""
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_networks, torch_peer

    ours, how, layout, side = SMALL[family]
    network = Network(ours(n_outputs=7, unit_output=False, **how), Softmax())
    rng = np.random.default_rng(0)
    images, mask = jnp.asarray(rng.normal(size=(6, side, side, 3)), jnp.float32), jnp.ones(6)
    labels = jnp.asarray(rng.integers(7, size=6)[:, None] == np.arange(7), jnp.uint8)
    variables = {"batch_stats": {}, **quick_jit(network.model.init)(jax.random.key(0), images)}

    @quick_jit
    def step(params):
        def loss(params):
            keys = jax.random.split(jax.random.key(0), 6)
            of_params = {**variables, "params": params}
            output = apply_in_training(network, of_params, images, Constants({}, {}), keys, Members(mask)).output
            total, weight = network.objective.summed_loss(output, labels, {}, mask)
            return total / weight, output

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, output), gradient = step(variables["params"])
    theirs = {"resnet": torch_networks.ResNet, "densenet": torch_networks.DenseNet, "vit": torch_networks.ViT}[family]
    peer = theirs(n_outputs=7, **how, **({"side": side} if family == "vit" else {}))
    weights = {name: torch.tensor(tensor) for name, tensor in by_name(variables, layout).items()}
    assert not peer.load_state_dict(weights, strict=False).unexpected_keys
    its_output = peer.train()(torch.tensor(np.asarray(images)).permute(0, 3, 1, 2))
    its_loss = torch_peer.loss_of(network.objective)(its_output, torch.tensor(np.asarray(labels, np.float32)), {})
    its_loss.backward()
    np.testing.assert_allclose(its_output.detach(), output, atol=1e-4)
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


def test_an_objective_without_a_loss_in_pytorch_is_refused():
    pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_peer

    class Focal(Objective):
        def loss(self, output, labels, fitted):
            return output, labels

    with pytest.raises(UserError, match="no loss for Focal, only for Cosine, Logistic, Softmax; add it"):
        torch_peer.loss_of(Focal())
