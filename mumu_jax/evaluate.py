"""`python -m mumu_jax.evaluate`: a trained run's metrics on a split, by album, and by track where it has tracks."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from mumu_jax.compute.predict import SplitPredictions
from mumu_jax.data.loader import array_items
from mumu_jax.data.manifest import SPLITS, Album, read_manifest
from mumu_jax.data.store.records import Dataset, Records
from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics, single_label
from mumu_jax.objectives.metrics import or_none
from mumu_jax.runs.extract import Watch, extract_features, predict_once, see_items
from mumu_jax.runs.features import check_format, write_features
from mumu_jax.runs.folder import TrainedRun, fingerprint, load_run
from mumu_jax.runs.fusion import open_data
from mumu_jax.runs.thumbnails import choose_thumbnails, write_thumbnails
from mumu_jax.system import processes
from mumu_jax.system.cache import keep_compiled_programs
from mumu_jax.system.files import replacing, write_json
from mumu_jax.system.terminal import run_command

COLUMNS = {
    "roc_auc_macro": "ROC-AUC",
    "pr_auc_macro": "PR-AUC",
    "coverage_at_1": "C@1",
    "coverage_at_3": "C@3",
    "coverage_at_5": "C@5",
    "precision_at_1": "P@1",
    "ndcg_at_5": "nDCG@5",
    "n_items": "items",
}
GENRES_SHOWN = 25
COLUMNS_OF_SINGLE_LABEL = {
    "accuracy_at_1": "top-1",
    "accuracy_at_3": "top-3",
    "accuracy_at_5": "top-5",
    "precision_macro": "precision",
    "recall_macro": "recall",
    "f1_macro": "F1",
    "roc_auc_macro": "ROC-AUC",
    "n_items": "items",
}


def main(argv: Sequence[str]) -> None:
    """Score a run's split and print the table, or write the feature vectors of all splits."""
    arguments = _parser().parse_args(argv)
    if arguments.features:
        check_format(arguments.features)
    keep_compiled_programs()
    run = load_run(arguments.workdir)
    data_dir = arguments.data_dir or run.data_dir
    prepared = open_data(run.config, data_dir, arguments.workdir)
    if prepared.labels != run.labels:
        raise UserError(
            f"{data_dir} has other labels ({len(prepared.labels)}) than {arguments.workdir} was trained on "
            f"({len(run.labels)}), or in another order; give the --data_dir of the run, now {run.data_dir}"
        )
    if prepared.checksum != run.data_checksum:
        if arguments.data_dir is None:
            raise UserError(
                f"{data_dir} was prepared anew since {arguments.workdir} was trained on it, and may mix its splits; "
                f"add --data_dir={data_dir} to score it all the same"
            )
        print(f"warning: {data_dir} is other data than the run was trained on", file=sys.stderr)
        if run.config.target.kind == "softmax":
            check_single_label(read_manifest(data_dir / "manifest.jsonl"), data_dir)
    if arguments.features:
        found = extract_features(run, prepared, fingerprint(arguments.workdir))
        write_features(arguments.features, found)
        n_albums, width = found.vectors.shape
        print(f"written: {arguments.features}, the vectors ({width} wide) of {n_albums} albums")
        return
    result = evaluate(run, prepared, arguments.split, arguments.workdir)
    print_table(result)
    names = [f"eval_{arguments.split}.json"]
    if run.config.target.kind == "softmax":
        names += [f"confusion_{arguments.split}.csv", f"confusion_{arguments.split}.png"]
    if run.config.modality == "image":
        names.append(f"covers_{arguments.split}.npz")
    print(f"written: {', '.join(str(arguments.workdir / name) for name in names)}")


class Level(NamedTuple):
    """The predictions of one network, and which items they are of."""

    ids: list[str]
    found: SplitPredictions


def evaluate(run: TrainedRun, prepared: Dataset, split: str, workdir: Path, watch: Watch = iter) -> dict[str, Any]:
    """Score a split with all networks; write eval_<split>.json and predictions_<split>.npz, return the former.

    Of softmax targets also write the albums' confusion_<split>.csv and .png; of covers, for figure 2, some of them with
    their feature vectors: covers_<split>.npz.

    Track scores are of each track's fixed patch; album scores of the mean penultimate vector of an album's tracks
    (Oramas et al. 2017, section 5.1), or of the album's own item.  Raises UserError if the split is empty.
    """
    records = prepared.split(split)
    if not len(records):
        raise UserError(f"split {split!r} of {prepared.folder} has no {prepared.item}; choose another --split")
    levels = _score(run, records, watch)
    result = {
        "split": split,
        "data": {"dir": str(prepared.folder), "checksum": prepared.checksum},
        **{name: _summarize(level.found.scores, level.found.labels, run) for name, level in levels.items()},
        "chance": _chance(len(levels["album"].ids), run),
    }
    label_names, matrix = [label.name for label in run.labels], None
    if run.config.target.kind == "softmax":
        matrix = np.asarray(single_label.confusion_matrix(levels["album"].found.scores, levels["album"].found.labels))
        of_genres = single_label.accuracy_by_label(matrix).tolist()
        result["accuracy_by_genre"] = dict(zip(label_names, map(or_none, of_genres), strict=True))
    if processes.is_main():
        arrays = {
            f"{name}_{what}": array
            for name, (ids, found) in levels.items()
            for what, array in (("ids", ids), ("scores", found.scores), ("labels", found.labels))
        }
        _write_predictions(workdir / f"predictions_{split}.npz", label_names=label_names, **arrays)
        if matrix is not None:
            from mumu_jax.runs import confusion  # Matplotlib takes a second to import

            confusion.write_table(workdir / f"confusion_{split}.csv", matrix, label_names)
            confusion.write_picture(workdir / f"confusion_{split}.png", matrix, label_names)
        if run.config.modality == "image":
            write_thumbnails(workdir / f"covers_{split}.npz", choose_thumbnails(records, levels["album"].found))
        write_json(workdir / f"eval_{split}.json", result)
    return result


def check_single_label(albums: Sequence[Album], data_dir: Path) -> None:
    """Raise UserError unless each album has one genre, and not all the same."""
    if len({genre for album in albums for genre in album.genres}) < 2:
        raise UserError(f"all albums of {data_dir} have the same genre; config.target.kind='softmax' needs several")
    for album in albums:
        if len(album.genres) != 1:
            raise UserError(
                f"album {album.album_id!r} of {data_dir} has {len(album.genres)} genres, and config.target.kind="
                "'softmax' needs one each; give data of one genre an album, or train with 'logistic' or 'cosine'"
            )


def _score(run: TrainedRun, records: Records, watch: Watch) -> dict[str, Level]:
    """By tracks, where there are tracks, and by albums."""
    found, albums = see_items(run, records, watch)
    if run.track is None:
        return {"album": Level(albums.album_ids, found)}
    of_albums = predict_once(run.album, array_items(albums.vectors, albums.labels), run.config, watch)
    return {"track": Level(records.item_ids, found), "album": Level(albums.album_ids, of_albums)}


def print_table(result: dict[str, Any]) -> None:
    """The metrics of `evaluate` on the terminal, a row a level, beside what random scores would give."""
    album = result["album"]
    columns = COLUMNS_OF_SINGLE_LABEL if "accuracy_at_1" in album else COLUMNS
    table = Table(title=f"{result['split']} split", title_justify="left")
    table.add_column("")
    for title in columns.values():
        table.add_column(title, justify="right")
    for level in (level for level in ("track", "album", "chance") if level in result):
        cells = [_format(result[level].get(key)) for key in columns]
        table.add_row("albums by chance" if level == "chance" else f"{level}s", *cells)
    console = Console(width=max(100, Console().width))
    console.print(table)
    if "accuracy_by_genre" in result:
        of_genres = sorted(result["accuracy_by_genre"].items(), key=lambda item: -(item[1] or 0))
        said = ", ".join(f"{name} {_format(share) or '–'}" for name, share in of_genres[:GENRES_SHOWN])
        more = f", … (all are in eval_{result['split']}.json)" if len(of_genres) > GENRES_SHOWN else ""
        console.print(f"top-1 accuracy by the album's genre: {said}{more}", markup=False, highlight=False)
    if album["n_labels_scored"] < album["n_labels"]:
        print(
            f"ROC-AUC and PR-AUC are means over {album['n_labels_scored']} of {album['n_labels']} labels: those that "
            "occur in training, and on some but not all of these albums"
        )


def _format(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _summarize(scores: np.ndarray, labels: np.ndarray, run: TrainedRun) -> dict[str, float | int | None]:
    """`metrics.summarize`, of softmax targets also `single_label.summarize`."""
    found = metrics.summarize(scores, labels, run.seen)
    if run.config.target.kind == "softmax":
        found |= single_label.summarize(scores, labels)
    return {name: or_none(value) for name, value in found.items()}


def _chance(n_items: int, run: TrainedRun) -> dict[str, float]:
    """What uniformly random scores reach: an AUC of 1/2, and a coverage that grows with the number of items."""
    n_labels = len(run.labels)
    ks = {k: min(k, n_labels) for k in metrics.KS}
    by_k = {f"coverage_at_{k}": metrics.coverage_by_chance(top, n_labels, n_items) for k, top in ks.items()}
    if run.config.target.kind == "softmax":
        by_k |= {f"accuracy_at_{k}": top / n_labels for k, top in ks.items()}
    return {"roc_auc_macro": 0.5, **by_k}


def _write_predictions(path: Path, **arrays: Any) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--data_dir", type=Path, help="prepared data; the run's own by default")
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="instead of scores, write the feature vectors of all albums of all splits to this .npz or .arrayrecord",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
