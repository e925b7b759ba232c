"""Conversion of published weights to Flax trees: the image networks, and the names of tensors in their files."""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from mumu_jax.config import ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.alexnet import AlexNet
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.resnet import resnet
from mumu_jax.models.vit import ViT

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]  # regular expressions and replacements
Path = tuple[str, ...]  # the path of a leaf: ("params", "layer1_0", "conv1", "kernel")
Shape = tuple[int, ...]


class Layout(NamedTuple):
    """The names of tensors in torchvision's (and timm's) files."""

    head: str  # name of the last dense layer
    names: Rules  # from our path, joined by dots, to the name
    aliases: Rules = ()  # from names in other files to the name


RESNET = Layout(
    "fc",
    ((r"_(?=\d)", "."),),
    (  # Hugging Face's
        (r"^(resnet\.)?(?=embedder|encoder)", ""),
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        (r"^encoder\.stages\.(\d+)\.layers\.", lambda m: f"layer{int(m[1]) + 1}."),
        (r"\.layer\.(\d+)\.convolution\.", lambda m: f".conv{int(m[1]) + 1}."),
        (r"\.layer\.(\d+)\.normalization\.", lambda m: f".bn{int(m[1]) + 1}."),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
        (r"^classifier\.1\.", "fc."),
    ),
)
DENSENET = Layout(
    "classifier",
    ((r"_(?=denselayer|norm|conv)", "."), (r"^", "features.")),
    ((r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1"),),  # the published files are older than the names
)
ALEXNET = Layout("classifier.6", ((r"_(?=\d)", "."),))
VIT = Layout(
    "heads.head",
    (
        (r"^(?=pos_embedding|ln\.)", "encoder."),
        (r"^(?=encoder_layer)", "encoder.layers."),
        (r"\.in_proj\.", ".self_attention.in_proj_"),
        (r"\.out_proj\.", ".self_attention.out_proj."),
        (r"\.mlp_", ".mlp."),
    ),
    ((r"\.linear_1\.", ".0."), (r"\.linear_2\.", ".3.")),  # the published files are older than the names
)


class Published(NamedTuple):
    """A network with published weights."""

    build: Callable[..., nn.Module]  # takes n_outputs, unit_output, dropout and dtype
    layout: Layout


NETWORKS = {
    **{f"resnet{depth}": Published(partial(resnet, depth), RESNET) for depth in (18, 34, 50, 101, 152)},
    "densenet201": Published(DenseNet, DENSENET),
    "vit_b16": Published(ViT, VIT),
    "alexnet": Published(AlexNet, ALEXNET),
}
# What PyTorch's own wrappers (DataParallel, torch.compile) put before the names of what they wrap.
WRAPPERS: Rules = ((r"(^|\.)(module\.|_orig_mod\.)+", r"\1"),)
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
HEAD = ("params", "output", "dense")
SIDE_PX = 224  # images of the published networks


def name_of(settings: ModelSettings) -> str:
    """Return the name of the network that these settings describe."""
    return f"resnet{settings.depth}" if settings.family == "resnet" else settings.family


def published_name(settings: ModelSettings) -> str:
    """Return the name of the network.  Raises UserError if it is not one of `NETWORKS`."""
    name = name_of(settings)
    if name not in NETWORKS:
        raise UserError(
            f"config.model.weights={settings.weights} is for networks with published weights, which {name} is not; "
            f"leave it out, or choose one of {', '.join(NETWORKS)}"
        )
    return name


class Source(NamedTuple):
    """The tensor of a published file that becomes one of our leaves."""

    name: str
    shape: Shape


@cache
def expected_sources(model: str, n_outputs: int) -> dict[Path, Source]:
    """Return each leaf's tensor in torchvision's file, for a last layer of `n_outputs`."""
    published = NETWORKS[model]
    network = published.build(n_outputs=n_outputs, unit_output=False)
    image = jax.ShapeDtypeStruct((1, SIDE_PX, SIDE_PX, 3), jnp.float32)
    leaves: dict[Path, Any] = dict(flatten_dict(jax.eval_shape(network.init, jax.random.key(0), image)))
    return {path: _source(published.layout, path, leaf.shape) for path, leaf in leaves.items()}


def convert(model: str, tensors: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
    """Return the variables of `model`, float32, from a published file's tensors; the last layer may be missing.

    Raises UserError, which names the file as `where`, unless it has exactly the expected tensors, in their shapes, of
    finite numbers, and no negative variance.
    """
    if model not in NETWORKS:
        raise UserError(f"no network is called {model!r}; choose one of {', '.join(NETWORKS)}")
    named, expected = _fit(model, tensors)
    differences = _differences(named, expected)
    if differences:
        others = (other for other in NETWORKS if other != model and not _differences(*_fit(other, tensors)))
        like = next(others, None)
        hint = f"it looks like {like}: pass --model={like}" if like else "it does not look like any known network"
        raise UserError(f"{where} is not a {model}: {'; '.join(differences)}; {hint}")
    try:
        for name, tensor in named.items():
            check_values(name, tensor, is_variance=name.endswith(".running_var"))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return unflatten_dict({path: _as_ours(path, named[source.name]) for path, source in expected.items()})


def check_values(name: str, tensor: np.ndarray, is_variance: bool) -> None:
    """Raise ValueError if a tensor has values that no weight has."""
    if not np.issubdtype(tensor.dtype, np.floating) or not np.isfinite(tensor).all():
        raise ValueError(f"tensor {name!r} ({tensor.dtype}) has values that are not finite numbers")
    if is_variance and (tensor < 0).any():
        raise ValueError(f"tensor {name!r} is a variance and has negative values")


def adopt(variables: dict[str, Any], pretrained: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return `variables` (freshly initialised) with the weights of `pretrained`, and whether these have the last layer.

    A last layer of another size stays as it is initialised.  Raises UserError if anything else does not fit.
    """
    initial: dict[Path, Any] = dict(flatten_dict(variables))
    loaded: dict[Path, Any] = dict(flatten_dict(pretrained))
    head = {path for path in initial if path[: len(HEAD)] == HEAD}
    head_fits = all(path in loaded and loaded[path].shape == initial[path].shape for path in head)
    adopted = {path: leaf for path, leaf in loaded.items() if head_fits or path[: len(HEAD)] != HEAD}
    expected = {path: leaf.shape for path, leaf in initial.items() if head_fits or path not in head}
    shapes = {path: leaf.shape for path, leaf in adopted.items()}
    if shapes != expected:
        path = next(path for path in (*expected, *shapes) if shapes.get(path) != expected.get(path))
        raise UserError(
            f"the weights do not fit the network: {'/'.join(path)} is {shapes.get(path, 'missing')} in the file, and "
            f"{expected.get(path, 'unknown')} in the network; choose the file of config.model's network, and for "
            f"vit_b16 and alexnet config.augment.size_px={SIDE_PX}"
        )
    return unflatten_dict(initial | adopted), head_fits


def _fit(model: str, tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[Path, Source]]:
    """Return the file's tensors by torchvision's names, and the expected ones: with a last layer if the file has it."""
    layout = NETWORKS[model].layout
    named: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if not name.endswith(".num_batches_tracked"):
            known = _replace((*WRAPPERS, *layout.aliases), name)
            named[name if known in named else known] = tensor  # two names for one tensor: the second is left over
    weight = named.get(f"{layout.head}.weight")
    expected = expected_sources(model, len(weight) if weight is not None and weight.ndim else 1)
    if weight is None and f"{layout.head}.bias" not in named:
        expected = {path: source for path, source in expected.items() if path[: len(HEAD)] != HEAD}
    return named, expected


def _differences(named: Mapping[str, np.ndarray], expected: Mapping[Path, Source]) -> list[str]:
    """Count the tensors that are missing, left over and of another shape, with an example of each."""
    shapes = {source.name: source.shape for source in expected.values()}
    common = [name for name in shapes if name in named]
    examples = {
        "tensors are missing": [name for name in shapes if name not in named],
        "are left over": [name for name in named if name not in shapes],
        "have another shape": [
            f"{name}: {named[name].shape}, expected {shapes[name]}"
            for name in common
            if named[name].shape != shapes[name]
        ],
    }
    return [f"{len(names)} {difference} ({names[0]})" for difference, names in examples.items() if names]


def _source(layout: Layout, path: Path, shape: Shape) -> Source:
    *modules, leaf = path[1:]
    leaf = LEAVES.get(leaf, leaf)
    in_head = path[: len(HEAD)] == HEAD
    name = f"{layout.head}.{leaf}" if in_head else _replace(layout.names, ".".join([*modules, leaf]))
    kernel = path[-1] == "kernel"  # ours: spatial axes, inputs, outputs; PyTorch's: outputs, inputs, spatial axes
    return Source(name, (shape[-1], shape[-2], *shape[:-2]) if kernel else shape)


def _as_ours(path: Path, tensor: np.ndarray) -> np.ndarray:
    axes = (*range(2, tensor.ndim), 1, 0) if path[-1] == "kernel" else range(tensor.ndim)
    return np.ascontiguousarray(tensor.transpose(axes), np.float32)


def _replace(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
