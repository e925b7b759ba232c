"""The networks, one family a file; each registers itself."""

from flax import linen as nn

from mumu_jax.config import Config
from mumu_jax.errors import UserError
from mumu_jax.models import alexnet, cnn, densenet, mlp, resnet, vit  # noqa: F401  each registers its family
from mumu_jax.models.head import Shallow
from mumu_jax.models.registry import FAMILIES, Family, Output


def family_of(config: Config) -> Family:
    """Return the family that `config` names; raises UserError if it does not exist or sees another modality."""
    name, family = config.model.family, FAMILIES.get(config.model.family)
    if family is None or config.modality not in family.sees:
        fitting = [repr(name) for name, family in FAMILIES.items() if config.modality in family.sees]
        known = f"choose {' or '.join(fitting)}" if fitting else "no family sees that modality"
        raise UserError(
            f"config.model.family is {name!r}, and config.modality {config.modality!r}; {known}, or another experiment"
        )
    return family


def build_item_network(config: Config, output: Output) -> nn.Module:
    """Build the network that sees the items: patches, texts, timbre, images or several of them."""
    return family_of(config).build(config.model, output)


def build_album_network(output: Output) -> Shallow:
    """Build the shallow network on an album's mean feature vector (Oramas et al. 2017, section 5.1, step 3)."""
    return Shallow(output.size, output.unit)
