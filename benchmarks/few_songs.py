"""`python -m benchmarks.few_songs`: train on few clips of each genre, and count which others are given the right one.

FOLDER/GENRE/ has the clips of a genre, at least as many as train, one to validate on and two to test on.  There are as
many rounds of prepare, train and evaluate as the smallest genre has pairs of clips, and each pair is tested once.
None to train on: the genres of the published networks, as `mumu_jax.tag` ranks them, of those clips whose genre they
know.
"""

import csv
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.commands import call
from mumu_jax.data.modalities.suffixes import is_audio
from mumu_jax.errors import UserError
from mumu_jax.runs.published import plain
from mumu_jax.system.processor import processor
from mumu_jax.system.terminal import run_command

NETWORKS = ("audio_musicnn", "audio_low_4x96_small", "audio_low_4x96")
LINEAR, MFCC, TAGS = "linear on the CQT", "linear on MFCCs", "published genres"
N_TEST, N_VAL = 2, 1  # of each genre

Clips = dict[str, list[Path]]  # by genre


def main(argv: Sequence[str]) -> int:
    """Train and test every way, add a row for each with each number of clips."""
    benchmark = Benchmark("few_songs", __doc__)
    benchmark.option("--clips", type=Path, required=True, help="a folder of folders named by genre")
    benchmark.option("--train", type=int, nargs="+", default=[1, 3, 7], help="clips of a genre; default 1 3 7")
    benchmark.option("--networks", nargs="+", default=list(NETWORKS), help="experiments; default %(default)s")
    options = benchmark.start(argv, device=processor())
    clips = _clips(options.clips, max(options.train))
    n_rounds = min(map(len, clips.values())) // N_TEST
    if published := _published(clips):
        benchmark.add({"config": TAGS, "mode": "0", **published})
    for n in options.train:
        tests = [_round(clips, n, k, options.networks) for k in range(n_rounds)]
        for way in tests[0]:
            benchmark.add({"config": way, "mode": str(n), **_mean([test[way] for test in tests])})
    return 0


def _clips(folder: Path, n_train: int) -> Clips:
    """Return each genre's clips in order of their names; raises UserError if there are too few of one."""
    genres = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    clips = {path.name: sorted(filter(is_audio, path.iterdir())) for path in genres}
    needed = n_train + N_VAL + N_TEST
    few = [f"{genre} {len(files)}" for genre, files in clips.items() if len(files) < needed]
    if few or len(clips) < 2:
        raise UserError(
            f"--clips={folder} must hold two folders or more, each named by a genre, with {needed} clips or more; too "
            f"few are in: {', '.join(few) or folder}; give fewer with --train"
        )
    return clips


def _round(clips: Clips, n_train: int, k: int, networks: Sequence[str]) -> dict[str, Row]:
    """Train on `n_train` clips of each genre and test on the k-th pair; return what each way scores."""
    rows = [(file, genre, split) for genre, files in clips.items() for file, split in _splits(files, n_train, k)]
    with tempfile.TemporaryDirectory(prefix="mumu_jax_few_songs_") as temporary:
        folder, data = Path(temporary), f"--data_dir={temporary}/data"
        with (folder / "clips.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "genres", "split"), *((f.resolve(), *rest) for f, *rest in rows)])
        call("prepare", "--source=csv", f"--input={folder / 'clips.csv'}", data, "--modalities=audio,mel")
        found = {MFCC: _mfccs(rows)}
        for name in networks:
            start = time.monotonic()
            call("train", f"--config={name}", data, f"--workdir={folder / name}")
            seconds = time.monotonic() - start
            scores = json.loads((folder / name / "eval_test.json").read_text())
            found[name] = {**_accuracy(scores["album"]), "seconds": seconds}
            if name.startswith("audio_low") and "baseline" in scores:
                found[LINEAR] = _accuracy(scores["baseline"])
    return found


def _splits(files: list[Path], n_train: int, k: int) -> list[tuple[Path, str]]:
    """Return a genre's clips of a round, each with its split: the k-th pair, then those that follow, in a ring."""
    splits = ["test"] * N_TEST + ["val"] * N_VAL + ["train"] * n_train
    start = k * N_TEST
    return list(zip([*files[start:], *files[:start]], splits, strict=False))


def _accuracy(scores: dict[str, Any]) -> Row:
    return {"accuracy": scores["precision_at_1"], "roc_auc": scores["roc_auc_macro"], "n_items": scores["n_items"]}


def _mean(tests: list[Row]) -> Row:
    """Return the rounds' scores and seconds in the mean, and how many clips were tested in all."""
    means = {name: float(np.mean([test[name] for test in tests])) for name in tests[0]}
    return {**means, "n_items": sum(test["n_items"] for test in tests)}


# --- the peers ------------------------------------------------------------------------------------------------


def _mfccs(rows: list[tuple[Path, str, str]]) -> Row:
    """Score librosa's 20 MFCCs, their means and deviations, by scikit-learn's logistic regression."""
    import librosa  # here, because the processes that it starts need none of it

    start = time.monotonic()
    features, genres, splits = [], [], np.array([split for *_, split in rows])
    for file, genre, _ in rows:
        mfcc = librosa.feature.mfcc(y=librosa.load(file)[0])
        features.append(np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)]))
        genres.append(genre)
    x, y = np.stack(features), np.array(genres)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)).fit(
        x[splits == "train"], y[splits == "train"]
    )
    scores, truth = model.predict_proba(x[splits == "test"]), y[splits == "test"]
    return {**_scores(scores, truth, model.classes_), "seconds": time.monotonic() - start}


def _published(clips: Clips) -> Row | None:
    """Score the genres of both published networks on the clips of those that they know by name; None of one genre."""
    with tempfile.TemporaryDirectory(prefix="mumu_jax_few_songs_") as folder:
        start, out = time.monotonic(), Path(folder) / "genres.jsonl"
        models = [f"--model=models/musicnn_{tags}.safetensors" for tags in ("msd", "mtt")]
        files = [str(file) for files in clips.values() for file in files]
        call("tag", *models, *files, f"--out={out}", "--top_k=100")
        lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        if line["error"]:
            raise UserError(f"{line['path']}: {line['error']}; leave it out")
    ranks = {line["path"]: [plain(found["genre"]) for found in line["genres"]] for line in lines}
    known = [genre for genre in clips if plain(genre) in next(iter(ranks.values()))]
    if len(known) < 2:
        return None
    files = [(file, genre) for genre in known for file in clips[genre]]
    scores = np.array([[-ranks[str(file)].index(plain(genre)) for genre in known] for file, _ in files])
    found = _scores(scores, np.array([genre for _, genre in files]), np.array(known))
    return {**found, "seconds": time.monotonic() - start, "genres": known}


def _scores(scores: np.ndarray, truth: np.ndarray, genres: np.ndarray) -> Row:
    """Return the share of best-scored genres that are right, and the mean ROC-AUC of the genres."""
    from sklearn.metrics import roc_auc_score

    aucs = [roc_auc_score(truth == genre, scores[:, j]) for j, genre in enumerate(genres)]
    return {
        "accuracy": float(np.mean(genres[scores.argmax(axis=1)] == truth)),
        "roc_auc": float(np.mean(aucs)),
        "n_items": len(truth),
    }


if __name__ == "__main__":
    run_command(main)
