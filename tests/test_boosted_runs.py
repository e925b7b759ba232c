"""Boosted trees from songs to tags, of one genre a song, alone and in an ensemble; and grown by two processes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, succeed
from msgspec.structs import replace
from test_distributed import finish, start_two

from mumu_jax import boost, ensemble, evaluate, export, prepare, report, tag, train
from mumu_jax.data.manifest import Album, read_labels, write_manifest
from mumu_jax.data.modalities.descriptors import COLUMNS
from mumu_jax.data.sources.synthetic import make as make_synthetic
from mumu_jax.data.sources.synthetic.genres import LABELS
from mumu_jax.runs.folder import IMPORTANCE

pytestmark = pytest.mark.full

FEW = ("--config.model.rounds=20", "--config.model.tree_depth=3")
ONE_A_SONG = "top-1 accuracy by the album's genre"


def prepared(source: str, path: Path, data: Path) -> Path:
    arguments = [f"--source={source}", f"--input={path}", f"--data_dir={data}", "--modalities=descriptors"]
    assert prepare.main(arguments) == 0
    return data


def tags(model: str, song: Path, out: Path) -> dict[str, float]:
    """Return a song's genres with their scores, all of them."""
    assert tag.main([model, str(song), f"--out={out}", "--top_k=100"]) == 0
    return {genre["genre"]: genre["score"] for genre in json.loads(out.read_text())["genres"]}


def evaluation(run: Path) -> dict:
    return json.loads((run / "eval_test.json").read_text())


@pytest.fixture(scope="module")
def albums(tmp_path_factory) -> list[Album]:
    """Return made-up albums of one song, which have one genre of the top level each."""
    top = {label.name for label in LABELS if label.parent is None}
    made = make_synthetic(tmp_path_factory.mktemp("songs"), 0, 1, {"train": 50, "val": 15, "test": 20})
    return [
        replace(album, genres=tuple(genre for genre in album.genres if genre in top)[:1], tracks=album.tracks[:1])
        for album in made
    ]


def test_of_one_genre_a_song(albums, tmp_path, capsys):
    pytest.importorskip("xgboost")
    write_manifest(tmp_path / "manifest.jsonl", albums)
    data, run = prepared("manifest", tmp_path / "manifest.jsonl", tmp_path / "data"), tmp_path / "run"
    assert boost.main([f"--data_dir={data}", f"--workdir={run}", *FEW]) == 0
    assert json.loads((run / "config.json").read_text())["config"]["name"] == "descriptors_boosted_softmax"
    assert ONE_A_SONG in capsys.readouterr().out
    result, names = evaluation(run), [label.name for label in read_labels(run / "labels.json")]
    assert result["album"]["accuracy_at_1"] > result["chance"]["accuracy_at_1"]
    assert "decisions" not in result
    assert json.loads((run / IMPORTANCE).read_text()).keys() == {*COLUMNS}

    # Scored, shown, tagged with and exported as all runs
    evaluate.main([f"--workdir={run}", "--split=val"])
    report.main([f"--workdir={run}", f"--out={tmp_path / 'page.html'}"])
    page = (tmp_path / "page.html").read_text()
    for said in ("Inputs that the trees use", "most probable label", 'class="number">top-1<', "softmax targets"):
        assert said in page
    song = next(album for album in albums if album.split == "test")
    export.main([f"--workdir={run}", f"--out={tmp_path / 'model'}"])
    of_run = tags(f"--workdir={run}", song.tracks[0].audio, tmp_path / "run.jsonl")
    of_export = tags(f"--model={tmp_path / 'model'}", song.tracks[0].audio, tmp_path / "model.jsonl")
    assert of_export == pytest.approx(of_run, abs=1e-6)
    assert sum(of_run.values()) == pytest.approx(1, abs=1e-5)
    with np.load(run / "predictions_test.npz") as arrays:
        logits = arrays["album_scores"][arrays["album_ids"].tolist().index(song.album_id)]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert of_run == pytest.approx(dict(zip(names, expected.tolist(), strict=True)), abs=1e-4)

    # And joined with a network
    network, both = tmp_path / "network", tmp_path / "both"
    assert train.main(["--config=descriptors_mlp_softmax", f"--data_dir={data}", f"--workdir={network}"]) == 0
    capsys.readouterr()
    assert ensemble.main(["--runs", str(run), str(network), f"--workdir={both}", "--weighted"]) == 0
    assert ONE_A_SONG in capsys.readouterr().out
    result = evaluation(both)
    assert result["album"]["accuracy_at_1"] > result["chance"]["accuracy_at_1"]
    assert sum(result["weights"].values()) == pytest.approx(1)
    with (both / "confusion_test.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    matrix = np.array([row[1:] for row in rows], int)
    assert header[1:] == names
    assert matrix.trace() / matrix.sum() == pytest.approx(result["album"]["accuracy_at_1"])
    assert {*result["accuracy_by_genre"]} == {*names}
    report.main([f"--workdir={both}", f"--out={tmp_path / 'both.html'}"])
    page = (tmp_path / "both.html").read_text()
    for said in ("the mean of 2 runs&#39; probabilities", "most probable label", 'class="number">top-1<'):
        assert said in page
    parts = [of_run, tags(f"--workdir={network}", song.tracks[0].audio, tmp_path / "network.jsonl")]
    weights = [result["weights"][str(path)] for path in (run, network)]
    expected = {name: sum(w * part[name] for w, part in zip(weights, parts, strict=True)) for name in names}
    assert tags(f"--workdir={both}", song.tracks[0].audio, tmp_path / "both.jsonl") == pytest.approx(expected, abs=2e-6)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the nine real songs of ../shared are not here")
def test_the_nine_real_songs(tmp_path):
    """Three songs train, three validate, and three are scored, of which one is silent."""
    pytest.importorskip("xgboost")
    data = prepared("tartarus", SHARED / "super", tmp_path / "data")
    runs = [tmp_path / "boosted", tmp_path / "network"]
    assert boost.main([f"--data_dir={data}", f"--workdir={runs[0]}", *FEW]) == 0
    assert train.main(["--config=descriptors_mlp_softmax", f"--data_dir={data}", f"--workdir={runs[1]}"]) == 0
    assert ensemble.main(["--runs", *map(str, runs), f"--workdir={tmp_path / 'both'}"]) == 0
    assert evaluation(tmp_path / "both")["album"]["n_items"] == 3
    songs = SHARED / "super" / "audio"
    silent, out = songs / "odisea_carnavalera.mp3", tmp_path / "silent.jsonl"
    assert tag.main([f"--workdir={tmp_path / 'both'}", str(silent), f"--out={out}"]) == tag.EXIT_NOTHING
    assert json.loads(out.read_text())["error"].startswith("silent")
    parts = [tags(f"--workdir={run}", songs / "berlina.mp3", tmp_path / f"{run.name}.jsonl") for run in runs]
    found = tags(f"--workdir={tmp_path / 'both'}", songs / "berlina.mp3", tmp_path / "both.jsonl")
    assert found.keys() == {"Cumbia", "Merengue", "Reggaeton"}
    assert found == pytest.approx({genre: (parts[0][genre] + parts[1][genre]) / 2 for genre in found}, abs=2e-6)


def test_two_processes_grow_the_trees_of_one(small_data, tmp_path):
    pytest.importorskip("xgboost")
    arguments = (f"--data_dir={small_data}", *FEW)
    succeed("mumu_jax.boost", *arguments, f"--workdir={tmp_path / 'one'}")
    done = finish(start_two("-m", "mumu_jax.boost", *arguments, f"--workdir={tmp_path / 'two'}"))
    assert [code for code, *_ in done] == [0, 0], done
    (_, said, _), (_, silence, _) = done
    assert "ROC-AUC" in said
    assert "ROC-AUC" not in silence
    for name in ("metrics.jsonl", IMPORTANCE, "predictions_test.npz", "eval_test.json", "calibration.npz"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
