"""Published weights: each network gives PyTorch's outputs with them, and each file that is none is told in one line."""

import re
import sys
import zlib
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import REPOSITORY, SHARED, run_python
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh, PartitionSpec

from mumu_jax.compute.devices import on_each_device
from mumu_jax.errors import UserError
from mumu_jax.models.batch_norm import BatchNorm, Members
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.pretrained import NETWORKS, adopt, convert, expected_sources
from mumu_jax.models.resnet import Block, ResNet
from mumu_jax.models.vit import ViT
from mumu_jax.training.weights import load_pretrained, read_weights

pytestmark = pytest.mark.full

SCRIPT = REPOSITORY / "scripts" / "convert_weights.py"
N_CLASSES = 1000

# ../shared/spec/siblings.md, section 2; the smaller and larger ResNets: torchvision's documentation.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet201": 20_013_928,
    "vit_b16": 86_567_656,
    "alexnet": 61_100_840,
}
WIDTHS = {"resnet18": 512, "resnet34": 512, "densenet201": 1920, "vit_b16": 768, "alexnet": 4096}  # others: 2,048

# Network → pixels a side, and PyTorch 2.13's outputs for the seeded weights and images below: of both, the first two.
RECORDED: dict[str, tuple[int, list[float]]] = {
    "resnet18": (64, [2.4261155, -4.630899, 2.4278622, -4.9827328]),
    "resnet101": (64, [1.6881936, 0.7521923, 1.6455405, 0.7727771]),
    "densenet201": (64, [0.3296004, 0.0235229, 0.3275893, 0.0281544]),
    "vit_b16": (224, [0.0911111, -0.1968596, 0.0430353, -0.0361471]),
    "alexnet": (224, [-0.1485786, -0.0689363, -0.1319693, -0.2364171]),
}
TORCHVISION = {"vit_b16": "vit_b_16"}


# Those on mel spectrograms are in test_tagging.py, BERT in test_bert.py.
@pytest.mark.parametrize("model", [name for name in NETWORKS if name in PARAMETERS])
def test_parameter_count_and_feature_width(model):
    sources = expected_sources(model, N_CLASSES)
    assert sum(np.prod(s.shape, dtype=int) for path, s in sources.items() if path[0] == "params") == PARAMETERS[model]
    head = sources["params", "output", "dense", "kernel"]
    assert head.shape == (N_CLASSES, WIDTHS.get(model, 2048))


def seeded(name, shape):
    """A tensor of a published file, made up: a function of its name and shape alone."""
    uniform = 2 * np.random.default_rng(zlib.crc32(name.encode())).random(shape, np.float32) - 1
    if len(shape) > 1:  # keeps the size of what goes through; a token and positions are no product
        fan_in = 3 if "token" in name or "embedding" in name else np.prod(shape[1:])
        return uniform * np.float32(3 / fan_in) ** 0.5
    if name.endswith("bn3.weight"):  # as a trained block, adds little: else rounding grows from each to the next
        return 0.2 + uniform / 10
    if name.endswith("running_var") or name.endswith("weight"):
        return 1 + uniform / 2
    return uniform / 5


def seeded_file(model):
    """What torchvision's file holds, with seeded numbers."""
    tensors = {source.name: seeded(*source) for source in expected_sources(model, N_CLASSES).values()}
    means = [name for name in tensors if name.endswith("running_mean")]
    return tensors | {n.replace("running_mean", "num_batches_tracked"): np.array(7) for n in means}


def images(side, n=2):
    return np.random.default_rng(0).random((n, side, side, 3), np.float32) * 4 - 2


def build(model, **how):
    return NETWORKS[model].build(**{"n_outputs": N_CLASSES, "unit_output": False, **how})


def relative(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()


def torch_peer(model, tensors):
    """PyTorch's network with these weights: torchvision's, where that is installed, else our own definition."""
    import torch

    from benchmarks.torch_networks import NETWORKS as OWN

    register = torch.library.register_fake

    def register_if_there(*arguments, **how):
        """Beside a PyTorch of another build, torchvision describes operators that are not there."""
        return lambda function: _ignoring_runtime_errors(register(*arguments, **how), function)

    with mock.patch.object(torch.library, "register_fake", register_if_there):
        torchvision = sys.modules.get("torchvision") or _import("torchvision")
    with torch.device("meta"):  # no memory, no initialisation
        peer = getattr(torchvision.models, TORCHVISION.get(model, model))() if torchvision else OWN[model]()
    peer.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()}, assign=True)
    return peer.eval()


def _ignoring_runtime_errors(decorate, function):
    try:
        return decorate(function)
    except RuntimeError:
        return function


def _import(name):
    try:
        return __import__(name)
    except ImportError:
        return None


def torch_images(x):
    import torch

    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("model", RECORDED)
def test_outputs_equal_pytorchs(model):
    side, recorded = RECORDED[model]
    tensors, x = seeded_file(model), images(side)
    output, embedding = jax.jit(build(model).apply)(convert(model, tensors, "here"), x)
    assert output.dtype == embedding.dtype == jnp.float32
    np.testing.assert_allclose(output[:, :2].reshape(-1), recorded, atol=1e-5 * float(jnp.abs(output).max()))
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: compared with its recorded outputs")
    with torch.no_grad():
        expected = torch_peer(model, tensors)(torch_images(x))
    assert relative(output, expected) <= 2e-6


@pytest.mark.parametrize("model", ["resnet18", "resnet101", pytest.param("densenet201", marks=pytest.mark.slow)])
def test_running_statistics_equal_pytorchs(model):
    torch = pytest.importorskip("torch", reason="PyTorch, whose statistics these are, is not installed")
    tensors, x = seeded_file(model), images(64, 4)
    variables = convert(model, tensors, "here")
    peer, network, members = torch_peer(model, tensors).train(), build(model), Members(jnp.ones(4))
    step = jax.jit(lambda variables, x: network.apply(variables, x, None, members, mutable=["batch_stats"])[1])
    for shift in range(3):
        variables |= step(variables, x + shift)
        with torch.no_grad():
            peer(torch_images(x + shift))
    found, expected = flatten_dict(variables), peer.state_dict()
    for path, source in expected_sources(model, N_CLASSES).items():
        if path[0] == "batch_stats":
            assert relative(found[path], expected[source.name]) <= 1e-5, source.name


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_gradients_of_batch_norm_are_jaxs_own(dtype, tolerance):
    """Of the formula written out, in float32: through mean and variance, also for items that do not count."""
    x = (jax.random.normal(jax.random.key(0), (6, 4, 3, 5)) * 3 + 5).astype(dtype)
    weights, mask = jax.random.normal(jax.random.key(2), x.shape), jnp.array([1, 1, 0, 1, 0, 1.0])
    params = {"scale": jnp.arange(5.0) - 1, "bias": jnp.arange(5.0)}
    statistics = {"mean": jnp.zeros(5), "var": jnp.ones(5)}

    def ours(params, x):
        variables = {"params": params, "batch_stats": statistics}
        return BatchNorm(dtype).apply(variables, x, Members(mask), mutable=["batch_stats"])[0]

    def plain(params, x):
        x, counted = x.astype(jnp.float32), mask[:, None, None, None]
        n = mask.sum() * 12
        mean = (x * counted).sum((0, 1, 2)) / n
        var = ((x - mean) ** 2 * counted).sum((0, 1, 2)) / n
        return (x - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"]

    def gradients(network):
        return jax.grad(lambda params, x: jnp.sum(jnp.sin(network(params, x)) * weights), (0, 1))(params, x)

    for found, expected in zip(*map(jax.tree.leaves, (gradients(ours), gradients(plain))), strict=True):
        ours, theirs = (np.asarray(one, np.float32) for one in (found, expected))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_batch_norm_counts_real_items_on_all_devices():
    """Padding changes nothing; the statistics and gradients of eight parts are those of the whole."""
    x = jax.random.normal(jax.random.key(0), (16, 3, 3, 5)) * 3 + 5
    mask = jnp.ones(16).at[jnp.array([2, 3, 9])].set(0)
    network = BatchNorm()
    variables = network.init(jax.random.key(1), x)
    weights = jax.random.normal(jax.random.key(2), x.shape)

    def statistics_and_gradients(axis, variables, x, weights, mask):
        def loss(params, x):
            y, new = network.apply(variables | {"params": params}, x, Members(mask, axis), mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y) * weights * mask[:, None, None, None]), new["batch_stats"]

        (value, new), (gradients, of_x) = jax.value_and_grad(loss, (0, 1), has_aux=True)(variables["params"], x)
        sums = (value, gradients) if axis is None else jax.lax.psum((value, gradients), axis)
        return (*sums, new), of_x

    plain = partial(statistics_and_gradients, None)
    expected = plain(variables, x, weights, mask)
    real = mask > 0
    without_padding = plain(variables, x[real], weights[real], mask[real])
    whole, split = PartitionSpec(), PartitionSpec("data")
    on_devices = on_each_device(
        partial(statistics_and_gradients, "data"),
        Mesh(np.array(jax.devices()), ("data",)),
        (whole, split, split, split),
        (whole, split),
    )
    of_devices = jax.jit(on_devices)(variables, x, weights, mask)
    of_real_items = expected[0], expected[1][real]
    for found, theirs in ((without_padding, of_real_items), (of_devices, expected)):
        for one, other in zip(*map(jax.tree.leaves, (found, theirs)), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    values, statistics = np.asarray(x[real]).reshape(-1, 5), expected[0][2]
    np.testing.assert_allclose(statistics["mean"], 0.1 * values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * values.var(0, ddof=1), rtol=1e-5)


SMALL = {
    "bottlenecks": partial(ResNet, blocks=(1, 1), bottleneck=True),
    "dense": partial(DenseNet, blocks=(2, 1)),
    "vit": partial(ViT, width=24, depth=2, heads=3),
}


def made_up(path, leaf):
    """Faster than drawing initial weights, whose generator takes long to compile."""
    if path[-1].key in ("scale", "var"):
        return np.ones(leaf.shape, np.float32)
    normal = np.random.default_rng(leaf.size).standard_normal(leaf.shape, np.float32)
    return normal / np.float32(leaf.size / leaf.shape[-1]) ** 0.5


@pytest.mark.parametrize("name", SMALL)
def test_network_contract(name):
    x, keys = jnp.asarray(images(32, 3)), jax.random.split(jax.random.key(1), 3)
    network = SMALL[name](n_outputs=4, unit_output=True, dropout=0.5)
    variables = jax.tree.map_with_path(made_up, jax.eval_shape(network.init, jax.random.key(0), x))
    takes_members = (Members(jnp.ones(3)),) if "batch_stats" in variables else ()

    def loss(params):
        given = {**variables, "params": params}
        (output, embedding), new = network.apply(given, x, keys, *takes_members, mutable=["batch_stats"])
        return jnp.sum(output * jnp.arange(1.0, 5)), (output, embedding, new)

    (_, (output, embedding, new)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_allclose(jnp.linalg.norm(output, axis=1), 1, rtol=1e-5)
    assert embedding.dtype == jnp.float32
    assert embedding.shape == (3, variables["params"]["output"]["dense"]["kernel"].shape[0])
    assert 0.2 < float(jnp.mean(embedding == 0)) < 0.95  # dropout and ReLU
    assert all(bool(jnp.isfinite(g).all() and jnp.any(g != 0)) for g in jax.tree.leaves(gradients))
    assert jax.tree.structure(new.get("batch_stats", {})) == jax.tree.structure(variables.get("batch_stats", {}))

    (_, exact), (_, rounded) = (jax.jit(network.clone(dtype=d).apply)(variables, x) for d in ("float32", "bfloat16"))
    assert rounded.dtype == jnp.float32
    assert 0 < float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)) < 0.02


def test_float32_products_are_not_rounded_on_accelerators():
    for model in ("resnet18", "vit_b16", "alexnet"):
        network, x = build(model), jnp.zeros((1, 224, 224, 3))
        variables = jax.eval_shape(network.init, jax.random.key(0), x)
        lines = jax.jit(network.apply).lower(variables, x).as_text().splitlines()
        products = [line for line in lines if "dot_general" in line or "convolution(" in line]
        assert products
        assert [line for line in products if "HIGHEST" not in line] == []


@pytest.fixture(scope="module")
def resnet18():
    return seeded_file("resnet18")


def hugging_face_name(name):
    """Of a tensor of torchvision's ResNet-18: the names of transformers' ResNetForImageClassification."""
    leaf = name.rpartition(".")[2]
    if name.startswith("fc"):
        return f"classifier.1.{leaf}"
    if name.startswith(("conv1", "bn1")):
        kind = "convolution" if name.startswith("conv") else "normalization"
        return f"resnet.embedder.embedder.{kind}.{leaf}"
    stage, block, kind, number = re.findall(r"layer(\d)\.(\d)\.(conv|bn|downsample)\.?(\d)", name)[0]
    if kind == "downsample":
        part = f"shortcut.{('convolution', 'normalization')[int(number)]}"
    else:
        part = f"layer.{int(number) - 1}.{'convolution' if kind == 'conv' else 'normalization'}"
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.{part}.{leaf}"


def older_name(name):
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name)
    return name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")


@pytest.mark.parametrize(
    ("model", "rename"),
    [
        ("resnet18", hugging_face_name),
        ("resnet18", lambda name: hugging_face_name(name).removeprefix("resnet.")),  # ResNetModel's
        ("densenet201", older_name),
        ("vit_b16", older_name),
        ("resnet18", "module.{}".format),  # DataParallel's
        ("resnet18", "_orig_mod.module.{}".format),  # also compiled
        ("densenet201", lambda name: f"_orig_mod.{older_name(name)}"),
        ("resnet18", lambda name: re.sub(r"^(layer\d)", r"\1._orig_mod", name)),
    ],
)
def test_other_names_of_the_same(model, rename):  # 38
    tensors = seeded_file(model)
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    assert len(renamed) == len(tensors)
    assert renamed.keys() != tensors.keys()
    ours, expected = convert(model, renamed, "here"), convert(model, tensors, "here")
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, expected))


def test_half_precision_and_another_last_layer(resnet18):
    half = {n: t.astype(np.float16) for n, t in resnet18.items() if not n.endswith("tracked")}
    half |= {"fc.weight": half["fc.weight"][:18], "fc.bias": half["fc.bias"][:18]}
    found = convert("resnet18", half, "here")
    assert found["params"]["output"]["dense"]["kernel"].shape == (512, 18)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))
    bare = {name: tensor for name, tensor in half.items() if not name.startswith("fc.")}
    assert "output" not in convert("resnet18", bare, "here")["params"]


def test_adopting_weights(resnet18):
    pretrained = convert("resnet18", resnet18, "here")
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for n_outputs, whole in ((N_CLASSES, True), (18, False)):
        network = build("resnet18", n_outputs=n_outputs)
        shapes = jax.eval_shape(network.init, jax.random.key(0), image)
        fresh = jax.tree.map(lambda leaf: np.full(leaf.shape, 3, np.float32), shapes)
        adopted, head_too = adopt(fresh, pretrained)
        assert head_too == whole
        expected = pretrained if whole else fresh
        ours, theirs = adopted["params"].pop("output"), expected["params"]["output"]
        assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))
        rest = {**pretrained, "params": {k: v for k, v in pretrained["params"].items() if k != "output"}}
        assert jax.tree.all(jax.tree.map(np.array_equal, adopted, rest))
    with pytest.raises(UserError, match="do not fit the network"):
        adopt(jax.eval_shape(build("resnet34").init, jax.random.key(0), image), pretrained)


@pytest.mark.parametrize(
    ("model", "change", "says"),
    [
        ("resnet34", dict, "not a resnet34: 80 tensors are missing .*; it looks like resnet18: pass --model=resnet18"),
        ("resnet19", dict, "no network is called 'resnet19'; choose one of resnet18, "),
        (
            "resnet18",
            lambda t: t | {"aux.weight": np.ones(1)},
            r"1 are left over \(aux.weight\); it does not look",
        ),
        ("resnet18", lambda t: t | {"bn1.weight": np.ones(3)}, r"another shape \(bn1.weight: \(3,\), expected \(64,\)"),
        ("resnet18", lambda t: {n: a for n, a in t.items() if n != "fc.bias"}, r"1 tensors are missing \(fc.bias\)"),
        ("resnet18", lambda t: t | {"bn1.bias": np.full(64, np.nan)}, "'bn1.bias' .*not finite numbers"),
        ("resnet18", lambda t: t | {"bn1.bias": np.zeros(64, int)}, r"'bn1.bias' \(int64\)"),
        ("resnet18", lambda t: t | {"bn1.running_var": np.full(64, -1.0)}, "'bn1.running_var' .*negative"),
        ("resnet18", lambda t: t | {"classifier.1.bias": t["fc.bias"]}, r"1 are left over \(classifier.1.bias\)"),
        ("resnet18", lambda t: {}, "100 tensors are missing"),
    ],
)
def test_every_tensor_is_checked(resnet18, model, change, says):
    with pytest.raises(UserError, match=says) as caught:
        convert(model, change(resnet18), "here.npz")
    assert "\n" not in str(caught.value)
    assert model == "resnet19" or str(caught.value).startswith("here.npz")


# The command.


def test_converted_file(tmp_path, resnet18):
    source, outs = tmp_path / "r.npz", [tmp_path / f"{n}.safetensors" for n in "ab"]
    np.savez(source, **resnet18)
    for out in outs:
        done = run_python(SCRIPT, f"--from={source}", "--model=resnet18", f"--out={out}")
        assert done.returncode == 0, done.stderr
    assert (
        "resnet18, 11,689,512 parameters, 9,600 running statistics, 1,000 outputs; from r.npz, SHA-256" in done.stdout
    )
    assert outs[0].read_bytes() == outs[1].read_bytes()
    loaded = load_pretrained(outs[0])
    assert loaded.model == "resnet18"
    assert loaded.about == {"source": "r.npz", "sha256": read_weights(source).sha256}
    expected = convert("resnet18", resnet18, "here")
    found = {"params": loaded.params, "batch_stats": loaded.batch_stats}
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
    with pytest.raises(UserError, match=r"r\.npz holds no converted weights: .*scripts/convert_weights\.py --from"):
        load_pretrained(source)
    outs[0].write_bytes(outs[0].read_bytes()[:-1])
    with pytest.raises(UserError, match="holds no converted weights"):
        load_pretrained(outs[0])


@pytest.mark.parametrize(
    ("model", "out", "says"),
    [("resnet19", "o.safetensors", "no network is called"), ("resnet18", "o.npz", "should end in .safetensors")],
)
def test_script_complains_in_one_line(tmp_path, model, out, says):
    np.savez(tmp_path / "r.npz", a=np.ones(2, np.float32))
    done = run_python(SCRIPT, f"--from={tmp_path / 'r.npz'}", f"--model={model}", f"--out={tmp_path / out}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / out).exists()


# Really trained weights.

RESNET20 = SHARED / "resnet_cifar" / "resnet20-12fca82f.npz"


@pytest.mark.skipif(not RESNET20.exists(), reason="the trained ResNet-20 lies beside the clone, and is not there")
def test_trained_resnet20():
    tensors = read_weights(RESNET20).tensors
    assert sum(tensor.size for name, tensor in tensors.items() if "running" not in name) == 269_722
    with pytest.raises(UserError, match=r"is not a resnet18: .* missing .*left over .*not look like any known network"):
        convert("resnet18", tensors, str(RESNET20))
    torch = pytest.importorskip("torch", reason="PyTorch, which its blocks are compared with, is not installed")
    from benchmarks.torch_networks import Block as Peer

    x = np.random.default_rng(0).random((2, 8, 8, 64), np.float32)
    names = ("conv1", "bn1", "conv2", "bn2")
    parts = {(name, leaf): tensors[f"layer3.2.{name}.{leaf}"] for name in names for leaf in leaves(name)}
    peer = Peer(64, 64, 1, bottleneck=False).eval()
    peer.load_state_dict({".".join(path): torch.tensor(tensor) for path, tensor in parts.items()}, strict=False)
    variables = {
        "params": {n: block_params(parts, n) for n in names},
        "batch_stats": {n: {"mean": parts[n, "running_mean"], "var": parts[n, "running_var"]} for n in ("bn1", "bn2")},
    }
    with torch.no_grad():
        expected = peer(torch_images(x)).permute(0, 2, 3, 1)
    assert relative(Block(64, 1, bottleneck=False).apply(variables, jnp.asarray(x)), expected) <= 2e-6


def leaves(name):
    return ("weight",) if name.startswith("conv") else ("weight", "bias", "running_mean", "running_var")


def block_params(parts, name):
    if name.startswith("conv"):
        return {"kernel": parts[name, "weight"].transpose(2, 3, 1, 0)}
    return {"scale": parts[name, "weight"], "bias": parts[name, "bias"]}


if __name__ == "__main__":  # prints RECORDED anew
    import torch

    for model, (side, _) in RECORDED.items():
        with torch.no_grad():
            output = torch_peer(model, seeded_file(model))(torch_images(images(side)))
        print(f'    "{model}": ({side}, {[round(float(v), 7) for v in output[:, :2].reshape(-1)]}),')
