"""What was trained on what, and how well it did: the words and numbers of a page."""

from collections.abc import Iterator
from typing import Any

from mumu_jax.config import Config, flatten
from mumu_jax.reports.run import Run

LEVELS = {"track": "tracks", "album": "albums", "chance": "by chance"}
NAMES = {
    "roc_auc_macro": "ROC-AUC, macro",
    "pr_auc_macro": "average precision, macro",
    "n_items": "items",
    "n_labels": "labels",
    "n_labels_scored": "labels in the macro means",
    "n_labels_unseen": "labels not in training",
}


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """(what it is, what it was) of the network, the data, and where it was trained."""
    versions, data, model = dict(run.about.get("versions", {})), run.about["data"], run.config.model
    network = [model.family, model.kernel, model.width] if model.family == "cnn" else [model.family]
    network += [str(model.depth)] if model.family == "resnet" else []
    yield "Network", f"{' '.join(network)} on {run.config.modality}, {run.config.target.kind} targets"
    if "params" in run.about:
        yield "Parameters", count(run.about["params"])
    for modality, source in run.sources.items():
        yield f"Joined, {modality}", f"{source.fingerprint}, {source.path}"
    yield "Labels", f"{len(run.label_names):,}, of which {int(run.seen.sum()):,} occur in training"
    yield "Data", data["dir"]
    yield "Data checksum", data["checksum"]
    if run.result and run.result["data"]["checksum"] != data["checksum"]:
        yield "Scored on other data", f"{run.result['data']['dir']}, checksum {run.result['data']['checksum']}"
    weights = run.about.get("weights") or {"": "random"}
    yield "First weights", ", ".join(f"{name} {value}".strip() for name, value in weights.items())
    yield "Device", f"{versions.pop('device', 'unknown')}, computes in {versions.pop('computes_in', 'unknown')}"
    yield "Commit", versions.pop("commit", None) or "unknown"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    yield "Folder", str(run.folder.absolute())


def metrics_by_level(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Each metric at each level that has it, as it is shown."""
    levels = [result[level] for level in LEVELS if level in result]
    metrics = dict.fromkeys(metric for level in levels for metric in level)
    return [(metric, [_shown(level.get(metric)) for level in levels]) for metric in metrics]


def settings(config: Config) -> list[tuple[str, Any, Any]]:
    """(name, value, default) of each setting, those that differ first."""
    default = flatten(Config())
    found = [(name, value, default[name]) for name, value in flatten(config).items()]
    return sorted(found, key=lambda setting: setting[1] == setting[2])


def _shown(value: float | int | None) -> str:
    return count(value) if isinstance(value, int) else share(value)


def share(value: float | None) -> str:
    """A number from 0 to 1; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def count(value: int | None) -> str:
    """A whole number; a dash where there is none."""
    return "–" if value is None else f"{value:,}"


def name_of(metric: str) -> str:
    """A metric's name in words: `coverage_at_3` is coverage@3."""
    return NAMES.get(metric) or metric.replace("_at_", "@").replace("_macro", ", macro").replace("ndcg", "nDCG")
