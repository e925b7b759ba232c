"""Tests of figures 1 and 2: the albums in them, the same pictures from the same files, and why there may be none."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import succeed
from PIL import Image

from mumu_jax import evaluate, report
from mumu_jax.compute.predict import SplitPredictions
from mumu_jax.data.manifest import Album, Label, read_labels, write_labels, write_manifest
from mumu_jax.data.store.records import HeldRecords, open_prepared
from mumu_jax.errors import UserError
from mumu_jax.objectives import cosine
from mumu_jax.reports import figures
from mumu_jax.reports.figures import figures_of
from mumu_jax.reports.tables.table2 import TABLE2
from mumu_jax.runs import evaluation
from mumu_jax.runs.folder import load_run
from mumu_jax.system.files import read_npz, write_npz
from mumu_jax.system.pictures import render

TOP = ["Jazz", "$x_{$ <b>", "_Pop", "音楽", "Classical\nMusic", "Rare"]
N_STYLES = 2
LABELS = [Label(name) for name in TOP] + [Label(f"{name} {i}", name) for name in TOP for i in range(N_STYLES)]
SPLITS = ("train",) * 6 + ("val", "test")


def labels_of(rng: np.random.Generator, n_albums: int) -> np.ndarray:
    """Return multi-hot rows of a genre, the first ones more often, and some of its styles; each fifth has two."""
    labels = np.zeros((n_albums, len(LABELS)), np.uint8)
    for i, row in enumerate(labels):
        for genre in rng.choice(len(TOP), 1 + (i % 5 == 0), replace=False, p=[0.3, 0.25, 0.2, 0.15, 0.07, 0.03]):
            row[genre] = 1
            row[len(TOP) + N_STYLES * genre + np.arange(N_STYLES)] |= rng.random(N_STYLES) < 0.5
    return labels


LABELS_OF_ALBUMS = labels_of(np.random.default_rng(0), 160)


def make_run(folder: Path, data_dir: Path, factors: bool = True, finished: bool = True) -> Path:
    """Write the files of a run that figures read."""
    folder.mkdir(parents=True)
    about = {"config": {}, "data": {"dir": str(data_dir), "checksum": "c0ffee"}}
    (folder / "config.json").write_text(json.dumps(about))
    write_labels(folder / "labels.json", LABELS)
    C = np.asarray(cosine.label_factors(cosine.ppmi(LABELS_OF_ALBUMS), 8))
    C = C if factors else np.zeros((len(LABELS), 0), np.float32)
    some = np.ones(1, np.float32)
    np.savez(folder / "constants.npz", mean=some, std=some, label_factors=C, seen=np.ones(len(LABELS), bool))
    if finished:
        np.savez(folder / "predictions_test.npz", album_labels=LABELS_OF_ALBUMS[7::8])
    return folder


def make_data(folder: Path) -> Path:
    albums = [
        Album(str(i), tuple(LABELS[column].name for column in np.flatnonzero(row)), (), SPLITS[i % 8])
        for i, row in enumerate(LABELS_OF_ALBUMS)
    ]
    write_manifest(folder / "manifest.jsonl", albums)
    return folder


def make_covers(run: Path, n: int = 160) -> Path:
    rng = np.random.default_rng(1)
    labels = LABELS_OF_ALBUMS[:n]
    vectors = (3 * labels @ rng.normal(size=(len(LABELS), 12)) + rng.normal(size=(n, 12))).astype(np.float16)
    covers = rng.integers(0, 256, (n, 8, 8, 3), np.uint8)
    ids = np.arange(n).astype(str)
    write_npz(run / "covers_test.npz", compressed=True, album_ids=ids, vectors=vectors, covers=covers, labels=labels)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("figures")
    return make_covers(make_run(base / "run", make_data(base / "data")))


@pytest.fixture(scope="module")
def drawings(run) -> list[figures.Drawing]:
    return figures_of(run)


def legend(drawing: figures.Drawing) -> list[str]:
    assert drawing.figure is not None
    return [text.get_text().strip() for text in drawing.figure.legends[0].get_texts()]


def only_one(labels: np.ndarray, columns: list[int]) -> np.ndarray:
    return labels[labels[:, columns].sum(axis=1) == 1]


def shown_as(labels: np.ndarray, columns: list[int]) -> list[str]:
    """Return the genres with the number of albums that have no other of `columns`, most first."""
    counts = {column: int(only_one(labels, columns)[:, column].sum()) for column in columns}
    return [f"{' '.join(TOP[c].split())} ({n})" for c, n in sorted(counts.items(), key=lambda item: -item[1]) if n]


def test_figure_1_shows_albums_of_one_genre(drawings):
    known = LABELS_OF_ALBUMS[np.arange(160) % 8 != 7]
    alone = only_one(known, list(range(len(TOP))))
    assert legend(drawings[0]) == shown_as(known, list(range(len(TOP))))
    marks = drawings[0].figure.axes[0].collections
    _, n_albums = np.unique(alone, axis=0, return_counts=True)
    areas = np.concatenate([of_genre.get_sizes() for of_genre in marks])
    assert sum(len(of_genre.get_offsets()) for of_genre in marks) == len(n_albums) < len(alone)
    np.testing.assert_allclose(np.sort(areas) / areas.sum(), np.sort(n_albums) / n_albums.sum())
    assert f"{len(alone)} training and validation albums" in drawings[0].caption


def test_figure_1_keeps_genres_apart(drawings):
    places = [np.asarray(of_genre.get_offsets()) for of_genre in drawings[0].figure.axes[0].collections[:4]]
    centres = np.stack([of_genre.mean(axis=0) for of_genre in places])
    own = [np.linalg.norm(of_genre[:, None] - centres, axis=2).argmin(axis=1) for of_genre in places]
    right = np.concatenate([found == i for i, found in enumerate(own)])
    assert right.mean() > 0.9


@pytest.mark.parametrize("data", ["none", "other labels"])
def test_figure_1_without_its_data_shows_scored_albums(data, tmp_path):
    if data == "other labels":
        write_manifest(tmp_path / "data" / "manifest.jsonl", [Album("1", ("Ska",), (), "train")])
    drawing = figures_of(make_run(tmp_path / "run", tmp_path / "data"))[0]
    assert legend(drawing) == shown_as(LABELS_OF_ALBUMS[7::8], list(range(len(TOP))))
    assert f"test albums (the run's data is no longer in {tmp_path / 'data'})" in drawing.caption


def test_of_many_albums_some_are_drawn(run, monkeypatch):
    monkeypatch.setattr(figures, "MAX_ALBUMS", 40)
    monkeypatch.setattr(figures, "STYLES", figures.STYLES[:3])
    drawing = figures_of(run)[0]
    n_alone = len(only_one(LABELS_OF_ALBUMS[np.arange(160) % 8 != 7], list(range(len(TOP)))))
    assert f"40 (at random, of {n_alone})" in drawing.caption
    shown = legend(drawing)
    assert len(shown) == 4
    assert "other genres" in shown[3]
    assert sum(int(text.rsplit("(")[-1][:-1]) for text in shown) == 40


def test_figure_2_shows_covers_of_the_most_frequent_genres(drawings, run):
    five = [0, 1, 2, 3, 4]  # an album of one of them and of the sixth counts
    assert LABELS_OF_ALBUMS[:, five].sum(axis=0).min() > LABELS_OF_ALBUMS[:, 5].sum() > 0
    assert legend(drawings[1]) == shown_as(LABELS_OF_ALBUMS, five)
    images = drawings[1].figure.axes[0].images
    expected = read_npz(run / "covers_test.npz", "")
    alone = expected["labels"][:, five].sum(axis=1) == 1
    assert len(images) == alone.sum()
    inside = [np.asarray(image.get_array())[5:-5, 5:-5] * 255 for image in images]
    np.testing.assert_allclose(inside, expected["covers"][alone], atol=1e-4)
    frames = {tuple(np.asarray(image.get_array())[0, 0].tolist()) for image in images}
    assert len(frames) == 5
    assert f"{len(images)} test albums" in drawings[1].caption


def test_the_same_files_give_the_same_bytes(run, drawings):
    for drawing, again in zip(drawings, figures_of(run), strict=True):
        for kind in ("png", "svg"):
            assert render(drawing.figure, kind) == render(again.figure, kind)


def test_reasons(run, tmp_path):
    logistic = make_run(tmp_path / "logistic", tmp_path, factors=False)
    assert [drawing.figure for drawing in figures_of(logistic)] == [None, None]
    reasons = [drawing.caption for drawing in figures_of(logistic)]
    assert "cosine targets" in reasons[0]
    assert "mumu_jax.evaluate --workdir=RUN" in reasons[1]

    few = make_covers(make_run(tmp_path / "few", tmp_path, finished=False), n=4)
    reasons = [drawing.caption for drawing in figures_of(few)]
    assert "train it to the end" in reasons[0]
    assert "t-SNE needs 5 different vectors" in reasons[1]

    for name in ("constants.npz", "covers_test.npz"):
        (few / name).write_bytes(b"PK")
    reasons = [drawing.caption for drawing in figures_of(few)]
    assert str(few / "constants.npz") in reasons[0]
    assert str(few / "covers_test.npz") in reasons[1]
    with pytest.raises(UserError, match=r"neither config\.json nor a table"):
        figures_of(tmp_path)


def test_labels_without_a_top_level_have_no_figure(run, tmp_path):
    circular = make_covers(make_run(tmp_path / "run", tmp_path))
    write_labels(circular / "labels.json", [Label(label.name, "Jazz") for label in LABELS])
    assert all("there are 0" in drawing.caption for drawing in figures_of(circular))


def test_of_many_runs_the_first_that_has_it(tmp_path):
    data = make_data(tmp_path / "data")
    make_run(tmp_path / "W" / "a_logistic" / "seed0", data, factors=False)
    make_covers(make_run(tmp_path / "W" / "b_unfinished" / "seed0", data, finished=False))
    make_run(tmp_path / "W" / "c_cosine" / "seed0", data)
    make_covers(make_run(tmp_path / "W" / "d_image" / "seed0", data))
    (tmp_path / "W" / TABLE2.csv).touch()
    first, second = figures_of(tmp_path / "W")
    assert "run c_cosine/seed0." in first.caption
    assert "run d_image/seed0." in second.caption


def made_up_records(n: int) -> tuple[HeldRecords, SplitPredictions]:
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.arange(n) % 256, 12 * 12 * 3).reshape(n, 12, 12, 3).astype(np.uint8)
    records = HeldRecords([{"album_id": f"a{i}", "image": image} for i, image in enumerate(pixels)])
    scores, labels = np.zeros((n, 2), np.float32), (rng.random((n, 2)) < 0.5).astype(np.uint8)
    embedding = np.linspace(0, 1e6, n)[:, None] * np.array([1, -1, 0])
    return records, SplitPredictions(0.0, scores, labels, embedding.astype(np.float32))


def test_thumbnails_are_chosen_and_read_back(tmp_path):
    records, found = made_up_records(700)
    chosen = evaluation.choose_thumbnails(records, found)
    rows = np.array([int(album_id[1:]) for album_id in chosen["album_ids"]])
    assert len(set(rows)) == evaluation.MAX_COVERS == len(rows)
    assert np.ptp(rows) > 600  # of the whole split
    assert (chosen["covers"] == (rows % 256)[:, None, None, None]).all()
    assert chosen["covers"].shape[1:] == (64, 64, 3)
    np.testing.assert_array_equal(chosen["labels"], found.labels[rows])
    np.testing.assert_allclose(chosen["vectors"], np.clip(found.embedding[rows], -65504, 65504), rtol=1e-3)
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, compressed=True, **evaluation.choose_thumbnails(records, found))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = read_npz(tmp_path / "a.npz", "")
    for name in ("album_ids", "vectors", "covers", "labels"):
        np.testing.assert_array_equal(read[name], chosen[name])
    assert len(evaluation.choose_thumbnails(*made_up_records(3))["album_ids"]) == 3


def test_damaged_thumbnails(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    for content in (b"", b"PK\x03\x04", b"nothing"):
        (copy / "covers_test.npz").write_bytes(content)
        caption = figures_of(copy)[1].caption
        assert re.search(r"covers_test\.npz is missing or damaged .* score the run again", caption)
    write_npz(copy / "covers_test.npz", vectors=np.zeros((1, 2)))
    assert re.search(r"covers_test\.npz is missing or damaged .*covers", figures_of(copy)[1].caption)


def test_evaluation_keeps_covers(small_runs, small_data, tmp_path):
    trained = load_run(small_runs["image"])
    prepared = open_prepared(small_data, trained.config.image)
    evaluate.evaluate(trained, prepared, "test", tmp_path)
    now, before = (read_npz(folder / "covers_test.npz", "") for folder in (tmp_path, small_runs["image"]))
    for name in ("album_ids", "covers", "labels"):
        np.testing.assert_array_equal(now[name], before[name])
    np.testing.assert_allclose(now["vectors"], before["vectors"], rtol=0.02, atol=0.02)  # of 8 devices, and of one
    assert sorted(now["album_ids"]) == sorted(prepared.split("test").album_ids)
    assert len(read_labels(small_runs["image"] / "labels.json")) == now["labels"].shape[1]


def test_command(small_runs, tmp_path):
    done = succeed("mumu_jax.report", "figures", f"--workdir={small_runs['image']}", f"--out={tmp_path / 'out'}")
    assert "figure1: none: no finished run here has cosine targets" in done.stdout
    assert f"written: {tmp_path / 'out' / 'figure2.png'}, " in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["figure2.png", "figure2.svg"]
    with Image.open(tmp_path / "out" / "figure2.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_command_without_a_figure(tmp_path):
    make_run(tmp_path / "run", tmp_path, factors=False)
    with pytest.raises(UserError, match=r"no figure can be drawn.*cosine targets.*covers_<split>\.npz"):
        report.main(["figures", f"--workdir={tmp_path / 'run'}"])
