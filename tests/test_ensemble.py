"""Ensembles: the mean of several runs' scores, matched by album, evaluated, kept and tagged with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mumu_jax import ensemble as command
from mumu_jax import evaluate, prepare, report, tag
from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics
from mumu_jax.runs import ensemble as ensembles
from mumu_jax.runs.ensemble import ABOUT, Scored, open_ensemble
from mumu_jax.runs.folder import load_run


@pytest.fixture(scope="module")
def joined(small_runs, tmp_path_factory) -> Path:
    """An ensemble of the runs of audio and of text, which both give cosines."""
    folder = tmp_path_factory.mktemp("ensemble") / "joined"
    command.main(["--runs", *(str(small_runs[name]) for name in ("audio", "text")), f"--workdir={folder}"])
    return folder


def predictions(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "predictions_test.npz") as arrays:
        return {name.removeprefix("album_"): arrays[name] for name in arrays if name.startswith("album_")}


def test_scores_are_the_mean_of_the_same_albums(joined, small_runs):
    found, parts = predictions(joined), [predictions(small_runs[name]) for name in ("audio", "text")]
    shared = [album_id for album_id in parts[0]["ids"] if album_id in {*parts[1]["ids"]}]
    assert found["ids"].tolist() == shared
    rows = [[part["ids"].tolist().index(album_id) for album_id in shared] for part in parts]
    expected = np.mean([part["scores"][chosen] for part, chosen in zip(parts, rows, strict=True)], axis=0)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-6)
    np.testing.assert_array_equal(found["labels"], parts[0]["labels"][rows[0]])

    result, seen = json.loads((joined / "eval_test.json").read_text()), load_run(small_runs["audio"]).seen
    expected = metrics.summarize(found["scores"], found["labels"], seen)
    assert result["album"] == pytest.approx(expected)
    assert result["runs"].keys() == result["weights"].keys() == {str(small_runs["audio"]), str(small_runs["text"])}
    assert {*result["weights"].values()} == {0.5}
    assert result["decisions"].keys() == {"at_half", "best_f1"}


def test_an_ensemble_of_a_run_and_itself_is_the_run(small_runs, tmp_path):
    """By the function, which does not ask if the two are one."""
    ensembles.make_ensemble([small_runs["audio"]] * 2, tmp_path / "joined", weighted=True)
    alone, twice = predictions(small_runs["audio"]), predictions(tmp_path / "joined")
    np.testing.assert_allclose(twice["scores"], alone["scores"], atol=1e-6)


def test_weights_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 5)) < 0.3).astype(np.uint8)
    scores = np.stack([labels + rng.normal(size=labels.shape) * noise for noise in (0.5, 1.0)]).astype(np.float32)
    weights = ensembles._fitted_weights(Scored([], labels, scores))
    columns = scores.reshape(2, -1).T
    expected = LinearRegression(fit_intercept=False, positive=True).fit(columns, labels.ravel()).coef_
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-5)
    assert sum(weights) == pytest.approx(1)
    useless = Scored([], labels, -np.stack([labels, labels]).astype(np.float32))
    assert ensembles._fitted_weights(useless) == [0.5, 0.5]


def test_tags_are_the_mean_of_the_runs_tags(joined, small_runs, small_data, tmp_path, capsys):
    audio = sorted((small_data.parent / "small_source" / "audio").rglob("*.mp3"))[0]
    shutil.copy(audio, tmp_path / "a.mp3")
    (tmp_path / "a.txt").write_text("A guitar and a voice, a song of the blues.")
    shutil.copy(audio, tmp_path / "alone.mp3")

    def tags(model: Path, *files: Path) -> dict[str, dict[str, float]]:
        out = tmp_path / f"{model.name}.jsonl"
        tag.main([f"--workdir={model}", *map(str, files), f"--out={out}", "--top_k=100"])
        rows = map(json.loads, out.read_text().splitlines())
        return {Path(row["path"]).stem: {one["genre"]: one["score"] for one in row["genres"]} for row in rows}

    whole = tags(joined, tmp_path / "a.mp3", tmp_path / "alone.mp3")
    parts = [tags(small_runs["audio"], tmp_path / "a.mp3")["a"], tags(small_runs["text"], tmp_path / "a.txt")["a"]]
    for genre, score in whole["a"].items():
        assert score == pytest.approx(np.mean([part[genre] for part in parts]), abs=2e-6)
    assert whole["alone"] == {}
    assert "missing: .txt (no file)" in (tmp_path / "joined.jsonl").read_text()
    capsys.readouterr()
    tag.main([f"--workdir={joined}", str(tmp_path / "a.mp3"), "--threshold"])
    assert "a: " in capsys.readouterr().out


def test_cosines_and_probabilities_are_joined_calibrated(small_runs, small_data, tmp_path, capsys):
    folder = tmp_path / "joined"
    runs = [str(small_runs[name]) for name in ("audio", "image")]
    assert command.main(["--runs", *runs, f"--workdir={folder}", "--weighted"]) == 0
    printed = capsys.readouterr()
    assert "the mean is of all runs' calibrated probabilities" in printed.err
    assert "albums that not all runs have are left out" in printed.err or len(predictions(folder)["ids"]) == 24
    scores = predictions(folder)["scores"]
    assert ((scores >= 0) & (scores <= 1)).all()
    opened = open_ensemble(folder)
    assert all(calibrator is not None for calibrator in opened.calibrators)
    before = predictions(folder)
    evaluate.main([f"--workdir={folder}"])
    np.testing.assert_array_equal(predictions(folder)["scores"], before["scores"])
    report.main([f"--workdir={folder}", f"--out={tmp_path / 'page.html'}"])
    page = (tmp_path / "page.html").read_text()
    assert "the mean of 2 runs&#39; calibrated probabilities" in page
    assert "Observed frequency by cosine" not in page
    other = tmp_path / "other"
    command.main(["--runs", *reversed(runs), f"--workdir={other}"])
    command.main(["--runs", *runs, f"--workdir={folder}"])
    np.testing.assert_allclose(predictions(other)["scores"], predictions(folder)["scores"], atol=1e-6)
    with np.load(other / "calibration.npz") as one, np.load(folder / "calibration.npz") as same:
        np.testing.assert_allclose(one["slope"], same["slope"], rtol=1e-4)
    capsys.readouterr()
    song = sorted((small_data.parent / "small_source" / "audio").rglob("*.mp3"))[0]
    shutil.copy(song, tmp_path / "b.mp3")
    shutil.copy(sorted((small_data.parent / "small_source").rglob("*.jpg"))[0], tmp_path / "b.jpg")
    tag.main([f"--workdir={folder}", str(tmp_path / "b.mp3")])
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'b'}: ")


def test_a_fusion_may_be_a_member(small_runs, small_fusion, small_data, tmp_path, capsys):
    folder = tmp_path / "joined"
    command.main(["--runs", str(small_fusion), str(small_runs["image"]), f"--workdir={folder}"])
    song = sorted((small_data.parent / "small_source" / "audio").rglob("*.mp3"))[0]
    shutil.copy(song, tmp_path / "c.mp3")
    (tmp_path / "c.txt").write_text("A song.")
    shutil.copy(sorted((small_data.parent / "small_source").rglob("*.jpg"))[0], tmp_path / "c.jpg")
    capsys.readouterr()
    tag.main([f"--workdir={folder}", str(tmp_path / "c.mp3")])
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'c'}: ")


def test_made_again_it_has_the_same_bytes(joined, small_runs):
    before = {path.name: path.read_bytes() for path in joined.iterdir()}
    command.main(["--runs", *(str(small_runs[name]) for name in ("audio", "text")), f"--workdir={joined}"])
    assert {path.name: path.read_bytes() for path in joined.iterdir()} == before


def test_runs_are_found_where_they_moved_with_it(tmp_path):
    member = ensembles.Member("/gone/audio", "../audio", "audio-0", 1.0)
    for name in ("joined", "audio"):
        (tmp_path / name).mkdir()
    (tmp_path / "audio" / "constants.npz").touch()
    opened = []
    with pytest.raises(UserError, match="is not a run"):
        ensembles._open_members(
            tmp_path / "joined", ensembles.About([member], False), lambda place: opened.append(place) or load_run(place)
        )
    assert [place.resolve() for place in opened] == [tmp_path / "audio"]


def test_runs_are_checked(joined, small_runs, tmp_path, monkeypatch):
    about = json.loads((joined / ABOUT).read_text())
    assert [member["weight"] for member in about["members"]] == [0.5, 0.5]
    other = ensembles.open_run(small_runs["text"])
    monkeypatch.setattr(ensembles, "open_run", lambda place: other)
    with pytest.raises(UserError, match=r"has the run audio_low_4x96-\w+: expected it in .*, found text_vsm-\w+; move"):
        open_ensemble(joined)
    copy = Path(shutil.copytree(joined, tmp_path / "copy"))
    (copy / ABOUT).write_text((copy / ABOUT).read_text().replace("0.5", "0.6"))
    with pytest.raises(UserError, match=r"ensemble.json"):
        open_ensemble(copy)


def test_a_call_that_failed_can_be_repeated(small_runs, tmp_path, monkeypatch):
    runs = [str(small_runs[name]) for name in ("audio", "text")]
    arguments = ["--runs", *runs, f"--workdir={tmp_path / 'joined'}"]
    with monkeypatch.context() as patch:
        patch.setattr(ensembles, "seal", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            command.main(arguments)
    with pytest.raises(UserError, match=r"is not a run"):
        tag.main([f"--workdir={tmp_path / 'joined'}", "a.mp3"])
    assert command.main(arguments) == 0


def test_evaluated_on_splits_and_on_other_data(joined, small_runs, small_data, tmp_path, capsys):
    folder = Path(shutil.copytree(joined, tmp_path / "joined"))
    made = (folder / "eval_test.json").read_bytes(), predictions(folder)
    evaluate.main([f"--workdir={folder}"])
    assert (folder / "eval_test.json").read_bytes() == made[0]
    np.testing.assert_array_equal(predictions(folder)["scores"], made[1]["scores"])
    capsys.readouterr()
    evaluate.main([f"--workdir={folder}", "--split=val"])
    printed = capsys.readouterr().out
    assert f"written: {folder / 'eval_val.json'}" in printed
    assert "ensemble" in printed
    assert json.loads((folder / "eval_val.json").read_text())["split"] == "val"

    other = tmp_path / "other"
    half = [line for i, line in enumerate((small_data / "manifest.jsonl").read_text().splitlines()) if i % 2]
    (tmp_path / "half.jsonl").write_text("\n".join(half))
    shutil.copy(small_data / "labels.json", tmp_path / "labels.json")
    source = (f"--input={tmp_path / 'half.jsonl'}", f"--data_dir={other}", "--modalities=audio,text")
    assert prepare.main(["--source=manifest", *source]) == 0
    capsys.readouterr()
    evaluate.main([f"--workdir={folder}", f"--data_dir={other}"])
    result = json.loads((folder / "eval_test.json").read_text())
    assert result["album"]["n_items"] < made[1]["scores"].shape[0]
    assert capsys.readouterr().err.count("is other data than") == 2
    command.main(["--runs", *(str(small_runs[name]) for name in ("audio", "text")), f"--workdir={folder}"])
    assert not (folder / "eval_val.json").exists()  # of an ensemble that is no longer there
    assert (folder / "eval_test.json").read_bytes() == made[0]
    for flag, says in (
        ("--features=a.npz", "has no vectors of its own"),
        ("--calibrate", "calibrated when it was made"),
    ):
        with pytest.raises(UserError, match=says):
            evaluate.main([f"--workdir={folder}", flag])
    (folder / "calibration.npz").unlink()
    with pytest.raises(UserError, match=r"calibration.npz is missing; restore it, or make the ensemble again"):
        evaluate.main([f"--workdir={folder}"])


def test_page(joined, small_runs, tmp_path):
    report.main([f"--workdir={joined}", f"--out={tmp_path / 'page.html'}"])
    page = " ".join((tmp_path / "page.html").read_text().split())
    album = json.loads((joined / "eval_test.json").read_text())["album"]
    for said in (
        "An ensemble: the mean of 2 runs&#39; cosines; scored on the",
        *(f'<th class="number">{small_runs[name].name} × 0.50</th>' for name in ("audio", "text")),
        '<th class="number">ensemble</th>',
        f'<td class="number">{album["roc_auc_macro"]:.3f}</td>',
        *("Genres given", "Observed frequency by cosine", "Platt", "given instead", "Coverage@k"),
        load_run(small_runs["audio"]).fingerprint,
        "<dt>Run × 0.50</dt>",
    ):
        assert said in page
    for absent in ('id="training"', 'id="speed"', 'id="figures"', "Settings that differ", "not finished"):
        assert absent not in page
    with pytest.raises(UserError, match=r"has no eval_train.json; score it: .*evaluate --workdir=.* --split=train"):
        report.main([f"--workdir={joined}", "--split=train"])
    report.main([f"--workdir={joined}"])  # and the page is no foreign file
    assert ensembles.foreign_files(joined) == []
    (joined / "report.html").unlink()


def test_runs_with_one_name_are_told_apart_by_their_paths():
    result = {"runs": {"a/run": {}, "b/run": {}}, "weights": {"a/run": 0.25, "b/run": 0.75}}
    assert [*ensembles.metrics_of_runs(result)] == ["a/run × 0.25", "b/run × 0.75"]


def test_errors(small_runs, small_data, tmp_path):
    audio = str(small_runs["audio"])
    with pytest.raises(UserError, match="--runs needs two different runs or more"):
        command.main(["--runs", audio, audio, f"--workdir={tmp_path / 'joined'}"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for workdir, says in (
        (tmp_path / "full", "holds mine.txt, which is not an ensemble's"),
        (tmp_path / "f", "a file"),
    ):
        (tmp_path / "f").touch()
        with pytest.raises(UserError, match=says):
            command.main(["--runs", audio, str(small_runs["text"]), f"--workdir={workdir}"])
    with pytest.raises(UserError, match="is not a run"):
        command.main(["--runs", audio, str(tmp_path / "full"), f"--workdir={tmp_path / 'joined'}"])
