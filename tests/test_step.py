"""The step: the same losses on eight devices as on one, padding without effect, and every experiment's first step."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh
from random_items import EACH, random_inputs, shallow, small_config

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.network import Constants, Network, Standardisation, apply_in_training, item_network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.predict import predict
from mumu_jax.compute.state import TrainState, create_state
from mumu_jax.compute.step import train_step
from mumu_jax.config import OptimSettings
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.batch_norm import Members, trains
from mumu_jax.models.resnet import ResNet
from mumu_jax.models.tagging import ShortChunk
from mumu_jax.objectives import make_objective
from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.label_graph import fit_label_graph
from mumu_jax.objectives.logits import Logistic

N_LABELS = 6
TX = make_optimizer(OptimSettings(learning_rate=1e-4))  # a larger one amplifies rounding on these random labels


def network_and_constants(name: str, seed: int = 0) -> tuple[Network, Constants]:
    config = small_config(name)
    rng = np.random.default_rng(seed)
    labels = rng.random((50, N_LABELS)) < 0.4
    fitted = {name: np.asarray(array) for name, array in make_objective(config.target).fit(labels).items()}
    if config.target.head == "graph":
        fitted |= fit_label_graph(labels, np.eye(N_LABELS))
    known = {"audio": (-40, 20), "image": (0.45, 0.22)}
    of_inputs = {name: Standardisation(*map(np.float32, known.get(name, (0, 1)))) for name in config.inputs}
    constants = Constants(of_inputs, fitted)
    network = item_network(config, N_LABELS, fitted)
    return network._replace(model=shallow(network.model)), constants


def random_chunk(name: str, n_steps: int, batch_size: int, n_real: int, seed: int = 0) -> Batch:
    """The last batch has `n_real` real items, and garbage behind them."""
    rng = np.random.default_rng(seed)
    mask = np.ones((n_steps, batch_size), np.float32)
    mask[-1, n_real:] = 0
    return Batch(
        inputs=random_inputs(small_config(name), (n_steps, batch_size), rng),
        labels=(rng.random((n_steps, batch_size, N_LABELS)) < 0.4).astype(np.uint8),
        mask=mask,
    )


def any_state(network: Network, tx, item) -> TrainState:
    """Random, but not compiled to be: that takes as long as the step for networks of hundreds of layers."""
    rng, abstract = np.random.default_rng(0), jax.eval_shape(lambda: create_state(network, tx, item, seed=1))

    def values(path, leaf):
        around = 1 if path[-1].key in ("scale", "var") else 0
        return jnp.asarray(around + 0.03 * rng.standard_normal(leaf.shape), leaf.dtype)

    params, stats = (jax.tree_util.tree_map_with_path(values, abstract.variables[k]) for k in ("params", "batch_stats"))
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), jax.random.key(0), stats)


def item_of(chunk: Batch):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), chunk.inputs)


def run_chunk(network: Network, constants: Constants, chunk: Batch, n_devices: int, kind: str = "jit"):
    arguments, compiled = compile_chunk(network, constants, chunk, n_devices, kind)
    with jax.transfer_guard("disallow"):
        return compiled(*arguments)


def compile_chunk(network: Network, constants: Constants, chunk: Batch, n_devices: int, kind: str):
    mesh = Mesh(np.array(jax.devices()[:n_devices]), (devices.AXIS,))
    state = create_state(network, TX, item_of(chunk), seed=1)
    state, constants = devices.put_replicated((state, constants), mesh)
    arguments = (state, devices.put_chunk(chunk, mesh), constants)
    return arguments, devices.compile_train_chunk(kind, mesh, network, TX, arguments)


@pytest.mark.parametrize("kind", ["jit", "pmap"])
@pytest.mark.parametrize(
    "name", ["audio_low_4x96", "timbre_mlp", pytest.param("audio_low_4x70_logistic", marks=pytest.mark.slow)]
)
def test_eight_devices_give_the_losses_of_one(name, kind):
    network, constants = network_and_constants(name)
    if name != "timbre_mlp":  # the masks must not depend on the devices
        network = network._replace(model=network.model.clone(dropout=0.5))
    chunk = random_chunk(name, n_steps=4, batch_size=16, n_real=5)
    one, losses_of_one = run_chunk(network, constants, chunk, 1)
    eight, losses_of_eight = run_chunk(network, constants, chunk, 8, kind)
    assert all(len(leaf.devices()) == 8 for leaf in jax.tree.leaves(eight.params))
    np.testing.assert_allclose(losses_of_eight, losses_of_one, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(eight.params), jax.tree.leaves(one.params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)  # Adam divides by the root of tiny squares


@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_one_message_a_step(kind):
    """All gradients, and the loss, travel in one all-reduce; the scan's body stands once in the module."""
    network, constants = network_and_constants("audio_low_4x96")
    _, compiled = compile_chunk(network, constants, random_chunk("audio_low_4x96", 4, 16, 16), 8, kind)
    text = compiled.as_text()
    assert len(re.findall(r" all-reduce(?:-start)?\(", text)) == 1
    assert not re.findall(r" (?:all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(", text)


@pytest.mark.parametrize("name", EACH)
def test_one_real_step_of_every_experiment(name):
    """With the experiment's own optimizer: what trains has a gradient, and the rest stays as it is."""
    network, constants = network_and_constants(name)
    # Without decay, which moves what has no gradient.
    settings = dataclasses.replace(load_config(name).optim, learning_rate=1e-2, weight_decay=0.0)
    tx = make_optimizer(settings, network.trainable)
    chunk = random_chunk(name, 1, 2, 2)
    fresh = any_state(network, tx, item_of(chunk))
    batch = jax.tree.map(lambda leaf: leaf[0], chunk)
    state, loss = jax.jit(partial(train_step, network=network, tx=tx))(fresh, batch, constants)
    assert int(state.step) == 1
    assert bool(jnp.isfinite(loss))
    for collection in ("params", "batch_stats"):
        before, after = (flatten_dict(one.variables[collection]) for one in (fresh, state))
        for path, leaf in after.items():
            # Trees are grown, not trained.  A norm takes the first bias of a tagging network away: a gradient of zero.
            stays = path[0] == "forest" or path == ("layer1", "conv", "bias")
            changes = trains(network.trainable, path) and not stays
            assert bool(jnp.isfinite(leaf).all()), path
            assert bool(jnp.any(leaf != before[path])) == changes, path


@pytest.mark.parametrize("name", ["audio_low_4x96", "audio_low_4x96_logistic"])
def test_padding_has_no_effect(name):
    network, constants = network_and_constants(name)
    chunk = random_chunk(name, 1, 8, 3)
    other = random_chunk(name, 1, 8, 3, seed=9)
    inputs = {"audio": np.where(chunk.mask[..., None, None] > 0, chunk.inputs["audio"], other.inputs["audio"])}
    labels = np.where(chunk.mask[..., None] > 0, chunk.labels, other.labels)
    _, expected = run_chunk(network, constants, chunk, 1)
    _, found = run_chunk(network, constants, chunk.replace(inputs=inputs, labels=labels), 1)
    np.testing.assert_array_equal(found, expected)

    mesh = devices.make_mesh()
    variables = create_state(network, TX, item_of(chunk), seed=1).variables
    on_devices = devices.put_chunk(chunk, mesh)
    predictions = predict(variables, [on_devices, on_devices], constants, network, mesh)
    assert predictions.scores.shape == (6, N_LABELS)
    np.testing.assert_allclose(predictions.loss, expected[0], rtol=1e-5)


def test_a_batch_that_the_devices_do_not_divide():
    with pytest.raises(UserError, match=r"batch_size is 12, which 8 devices do not divide; choose a multiple of 8"):
        devices.check_batch_sizes(devices.make_mesh(), optim=12)


def test_probabilities_of_logits_keep_their_order():
    logits = np.array([[-800.0, -1.0, 0.0, 2.0, 800.0]])
    probabilities = Logistic().readable(logits)
    np.testing.assert_allclose(probabilities[0, 1:4], 1 / (1 + np.exp(-logits[0, 1:4])), rtol=1e-6)
    assert (np.diff(probabilities) > 0).all()
    np.testing.assert_array_equal(Cosine(5).readable(logits), logits)


@pytest.mark.parametrize(
    ("trainable", "moves"), [("", True), ("bn1", True), ("bn1/scale", True), ("scale|bias", True), ("conv1", False)]
)
def test_a_frozen_batch_norm_keeps_its_statistics(trainable, moves):
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    model = ResNet(blocks=(), bottleneck=True, n_outputs=N_LABELS, unit_output=False)
    network, variables = Network(model, Logistic(), trainable), model.init(jax.random.key(1), images)
    keys, members = jax.random.split(jax.random.key(2), 2), Members(jnp.ones(2), None, trainable)
    found = apply_in_training(network, variables, images, Constants({}, {}), keys, members).batch_stats
    assert bool(jnp.any(found["bn1"]["mean"] != 0)) == moves


NORMED = {
    "image": (ResNet(blocks=(1, 1), bottleneck=True, n_outputs=N_LABELS, unit_output=False, dropout=0.3), (32, 32, 3)),
    "mel": (ShortChunk(False, N_LABELS, unit_output=False, filters=(8, 8), dropout=0.3), (23, 9)),
}


@pytest.mark.full
@pytest.mark.parametrize("kind", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
@pytest.mark.parametrize("modality", NORMED)
def test_running_statistics_do_not_depend_on_the_devices(modality, kind):
    model, shape = NORMED[modality]
    network, rng = Network(model, Logistic()), np.random.default_rng(0)
    constants = Constants({modality: Standardisation(np.float32(0), np.float32(1))}, {})
    mask = np.ones((3, 16), np.float32)
    mask[-1, 5:] = 0
    values = rng.standard_normal((3, 16, *shape), np.float32).astype(np.float16)
    chunk = Batch({modality: values}, (rng.random((3, 16, N_LABELS)) < 0.4).astype(np.uint8), mask)
    one, losses_of_one = run_chunk(network, constants, chunk, 1)
    eight, losses_of_eight = run_chunk(network, constants, chunk, 8, kind)
    np.testing.assert_allclose(losses_of_eight, losses_of_one, atol=1e-5)
    for ours, theirs in zip(*map(jax.tree.leaves, (eight.batch_stats, one.batch_stats)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)  # after two of Adam's steps
        assert bool(jnp.any((ours != 0) & (ours != 1)))
    other = {modality: np.where(mask.reshape(3, 16, *[1] * len(shape)) > 0, values, np.float16(9))}
    padded = dataclasses.replace(chunk, inputs=other)
    np.testing.assert_array_equal(run_chunk(network, constants, padded, 1)[1], losses_of_one)
