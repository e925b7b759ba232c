"""A run's folder, finished or not, in the words and numbers of a page; no network is built."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mumu_jax.config import Config, flatten
from mumu_jax.data.manifest import read_labels
from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics
from mumu_jax.objectives.decisions import DECISIONS
from mumu_jax.runs import evaluation
from mumu_jax.runs.calibration import WAYS, Calibrator, read_calibrator
from mumu_jax.runs.constants import read_constants
from mumu_jax.runs.folder import FINAL_SPLITS, IMPORTANCE, check_run, read_about
from mumu_jax.runs.fusion import FUSION, Source, read_kept
from mumu_jax.system.files import read_npz
from mumu_jax.system.seals import check_seal
from mumu_jax.training.log import METRICS, PERF, read_lines

LEVELS = {**evaluation.LEVELS, "baseline": "albums, linear baseline", "chance": "by chance"}
COUNT_NAMES = {
    "n_items": "items",
    "n_labels": "labels",
    "n_labels_scored": "labels in the macro means",
    "n_labels_unseen": "labels not in training",
}


@dataclass(frozen=True)
class Predictions:
    """The scores of a split's albums, and their labels."""

    scores: Float[np.ndarray, "items labels"]
    labels: Shaped[np.ndarray, "items labels"]


@dataclass(frozen=True)
class Run:
    """The files of a run as far as they are there: a run that was not scored has no `result`."""

    folder: Path
    config: Config
    about: dict[str, Any]  # config.json
    sources: dict[str, Source]  # the runs that a fusion joins, by modality
    label_names: list[str]
    seen: Bool[np.ndarray, " labels"]  # labels with a positive in training
    metrics: list[dict[str, Any]]  # lines of metrics.jsonl
    perf: list[dict[str, Any]]
    split: str
    result: dict[str, Any] | None  # eval_<split>.json
    predictions: Predictions | None
    calibrator: Calibrator | None  # none in a run of earlier versions, or that is not finished
    importance: dict[str, float]  # of boosted trees: each input's share of the gain, the largest first


def read_run(folder: Path, split: str | None) -> Run:
    """Read a run, and how it scored on `split`; None stands for the first of `FINAL_SPLITS` that was scored.

    Raises UserError if `folder` is not a run's, if a file is damaged, or if the run was not scored on `split`.
    """
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder} is neither a run nor a folder of runs: it has no config.json and no table; give the "
            "--workdir of mumu_jax.train or of mumu_jax.reproduce"
        )
    check_run(folder)
    about, config = read_about(folder / "config.json")
    scored = [name for name in FINAL_SPLITS if (folder / f"eval_{name}.json").exists()]
    if split and not (folder / f"eval_{split}.json").exists():
        raise UserError(
            f"{folder} has no eval_{split}.json; score it: python -m mumu_jax.evaluate --workdir={folder} "
            f"--split={split}"
        )
    split = split or (scored or FINAL_SPLITS)[0]
    remedy = "restore it, or remove it; python -m mumu_jax.evaluate scores the run again"
    check_seal(folder, remedy, f"eval_{split}.json", f"predictions_{split}.npz", METRICS, PERF, IMPORTANCE)
    labels = read_labels(folder / "labels.json")
    result, predictions = folder / f"eval_{split}.json", folder / f"predictions_{split}.npz"
    return Run(
        folder=folder,
        config=config,
        about=about,
        sources=read_kept(folder).sources if (folder / FUSION).exists() else {},
        label_names=[label.name for label in labels],
        seen=read_constants(folder, config)[1],
        metrics=read_lines(folder / METRICS),
        perf=read_lines(folder / PERF),
        split=split,
        result=_read_json(result) if result.exists() else None,
        predictions=_read_predictions(predictions, len(labels)) if predictions.exists() else None,
        calibrator=read_calibrator(folder, len(labels)),
        importance=_read_json(importance) if (importance := folder / IMPORTANCE).exists() else {},
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it") from error


def _read_predictions(path: Path, n_labels: int) -> Predictions:
    remedy = "score the run again with mumu_jax.evaluate"
    arrays = read_npz(path, remedy, "album_scores", "album_labels")
    predictions = Predictions(arrays["album_scores"], arrays["album_labels"])
    shapes = predictions.scores.shape, predictions.labels.shape
    if shapes[0] != shapes[1] or shapes[0][1:] != (n_labels,):
        raise UserError(
            f"{path} holds scores {shapes[0]} and labels {shapes[1]}, and the run has {n_labels} labels; {remedy}"
        )
    return predictions


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield (term, value) for the network, the data, and the place where it was trained."""
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
    """Return each metric with its value at each level, as text."""
    return _by_metric([result[level] for level in LEVELS if level in result])


def decisions_by_way(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each metric of the genres given with its value for each of `WAYS`, as text; none in earlier versions."""
    return [
        (DECISIONS[metric].name, values)
        for metric, values in _by_metric([result["decisions"][way] for way in WAYS] if "decisions" in result else [])
    ]


def _by_metric(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    metrics = dict.fromkeys(metric for column in columns for metric in column)
    return [(metric, [_number(column.get(metric)) for column in columns]) for metric in metrics]


def settings(config: Config) -> list[tuple[str, Any, Any]]:
    """Return (name, value, default) of each setting, those that differ first."""
    default = flatten(Config())
    values = [(name, value, default[name]) for name, value in flatten(config).items()]
    return sorted(values, key=lambda setting: setting[1] == setting[2])


def _number(value: float | int | None) -> str:
    return count(value) if isinstance(value, int) else share(value)


def share(value: float | None) -> str:
    """Return a number from 0 to 1 as text; a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def count(value: int | None) -> str:
    """Return a whole number as text; a dash for None."""
    return "–" if value is None else f"{value:,}"


def metric_name(metric: str) -> str:
    """Return the name of a metric or count in words: `coverage_at_3` is coverage@3."""
    return metrics.METRICS[metric].name if metric in metrics.METRICS else COUNT_NAMES.get(metric, metric)
