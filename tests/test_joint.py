"""Networks of two modalities: their sizes, their masks, their losses on several devices, and whole runs."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_step import run_chunk

from mumu_jax import train
from mumu_jax.batch import Batch
from mumu_jax.compute.network import Constants, Network, Standardisation, apply, initial_variables
from mumu_jax.compute.state import n_values
from mumu_jax.config import BertSettings, JointSettings, ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.fields import validate
from mumu_jax.models.head import GRAPH_WIDTH, Shallow
from mumu_jax.models.registry import FAMILIES, Output
from mumu_jax.objectives.label_graph import ADJACENCY, FEATURES, fit_label_graph
from mumu_jax.objectives.logits import Logistic
from mumu_jax.runs.settings import check_settings

N_LABELS = 5
SMALL = BertSettings(layers=1, width=16, heads=2, inner=32, n_tokens=50)
FAMILIES_OF_TWO = ("joint_cross_attention", "joint_coattention")


def model_of(family: str, **joint):
    settings = ModelSettings(
        family=family, width_divisor=32, bert=SMALL, joint=JointSettings(**{"width": 16, "fused": 16, **joint})
    )
    return FAMILIES[family].build(settings, Output(N_LABELS, unit=False))


def inputs_of(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return songs and lyrics of 3 to 10 tokens, and padding."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 50, (n, 10)).astype(np.int32)
    ids[np.arange(10) >= rng.integers(3, 11, n)[:, None]] = 0
    return {"mel": rng.normal(size=(n, 64, 32)).astype(np.float32), "lyrics": ids}


def params_of(family: str, **more) -> dict[str, int]:
    """Count the parameters of a network of the published size, by its parts."""
    model = FAMILIES[family].build(ModelSettings(family=family, **more), Output(10, unit=False))
    inputs = {"mel": jnp.zeros((1, 1292, 128)), "lyrics": jnp.ones((1, 128), jnp.int32)}
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    return {name: n_values(part) for name, part in shapes["params"].items()}


# --- sizes --------------------------------------------------------------------------------------------------


def test_cross_attention_has_the_specified_parameters():
    """../shared/spec/siblings.md, A2: five blocks, and a dense layer of 40 + 128 places of 256 values to 512."""
    found = params_of("joint_cross_attention")
    assert found["mel_encoder"] == 1_550_784
    assert found["joint"] == (40 + 128) * 256 * 512 + 512


def test_coattention_has_the_published_parameters():
    """33,178,140 + 1,025 n, less what their encoders have: LSTMs, and convolutions and weights of ResNet's stages."""
    found = params_of("joint_coattention", joint=JointSettings(width=1024, heads=4))
    lstm = 2 * 4 * 362 * (300 + 362 + 2) + 2 * 4 * 362 * (724 + 362 + 2) + 2 * 2 * 2 * 362
    stages = (256 + 512 + 1024 + 2048) * 1024 + 4 * 1024
    stage_weights = (1448 + 1) * 724 + (724 + 1) * 16
    theirs = 33_178_140 + 1_025 * 10 - lstm - stages - stage_weights
    ours = sum(n for name, n in found.items() if not re.search("encoder|width", name))
    assert ours == theirs


def test_a_graph_head_has_the_specified_parameters():
    network = Network(Shallow(87, unit_output=False), Logistic(), graph=(87, 768))
    item = {"vectors": jax.ShapeDtypeStruct((GRAPH_WIDTH,), np.float32)}
    shapes = jax.eval_shape(lambda: initial_variables(network, jax.random.key(0), item))
    assert n_values(shapes["params"]) == 655_360


# --- masks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES_OF_TWO)
def test_padding_of_lyrics_changes_nothing(family):
    model, inputs = model_of(family, fuse="mean"), inputs_of(4)
    variables = jax.jit(model.init)(jax.random.key(0), inputs)
    longer = {**inputs, "lyrics": np.pad(inputs["lyrics"], ((0, 0), (0, 6)))}
    expected, embedding = jax.jit(model.apply)(variables, inputs)
    found, _ = jax.jit(model.apply)(variables, longer)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert embedding.shape == (4, 16)


@pytest.mark.parametrize("family", FAMILIES_OF_TWO)
@pytest.mark.parametrize("fuse", ["flatten", "mean"])
def test_a_song_without_words_has_finite_scores_and_gradients(family, fuse):
    model, inputs = model_of(family, fuse=fuse), inputs_of(3)
    inputs["lyrics"][1] = 0
    inputs = jax.tree.map(jnp.asarray, inputs)
    variables = jax.jit(model.init)(jax.random.key(0), inputs)

    def loss(params):
        output, _ = model.apply({**variables, "params": params}, inputs, jax.random.split(jax.random.key(1), 3))
        return jnp.sum(output**2)

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert np.isfinite(value)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_cross_attention_is_its_formula():
    """Ru et al. 2023: softmax(Q Kᵀ / √d) V of the other modality; with the residual and the norm, in NumPy."""
    from mumu_jax.models.joint.cross_attention import CrossModal
    from mumu_jax.models.joint.encoders import Sequence

    rng = np.random.default_rng(0)
    songs, words = rng.normal(size=(2, 5, 16)).astype(np.float32), rng.normal(size=(2, 7, 12)).astype(np.float32)
    mask = np.arange(7) < np.array([[4], [7]])
    layer = CrossModal(16, 1)
    sequences = (Sequence(jnp.asarray(songs)), Sequence(jnp.asarray(words), jnp.asarray(mask)))
    variables = layer.init(jax.random.key(0), *sequences)
    found = layer.apply(variables, *sequences).vectors
    kernels = {name: np.asarray(one["kernel"]) for name, one in variables["params"]["attention"].items()}
    q, k, v = songs @ kernels["query"], words @ kernels["key"], words @ kernels["value"]
    scores = np.where(mask[:, None], q @ k.swapaxes(1, 2) / 4, -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    x = songs + weights @ v
    expected = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --- training -----------------------------------------------------------------------------------------------


def network_of(family: str = "joint_cross_attention", **joint) -> tuple[Network, Constants]:
    model = model_of(family, **joint)
    labels = (np.random.default_rng(1).random((30, N_LABELS)) < 0.4).astype(np.uint8)
    features = np.random.default_rng(2).normal(size=(N_LABELS, 3))
    unchanged = Standardisation(np.float32(0), np.float32(1))
    contrast = joint.get("contrast", 0.3) if family == "joint_cross_attention" else 0.0
    network = Network(model, Logistic(), contrast=contrast, graph=(N_LABELS, 3))
    return network, Constants({"mel": unchanged, "lyrics": unchanged}, fit_label_graph(labels, features))


def chunk_of(steps: int, items: int) -> Batch:
    """Return a chunk whose last batch is partly padding."""
    inputs = [inputs_of(items, seed) for seed in range(steps)]
    mask = np.ones((steps, items), np.float32)
    mask[-1, items // 2 :] = 0
    labels = (np.random.default_rng(3).random((steps, items, N_LABELS)) < 0.4).astype(np.uint8)
    return Batch({name: np.stack([one[name] for one in inputs]) for name in ("lyrics", "mel")}, labels, mask)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_steps_do_not_depend_on_the_devices(kind):
    """With the contrastive loss, which compares with the items of all devices."""
    (network, constants), chunk = network_of(), chunk_of(3, 16)
    one, losses_of_one = run_chunk(network, constants, chunk, 1)
    eight, losses_of_eight = run_chunk(network, constants, chunk, 8, kind)
    np.testing.assert_allclose(losses_of_eight, losses_of_one, rtol=1e-5)
    for ours, theirs in zip(*map(jax.tree.leaves, (eight.params, one.params)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)  # Adam divides by the root of tiny squares


@pytest.mark.full
def test_the_loss_is_the_mix_of_both():
    chunk = chunk_of(1, 16)
    losses = {}
    for contrast in (0.0, 0.3, 0.6):
        network, constants = network_of(contrast=0.3)  # whose parameters are always the same
        losses[contrast] = float(run_chunk(network._replace(contrast=contrast), constants, chunk, 1)[1][0])
    both = losses[0.0] + (losses[0.3] - losses[0.0]) / 0.3
    assert losses[0.6] == pytest.approx(0.4 * losses[0.0] + 0.6 * both, rel=1e-4)


def test_scores_are_products_with_the_labels_vectors():
    (network, constants), inputs = network_of(), inputs_of(4)
    item = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
    variables = initial_variables(network, jax.random.key(0), item)
    output, embedding = apply(network, variables, *jax.tree.map(jnp.asarray, (inputs, constants)))
    kernels = variables["params"]["output"]["labels"]
    A, x = constants.fitted[ADJACENCY], constants.fitted[FEATURES]
    hidden = A @ x @ np.asarray(kernels["kernel_0"])
    vectors = A @ np.where(hidden > 0, hidden, 0.2 * hidden) @ np.asarray(kernels["kernel_1"])
    np.testing.assert_allclose(output, np.asarray(embedding) @ vectors.T, rtol=1e-3, atol=1e-4)


@pytest.mark.full
def test_a_run_with_a_graph_head(small_data, tmp_path):
    """On the genres of the mini dataset, of a modality that has nothing to do with lyrics."""
    run = tmp_path / "run"
    settings = ("--config=timbre_mlp", "--config.target.head=graph", "--config.optim.max_epochs=5")
    assert train.main([*settings, f"--data_dir={small_data}", f"--workdir={run}"]) == 0
    assert json.loads((run / "eval_test.json").read_text())["album"]["roc_auc_macro"] > 0.55
    with np.load(run / "constants.npz") as arrays:
        assert arrays[ADJACENCY].shape == (24, 24)
        assert np.isfinite(arrays[FEATURES]).all()


@pytest.mark.full
def test_a_graph_head_trains_alone(small_data, tmp_path):
    """On vectors that frozen layers give once, as a published network's."""
    run = tmp_path / "run"
    settings = ("--config=audio_low_4x96_logistic", "--config.model.trainable=^output/", "--config.target.head=graph")
    few = ("--config.optim.max_epochs=2", "--config.album_optim.max_epochs=2", "--config.model.width_divisor=32")
    assert train.main([*settings, *few, f"--data_dir={small_data}", f"--workdir={run}"]) == 0
    assert np.isfinite(json.loads((run / "eval_test.json").read_text())["album"]["roc_auc_macro"])


def test_targets_that_do_not_fit_are_refused():
    for name, changes, says in (
        ("timbre_boosted", {"head": "graph"}, "is trained by gradients"),
        ("joint_contrast", {"kind": "cosine"}, "needs a target for every item"),
    ):
        config = load_config(name)
        config.target = dataclasses.replace(config.target, **changes)
        with pytest.raises(UserError, match=says):
            check_settings(config)
    config = load_config("joint_cross_attention")
    config.model.joint.heads = 3
    with pytest.raises(UserError, match=r"config\.model\.joint\.heads is 3, which does not divide"):
        validate(config)


@pytest.mark.full
def test_other_second_inputs(small_data, tmp_path):
    """Songs with their timbre, and with their albums' covers."""
    for second in ("timbre", "image"):
        run = tmp_path / second
        more = ("--config.optim.max_epochs=1", "--config.optim.batch_size=16", "--config.model.width_divisor=32")
        settings = (
            *("--config=timbre_mlp", f"--config.modality=audio+{second}", "--config.model.albums=mean"),
            *("--config.model.family=joint_cross_attention", "--config.model.joint.fuse=mean", *more),
        )
        more = ("--config.augment.size_px=64",) if second == "image" else ()
        flags = [*settings, *more, f"--data_dir={small_data}", f"--workdir={run}"]
        assert train.main(flags) == 0
        assert np.isfinite(json.loads((run / "eval_test.json").read_text())["album"]["roc_auc_macro"])


def test_label_factors_have_no_graph():
    config = load_config("timbre_mlp_cosine")
    config.target = dataclasses.replace(config.target, head="graph")
    with pytest.raises(UserError, match="predicts label factors; choose 'logistic', 'softmax' or 'shares'"):
        check_settings(config)
