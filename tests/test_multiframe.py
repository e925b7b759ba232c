"""The multiframe table: songs of one genre each, scikit-learn's estimators on them, and published lines beside ours."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import succeed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.preprocessing import MinMaxScaler

from mumu_jax import reproduce
from mumu_jax.config import Config
from mumu_jax.data.manifest import write_manifest
from mumu_jax.data.sources.synthetic import SINGLE_GENRES, Plan, make_planned, plan_singles
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.reports.page import make_page
from mumu_jax.reports.tables import TABLES
from mumu_jax.reports.tables.multiframe import BOOSTED, CNN, CRNN, ENSEMBLES, METRICS, MULTIFRAME, TEXT
from mumu_jax.reports.tables.output import read_table, write_table
from mumu_jax.reports.tables.plan import make_plan
from mumu_jax.reports.tables.results import SETTINGS, run_folder
from mumu_jax.runs import estimators

GENRES = ("Dub", "Jazz", "Techno")
SPEC = Path(__file__).parents[2] / "shared" / "spec" / "siblings.md"


def plans(n_albums: dict[str, int]) -> list[Plan]:
    """Plan songs of 20 s, a third of a piece, of the genres in turn; the last one is not in training."""
    return [
        Plan(f"mini0-few-{split}-{i:03d}", split, (genre,), (genre,), 1, (20.0, 21.0), (0.3,))
        for split, n in n_albums.items()
        for i in range(n)
        if (genre := GENRES[i % 3]) != "Techno" or split != "train" or i < 6
    ]


@pytest.fixture(scope="module")
def singles(tmp_path_factory) -> Path:
    """Prepared songs of one genre each, with descriptors and texts."""
    folder = tmp_path_factory.mktemp("singles")
    albums = make_planned(folder / "source", plans({"train": 24, "val": 9, "test": 12}), 2)
    write_manifest(folder / "source" / "manifest.jsonl", albums)
    arguments = (
        "--source=manifest",
        f"--input={folder / 'source' / 'manifest.jsonl'}",
        f"--data_dir={folder / 'data'}",
    )
    succeed("mumu_jax.prepare", *arguments, "--modalities=descriptors,text")
    return folder / "data"


def plan(data_dir: Path, rows: str = "*", preset: str = "smoke"):
    return make_plan(MULTIFRAME, data_dir, rows, preset, 1, "")


# --- the songs ----------------------------------------------------------------------------------------------


def test_songs_are_of_one_genre_each_and_of_several_pieces():
    planned = plan_singles(0)
    assert {one.split for one in planned} == {"train", "val", "test"}
    for split in ("train", "val", "test"):
        of_split = [one for one in planned if one.split == split]
        counts = [sum(one.genres == (genre,) for one in of_split) for genre in SINGLE_GENRES]
        assert len(set(counts)) == 1
    assert all(one.duration_s[0] > 3 * 29.12 and one.branches == one.genres for one in planned)


# --- the estimators -----------------------------------------------------------------------------------------


def numbers(data_dir: Path, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    records = open_prepared(data_dir, Config().descriptors).split(split)
    held = list(records.read(range(len(records))))
    x = np.array([record["descriptors"] for record in held])
    return x, np.array([record["labels"][0] for record in held]), records.album_ids


@pytest.mark.full
def test_an_estimator_is_scikit_learns_on_training_songs_alone(singles, tmp_path):
    estimators.main(["--estimator=linear", f"--data_dir={singles}", f"--workdir={tmp_path / 'run'}"])
    (x, y, _), (test_x, test_y, album_ids) = (numbers(singles, split) for split in ("train", "test"))
    scaler = MinMaxScaler().fit(x)
    fitted = LogisticRegression(max_iter=10_000).fit(scaler.transform(x), y)
    expected = fitted.predict_proba(scaler.transform(test_x))
    with np.load(tmp_path / "run" / "predictions_test.npz") as arrays:
        assert arrays["album_ids"].tolist() == album_ids
        np.testing.assert_allclose(arrays["album_scores"], expected, atol=1e-5)
    album = json.loads((tmp_path / "run" / "eval_test.json").read_text())["album"]
    given = expected.argmax(axis=1)
    assert album["accuracy_at_1"] == pytest.approx(np.mean(given == test_y))
    assert album["f1_macro"] == pytest.approx(f1_score(test_y, given, average="macro"))
    assert album["roc_auc_macro"] == pytest.approx(
        roc_auc_score(np.eye(3)[test_y], expected.astype(np.float32), average="macro"), abs=1e-6
    )


@pytest.mark.full
@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_estimators_learn_and_repeat_themselves(name, singles, tmp_path):
    for run in ("one", "other"):
        estimators.main([f"--estimator={name}", f"--data_dir={singles}", f"--workdir={tmp_path / run}", "--seed=3"])
    one, other = (json.loads((tmp_path / run / "eval_test.json").read_text()) for run in ("one", "other"))
    assert one == other
    assert one["estimator"]["name"] == name
    assert one["album"]["accuracy_at_1"] > 0.5 > one["chance"]["accuracy_at_1"]


def test_settings_are_the_published_ones():
    forest = estimators.make_estimator("forest", 0)
    assert (forest.n_estimators, forest.min_samples_split) == (500, 5)
    svm = estimators.make_estimator("svm", 0)[-1]
    assert (svm.kernel, svm.C) == ("rbf", 10_000)


def test_two_genres_have_two_scores():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    fitted = estimators.make_estimator("svm", 0).fit(x, y)
    scores = estimators._scores(fitted, x)
    assert scores.shape == (40, 2)
    np.testing.assert_array_equal(scores.argmax(axis=1), fitted.predict(x))


# --- the plan -----------------------------------------------------------------------------------------------


@pytest.mark.full
def test_what_the_data_lacks_is_left_out_with_its_ensembles(singles):
    found = plan(singles)
    assert CNN in found.impossible
    assert "prepare again with mel among its --modalities" in found.impossible[CRNN]
    assert found.impossible["ensemble_all"] == found.impossible[CNN]
    made = {"descriptors_linear", "descriptors_forest", "descriptors_svm", BOOSTED, TEXT, "ensemble_boosted_text"}
    assert {row for row, _ in found.runs} == made
    alone = plan(singles, "ensemble_boosted_text")
    assert [row for row, _ in alone.runs] == [BOOSTED, TEXT, "ensemble_boosted_text"]
    assert alone.added == [BOOSTED, TEXT]


@pytest.mark.full
def test_data_of_several_genres_an_album_is_refused(small_data, singles, tmp_path):
    with pytest.raises(
        UserError, match=r"has \d genres, and --table=multiframe needs one each; give data of one genre"
    ):
        plan(small_data)
    with pytest.raises(UserError, match=r"and --estimator=svm needs one each"):
        estimators.main(["--estimator=svm", f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}"])


def test_ensembles_join_rows_that_come_before_them(tmp_path):
    names = list(MULTIFRAME.jobs(tmp_path))
    assert {line.job for line in MULTIFRAME.lines} == {*names}
    for name, members in ENSEMBLES.items():
        assert max(map(names.index, members)) < names.index(name)


@pytest.mark.skipif(not SPEC.exists(), reason="../shared is not here")
def test_printed_numbers_are_the_sources():
    """Each published line of Bahuleyan's is a row of the table in the specification."""
    text = SPEC.read_text()
    printed = [line.printed for line in MULTIFRAME.lines if line.origin == "Bahuleyan 2018"]
    assert len(printed) == 5
    for values in printed:
        accuracy, f1, auc = (f"{values[metric]:.3f}".lstrip("0") for metric in METRICS)
        assert f"| {accuracy.rstrip('0')} | {f1.rstrip('0')} | {auc}" in text.replace("**", "")
    assert "**77.89 % of frames → 82 % of songs**" in text


# --- the table ----------------------------------------------------------------------------------------------


def fill(workdir: Path, job: str, **levels: float) -> None:
    """Write an evaluation whose metrics at each level are all the same number, for two seeds."""
    for seed in (0, 1):
        folder = run_folder(workdir, job, seed)
        folder.mkdir(parents=True, exist_ok=True)
        result = {level: dict.fromkeys(METRICS, value + seed / 10) for level, value in levels.items()}
        (folder / "eval_test.json").write_text(json.dumps({**result, "data": {"checksum": "d"}}))


@pytest.mark.full
def test_lines_are_levels_of_runs(singles, tmp_path):
    fill(tmp_path, CRNN, patch=0.5, track_shares=0.6, track_votes=0.7, track=0.8, album=0.8)
    fill(tmp_path, CNN, track=0.4, album=0.4)
    rows = {row.name: row for row in MULTIFRAME.measure(plan(singles), tmp_path)}
    assert rows["CRNN: pieces"].values["accuracy_at_1"].mean == pytest.approx(0.55)
    assert rows["CRNN: songs by mean share"].values["f1_macro"].mean == pytest.approx(0.65)
    assert rows["CRNN: pieces"].values["accuracy_at_1"].printed == 0.7789
    assert rows["CRNN: pieces"].values["roc_auc_macro"].printed is None
    assert rows["CRNN: pieces"].seeds == 2
    assert "÷ 10" in rows["CRNN: pieces"].cuts
    assert rows["CNN: pieces"].seeds == 0
    assert "one piece here" in rows["CNN: pieces"].note
    write_table(MULTIFRAME, tmp_path / "multiframe.csv", list(rows.values()))
    assert read_table(MULTIFRAME, tmp_path / "multiframe.csv") == list(rows.values())
    cells = MULTIFRAME.cells(rows["CRNN: songs by mean share"])
    assert cells[:4] == ["CRNN: songs by mean share", "2", "0.650 ± 0.071", "0.820"]
    remarks = MULTIFRAME.remarks(list(rows.values()))
    assert any("published by Jiménez and José: not comparable" in line for line in remarks)
    (tmp_path / "multiframe.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table"):
        read_table(MULTIFRAME, tmp_path / "multiframe.csv")


@pytest.mark.full
def test_a_table_for_real(singles, tmp_path, capsys):
    """Estimators, trees, text and their mean, each in a process of its own; the same command has nothing left to do."""
    where = [f"--data_dir={singles}", f"--workdir={tmp_path / 'W'}", "--table=multiframe", "--seeds=1"]
    rows = "--rows=descriptors_linear,ensemble_boosted_text"
    assert reproduce.main([*where, rows]) == 0
    said = capsys.readouterr().out
    assert "descriptors_linear, seed 0: top-1 accuracy" in said
    assert "published by Wadhwa and Mukherjee 2021: not comparable" in said
    found = {row.name: row for row in read_table(MULTIFRAME, tmp_path / "W" / "multiframe.csv")}
    assert {name for name, row in found.items() if row.seeds} == {
        "logistic regression",
        "boosted trees",
        "text",
        "trees + text",
    }
    assert all(row.values["accuracy_at_1"].mean > 0.34 for row in found.values() if row.seeds)
    page = make_page(tmp_path / "W", None)
    assert "Multiframe table" in page
    assert "logistic regression" in page
    assert "support vector machine" not in page
    assert json.loads((tmp_path / "W" / SETTINGS).read_text())["table"] == "multiframe"
    assert reproduce.main([*where, rows]) == 0
    assert "4 of 4 runs are finished already" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds the runs of --table=multiframe"):
        reproduce.main([f"--data_dir={singles}", f"--workdir={tmp_path / 'W'}", "--rows=text_vsm"])


def test_every_table_has_what_reproduce_needs():
    for name, table in TABLES.items():
        assert table.name == name
        assert {"paper", "smoke"} == {*table.presets}
        assert table.csv == f"{name}.csv"
        assert all((table.title, table.about, table.caption, table.source, table.axis))
        assert table.n_names < len(table.columns)
