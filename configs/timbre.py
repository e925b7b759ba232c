"""TIMBRE-MLP, the baseline of Oramas et al. 2017, Table 2: handcrafted features of the Million Song Dataset."""

from mumu_jax.config import Config, ModelSettings, TargetSettings
from mumu_jax.experiments import Experiment, Paper, names_of

# The paper has it with logistic targets only.
PAPER = {"logistic": Paper("0.01M", 1, 0.792, (0.04, 0.14, 0.22)), "cosine": None}


def _experiment(name: str, target: str) -> Experiment:
    model = ModelSettings(family="shallow")
    return Experiment(
        Config(name=name, modality="timbre", model=model, target=TargetSettings(kind=target)), PAPER[target]
    )


EXPERIMENTS = [_experiment(name, target) for target in PAPER for name in names_of("timbre_mlp", target, "logistic")]
