"""Weights of other frameworks as Flax trees: the published image networks, and what their files call each tensor."""

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

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]  # regular expressions and what replaces them
Path = tuple[str, ...]  # of a leaf: ("params", "layer1_0", "conv1", "kernel")
Shape = tuple[int, ...]


class Layout(NamedTuple):
    """How torchvision's (and timm's) files name what is at a path of ours."""

    head: str  # the last dense layer
    names: Rules  # from our path, with dots, to the name
    aliases: Rules = ()  # from names that other files have to the name


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
    """A network that weights are published for."""

    build: Callable[..., nn.Module]  # of n_outputs, unit_output, dropout, dtype
    layout: Layout


NETWORKS = {
    **{f"resnet{depth}": Published(partial(resnet, depth), RESNET) for depth in (18, 34, 50, 101, 152)},
    "densenet201": Published(DenseNet, DENSENET),
    "vit_b16": Published(ViT, VIT),
    "alexnet": Published(AlexNet, ALEXNET),
}
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
HEAD = ("params", "output", "dense")
SIDE = 224  # pixels of the images that the published networks are made for


def name_of(settings: ModelSettings) -> str:
    """What the network that these settings describe is called."""
    return f"resnet{settings.depth}" if settings.family == "resnet" else settings.family


def published_name(settings: ModelSettings) -> str:
    """Its name.  Raises UserError where it is none of `NETWORKS`."""
    name = name_of(settings)
    if name not in NETWORKS:
        raise UserError(
            f"config.model.weights={settings.weights} is for networks with published weights, which {name} is not; "
            f"leave it out, or choose one of {', '.join(NETWORKS)}"
        )
    return name


class Source(NamedTuple):
    """What a published file should hold for one leaf of ours."""

    name: str
    shape: Shape


@cache
def expected_sources(model: str, n_outputs: int) -> dict[Path, Source]:
    """Each leaf's tensor in torchvision's file, for a last layer of `n_outputs`."""
    published = NETWORKS[model]
    network = published.build(n_outputs=n_outputs, unit_output=False)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    leaves: dict[Path, Any] = dict(flatten_dict(jax.eval_shape(network.init, jax.random.key(0), image)))
    return {path: _source(published.layout, path, leaf.shape) for path, leaf in leaves.items()}


def convert(model: str, tensors: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
    """The variables of `model`, float32, from a published file's tensors; without a last layer where there is none.

    Raises UserError, which names the file as `where`, unless each tensor is there, has its shape and is a finite
    number, and none is left over.
    """
    if model not in NETWORKS:
        raise UserError(f"no network is called {model!r}; choose one of {', '.join(NETWORKS)}")
    found, expected = _fit(model, tensors)
    wrong = _differences(found, expected)
    if wrong:
        others = (other for other in NETWORKS if other != model and not _differences(*_fit(other, tensors)))
        like = next(others, None)
        hint = f"it looks like {like}: say --model={like}" if like else "it looks like no network here"
        raise UserError(f"{where} is no {model}: {'; '.join(wrong)}; {hint}")
    for name, tensor in found.items():
        if not np.issubdtype(tensor.dtype, np.floating) or not np.isfinite(tensor).all():
            raise UserError(f"{where}: tensor {name!r} ({tensor.dtype}) has values that are no finite numbers")
    return unflatten_dict({path: _as_ours(path, found[source.name]) for path, source in expected.items()})


def adopt(variables: dict[str, Any], pretrained: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """`variables` (freshly initialised) with the weights of `pretrained`, and whether the last layer is among them.

    A last layer of another size stays as it is initialised.  All else has to fit: raises UserError where it does not.
    """
    ours: dict[Path, Any] = dict(flatten_dict(variables))
    theirs: dict[Path, Any] = dict(flatten_dict(pretrained))
    head = {path for path in ours if path[: len(HEAD)] == HEAD}
    fits = all(path in theirs and theirs[path].shape == ours[path].shape for path in head)
    wanted = {path: leaf for path, leaf in theirs.items() if fits or path[: len(HEAD)] != HEAD}
    shapes = {path: leaf.shape for path, leaf in ours.items() if fits or path not in head}
    given = {path: leaf.shape for path, leaf in wanted.items()}
    if given != shapes:
        path = next(path for path in (*shapes, *given) if given.get(path) != shapes.get(path))
        raise UserError(
            f"the weights do not fit the network: {'/'.join(path)} is {given.get(path, 'missing')} there, and here "
            f"{shapes.get(path, 'unknown')}; choose the file of config.model's network, and of vit_b16 and alexnet "
            f"config.augment.size_px={SIDE}"
        )
    return unflatten_dict(ours | wanted), fits


def _fit(model: str, tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[Path, Source]]:
    """(the file's tensors by torchvision's names, what they should be): with the file's own last layer or none."""
    layout = NETWORKS[model].layout
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if not name.endswith(".num_batches_tracked"):
            known = _replace(layout.aliases, name)
            found[name if known in found else known] = tensor  # of two with one meaning, one is left over
    weight = found.get(f"{layout.head}.weight")
    expected = expected_sources(model, len(weight) if weight is not None and weight.ndim else 1)
    if weight is None and f"{layout.head}.bias" not in found:
        expected = {path: source for path, source in expected.items() if path[: len(HEAD)] != HEAD}
    return found, expected


def _differences(found: Mapping[str, np.ndarray], expected: Mapping[Path, Source]) -> list[str]:
    """What is missing, left over and of another shape, an example of each."""
    shapes = {source.name: source.shape for source in expected.values()}
    missing, extra = [n for n in shapes if n not in found], [n for n in found if n not in shapes]
    other = [n for n, shape in shapes.items() if n in found and found[n].shape != shape]
    wrong = []
    if missing:
        wrong.append(f"{len(missing)} tensors are missing ({missing[0]})")
    if extra:
        wrong.append(f"{len(extra)} are left over ({extra[0]})")
    if other:
        name = other[0]
        wrong.append(f"{len(other)} have another shape ({name}: {found[name].shape}, expected {shapes[name]})")
    return wrong


def _source(layout: Layout, path: Path, shape: Shape) -> Source:
    *modules, leaf = path[1:]
    leaf = LEAVES.get(leaf, leaf)
    in_head = path[: len(HEAD)] == HEAD
    name = f"{layout.head}.{leaf}" if in_head else _replace(layout.names, ".".join([*modules, leaf]))
    kernel = path[-1] == "kernel"  # spatial axes, inputs, outputs; theirs: outputs, inputs, spatial axes
    return Source(name, (shape[-1], shape[-2], *shape[:-2]) if kernel else shape)


def _as_ours(path: Path, tensor: np.ndarray) -> np.ndarray:
    axes = (*range(2, tensor.ndim), 1, 0) if path[-1] == "kernel" else range(tensor.ndim)
    return np.ascontiguousarray(tensor.transpose(axes), np.float32)


def _replace(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
