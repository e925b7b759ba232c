"""The networks, one family a file; each registers itself."""

from mumu_jax.config import Config
from mumu_jax.errors import UserError
from mumu_jax.models import (  # noqa: F401  each registers its families
    alexnet,
    bert,
    cnn,
    densenet,
    joint,
    mlp,
    musicnn,
    resnet,
    tagging,
    trees,
    vgg,
    vit,
)
from mumu_jax.models.registry import FAMILIES, Family


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
