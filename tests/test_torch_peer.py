"""The benchmark's peer is the same network: our weights in PyTorch give our outputs, our loss and its gradient."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from torch_weights import by_name

from benchmarks.made_up_batches import Problem
from benchmarks.options import SIX
from mumu_jax.compute.network import Constants, Network, apply, apply_in_training, initial_variables, item_network, see
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.config import BertSettings, OptimSettings
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models import pretrained
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.layouts import BERT
from mumu_jax.models.resnet import ResNet
from mumu_jax.models.vit import ViT
from mumu_jax.objectives import Objective
from mumu_jax.objectives.contrastive import contrastive_loss
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


def step(network, variables, inputs, labels):
    """Return ((loss, output), gradient of the parameters) of a batch in training."""
    keys, mask = jax.random.split(jax.random.key(0), len(inputs)), jnp.ones(len(inputs))

    def loss(params):
        of_params = {**variables, "params": params}
        output = apply_in_training(network, of_params, inputs, Constants({}, {}), keys, Members(mask)).output
        total, weight = network.objective.summed_loss(output, labels, {}, mask)
        return total / weight, output

    return jax.value_and_grad(loss, has_aux=True)(variables["params"])


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
    images = jnp.asarray(rng.normal(size=(6, side, side, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(7, size=6)[:, None] == np.arange(7), jnp.uint8)
    variables = {"batch_stats": {}, **jax.jit(network.model.init)(jax.random.key(0), images)}

    (loss, output), gradient = jax.jit(partial(step, network))(variables, images, labels)
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


SIZES = {"musicnn": (16, 24), "vgg": (3, 187), "cnn_choi": (3, 1366), "crnn_choi": (3, 200)}  # items, frames


@pytest.mark.parametrize("family", SIZES)
def test_networks_of_keras_and_tensorflow_are_the_same_in_training(family):
    """The output of a batch, the gradient of its loss, and the output with the running statistics."""
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_frames

    config, n, frames = load_config(f"mel_{family}_logistic"), *SIZES[family]
    config.model.dropout = 0.0
    network = Network(item_network(config, 7, {}).model, Softmax())
    rng = np.random.default_rng(0)
    patches = jnp.asarray(rng.normal(size=(n, frames, 96)), jnp.float32)
    labels = jnp.asarray(rng.integers(7, size=n)[:, None] == np.arange(7), jnp.uint8)
    variables = jax.jit(network.model.init)(jax.random.key(0), patches)
    variables = jax.jit(partial(jax.tree.map, _waved))(variables)

    (loss, output), gradient = jax.jit(partial(step, network))(variables, patches, labels)
    peer = torch_frames.NETWORKS[family](n_outputs=7, patch=(frames, 96), dropout=0.0)
    weights = {name: torch.tensor(tensor) for name, tensor in _frames_tensors(variables).items()}
    loaded = peer.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys
    assert all("num_batches" in name for name in loaded.missing_keys)
    evaluated, _ = apply(network, variables, patches, Constants({}, {}))
    its_evaluated = peer.eval()(torch.tensor(np.asarray(patches))).detach()
    np.testing.assert_allclose(its_evaluated, evaluated, atol=1e-4 * float(jnp.abs(evaluated).max()))
    its_output = peer.train()(torch.tensor(np.asarray(patches)))
    its_loss = torch.nn.functional.cross_entropy(its_output, torch.tensor(np.asarray(labels, np.float32)))
    its_loss.backward()
    np.testing.assert_allclose(its_output.detach(), output, atol=5e-4)  # norms of three items enlarge rounding
    assert float(its_loss.detach()) == pytest.approx(float(loss), rel=1e-4)
    expected = _frames_tensors({"params": gradient})
    whole = np.linalg.norm([np.linalg.norm(one) for one in expected.values()])
    assert set(expected) == {name for name, _ in peer.named_parameters()}
    for name, parameter in peer.named_parameters():
        difference = np.linalg.norm(np.asarray(parameter.grad) - expected[name])
        # What stands before a norm has hardly a gradient but rounding.
        assert difference < 5e-3 * np.linalg.norm(expected[name]) + 1e-3 * whole, (name, whole)


def _waved(leaf):
    """Return the leaf with something added, so that no statistic, scale or bias is that of a new network."""
    return leaf + 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)


def _frames_tensors(tree) -> dict[str, np.ndarray]:
    """Return our variables or gradients by the names of `torch_frames`."""
    rules = (
        (r"^layer(\d)\.(conv|bn)", r"\2\1"),
        (r"^output\.dense", "output"),
        (r"^((?:timbral|temporal)_\d+|cnn\d)\.(kernel|bias)", r"\1.conv.\2"),
        (r"^(?=timbral|temporal)", "front."),
        (r"kernel$|scale$", "weight"),
        (r"(?=(mean|var)$)", "running_"),
    )
    tensors = {}
    for (_, *path), leaf in flatten_dict(jax.device_get(tree)).items():
        name = ".".join(path)
        if name.endswith("recurrent_kernel"):
            width = len(leaf)
            name = name.removesuffix("recurrent_kernel")
            tensors |= {f"{name}gates.weight": leaf[:, : 2 * width].T, f"{name}new.weight": leaf[:, 2 * width :].T}
            continue
        if path[-1] == "kernel":
            leaf = leaf[:, :, 0].transpose(2, 1, 0) if name.startswith("cnn") else np.moveaxis(leaf, (-1, -2), (0, 1))
        for ours, its in rules:
            name = re.sub(ours, its, name)
        tensors[name] = leaf
    return tensors


@pytest.mark.parametrize("algorithm", ["adam", "adamw", "sgd"])
def test_optimizers_are_the_same(algorithm):
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_peer

    settings = OptimSettings(algorithm=algorithm, learning_rate=0.1, weight_decay=0.1)
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


SONGS_AND_LYRICS = ("lyrics", "mel")  # as our parameters are ordered
SMALL_BERT = BertSettings(layers=2, width=16, heads=2, inner=32, n_tokens=50)


@pytest.mark.parametrize("name", ["joint_cross_attention", "joint_concatenated", "joint_coattention"])
def test_the_peer_of_a_joint_network(name):
    """Gives our outputs and our contrastive loss, in evaluation, with our weights."""
    torch = pytest.importorskip("torch", reason="PyTorch, the benchmark's peer, is not installed")
    from benchmarks import torch_joint

    config = load_config(name)
    config.model.bert, config.model.dropout, config.model.width_divisor = SMALL_BERT, 0.0, 32
    config.model.joint = dataclasses.replace(config.model.joint, width=16, heads=2, projection=8, fused=12)
    config.mel = dataclasses.replace(config.mel, patch_frames=64)
    problem = Problem(config)
    network, constants = problem.network, problem.constants
    constants = Constants(constants.inputs, {key: jnp.asarray(one) for key, one in constants.fitted.items()})
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), problem.chunk(1, 3))
    tokens = batch.inputs["lyrics"].at[0, 40:].set(0)
    inputs = see(network, {**batch.inputs, "lyrics": tokens}, constants)
    item = {key: jax.ShapeDtypeStruct(one.shape[1:], one.dtype) for key, one in batch.inputs.items()}
    variables = jax.jit(lambda: initial_variables(network, jax.random.key(0), item))()
    variables = jax.jit(partial(jax.tree.map, _waved))(variables)
    output, _ = apply(network, variables, inputs, constants)

    fitted = {key: torch.tensor(np.asarray(array)) for key, array in constants.fitted.items()}
    peer = torch_joint.NETWORKS[config.model.family](config, network.model.n_outputs, fitted, (128, 2)).eval()
    tensors = {**peer.state_dict(), **_joint_tensors(variables)}
    tensors = {key: torch.tensor(np.asarray(one)) for key, one in tensors.items()}
    peer.load_state_dict(tensors)
    its_output, its_loss = peer(torch.tensor(np.asarray(inputs["mel"])), torch.tensor(np.asarray(tokens)))
    np.testing.assert_allclose(its_output.detach(), output, rtol=1e-3, atol=2e-4)
    if network.contrast:
        _, sown = network.model.apply(
            {
                **variables,
                "graph": {"output": {key.removeprefix("graph_"): one for key, one in constants.fitted.items()}},
            },
            inputs,
            mutable=["pairs"],
        )
        ours = contrastive_loss(*sown["pairs"]["contrast"][0], jnp.ones(3))
        assert float(its_loss.detach()) == pytest.approx(float(ours.mean()), rel=1e-4)


def _joint_tensors(variables) -> dict[str, np.ndarray]:
    """Return our variables by the names of the peer's."""
    from benchmarks.torch_bert import Encoder

    encoder = Encoder(SMALL_BERT)
    encoder.load_published(by_name({"params": {"encoder": variables["params"]["encoder"]}}, BERT))
    tensors = {f"encoder.{name}": tensor.numpy() for name, tensor in encoder.state_dict().items()}
    leaves = flatten_dict(jax.device_get({**variables["params"], **{"stats": variables["batch_stats"]}}), sep="/")
    rules = (
        (r"^(stats/)?mel_encoder/conv_(\d)/kernel", r"mel_encoder.convs.\2.weight"),
        (r"^(stats/)?mel_encoder/bn_(\d)/(\w+)", r"mel_encoder.norms.\2.\3"),
        (r"^(\w+)_attention/(?:attention/)?(\w+)/kernel", r"attentions.\1.\2.weight"),
        (r"^(\w+)_attention/norm/(\w+)", r"attentions.\1.norm.\2"),
        (r"^(\w+)_projection/kernel", r"projections.\1.weight"),
        (r"^joint/", "dense."),
        (r"^output/labels/kernel_0", "output.first.weight"),
        (r"^output/labels/kernel_1", "output.second.weight"),
        (r"^output/dense/", "output.dense."),
        (r"^(\w+)_width/", r"to_width.\1."),
        (r"^(\w+)_summary/(\w+)/", r"summaries.\1.\2."),
        (r"^layer_(\d)/(\w+)_empty", r"layers.\1.empty.\2"),
        (r"^layer_(\d)/(\w+)_(affinity|change)/", r"layers.\1.\3.\2."),
    )
    for path, leaf in leaves.items():
        if path.startswith("encoder/"):
            continue
        name = next((re.sub(a, b, path) for a, b in rules if re.search(a, path)), path)
        name = re.sub(r"(convs|norms)\.(\d)", lambda match: f"{match[1]}.{int(match[2]) - 1}", name)
        for i, modality in enumerate(SONGS_AND_LYRICS):
            name = re.sub(rf"\.{modality}\b", f".{i}", name)
        for ours, its in (
            ("kernel", "weight"),
            ("scale", "weight"),
            (".mean", ".running_mean"),
            (".var", ".running_var"),
        ):
            name = name.replace(ours, its)
        is_kernel = leaf.ndim > 1 and "empty" not in name
        tensors[name] = np.transpose(leaf, (-1, -2, *range(leaf.ndim - 2))) if is_kernel else leaf
    return tensors
