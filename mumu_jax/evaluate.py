"""`python -m mumu_jax.evaluate`: the metrics of a trained run, an ensemble or published weights on a split."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mumu_jax.data.manifest import SPLITS, read_manifest
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.objectives.decisions import DECISIONS
from mumu_jax.objectives.metrics import METRICS, MULTI_LABEL, SINGLE_LABEL
from mumu_jax.runs.calibration import WAYS, calibrate, write_calibrator
from mumu_jax.runs.constants import check_single_label
from mumu_jax.runs.ensemble import evaluate_ensemble, is_ensemble, metrics_of_runs
from mumu_jax.runs.evaluation import LEVELS, evaluate, files_of, is_single_label
from mumu_jax.runs.folder import CALIBRATION, TrainedRun, difference_of_data, load_run
from mumu_jax.runs.fusion import extract_features, open_data, origin_of, write_features
from mumu_jax.runs.published_scores import open_on_data
from mumu_jax.runs.settings import remedy_of_few
from mumu_jax.system import terminal
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.files import only_one
from mumu_jax.system.lines import print_line, print_remark

GENRES_SHOWN = 25
OF_RUNS = ("config.json", "ensemble.json")


def main(argv: Sequence[str]) -> None:
    """Score a run's split and print the table, write the feature vectors of all splits, or fit the thresholds."""
    arguments = _parser().parse_args(argv)
    out = arguments.features
    if out and out.suffix != ".npz":
        raise UserError(f"--features={out} ends in {out.suffix or 'nothing'!r}; give a file that ends in .npz")
    keep_compiled_programs()
    if arguments.model:
        _evaluate_published(arguments)
        return
    if is_ensemble(arguments.workdir):
        _evaluate_ensemble(arguments)
        return
    run = load_run(arguments.workdir)
    dataset = _open_same_data(run, arguments.workdir, arguments.data_dir)
    if out:
        features = extract_features(run, dataset)
        write_features(out, features, origin_of(features, run, arguments.workdir, dataset, out))
        n_albums, width = features.vectors.shape
        print_line(f"written: {out}, the vectors ({width} wide) of {n_albums} albums")
        return
    with only_one(arguments.workdir, "evaluating"):
        if arguments.calibrate:
            calibrator = calibrate(run, dataset)
            write_calibrator(arguments.workdir, calibrator)
            print_line(f"written: {arguments.workdir / CALIBRATION}; {calibrator.remark()}")
            return
        result = evaluate(run, dataset, arguments.split, arguments.workdir)
        print_table(result, remedy_of_few(run.config))
    _print_files(arguments.workdir, files_of(result, "image" in run.config.inputs))


def _evaluate_ensemble(arguments: argparse.Namespace) -> None:
    """Score a split with the runs of an ensemble, and print the table of the ensemble and of each run."""
    workdir = arguments.workdir
    if arguments.features:
        raise UserError(f"{workdir} is an ensemble, which has no vectors of its own; give --features one of its runs")
    if arguments.calibrate:
        raise UserError(f"{workdir} is an ensemble, which was calibrated when it was made; leave --calibrate out")
    with only_one(workdir, "evaluating"):
        result = evaluate_ensemble(
            workdir, arguments.split, lambda run, path: _open_same_data(run, path, arguments.data_dir)
        )
    print_ensemble(result)
    _print_files(workdir, files_of(result, covers=False))


def _evaluate_published(arguments: argparse.Namespace) -> None:
    """Score a split of prepared data with converted weights; print what has no counterpart, and the table."""
    workdir, model = arguments.workdir, arguments.model
    if arguments.features or arguments.calibrate:
        raise UserError("--features and --calibrate are for runs, not for --model; leave them out")
    if model.suffix != ".safetensors":
        raise UserError(f"--model={model} should be converted weights, a .safetensors file; a run is a --workdir")
    if arguments.data_dir is None:
        raise UserError(f"--model={model} has no data of its own; name prepared data with --data_dir")
    if other := next((name for name in OF_RUNS if (workdir / name).exists()), None):
        raise UserError(f"--workdir={workdir} holds {other}, which is another model's; give a new folder")
    opened = open_on_data(model, arguments.data_dir)
    for remark in opened.matching.remarks:
        print_remark(remark)
    with only_one(workdir, "evaluating"):
        result = evaluate(opened.run, opened.dataset, arguments.split, workdir, about=opened.about)
    print_table(result, remedy_of_few(opened.run.config))
    _print_files(workdir, files_of(result, covers=False))


def _print_files(workdir: Path, names: Iterable[str]) -> None:
    print_line(f"written: {', '.join(str(workdir / name) for name in names)}")


def _open_same_data(run: TrainedRun, workdir: Path, named: Path | None) -> Dataset:
    """Open the data of the run in `workdir`, or other data of the same labels if it is named; says how that differs."""
    data_dir = named or run.data_dir
    dataset = open_data(run.config, data_dir, workdir)
    if dataset.labels != run.labels:
        raise UserError(
            f"{data_dir} has other labels ({len(dataset.labels)}) than {workdir} was trained on "
            f"({len(run.labels)}), or in another order; give the --data_dir of the run, now {run.data_dir}"
        )
    if dataset.checksum != run.data_checksum:
        difference = difference_of_data(workdir, run.data_dir, data_dir)
        if named is None:
            raise UserError(f"{difference}; add --data_dir={data_dir} to score it all the same")
        print_remark(f"warning: {difference}")
        if is_single_label(run):
            check_single_label(read_manifest(data_dir / "manifest.jsonl"), data_dir, str(workdir))
    return dataset


def print_table(result: dict[str, Any], remedy: str) -> None:
    """Print the metrics of `evaluate`, a row a level, beside what random scores would give.

    `remedy` says what to do if the linear baseline is better.
    """
    album = result["album"]
    print_scores(f"{result['split']} split", {name: result[level] for level, name in LEVELS.items() if level in result})
    _print_genres(result)
    if "retrieval" in result:
        ways = {way.replace("_", " "): value for way, value in result["retrieval"].items()}
        said = ", ".join(f"{way} {_format(value)}" for way, value in ways.items())
        print_line(f"items that find their own other input by its embedding (recall@1): {said}")
    if _is_below_baseline(result):
        print_line(
            "the network ranks worse than logistic regression on a summary of the same features (`albums, linear`): "
            f"other settings may suit the data better; {remedy}"
        )
    if album["n_labels_scored"] < album["n_labels"]:
        print_line(
            f"ROC-AUC and PR-AUC are means over {album['n_labels_scored']} of {album['n_labels']} labels: those that "
            "occur in training, and on some but not all of these albums"
        )


def print_ensemble(result: dict[str, Any]) -> None:
    """Print the metrics of an ensemble: a row for each run with its weight, one for the mean, and one for chance."""
    runs, chance = metrics_of_runs(result), result["chance"]
    print_scores(f"{result['split']} split", {**runs, "ensemble": result["album"], "by chance": chance})
    _print_genres(result)


def _print_genres(result: dict[str, Any]) -> None:
    """Print the accuracy of each genre, of albums with one each, or the metrics of the genres that are given."""
    if "accuracy_by_genre" in result:
        of_genres = sorted(result["accuracy_by_genre"].items(), key=lambda item: -(item[1] or 0))
        said = ", ".join(f"{name} {_format(share) or '–'}" for name, share in of_genres[:GENRES_SHOWN])
        more = f", … (all are in eval_{result['split']}.json)" if len(of_genres) > GENRES_SHOWN else ""
        print_line(f"top-1 accuracy by the album's genre: {said}{more}")
    if "decisions" in result:
        print_decisions(result["decisions"], result["split"])


def print_scores(title: str, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the metrics of `metrics.summarize` as a table, a row each."""
    kind = SINGLE_LABEL if "f1_macro" in next(iter(scores.values())) else MULTI_LABEL
    columns = {name: metric.title for name, metric in METRICS.items() if kind in metric.columns}
    rows = [(name, *(_format(values.get(key)) for key in columns)) for name, values in scores.items()]
    numbers: dict[int, str] = {}
    for name, values in scores.items():
        if "n_items" in values:
            numbers.setdefault(values["n_items"], name)
    counted = ", ".join(f"{number:,} {name}" for number, name in numbers.items())
    caption = "C@k, coverage: the share of all labels that are among the k best of at least one item"
    names = ("", *columns.values())
    terminal.print_table(f"{title}: {counted}", names, rows, width=80, caption=caption if kind == MULTI_LABEL else "")


def print_decisions(decisions: dict[str, dict[str, float | None]], split: str) -> None:
    """Print the metrics of the genres that albums are given, a row for each way to decide."""
    columns = [metric.title for metric in DECISIONS.values()]
    rows = [(name, *(_format(decisions[way][metric]) for metric in DECISIONS)) for way, name in WAYS.items()]
    terminal.print_table(f"genres given, {split} split", ("", *columns), rows, width=80)
    print_line("at 0.5: by calibrated probability; best F1: by each genre's own threshold")
    if split == "val":
        print_line("both were fitted on these same albums: on others they are less often right")


def _is_below_baseline(result: dict[str, Any]) -> bool:
    ours, linear = (result.get(level, {}).get("roc_auc_macro") for level in ("album", "baseline"))
    return ours is not None and linear is not None and ours < linear


def _format(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--workdir",
        type=Path,
        required=True,
        help="the folder of a finished run, or of an ensemble; with --model the folder to write to",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="converted weights of a published music tagger (.safetensors), to score on --data_dir without training",
    )
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--data_dir", type=Path, help="prepared data; the run's own by default")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="the .npz file to write the feature vectors of all albums to, of all splits, instead of scoring one",
    )
    instead.add_argument(
        "--calibrate",
        action="store_true",
        help="fit the thresholds and probabilities that `tag --threshold` takes, on the val split, instead of scoring "
        "one; training has done that, but in earlier versions",
    )
    return parser


if __name__ == "__main__":
    terminal.run_command(main)
