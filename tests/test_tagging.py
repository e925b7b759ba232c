"""Networks on mel spectrograms: their published sizes, PyTorch's outputs, and shortcuts that change no output."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mumu_jax.config import ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.models.kernels.extremes import convolve_frames, convolve_to_extremes
from mumu_jax.models.kernels.pooling import max_pool_tiles
from mumu_jax.models.musicnn import PONS, WON, Layer
from mumu_jax.models.pretrained import NETWORKS, convert, name_of
from mumu_jax.models.recurrent import GRU
from mumu_jax.models.registry import FAMILIES, Output

# (family, width): frames × bins of a patch, values that train, running statistics, width of the embedding.  Published:
# ../shared/spec/siblings.md, B1 and C1; pretrained-audio.md, 1.4.  MSD_musicnn_big's are counted by hand.
SIZES = {
    ("musicnn", "low"): ((187, 96), 787_159, 4_920, 200),
    ("musicnn", "high"): ((187, 96), 7_980_235, 13_584, 500),
    ("musicnn_won", "low"): ((188, 96), 784_300, 1_908, 200),
    ("musicnn_won", "high"): ((188, 96), 7_972_000, 5_196, 500),
    ("vgg", ""): ((187, 96), 605_748, 1_282, 256),
    ("fcn", ""): ((1813, 96), 447_732, 1_026, 64),
    ("crnn", ""): ((1813, 96), 394_100, 898, 32),
    ("cnn_choi", ""): ((1366, 96), 865_950, 870_154 - 865_950, 256),
    ("crnn_choi", ""): ((1366, 96), 396_786, 400_562 - 396_786, 32),
    ("short_chunk", ""): ((231, 128), 3_687_348, 4_610, 512),
    ("short_chunk_residual", ""): ((231, 128), 12_104_244, 11_778, 512),
}


def build(family, width="low", **fields):
    settings = ModelSettings(family=family, width=width, precision="float32")
    return FAMILIES[family].build(settings, Output(50, unit=False)).clone(**fields)


def patches(shape, n=2):
    return np.random.default_rng(0).normal(1, 2, (n, *shape)).astype(np.float32)


def n_values(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def made_up(shapes):
    """Variables of these shapes, with statistics and scales that are no identity; some scales are negative."""

    def value(path, leaf):
        values = np.random.default_rng(sum(map(ord, "/".join(path)))).normal(size=leaf.shape).astype(np.float32)
        if path[-1] == "var":
            return 1 + np.abs(values)
        return values / np.float32(np.prod(leaf.shape[:-1])) ** 0.5 if len(leaf.shape) > 1 else values / 2

    flat = {path: value(path, leaf) for path, leaf in flatten_dict(shapes).items()}
    tree = {}
    for path, leaf in flat.items():
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = leaf
    return tree


def test_every_family_is_tested():
    assert {family for family, _ in SIZES} == {name for name, family in FAMILIES.items() if family.sees == {"mel"}}


@pytest.mark.parametrize(("family", "width"), SIZES)
def test_published_sizes(family, width):
    shape, n_trained, n_statistics, n_embedding = SIZES[family, width]
    model = build(family, width or "low")
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert n_values(variables["params"]) == n_trained
    assert n_values(variables["batch_stats"]) == n_statistics
    output, embedding = jax.eval_shape(model.apply, variables, jnp.zeros((3, *shape)))
    assert (output.shape, embedding.shape) == ((3, 50), (3, n_embedding))
    assert output.dtype == embedding.dtype == jnp.float32


# Narrow and short where the family allows it: a step through the whole network is a matter of minutes.
SHORT = {
    **{"musicnn": (40, 96), "musicnn_won": (40, 96), "vgg": (96, 64), "fcn": (1280, 96), "crnn": (192, 96)},
    **{"cnn_choi": (1280, 96), "crnn_choi": (180, 96), "short_chunk": (128, 128), "short_chunk_residual": (20, 20)},
}


@pytest.mark.full
@pytest.mark.parametrize("family", SHORT)
def test_training_contract(family):
    """All parameters have finite gradients; masked items count for nothing; statistics move; bfloat16 is near."""
    model, x = build(family, dropout=0.5), patches(SHORT[family], n=4)
    variables = made_up(jax.eval_shape(model.init, jax.random.key(0), x))
    keys, mask = jax.random.split(jax.random.key(1), 4), jnp.array([1.0, 1, 1, 0])

    @jax.jit
    def step(params, x):
        def loss(params):
            (output, _), new = model.apply(
                {**variables, "params": params}, x, keys, Members(mask), mutable=["batch_stats"]
            )
            return jnp.sum(jnp.sin(output) * mask[:, None]), new["batch_stats"]

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, statistics), gradients = step(variables["params"], x)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradients))
    without = {"/".join(path) for path, g in flatten_dict(gradients).items() if not jnp.any(g != 0)}
    # Constants that the norm behind them takes away; of other such constants, rounding leaves something.
    assert without <= {"cnn3/bn/bias", "layer1/conv/bias"}
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.any(a != b)), statistics, variables["batch_stats"])))
    x[3] = 7
    (other, _), _ = step(variables["params"], x)
    np.testing.assert_allclose(other, value, rtol=1e-6)

    output, embedding = jax.jit(model.apply)(variables, x)
    dropped = jax.jit(model.apply)(variables, x, keys)[1]
    assert float(jnp.abs(dropped - embedding).max()) > 0.01
    half, _ = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, x)
    assert half.dtype == jnp.float32
    assert float(jnp.linalg.norm(half - output) / jnp.linalg.norm(output)) < 0.05


@pytest.mark.parametrize("n_frames", [20, 187, 300])
def test_musicnn_takes_any_number_of_frames(n_frames):
    for family in ("musicnn", "musicnn_won"):
        model = build(family)
        variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 187, 96)))
        assert jax.eval_shape(model.apply, variables, jnp.zeros((2, n_frames, 96)))[0].shape == (2, 50)


@pytest.mark.parametrize(
    ("family", "shape", "says"),
    [
        ("musicnn", (187, 64), "span 67 bins, and its input has 64"),
        ("fcn", (187, 96), "at least 1,280 frames × 96 bins, and these are of 187 frames × 96 bins"),
        ("fcn", (1813, 1), "at least 1,280 frames × 96 bins, and these are of 1,813 frames × 1 bins"),
        ("crnn", (1, 96), "at least 96 frames × 96 bins, and these are of 1 frames × 96 bins"),
        ("vgg", (8, 96), "at least 66 frames × 63 bins, and these are of 8 frames × 96 bins"),
        ("vgg", (187, 24), "at least 66 frames × 63 bins, and these are of 187 frames × 24 bins"),
        ("cnn_choi", (187, 96), "at least 1,280 frames × 96 bins, and these are of 187 frames × 96 bins"),
        ("crnn", (20, 40), "at least 96 frames × 96 bins, and these are of 20 frames × 40 bins"),
        ("short_chunk", (231, 32), "at least 128 frames × 128 bins, and these are of 231 frames × 32 bins"),
        ("short_chunk", (231, 96), "at least 128 frames × 128 bins, and these are of 231 frames × 96 bins"),
    ],
)
def test_patches_that_are_too_small(family, shape, says):
    model = build(family)
    with pytest.raises(UserError, match=says):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))


# --- shortcuts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("size", [(7, 38), (7, 67), (32, 1), (5, 96)])
def test_extremes_are_those_of_the_convolution(size, backend):
    x, kernel = jnp.asarray(patches((40, 96, 1), n=3)), jnp.asarray(patches((*size, 1), n=6).transpose(1, 2, 3, 0))
    y = jax.lax.conv_general_dilated(
        jnp.pad(x, ((0, 0), ((size[0] - 1) // 2, size[0] // 2), (0, 0), (0, 0))),
        *(kernel, (1, 1), "VALID"),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    with traced_for(backend):
        values, extremes = convolve_frames(x, kernel), jax.jit(convolve_to_extremes)(x, kernel)
    scale = float(jnp.abs(y).max())
    np.testing.assert_allclose(values, y, atol=1e-5 * scale)
    np.testing.assert_allclose(extremes, jnp.stack((y.max(2), y.min(2)), axis=2), atol=1e-5 * scale)


@pytest.mark.parametrize("form", [PONS, WON], ids=["pons", "won"])
def test_layer_in_inference_equals_its_definition(form):
    x = jnp.asarray(patches((30, 96, 1), n=3))
    layer: Any = Layer(form=form, features=12, size=(7, 38), dtype=jnp.float32)
    variables: Any = jax.tree.map(jnp.asarray, made_up(jax.eval_shape(layer.init, jax.random.key(0), x, None)))
    params, statistics = variables["params"], variables["batch_stats"]["bn"]
    assert (params["bn"]["scale"] < 0).any()
    assert (params["bn"]["scale"] > 0).any()

    def norm(y):
        scale = params["bn"]["scale"] / np.sqrt(statistics["var"] + form.epsilon)
        return (y - statistics["mean"]) * scale + params["bn"]["bias"]

    y = convolve_frames(x, params["kernel"]) + params["bias"]
    expected = (jax.nn.relu(norm(y)) if form.won else norm(jax.nn.relu(y))).max(axis=2)
    np.testing.assert_allclose(layer.apply(variables, x, None), expected, rtol=2e-6, atol=2e-6)
    frozen = Members(jnp.ones(3), trainable="^output")
    np.testing.assert_allclose(layer.apply(variables, x, frozen), expected, rtol=2e-6, atol=2e-6)


def test_max_pool_of_tiles_drops_what_is_left_over():
    x = jnp.asarray(patches((11, 7, 3)))
    expected = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 4, 2, 1), (1, 4, 2, 1), "VALID")
    np.testing.assert_array_equal(max_pool_tiles(x, (4, 2)), expected)


@pytest.mark.parametrize("tile", [(4, 2), (1, 7), (300, 1)])
def test_gradient_of_a_maximum_goes_where_it_is(tile):
    x = jnp.asarray(patches((600, 7, 3)))

    def scores(x):  # XLA may compute the exponential twice, in two fusions
        return max_pool_tiles(jnp.exp(x / 3) * 1.1 + 0.3, tile)

    y, pull = jax.vjp(scores, x)
    (gradient,) = jax.jit(pull)(g := jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))
    counted = jax.lax.reduce_window((gradient != 0).astype(int), 0, jax.lax.add, (1, *tile, 1), (1, *tile, 1), "VALID")
    assert bool((counted == (g != 0)).all())
    at = np.nonzero(gradient)
    of = (at[0], at[1] // tile[0], at[2] // tile[1], at[3])
    np.testing.assert_allclose(scores(x)[of], (jnp.exp(x / 3) * 1.1 + 0.3)[at], rtol=1e-6)
    np.testing.assert_allclose(gradient[at], (g[of] * jnp.exp(x / 3)[at] * 1.1 / 3), rtol=1e-5)


def test_keras_recurrent_layer():
    """By hand: the reset gate multiplies the state before the product, and gates are clipped lines."""
    x = patches((4, 5), n=2)
    layer: Any = GRU(3, keras=True)
    params = made_up(jax.eval_shape(layer.init, jax.random.key(0), jnp.asarray(x)))["params"]
    assert set(params) == {"input", "recurrent_kernel"}
    state, states = np.zeros((2, 3), np.float32), []
    recurrent = np.split(params["recurrent_kernel"], 3, axis=1)
    for t in range(4):
        of_x = np.split(x[:, t] @ params["input"]["kernel"] + params["input"]["bias"], 3, axis=1)
        reset, update = (
            np.clip(0.2 * (a + state @ k) + 0.5, 0, 1) for a, k in zip(of_x[:2], recurrent[:2], strict=True)
        )
        state = update * state + (1 - update) * np.tanh(of_x[2] + (reset * state) @ recurrent[2])
        states.append(state)
    np.testing.assert_allclose(layer.apply({"params": params}, jnp.asarray(x)), np.stack(states, axis=1), atol=1e-6)


# --- PyTorch -----------------------------------------------------------------------------------------------------


OF_WON = [name for name, network in NETWORKS.items() if "won" in network.front_end]


def peer_and_variables(name):
    """Return PyTorch's network of Won et al. with random weights and statistics, and these as ours."""
    torch = pytest.importorskip("torch", reason="PyTorch, which is compared with, is not installed")
    from benchmarks.torch_tagging import NETWORKS as PEERS

    torch.manual_seed(0)
    peer = PEERS[name](n_outputs=50, dropout=0.0)
    for module in peer.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    tensors = {key: tensor.numpy().copy() for key, tensor in peer.state_dict().items()}
    return peer, jax.tree.map(jnp.asarray, convert(name, tensors, "here"))


@pytest.mark.full
@pytest.mark.parametrize("name", OF_WON)
def test_outputs_are_pytorchs(name):
    peer, variables = peer_and_variables(name)
    x = patches(NETWORKS[name].input_shape)
    expected = peer.eval()(torch_of(x)).detach().numpy()
    output, _ = jax.jit(NETWORKS[name].build(n_outputs=50, unit_output=False).apply)(variables, x)
    assert np.abs(output - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.full
@pytest.mark.parametrize("name", OF_WON)
def test_training_is_pytorchs(name):
    """The output of a batch with its own statistics, and the gradient of the patches, through all layers."""
    peer, variables = peer_and_variables(name)
    model, x = NETWORKS[name].build(n_outputs=50, unit_output=False), patches(SHORT[name.removesuffix("_big")], n=6)

    @jax.jit
    def step(x):
        def loss(x):
            (output, _), _ = model.apply(variables, x, None, Members(jnp.ones(6)), mutable=["batch_stats"])
            return jnp.sin(output).sum(), output

        return jax.grad(loss, has_aux=True)(x)

    gradient, output = step(x)
    its_x = torch_of(x).requires_grad_()
    its_output = peer.train()(its_x)
    its_output.sin().sum().backward()
    expected, its_gradient = its_output.detach().numpy(), its_x.grad.numpy()
    assert np.abs(output - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.linalg.norm(gradient - its_gradient) <= 5e-3 * np.linalg.norm(its_gradient)


def torch_of(x):
    import torch

    return torch.tensor(x)


def test_names_of_networks():
    names = {name_of(ModelSettings(family=family, width=width or "low")) for family, width in SIZES}
    assert names - {"cnn_choi", "crnn_choi"} == {name for name, network in NETWORKS.items() if network.front_end}
