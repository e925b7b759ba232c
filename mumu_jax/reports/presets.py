"""What `reproduce` changes in the experiments' settings so that a whole table fits a small machine and small data."""

from functools import reduce
from typing import Any

from mumu_jax.config import Config, flatten, validate

# Covers have no published weights for 14 layers: from random ones, on small data, they need a larger learning rate,
# more patience and milder views.
SMOKE = {
    "audio_low": {"model.width_divisor": 2, "optim.max_epochs": 20},
    "audio_high": {"model.width_divisor": 8, "optim.max_epochs": 20},
    "image": {
        "model.depth": 14,
        "augment.size_px": 96,
        "augment.min_area": 0.5,
        "augment.colour": 0.1,
        "optim.learning_rate": 0.05,
        "optim.batch_size": 20,
        "optim.max_epochs": 40,
        "optim.patience": 12,
    },
}
# Of each preset, the changes by how the experiment's name begins.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {"paper": {}, "smoke": SMOKE}


def changes(preset: str, config: Config) -> dict[str, Any]:
    """The settings of the experiment that a preset changes, with their new values."""
    return next((found for start, found in PRESETS[preset].items() if config.name.startswith(start)), {})


def apply(preset: str, config: Config) -> None:
    """Make the preset's changes in a config that was just loaded."""
    for name, value in changes(preset, config).items():
        *sections, field = name.split(".")
        setattr(reduce(getattr, sections, config), field, value)
    validate(config)


def describe(preset: str, config: Config) -> str:
    """The preset's changes of a config as it was before them: `optim.max_epochs 100 → 20 (÷ 5), …`."""
    before = flatten(config)
    return ", ".join(_change(name, before[name], value) for name, value in changes(preset, config).items())


def _change(name: str, old: Any, new: Any) -> str:
    said = f"{name} {old:g} → {new:g}"
    return f"{said} (÷ {old / new:.3g})" if isinstance(old, int) and old > new else said
