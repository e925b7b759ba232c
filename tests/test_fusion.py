"""Late fusion: vectors of trained runs, joined by album, trained on, kept, and tagged with."""

import dataclasses
import json
import os
import re
import shutil
import signal
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from conftest import FUSION_SETTINGS, QUICK
from PIL import Image

from mumu_jax import evaluate, export, tag, train
from mumu_jax.compute.network import VECTORS
from mumu_jax.compute.state import create_state
from mumu_jax.data.loader import array_items
from mumu_jax.data.manifest import read_manifest
from mumu_jax.errors import UserError
from mumu_jax.runs import fusion as fusions
from mumu_jax.runs import own_files, scorer
from mumu_jax.runs.folder import load_run
from mumu_jax.runs.fusion import FUSION, Features, Source, fuse, join, open_data, read_features, write_features
from mumu_jax.runs.prediction import predict_once
from mumu_jax.system.files import sha256_of
from mumu_jax.system.seals import SEAL
from mumu_jax.system.signals import EXIT_INTERRUPTED
from mumu_jax.training import loop

NAMES = ("audio", "text", "image")
SETTINGS = FUSION_SETTINGS


def named(runs: dict[str, Path]) -> str:
    return ",".join(f"{name}={path}" for name, path in runs.items())


@pytest.fixture
def fusion(small_fusion) -> Path:
    """A finished fusion of the three, started by its command."""
    return small_fusion


@pytest.fixture(scope="module")
def retrained(tmp_path_factory, small_runs, small_data) -> Path:
    """The run of texts, trained again in its folder, to other weights."""
    workdir = Path(shutil.copytree(small_runs["text"], tmp_path_factory.mktemp("retrained") / "text"))
    shutil.rmtree(workdir / "album")
    (workdir / "eval_test.json").unlink()

    def from_another_seed(network, tx, item, seed):
        return create_state(network, tx, item, seed + 1)

    with mock.patch.object(loop, "create_state", from_another_seed):
        assert train.main([*QUICK["text"], f"--data_dir={small_data}", f"--workdir={workdir}"]) == 0
    return workdir


# --- vectors and files --------------------------------------------------------------------------------------


def made_up(ids: str, width: int, seed: int = 0) -> Features:
    """Albums named by letters: small ones train, A to M validation, others test."""
    rng = np.random.default_rng(seed)
    splits = ["train" if i.islower() else "val" if i < "N" else "test" for i in ids]
    labels = np.array([[ord(i) % 2, 1] for i in ids], np.uint8)
    return Features(list(ids), splits, labels, rng.normal(size=(len(ids), width)).astype(np.float32), ["x", "y"], "run")


def test_each_vector_has_length_one_and_zeros_stay():
    a, b = made_up("abc", 3).vectors, made_up("abc", 2, 1).vectors
    b[1] = 0
    fused = fuse([a, b])
    expected = [
        [*(x / np.sqrt((x**2).sum())), *(y / np.sqrt((y**2).sum()))] for x, y in zip(a, b, strict=True) if y.any()
    ]
    np.testing.assert_allclose(fused[[0, 2]], expected, rtol=1e-6)
    np.testing.assert_array_equal(fused[1, 3:], 0)
    assert fused.dtype == np.float32


def test_runs_are_found_where_they_moved_with_the_fusion(tmp_path):
    source = Source("/gone/table/audio", "fingerprint", 3, "sha256", "../audio")
    for name in ("audio", "fusion"):
        (tmp_path / name).mkdir()
    assert source.folder(tmp_path / "fusion") == Path("/gone/table/audio")
    (tmp_path / "audio" / "constants.npz").touch()
    assert source.folder(tmp_path / "fusion").resolve() == tmp_path / "audio"


@pytest.mark.parametrize("missing", ["drop", "mask"])
def test_albums_are_joined_by_their_id(missing, capsys):
    of = {"audio": made_up("acbBAZ", 3), "text": made_up("dbaABY", 2, 1)}
    records = join(of, missing)
    expected = {"drop": ("ab", "BA", ""), "mask": ("acbd", "BA", "ZY")}[missing]
    assert tuple("".join(r["album_id"] for r in records[split]) for split in ("train", "val", "test")) == expected
    for record in (record for split in records.values() for record in split):
        parts = []
        for found in of.values():
            rows = [row for row, album_id in enumerate(found.album_ids) if album_id == record["album_id"]]
            vector = found.vectors[rows[0]].astype(np.float64) if rows else np.zeros(found.vectors.shape[1])
            parts += [*(vector / (np.linalg.norm(vector) or 1))]
        np.testing.assert_allclose(record["vector"], parts, rtol=1e-6)
        np.testing.assert_array_equal(record["labels"], [0, 1] if ord(record["album_id"]) % 2 else [1])
    said = capsys.readouterr().err.splitlines()
    what = {"drop": "dropped", "mask": "masked: zeros replace the vector"}[missing]
    assert said == [
        f"train: 2 of 4 albums lack a modality (1 without audio, 1 without text) and are {what}",
        f"test: 2 of 2 albums lack a modality (1 without audio, 1 without text) and are {what}",
    ]


def test_files_of_features_hold_what_was_written(tmp_path):
    features = dataclasses.replace(made_up("abA", 5), album_ids=["ö", "a\udcff", "日本"])
    path = tmp_path / "new" / "a.npz"
    write_features(path, features)
    found = read_features(path)
    for field in dataclasses.fields(Features):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(features, field.name))
    assert (found.labels.dtype, found.vectors.dtype) == (np.uint8, np.float32)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a.npz is missing or damaged .*; write it again"):
        read_features(path)


@pytest.mark.parametrize("name", NAMES)
def test_features_of_a_run_are_what_its_album_network_sees(small_runs, small_data, tmp_path, name, capsys):
    """They score as the run's own predictions do, in the same order; both formats hold the same."""
    workdir, out = small_runs[name], tmp_path / "out.npz"
    evaluate.main([f"--workdir={workdir}", f"--features={out}"])
    assert f"written: {out}, the vectors" in capsys.readouterr().out
    found, run = read_features(out), load_run(workdir)
    assert found.run == run.fingerprint
    assert found.label_names == [label.name for label in run.labels]
    albums = {album.album_id: album for album in read_manifest(small_data / "manifest.jsonl")}
    assert sorted(found.album_ids) == sorted(albums)
    for album_id, split, labels in zip(found.album_ids, found.splits, found.labels, strict=True):
        assert split == albums[album_id].split
        assert {found.label_names[i] for i in np.flatnonzero(labels)} == set(albums[album_id].genres)
    test = np.array(found.splits) == "test"
    with np.load(workdir / "predictions_test.npz") as predictions:
        assert list(predictions["album_ids"]) == list(np.array(found.album_ids)[test])
        if run.track is not None:
            items = array_items({VECTORS: found.vectors[test]}, found.labels[test])
            scores = predict_once(run.album, items, run.config).scores
        else:
            last = run.album.variables["params"]["output"]["dense"]
            output = found.vectors[test] @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
            scores = output
            if run.config.target.kind == "cosine":
                C = run.album.constants.fitted["label_factors"]
                scores = output @ C.T / np.linalg.norm(output, axis=1)[:, None] / np.linalg.norm(C, axis=1)
        np.testing.assert_allclose(scores, predictions["album_scores"], atol=2e-4)


def test_unknown_format_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match=r"out.h5 ends in '.h5'; give a file that ends in .npz"):
        evaluate.main([f"--workdir={tmp_path}", f"--features={tmp_path / 'out.h5'}"])


# --- a fusion run -------------------------------------------------------------------------------------------


def test_what_a_fusion_keeps(fusion, small_runs, small_data, tmp_path):
    kept = json.loads((fusion / FUSION).read_text())
    assert kept["data_dir"] == str(small_data)
    assert list(kept["sources"]) == list(NAMES)
    parts = {}
    for name, source in kept["sources"].items():
        assert (source["path"], source["fingerprint"]) == (
            str(small_runs[name]),
            load_run(small_runs[name]).fingerprint,
        )
        parts[name] = read_features(fusion / "features" / f"{name}.npz")
        assert parts[name].vectors.shape == (96, source["width"])
    evaluate.main([f"--workdir={fusion}", f"--features={tmp_path / 'out.npz'}"])
    found = read_features(tmp_path / "out.npz")
    rows = [[part.album_ids.index(album_id) for album_id in found.album_ids] for part in parts.values()]
    expected = fuse([part.vectors[at] for part, at in zip(parts.values(), rows, strict=True)])
    np.testing.assert_array_equal(found.vectors, expected)
    run = load_run(fusion)
    assert found.run == run.fingerprint
    assert run.track is None
    assert run.album.variables["params"]["dense"]["kernel"].shape[0] == expected.shape[1]
    assert run.album.network.model.dropout == 0.7
    np.testing.assert_array_equal(
        run.album.constants.fitted["label_factors"],
        load_run(small_runs["text"]).album.constants.fitted["label_factors"],
    )


def test_evaluate_needs_the_kept_vectors_alone(fusion, tmp_path, small_data, capsys):
    workdir = Path(shutil.copytree(fusion, tmp_path / "moved"))
    (workdir / "eval_test.json").unlink()
    for arguments, n in ((["--split=val"], 12), ([], 24), ([f"--data_dir={small_data.parent / 'small' / '.'}"], 24)):
        evaluate.main([f"--workdir={workdir}", *arguments])
        assert str(n) in capsys.readouterr().out
    ours, theirs = (json.loads((folder / "eval_test.json").read_text()) for folder in (workdir, fusion))
    assert ours["album"] == pytest.approx(theirs["album"], abs=1e-5)
    other = tmp_path / "other"
    other.mkdir()
    lines = (small_data / "manifest.jsonl").read_text().splitlines(keepends=True)
    (other / "manifest.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(
        UserError, match=r"moved keeps the feature vectors of .*other has other albums, splits or genres"
    ):
        evaluate.main([f"--workdir={workdir}", f"--data_dir={other}"])
    (workdir / "features" / "text.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"text.npz is damaged: it is not what was written"):
        evaluate.main([f"--workdir={workdir}"])
    (workdir / SEAL).unlink()  # as of a fusion from before there were seals
    with pytest.raises(UserError, match=r"text.npz is not what was kept there"):
        evaluate.main([f"--workdir={workdir}"])


def test_stopped_fusion_ends_with_the_same_bytes_without_the_runs(small_runs, tmp_path, monkeypatch, capsys):
    """The vectors are computed once: the second call names no run, and their file stays as it is."""
    workdir, whole = tmp_path / "run", tmp_path / "whole"
    arguments = ["--config=fusion_at", *SETTINGS[1:]]
    runs = f"--runs=audio={small_runs['audio']},text={small_runs['text']}"
    compile_programs, calls = loop._compile, []

    def stopping(program):
        def compute_and_stop(*arguments):
            calls.append(1)
            if len(calls) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return program(*arguments)

        return compute_and_stop

    def compile_and_stop(*arguments):
        return {length: stopping(program) for length, program in compile_programs(*arguments).items()}

    monkeypatch.setattr(loop, "_compile", compile_and_stop)
    assert train.main([*arguments, runs, f"--workdir={workdir}"]) == EXIT_INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err
    before = (workdir / "features" / "text.npz").stat().st_mtime_ns
    assert train.main([*arguments, f"--workdir={workdir}"]) == 0
    assert (workdir / "features" / "text.npz").stat().st_mtime_ns == before
    assert train.main([*arguments, runs, f"--workdir={whole}"]) == 0
    for name in ("metrics.jsonl", FUSION, "constants.npz", "features/audio.npz", "predictions_test.npz"):
        assert (workdir / name).read_bytes() == (whole / name).read_bytes(), name


def test_finished_fusion_says_so_and_refuses_other_runs(fusion, small_runs, retrained, tmp_path, capsys):
    assert train.main([*SETTINGS, f"--workdir={fusion}"]) == 0
    assert train.main([*SETTINGS, f"--workdir={fusion}", f"--runs={named(small_runs)}"]) == 0
    assert capsys.readouterr().out.count("is finished") == 2
    other = retrained  # not the run that is kept
    with pytest.raises(UserError, match=r"keeps the vectors of text=.*, not of .*text .*another --workdir"):
        train.main([*SETTINGS, f"--workdir={fusion}", f"--runs={named({**small_runs, 'text': other})}"])
    with pytest.raises(UserError, match=r"config.fusion.missing='drop', not 'mask'"):
        train.main([*SETTINGS, "--config.fusion.missing=mask", f"--workdir={fusion}"])
    unfinished = Path(shutil.copytree(fusion, tmp_path / "unfinished"))
    (unfinished / "config.json").unlink()
    with pytest.raises(UserError, match=r"keeps the vectors of audio, text, image, not of text, image; give another"):
        train.main(["--config=fusion_ti", f"--workdir={unfinished}"])


def test_the_folder_of_another_run_is_left_alone(small_runs, tmp_path):
    workdir = Path(shutil.copytree(small_runs["text"], tmp_path / "text"))
    before = sorted(workdir.rglob("*"))
    with pytest.raises(UserError, match=r"is a run with config.name='text_vsm', not 'fusion_ati'"):
        train.main([*SETTINGS, f"--runs={named(small_runs)}", f"--workdir={workdir}"])
    assert sorted(workdir.rglob("*")) == before


def test_albums_that_lack_a_modality(fusion, tmp_path, capsys):
    """`config.fusion.missing` decides when the vectors are joined, not when they are kept."""
    workdir = Path(shutil.copytree(fusion, tmp_path / "run"))
    path, about = workdir / "features" / "image.npz", json.loads((workdir / FUSION).read_text())
    found = read_features(path)
    rest = {name: getattr(found, name)[3:] for name in ("album_ids", "splits", "labels", "vectors")}
    write_features(path, dataclasses.replace(found, **rest))
    about["sources"]["image"]["sha256"] = sha256_of(path)
    (workdir / FUSION).write_text(json.dumps(about))
    (workdir / SEAL).unlink()
    config = load_run(workdir).config
    for missing, n, what in (("drop", 57, "dropped"), ("mask", 60, "masked")):
        config.fusion.missing = missing
        assert len(open_data(config, Path(about["data_dir"]), workdir).split("train")) == n
        said = capsys.readouterr().err
        assert "train: 3 of 60 albums lack a modality (3 without image)" in said
        assert what in said


# --- runs that moved or changed ------------------------------------------------------------------------------


def test_a_run_is_known_by_its_settings_data_and_weights(small_runs, retrained, tmp_path):  # 14
    first = load_run(small_runs["text"])
    copy = Path(shutil.copytree(small_runs["text"], tmp_path / "copy"))
    assert load_run(copy).names == first.names
    assert re.fullmatch("text_vsm-[0-9a-f]{12}", first.fingerprint)
    again = load_run(retrained)
    assert again.config == first.config
    assert again.names[1] == first.names[1]
    assert again.fingerprint != first.fingerprint
    (copy / SEAL).unlink()
    about = json.loads((copy / "config.json").read_text())
    for section, change, same in (
        ("data", {"dir": "/elsewhere"}, True),
        ("versions", {"jax": "0.0.1"}, True),
        ("data", {"checksum": "0" * 64}, False),
        ("config", {"seed": 1}, False),
    ):
        (copy / "config.json").write_text(json.dumps({**about, section: {**about[section], **change}}))
        assert (load_run(copy).fingerprint == first.fingerprint) == same, change


@pytest.fixture
def in_place(fusion, small_runs, tmp_path) -> Path:
    """A fusion and the run of texts that it joins, both moved."""
    workdir = Path(shutil.copytree(fusion, tmp_path / "run"))
    shutil.copytree(small_runs["text"], tmp_path / "text")
    about = json.loads((workdir / FUSION).read_text())
    about["sources"]["text"] |= {"path": str(tmp_path / "gone"), "relative": "../text"}
    (workdir / FUSION).write_text(json.dumps(about))
    (workdir / SEAL).unlink()
    return workdir


def test_a_source_whose_data_moved_is_the_same_and_one_with_other_weights_is_not(in_place, retrained):  # 14
    text = in_place.parent / "text"
    about = json.loads((text / "config.json").read_text())
    about["data"]["dir"] = "/elsewhere"
    (text / "config.json").write_text(json.dumps(about))
    (text / SEAL).unlink()
    scorer.open_run(in_place)
    shutil.rmtree(text)
    shutil.copytree(retrained, text)
    with pytest.raises(UserError, match=r"by the run text_vsm-\w+: .*found text_vsm-\w+; move .* or train the fusion"):
        scorer.open_run(in_place)


def test_fusions_of_before_know_their_runs(in_place, small_runs, tmp_path):  # 14
    former = {name: load_run(path).names[1] for name, path in small_runs.items()}
    about = json.loads((in_place / FUSION).read_text())
    for name, source in about["sources"].items():
        source["fingerprint"] = former[name]
    (in_place / FUSION).write_text(json.dumps(about))
    config = load_run(in_place).config
    scorer.open_run(in_place)
    assert fusions.keep_features(config, small_runs, None, in_place) == Path(about["data_dir"])
    out = tmp_path / "model"
    export.main([f"--workdir={in_place}", f"--out={out}"])
    model = json.loads((out / "model.json").read_text())
    assert model["run"] == load_run(in_place).fingerprint
    del model["sha256"]  # as in exports of before
    (out / "model.json").write_text(json.dumps({**model, "run": load_run(in_place).names[1]}))
    export.main([f"--workdir={in_place}", f"--out={out}"])


# --- what is refused ----------------------------------------------------------------------------------------


def refuse(workdir: Path, *arguments: str, says: list[str], config: str = "--config=fusion_ati") -> None:
    with pytest.raises(UserError) as caught:
        train.main([config, f"--workdir={workdir}", *arguments])
    assert [fragment for fragment in says if fragment not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)
    assert not workdir.exists()


def test_runs_that_are_not_named_or_not_there(small_runs, tmp_path):
    refuse(tmp_path / "run", says=["fusion_ati joins the vectors", "--runs=audio=RUN,text=RUN,image=RUN"])
    absent = f"--runs={named({**small_runs, 'text': tmp_path / 'no'})}"
    refuse(tmp_path / "run", absent, says=[f"{tmp_path / 'no'} is not a run"])
    swapped = f"--runs=audio={small_runs['text']},image={small_runs['image']}"
    says = [f"audio={small_runs['text']} is a run of text (text_vsm); name one of audio"]
    refuse(tmp_path / "run", swapped, says=says, config="--config=fusion_ai")


def test_runs_that_do_not_fit(small_runs, small_data, tmp_path, monkeypatch):
    text = Path(shutil.copytree(small_runs["text"], tmp_path / "text"))
    runs = f"--runs=text={text},image={small_runs['image']}"
    open_dataset = fusions.open_dataset

    def other(**changes):
        """Images come from data that differs."""

        def opened(config, data_dir):
            dataset = open_dataset(config, data_dir)
            return dataclasses.replace(dataset, **changes) if dataset.name == "image" else dataset

        monkeypatch.setattr(fusions, "open_dataset", opened)

    labels = open_dataset(load_run(text).config, small_data).labels
    for changes, what in (
        ({"labels": labels[::-1]}, "labels"),
        ({"albums_sha256": "0"}, "albums, splits or genres"),
    ):
        other(**changes)
        says = [f"{small_runs['image']} was trained on other {what}", str(text), "train both on the same data"]
        refuse(tmp_path / "run", runs, says=says, config="--config=fusion_ti")
    monkeypatch.undo()

    about = (text / "config.json").read_text()
    checksum = json.loads(about)["data"]["checksum"]
    (text / "config.json").write_text(about.replace(checksum, "0" * 64))
    (text / SEAL).unlink()
    says = [f"{small_data} was prepared again since {text} was trained on it", "train it again", "--data_dir"]
    refuse(tmp_path / "run", runs, says=says, config="--config=fusion_ti")
    (text / "config.json").write_text(about)
    for path in (text / "album").glob("*/progress/metadata"):
        path.write_text(path.read_text().replace('"finished": true', '"finished": false'))
    (text / "album" / SEAL).unlink()
    says = ["album network", str(text), "not trained to its end"]
    refuse(tmp_path / "run", runs, says=says, config="--config=fusion_ti")
    shutil.rmtree(text / "album")
    refuse(tmp_path / "run", runs, says=[f"{text} has no trained album network"], config="--config=fusion_ti")


# --- tags ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, small_data, shared_tmp, monkeypatch) -> Path:
    """Two albums whole, one without a song, one whose song is no song; read in this process."""
    monkeypatch.setattr(own_files, "map_in_order", lambda call, items, workers, on_death: map(call, items))
    folder = tmp_path / "own" / "inner"
    folder.mkdir(parents=True)
    for name, album in zip("abcd", read_manifest(small_data / "manifest.jsonl"), strict=False):
        (folder / f"{name}.txt").write_text(album.text)
        with Image.open(album.cover) as cover:
            cover.save(folder / f"{name}.PNG")
        if name in "ab":
            shutil.copyfile(album.tracks[0].audio, folder / f"{name}{album.tracks[0].audio.suffix}")
    (folder / "d.mp3").write_text("<html>404</html>" * 99)
    (folder / "notes.pdf").write_text("not for us")
    return folder.parent


def tags_of(out: Path) -> dict[str, dict]:
    rows = map(json.loads, out.read_text().splitlines())
    return {Path(row["path"]).name: row for row in rows}


def test_tags_of_files_that_share_a_stem(fusion, small_runs, own, tmp_path, monkeypatch):
    """The scores are the fusion network's of the vectors that each run has of its file."""
    out = tmp_path / "tags.jsonl"
    tag.main([f"--workdir={fusion}", str(own), f"--out={out}", "--top_k=100"])
    rows = tags_of(out)
    assert list(rows) == ["a", "b", "c", "d"]
    assert rows["c"]["error"] == "missing: audio (no file)"
    assert rows["d"]["error"].startswith("missing: audio (not_audio: ")
    run, vectors = load_run(fusion), []
    for name, path in small_runs.items():
        source = load_run(path)
        [reader] = source.inputs.readers().values()
        [file] = [file for file in (own / "inner").glob("a.*") if reader.is_one(file)]
        read = reader.read(file)
        unknown = np.zeros((len(read.records), len(run.labels)), np.uint8)
        items = array_items(source.inputs.arrays({name: read.records}), unknown)
        vectors.append(predict_once(source.first, items, source.config).embedding.mean(axis=0, keepdims=True))
        assert vectors[-1].shape[1] == run.inputs.fitted["fusion"][name].width
    items = array_items({"fusion": fuse(vectors)}, np.zeros((1, len(run.labels)), np.uint8))
    scores = predict_once(run.album, items, run.config).scores[0]
    expected = {label.name: score for label, score in zip(run.labels, scores, strict=True)}
    found = {genre["genre"]: genre["score"] for genre in rows["a"]["genres"]}
    assert found == pytest.approx(expected, abs=1e-4)

    before = out.read_bytes()
    tag.main([f"--workdir={fusion}", str(own / "inner" / "b.txt"), f"--out={out}"])  # named by one of its files
    assert out.read_bytes() == before
    run.config.fusion.missing = "mask"
    monkeypatch.setattr(scorer, "load_run", lambda workdir: run if workdir == fusion else load_run(workdir))
    tag.main([f"--workdir={fusion}", str(own), f"--out={tmp_path / 'masked.jsonl'}"])
    assert [row["error"] for row in tags_of(tmp_path / "masked.jsonl").values()] == [None] * 4


def test_tag_refuses_runs_that_moved_and_folders_without_files(fusion, own, tmp_path):
    (tmp_path / "own2").mkdir()
    with pytest.raises(UserError, match=r"own2 holds no file of these kinds: audio, .txt, image"):
        tag.main([f"--workdir={fusion}", str(tmp_path / "own2")])
    workdir = Path(shutil.copytree(fusion, tmp_path / "run"))
    about = json.loads((workdir / FUSION).read_text())
    about["sources"]["text"] |= {"path": str(tmp_path / "gone"), "relative": "../gone"}
    (workdir / FUSION).write_text(json.dumps(about))
    (workdir / SEAL).unlink()
    with pytest.raises(UserError, match=r"by the run text_vsm-\w+: expected it in .*gone, found nothing; move"):
        tag.main([f"--workdir={workdir}", str(own)])
