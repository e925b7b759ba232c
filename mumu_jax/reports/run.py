"""A run's folder, finished or not, or an ensemble's, in the words and numbers of a page; no network is built."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from mumu_jax.config import Config, TargetSettings
from mumu_jax.data.manifest import read_labels
from mumu_jax.errors import UserError
from mumu_jax.fields import flatten
from mumu_jax.objectives import Objective, make_objective, metrics
from mumu_jax.objectives.decisions import DECISIONS
from mumu_jax.runs import evaluation
from mumu_jax.runs.calibration import WAYS, Calibrator, read_calibrator
from mumu_jax.runs.constants import Seen, read_constants
from mumu_jax.runs.ensemble import About, is_ensemble, metrics_of_runs, read_ensemble
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
    """The scores of a split's albums, which rank and for people to read, and their labels."""

    scores: Float[np.ndarray, "items labels"]
    readable: Float[np.ndarray, "items labels"]
    labels: Shaped[np.ndarray, "items labels"]


@dataclass(frozen=True)
class Run:
    """The content of a page about a run, as far as it is there, or an ensemble: without scores there is no `result`."""

    folder: Path
    title: str
    summary: str  # of what gives the scores, in a sentence without its end
    facts: list[tuple[str, str]]  # term, value
    settings: list[tuple[str, Any, Any]]  # name, value, default; those that differ first
    objective: Objective
    label_names: list[str]
    seen: Seen  # labels with a positive in training
    metrics: list[dict[str, Any]]  # lines of metrics.jsonl
    perf: list[dict[str, Any]]
    split: str
    result: dict[str, Any] | None  # eval_<split>.json
    levels: dict[str, dict[str, Any]]  # the metrics in it, by what they are of in words
    predictions: Predictions | None
    calibrator: Calibrator | None  # none in a run of earlier versions, or that is not finished
    importance: dict[str, float]  # of boosted trees: each input's share of the gain, the largest first
    is_trained: bool = True  # an ensemble is not


def read_run(folder: Path, split: str | None) -> Run:
    """Read a run or an ensemble, and its scores on `split`; None stands for the first of `FINAL_SPLITS` with some.

    Raises UserError if `folder` is neither, if a file is damaged, or if there are no scores on `split`.
    """
    if is_ensemble(folder):
        return _read_ensemble(folder, split)
    if not (folder / "config.json").exists():
        raise UserError(
            f"{folder} is neither a run nor a folder of runs: it has no config.json and no table; give the "
            "--workdir of mumu_jax.train, mumu_jax.ensemble or mumu_jax.reproduce"
        )
    check_run(folder)
    about, config = read_about(folder / "config.json")
    split = _split_of(folder, split)
    labels, objective = read_labels(folder / "labels.json"), make_objective(config.target)
    seen = read_constants(folder, config)[1]
    sources = read_kept(folder).sources if (folder / FUSION).exists() else {}
    result = _read_result(folder, split)
    sees = config.fusion.modalities.replace("+", ", ") if sources else config.modality
    return Run(
        folder=folder,
        title=config.name or folder.name,
        summary=f"Trained on {sees} with {config.target.kind} targets",
        facts=list(_facts(folder, about, config, sources, seen, result)),
        settings=_settings(config),
        objective=objective,
        label_names=[label.name for label in labels],
        seen=seen,
        metrics=read_lines(folder / METRICS),
        perf=read_lines(folder / PERF),
        split=split,
        result=result,
        levels={title: result[level] for level, title in LEVELS.items() if level in result} if result else {},
        predictions=_read_predictions(folder, split, len(labels), objective.readable),
        calibrator=read_calibrator(folder, len(labels)),
        importance=_read_json(importance) if (importance := folder / IMPORTANCE).exists() else {},
    )


def _read_ensemble(folder: Path, split: str | None) -> Run:
    about, split, labels = read_ensemble(folder), _split_of(folder, split), read_labels(folder / "labels.json")
    result, calibrator = _read_result(folder, split), read_calibrator(folder, len(labels))
    unseen, target = {*about.unseen}, _target_of(result, calibrator)
    kind = "calibrated probabilities" if about.calibrated else "cosines" if target == "cosine" else "probabilities"
    seen = np.array([label.name not in unseen for label in labels])
    return Run(
        folder=folder,
        title=folder.absolute().name,
        summary=f"An ensemble: the mean of {len(about.members)} runs' {kind}",
        facts=list(_facts_of_ensemble(folder, about, seen, result)),
        settings=[],
        objective=make_objective(TargetSettings(target)),
        label_names=[label.name for label in labels],
        seen=seen,
        metrics=[],
        perf=[],
        split=split,
        result=result,
        levels={"ensemble": result["album"], **metrics_of_runs(result), LEVELS["chance"]: result["chance"]}
        if result
        else {},
        predictions=_read_predictions(folder, split, len(labels), readable=lambda scores: scores),
        calibrator=calibrator,
        importance={},
        is_trained=False,
    )


def _target_of(result: dict[str, Any] | None, calibrator: Calibrator | None) -> str:
    """Return the target of networks whose scores are of the same kind as an ensemble's."""
    if calibrator and not calibrator.log_odds:  # of scores that are no probabilities
        return "cosine"
    return "logistic" if result and "decisions" in result else "softmax"


def _split_of(folder: Path, split: str | None) -> str:
    """Return the split whose scores are shown, after a check of what the evaluation and training have written."""
    scored = [name for name in FINAL_SPLITS if (folder / f"eval_{name}.json").exists()]
    if split and not (folder / f"eval_{split}.json").exists():
        raise UserError(
            f"{folder} has no eval_{split}.json; score it: python -m mumu_jax.evaluate --workdir={folder} "
            f"--split={split}"
        )
    split = split or (scored or FINAL_SPLITS)[0]
    remedy = "restore it, or remove it; python -m mumu_jax.evaluate scores the run again"
    check_seal(folder, remedy, f"eval_{split}.json", f"predictions_{split}.npz", METRICS, PERF, IMPORTANCE)
    return split


def _read_result(folder: Path, split: str) -> dict[str, Any] | None:
    path = folder / f"eval_{split}.json"
    return _read_json(path) if path.exists() else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it") from error


def _read_predictions(
    folder: Path, split: str, n_labels: int, readable: Callable[[np.ndarray], Any]
) -> Predictions | None:
    path, remedy = folder / f"predictions_{split}.npz", "score the run again with mumu_jax.evaluate"
    if not path.exists():
        return None
    arrays = read_npz(path, remedy, "album_scores", "album_labels")
    scores, labels = arrays["album_scores"], arrays["album_labels"]
    if scores.shape != labels.shape or scores.shape[1:] != (n_labels,):
        raise UserError(
            f"{path} holds scores {scores.shape} and labels {labels.shape}, and the run has {n_labels} labels; {remedy}"
        )
    return Predictions(scores, np.asarray(readable(scores)), labels)


def _facts(
    folder: Path,
    about: dict[str, Any],
    config: Config,
    sources: dict[str, Source],
    seen: Seen,
    result: dict[str, Any] | None,
) -> Iterator[tuple[str, str]]:
    """Yield (term, value) for the network, the data, and the place where it was trained."""
    versions, data, model = dict(about.get("versions", {})), about["data"], config.model
    network = [model.family, model.kernel, model.width] if model.family == "cnn" else [model.family]
    network += [str(model.depth)] if model.family == "resnet" else []
    yield "Network", f"{' '.join(network)} on {config.modality}, {config.target.kind} targets"
    if "params" in about:
        yield "Parameters", count(about["params"])
    for modality, source in sources.items():
        yield f"Joined, {modality}", f"{source.fingerprint}, {source.path}"
    yield _fact_of_labels(seen)
    yield "Data", data["dir"]
    yield "Data checksum", data["checksum"]
    if result and result["data"]["checksum"] != data["checksum"]:
        yield "Scored on other data", f"{result['data']['dir']}, checksum {result['data']['checksum']}"
    weights = about.get("weights") or {"": "random"}
    yield "First weights", ", ".join(f"{name} {value}".strip() for name, value in weights.items())
    yield "Device", f"{versions.pop('device', 'unknown')}, computes in {versions.pop('computes_in', 'unknown')}"
    yield "Commit", versions.pop("commit", None) or "unknown"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    yield "Folder", str(folder.absolute())


def _facts_of_ensemble(
    folder: Path, about: About, seen: Seen, result: dict[str, Any] | None
) -> Iterator[tuple[str, str]]:
    """Yield (term, value) for the runs with their weights, and for the data that they were scored on."""
    for member in about.members:
        yield f"Run × {member.weight:.2f}", f"{member.fingerprint}, {member.path}"
    yield _fact_of_labels(seen)
    if result:
        yield "Scored on", f"{result['data']['dir']}, checksum {result['data']['checksum']}"
    yield "Folder", str(folder.absolute())


def _fact_of_labels(seen: Seen) -> tuple[str, str]:
    return "Labels", f"{len(seen):,}, of which {int(seen.sum()):,} occur in training"


def metrics_by_level(levels: dict[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return each metric with its value at each level, as text."""
    return _by_metric([*levels.values()])


def decisions_by_way(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each metric of the genres given with its value for each of `WAYS`, as text; none in earlier versions."""
    return [
        (DECISIONS[metric].name, values)
        for metric, values in _by_metric([result["decisions"][way] for way in WAYS] if "decisions" in result else [])
    ]


def _by_metric(columns: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    metrics = dict.fromkeys(metric for column in columns for metric in column)
    return [(metric, [_number(column.get(metric)) for column in columns]) for metric in metrics]


def _settings(config: Config) -> list[tuple[str, Any, Any]]:
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
