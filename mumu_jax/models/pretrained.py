"""Conversion of published weights to Flax trees: the image networks, those on mel spectrograms, and BERT's encoder."""

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
from mumu_jax.models.bert import SETTINGS as BERT_SETTINGS
from mumu_jax.models.bert import Bert, Encoder
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.layouts import (
    ALEXNET,
    BERT,
    DENSENET,
    MUSICNN,
    MUSICNN_WON,
    RESNET,
    SHORT_CHUNK,
    TAGGER,
    VIT,
    WRAPPERS,
    Layout,
    Rules,
    Shape,
)
from mumu_jax.models.layouts import VGG as VGG_LAYOUT
from mumu_jax.models.musicnn import PONS, SIZES, WON, Form, Musicnn
from mumu_jax.models.registry import FAMILIES
from mumu_jax.models.resnet import resnet
from mumu_jax.models.tagging import FORMS, ShortChunk, Tagger
from mumu_jax.models.vgg import VGG
from mumu_jax.models.vit import ViT

Path = tuple[str, ...]  # the path of a leaf: ("params", "layer1_0", "conv1", "kernel")


HEAD = ("params", "output", "dense")
ENCODER = ("params", "encoder")  # of every network that reads tokens
SIDE_PX = 224  # images of the published networks


Tensors = Mapping[str, np.ndarray]
Sizes = tuple[tuple[str, int], ...]


class Published(NamedTuple):
    """A network with published weights."""

    build: Callable[..., nn.Module]  # takes n_outputs, unit_output, dropout and dtype, and sizes by name
    layout: Layout
    input_shape: Shape = (SIDE_PX, SIDE_PX, 3)  # of an item
    front_end: str = ""  # of a network that sees mel spectrograms: the preset of these, config.mel's name
    input_dtype: Any = jnp.float32
    sizes: Callable[[Tensors], Sizes] = lambda tensors: ()  # of a network of any size: those of a file's


def _musicnn(form: Form, width: str) -> Callable[..., nn.Module]:
    return partial(Musicnn, form, *SIZES[width])


def _bert(n_outputs: int, unit_output: bool, dropout: float = 0.0, dtype: Any = jnp.float32, **sizes: Any) -> Bert:
    return Bert(Encoder(**{"heads": 1, **sizes}, dropout=dropout, dtype=dtype), n_outputs, unit_output, dropout)


def _sizes_of_bert(tensors: Tensors) -> Sizes:
    """Return the sizes of an encoder, but for the number of heads, which no shape tells; () if it is none."""
    names = ("embeddings.word_embeddings", "embeddings.position_embeddings", "encoder.layer.0.intermediate.dense")
    shapes = [tensors[f"{name}.weight"].shape for name in names if f"{name}.weight" in tensors]
    if len(shapes) < len(names) or any(len(shape) != 2 or not all(shape) for shape in shapes):
        return ()
    (n_tokens, width), (positions, _), (inner, _) = shapes
    layers = len({name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")})
    sizes = {"layers": layers, "width": width, "inner": inner, "n_tokens": n_tokens, "positions": positions}
    return tuple(sizes.items())


NETWORKS = {
    **{f"resnet{depth}": Published(partial(resnet, depth), RESNET) for depth in (18, 34, 50, 101, 152)},
    "densenet201": Published(DenseNet, DENSENET),
    "vit_b16": Published(ViT, VIT),
    "alexnet": Published(AlexNet, ALEXNET),
    "musicnn": Published(_musicnn(PONS, "low"), MUSICNN, (187, 96), "musicnn"),
    "musicnn_big": Published(_musicnn(PONS, "high"), MUSICNN, (187, 96), "musicnn"),
    "vgg": Published(VGG, VGG_LAYOUT, (187, 96), "musicnn"),
    "musicnn_won": Published(_musicnn(WON, "low"), MUSICNN_WON, (188, 96), "won"),
    "musicnn_won_big": Published(_musicnn(WON, "high"), MUSICNN_WON, (188, 96), "won"),
    "fcn": Published(partial(Tagger, FORMS["fcn"]), TAGGER, (1813, 96), "won"),
    "crnn": Published(partial(Tagger, FORMS["crnn"]), TAGGER, (1813, 96), "won"),
    "short_chunk": Published(partial(ShortChunk, False), SHORT_CHUNK, (231, 128), "won128"),
    "short_chunk_residual": Published(partial(ShortChunk, True), SHORT_CHUNK, (231, 128), "won128"),
    "bert": Published(_bert, BERT, (1,), input_dtype=jnp.int32, sizes=_sizes_of_bert),
}


def name_of(settings: ModelSettings) -> str:
    """Return the name of the network that these settings describe; `bert` if BERT's encoder is a part of it."""
    if set(BERT_SETTINGS) <= FAMILIES[settings.family].settings:
        return "bert"
    if settings.family == "resnet":
        return f"resnet{settings.depth}"
    big = settings.family in ("musicnn", "musicnn_won") and settings.width == "high"
    return f"{settings.family}_big" if big else settings.family


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
def expected_sources(model: str, n_outputs: int, sizes: Sizes = ()) -> dict[Path, Source]:
    """Return each leaf's tensor in the published file, for a last layer of `n_outputs`, and for these sizes."""
    published = NETWORKS[model]
    network = published.build(n_outputs=n_outputs, unit_output=False, **dict(sizes))
    item = jax.ShapeDtypeStruct((1, *published.input_shape), published.input_dtype)
    leaves: dict[Path, Any] = dict(flatten_dict(jax.eval_shape(network.init, jax.random.key(0), item)))
    return {path: _source(published.layout, path, leaf.shape) for path, leaf in leaves.items()}


def convert(model: str, tensors: Tensors, where: str) -> dict[str, Any]:
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
        for path, source in expected.items():
            check_values(source.name, named[source.name], is_variance=path[-1] == "var")
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    layout = NETWORKS[model].layout
    return unflatten_dict({path: _as_ours(layout, path, name, named[name]) for path, (name, _) in expected.items()})


def sizes_of(model: str, tensors: Tensors) -> dict[str, int]:
    """Return the sizes of a network of any size in a published file, by the fields of its settings."""
    return dict(NETWORKS[model].sizes(_named(NETWORKS[model].layout, tensors)))


def front_end_of(model: str, tensors: Tensors) -> str:
    """Return the preset of mel spectrograms that a published file was trained on, "" if it sees something else.

    Won's networks exist for 96 and for 128 bins; the file has the filter bank.
    """
    bank = tensors.get("spec.mel_scale.fb")
    if bank is None or bank.ndim != 2:
        return NETWORKS[model].front_end
    return "won128" if bank.shape[1] == 128 else "won"


def check_values(name: str, tensor: np.ndarray, is_variance: bool) -> None:
    """Raise ValueError if a tensor has values that no weight has."""
    if not np.issubdtype(tensor.dtype, np.floating) or not np.isfinite(tensor).all():
        raise ValueError(f"tensor {name!r} ({tensor.dtype}) has values that are not finite numbers")
    if is_variance and (tensor < 0).any():
        raise ValueError(f"tensor {name!r} is a variance and has negative values")


def adopt(variables: dict[str, Any], pretrained: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return `variables` (freshly initialised) with the weights of `pretrained`, and whether these have the last layer.

    A last layer of another size stays as it is initialised; if `pretrained` is an encoder, so does all else.  Raises
    UserError if anything does not fit.
    """
    initial: dict[Path, Any] = dict(flatten_dict(variables))
    loaded: dict[Path, Any] = dict(flatten_dict(pretrained))
    head = {path for path in initial if path[: len(HEAD)] == HEAD}
    head_fits = all(path in loaded and loaded[path].shape == initial[path].shape for path in head)
    adopted = {path: leaf for path, leaf in loaded.items() if head_fits or path[: len(HEAD)] != HEAD}
    if all(path[: len(ENCODER)] == ENCODER for path in loaded):
        expected = {path: leaf.shape for path, leaf in initial.items() if path[: len(ENCODER)] == ENCODER}
    else:
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


def _fit(model: str, tensors: Tensors) -> tuple[dict[str, np.ndarray], dict[Path, Source]]:
    """Return the file's tensors by the layout's names, and the expected ones: with a last layer if the file has it."""
    layout = NETWORKS[model].layout
    named = _named(layout, tensors)
    weight, bias = (named.get(_name(layout, (*HEAD, leaf))) for leaf in ("kernel", "bias"))
    n_outputs = weight.shape[layout.order.outputs] if weight is not None and weight.ndim else 1
    expected = expected_sources(model, n_outputs, NETWORKS[model].sizes(named))
    if weight is None and bias is None:
        expected = {path: source for path, source in expected.items() if path[: len(HEAD)] != HEAD}
    return named, expected


def _named(layout: Layout, tensors: Tensors) -> dict[str, np.ndarray]:
    """Return the tensors of a file that a network needs, by the layout's names."""
    named: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if not re.search(layout.unused, name):
            known = _replace((*WRAPPERS, *layout.aliases), name)
            named[name if known in named else known] = tensor  # two names for one tensor: the second is left over
    return named


def _differences(named: Tensors, expected: Mapping[Path, Source]) -> list[str]:
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
    name = _name(layout, path)
    return Source(name, layout.shape(name, shape) if path[-1].endswith("kernel") else shape)


def _name(layout: Layout, path: Path) -> str:
    *modules, leaf = path[1:]
    leaf = layout.leaves.get(leaf, leaf)
    in_head = path[: len(HEAD)] == HEAD
    name = f"{layout.head}.{leaf}" if in_head else _replace(layout.names, ".".join([*modules, leaf]))
    return name.replace(".", layout.separator)


def _as_ours(layout: Layout, path: Path, name: str, tensor: np.ndarray) -> np.ndarray:
    ours = layout.kernel(name, tensor) if path[-1].endswith("kernel") else tensor
    return np.ascontiguousarray(ours, np.float32)


def _replace(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
