"""Gradient-boosted trees on the numbers of a track or an album: Bahuleyan 2018, and the same on other inputs.

Depth 5, rate 0.1 and 500 rounds are his, who wished for `subsample` 0.8 too; early stopping on validation is our own.
`--config.fusion.modalities` names the runs whose vectors `fusion_boosted` sees.
"""

from mumu_jax.config import Config, FusionSettings, ModelSettings, OptimSettings, TargetSettings
from mumu_jax.experiments import Experiment, names_of


def _experiment(name: str, modality: str, target: str) -> Experiment:
    config = Config(
        name=name,
        modality=modality,
        model=ModelSettings(family="trees", albums="network" if modality == "fusion" else "mean"),
        target=TargetSettings(kind=target),
        optim=OptimSettings(learning_rate=0.1, patience=20),
    )
    if modality == "fusion":
        config.fusion = FusionSettings(modalities="audio")
    return Experiment(config)


EXPERIMENTS = [
    _experiment(name, modality, target)
    for modality in ("descriptors", "timbre", "fusion")
    for target in ("logistic", "softmax")
    for name in names_of(f"{modality}_boosted", target, "logistic")
]
