"""The networks, one family a file, and the registry that builds them from a config."""

from collections.abc import Callable
from functools import partial

from flax import linen as nn

from mumu_jax.config import Config
from mumu_jax.models.alexnet import AlexNet
from mumu_jax.models.cnn import CNN, VARIANTS, WIDTHS
from mumu_jax.models.densenet import DenseNet
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.precision import compute_dtype
from mumu_jax.models.mlp import MLP
from mumu_jax.models.resnet import resnet
from mumu_jax.models.vit import ViT


def build_item_network(config: Config, n_outputs: int, n_terms: int | None = None) -> nn.Module:
    """The network that sees the items: patches, texts, timbre or images.

    `n_outputs` is labels (logistic) or label factors (cosine), `n_terms` the size of a text run's vocabulary, if that
    is not `config.tfidf.n_terms`.
    """
    return FAMILIES[config.model.family](config, n_outputs, n_terms)


def build_album_network(config: Config, n_outputs: int) -> Shallow:
    """The shallow network on an album's mean feature vector (Oramas et al. 2017, section 5.1, step 3)."""
    return Shallow(n_outputs=n_outputs, unit_output=config.target.kind == "cosine")


def _cnn(config: Config, n_outputs: int, n_terms: int | None) -> CNN:
    return CNN(
        variant=VARIANTS[config.model.kernel, config.model.width],
        filters=tuple(n // config.model.width_divisor for n in WIDTHS[config.model.width]),
        n_outputs=n_outputs,
        unit_output=config.target.kind == "cosine",
        dropout=config.model.dropout,
        dtype=compute_dtype(config.model.precision),
    )


def _mlp(config: Config, n_outputs: int, n_terms: int | None) -> MLP:
    return MLP(
        n_terms=n_terms or config.tfidf.n_terms,
        n_outputs=n_outputs,
        unit_output=config.target.kind == "cosine",
        dropout=config.model.dropout,
        dtype=compute_dtype(config.model.precision),
    )


def _shallow(config: Config, n_outputs: int, n_terms: int | None) -> Shallow:
    return Shallow(n_outputs, unit_output=config.target.kind == "cosine", dropout=config.model.dropout)


def _of_images(config: Config, n_outputs: int, n_terms: int | None) -> nn.Module:
    family = config.model.family
    build = partial(resnet, config.model.depth) if family == "resnet" else IMAGE_NETWORKS[family]
    return build(
        n_outputs=n_outputs,
        unit_output=config.target.kind == "cosine",
        dropout=config.model.dropout,
        dtype=compute_dtype(config.model.precision),
    )


IMAGE_NETWORKS: dict[str, Callable[..., nn.Module]] = {"densenet201": DenseNet, "vit_b16": ViT, "alexnet": AlexNet}
FAMILIES = {
    **{"cnn": _cnn, "mlp": _mlp, "shallow": _shallow},
    **dict.fromkeys(("resnet", *IMAGE_NETWORKS), _of_images),
}
