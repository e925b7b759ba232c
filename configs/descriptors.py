"""The shallow network on 97 descriptors of a song's sound: Bahuleyan 2018 has trees and others on them."""

from mumu_jax.config import Config, ModelSettings, TargetSettings
from mumu_jax.experiments import Experiment, names_of


def _experiment(name: str, target: str) -> Experiment:
    model = ModelSettings(family="shallow")
    return Experiment(Config(name=name, modality="descriptors", model=model, target=TargetSettings(kind=target)))


EXPERIMENTS = [
    _experiment(name, target)
    for target in ("logistic", "cosine", "softmax")
    for name in names_of("descriptors_mlp", target, "logistic")
]
