"""The named experiments: the tables in `configs/`, one row a row of a paper's table."""

import copy
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mumu_jax.config import Config
from mumu_jax.errors import UserError, nearest


@dataclass(frozen=True)
class Paper:
    """A row of Table 2 as printed: parameters, seconds an epoch (Tesla K40), AUC, coverage at 1, 3 and 5."""

    params: str
    epoch_s: int
    roc_auc: float
    coverage: tuple[float, float, float]


@dataclass(frozen=True)
class Study:
    """A result of the album-cover study (Greenfield & Paintsil): the accuracy within the first 1, 3 and 5 genres."""

    accuracy: tuple[float, float, float]


@dataclass(frozen=True)
class Experiment:
    """A config with the results that were published for it."""

    config: Config
    paper: Paper | None = None
    study: Study | None = None


def names_of(experiment: str, target: str, bare: str) -> list[str]:
    """Return the full name of an experiment, and the bare one for the target `bare`."""
    return [f"{experiment}_{target}", experiment] if target == bare else [f"{experiment}_{target}"]


def load_config(name: str) -> Config:
    """Return a fresh copy of the named experiment's config; raises UserError with the nearest name otherwise."""
    experiments = load_experiments()
    if name not in experiments:
        near = nearest(name, experiments)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UserError(f"no experiment {name!r}{hint} (python -m mumu_jax.train --list)")
    return copy.deepcopy(experiments[name].config)


@cache
def load_experiments() -> dict[str, Experiment]:
    """Return every experiment by name, in the order of the tables."""
    experiments: dict[str, Experiment] = {}
    for path in sorted(_configs_folder().glob("[!_]*.py")):
        spec = importlib.util.spec_from_file_location(f"mumu_jax_configs_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for experiment in module.EXPERIMENTS:
            assert experiment.config.name not in experiments, experiment.config.name
            experiments[experiment.config.name] = experiment
    return experiments


def read_parameter_counts() -> dict[str, int]:
    """Return how many parameters each experiment has for MuMu's labels: to count them takes ten seconds."""
    return json.loads((_configs_folder() / "parameters.json").read_bytes())


def _configs_folder() -> Path:
    """Return `configs/`: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir())
