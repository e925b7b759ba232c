"""The commands: what they say of bad input, that they lose nothing by it, and what `--list` and `evaluate` show."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from conftest import complain, succeed
from msgspec.structs import replace
from sklearn.metrics import average_precision_score, roc_auc_score

from mumu_jax import evaluate, prepare, tag, train
from mumu_jax.compute import devices
from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import Album, read_manifest, write_manifest
from mumu_jax.data.preparation.job import Job
from mumu_jax.data.store import records
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config, load_experiments, read_parameter_counts
from mumu_jax.runs import flags, own_files
from mumu_jax.runs.constants import fit_constants
from mumu_jax.runs.folder import load_run
from mumu_jax.system.seals import SEAL
from mumu_jax.system.terminal import run_command

SPLIT_OF = {"t": "train", "v": "val", "e": "test"}
NAMED = "--config=audio_low_4x96"
OF_SMALL_RUN = (NAMED, "--config.optim.max_epochs=8", "--config.album_optim.max_epochs=20")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refuse(capsys, monkeypatch):
    """`refuse(command, arguments…, says=…)`: `complain` for a command that runs in this process."""
    monkeypatch.delenv("MUMU_DATA_DIR", raising=False)

    def call(command, *arguments, says) -> None:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run_command(command.main, list(map(str, arguments)))
        assert stop.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert [fragment for fragment in says if fragment not in last] == [], last

    return call


@pytest.fixture
def data_copy(tmp_path, small_data) -> Path:
    return Path(shutil.copytree(small_data, tmp_path / "data"))


def prepare_tiny(folder: Path, splits: str) -> Path:
    """Two seconds of noise and two of a drone for each letter of `splits`, which SPLIT_OF spells out."""
    rng, rows = np.random.default_rng(0), ["path,genres,split"]
    t = np.arange(44_100) / 22_050
    for i, split in enumerate(splits):
        for genre, y in (("Noise", rng.normal(size=44_100)), ("Drone", np.sin(2 * np.pi * 110 * (i + 1) * t))):
            soundfile.write(folder / f"{genre}{i}.wav", (0.1 * y).astype(np.float32), 22_050)
            rows.append(f"{genre}{i}.wav,{genre},{SPLIT_OF[split]}")
    (folder / "table.csv").write_text("\n".join(rows))
    arguments = ["--source=csv", f"--input={folder / 'table.csv'}", f"--data_dir={folder / 'data'}", "--workers=1"]
    assert prepare.main(arguments) == 0
    return folder / "data"


@pytest.fixture(scope="module")
def without_test(tmp_path_factory) -> Path:
    return prepare_tiny(tmp_path_factory.mktemp("without_test"), "ttv")


# --- train: names, fields, folders --------------------------------------------------------------------------


def test_list_shows_every_experiment_beside_the_paper():
    shown = {}
    for line in succeed("mumu_jax.train", "--list").stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("│┃").split("│")]
        shown[cells[0]] = cells[1:]
    experiments = load_experiments()
    assert len(experiments) >= 18
    for name, experiment in experiments.items():
        if experiment.paper is None:
            ours = ("timbre_mlp_cosine", "image_resnet101_cosine", "text_vsm_softmax")
            starts = ("audio_low_4x96_small", "audio_musicnn", "mel", "descriptors", "lyrics", "joint", "fusion_mel")
            assert name in ours or name.startswith(starts) or "boosted" in name or experiment.study
            continue
        params, papers, *rest = shown[name]
        assert papers == experiment.paper.params
        unit, written = 1e6, papers.removesuffix("M")
        if not name.startswith(("image", "fusion_ti")):  # counts that the paper misprints, or rounds up by half
            assert int(params.replace(",", "")) / unit == pytest.approx(float(written), rel=0.26), name
        assert float(rest[0]) == experiment.paper.epoch_s
        assert [float(cell) for cell in rest[1:5]] == pytest.approx(
            [experiment.paper.roc_auc, *experiment.paper.coverage], abs=0.0051
        )
    # Table 2's largest row and its smallest, counted by hand from their layers in tests/test_models.py.
    assert shown["audio_high_4x70"][:2] == ["6,570,802", "6.5M"]
    assert shown["audio_low_4x96"][:2] == ["144,306", "0.15M"]


def test_list_counts_only_parameters_that_nobody_counted(monkeypatch, capsys):
    counts, counted = read_parameter_counts(), []
    monkeypatch.setattr(flags, "read_parameter_counts", lambda: dict.fromkeys(counts.keys() - {"timbre_mlp"}, 17))
    monkeypatch.setattr(flags, "count_params", lambda config: counted.append(config.name) or 12_345)
    train.main(["--list"])
    shown = dict(re.findall(r"│ (\w+) +│ +([\d,]+) │", capsys.readouterr().out))
    assert counted == ["timbre_mlp"]
    assert shown == {name: "12,345" if name == "timbre_mlp" else "17" for name in counts}


def test_bad_command_line_is_one_line_of_a_process(tmp_path):
    """The real thing: no traceback, exit status 2, nothing made."""
    arguments = ("mumu_jax.train", "--config=audio_hi_4x70", f"--workdir={tmp_path / 'run'}")
    complain(*arguments, says=["audio_hi_4x70", "did you mean 'audio_high_4x70'", "--list"], cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config=nothing_like_it"], ["no experiment 'nothing_like_it'", "--list"]),
        ([], ["--config=NAME", "--list"]),
        ([NAMED, "--config.optim.learning_rat=1"], ["learning_rat'", "did you mean config.optim.learning_rate"]),
        ([NAMED, "--config.optm.learning_rate=1"], ["optm", "learning_rate"]),
        ([NAMED, "--config.optim.batch_size=many"], ["batch_size", "many"]),
        ([NAMED, "--config.optim.batch_size=0"], ["config.optim.batch_size is 0", "above 0"]),
        ([NAMED, "--config.model.kernel=5x5"], ["config.model.kernel='5x5'", "low_4x96"]),
        ([NAMED, "--dat_dir=x"], ["dat_dir"]),
        ([NAMED, "audio_low_4x70"], ["unexpected argument 'audio_low_4x70'"]),
        ([NAMED, "--data_dir=nowhere"], ["nowhere", "does not exist", "mumu_jax.prepare"]),
        ([NAMED, "--config.optim.batch_size=12"], ["config.optim.batch_size is 12", "8 devices", "multiple of 8"]),
        ([NAMED, "--config.audio.hop_length=512"], ["hop_length is 1024 there and 512 here"]),
    ],
)
def test_train_refuses(refuse, tmp_path, monkeypatch, small_data, arguments, says):
    monkeypatch.chdir(tmp_path)
    before = contents(small_data)
    data = [] if any("data_dir" in argument for argument in arguments) else [f"--data_dir={small_data}"]
    refuse(train, *arguments, *data, "--workdir=run", says=says)
    assert list(tmp_path.iterdir()) == []
    assert contents(small_data) == before


def test_mesh_wants_a_batch_that_the_devices_divide():
    with pytest.raises(UserError, match="batch_size is 12, which 8 devices do not divide"):
        devices.check_batch_sizes(devices.make_mesh(), optim=12)
    assert devices.make_mesh().size == 8


def test_train_refuses_workdir_that_is_a_file(refuse, small_data, tmp_path):
    (tmp_path / "run").write_text("mine")
    refuse(train, NAMED, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}", says=[str(tmp_path / "run")])
    assert (tmp_path / "run").read_text() == "mine"


def test_train_refuses_workdir_of_another_config_or_other_data(refuse, small_data, small_run, without_test):
    before = contents(small_run)
    workdir = f"--workdir={small_run}"
    refuse(
        train,
        *(*OF_SMALL_RUN, "--config.optim.learning_rate=0.5", f"--data_dir={small_data}", workdir),
        says=[str(small_run), "config.optim.learning_rate=0.001", "not 0.5", "another --workdir"],
    )
    refuse(
        train,
        *(*OF_SMALL_RUN, f"--data_dir={without_test}", workdir),
        says=[f"{without_test} is other data than {small_run} was trained on ({small_data})", "as --data_dir"],
    )
    assert contents(small_run) == before


def test_data_that_was_prepared_again_is_called_so_by_every_command(refuse, data_copy, run_copy, capsys):
    about = json.loads((run_copy / "config.json").read_text())
    about["data"] = {"dir": str(data_copy), "checksum": "0" * 64}
    (run_copy / "config.json").write_text(json.dumps(about))
    (run_copy / SEAL).unlink()
    says = f"{data_copy} was prepared again since {run_copy} was trained on it, and may mix its splits; "
    refuse(train, *OF_SMALL_RUN, f"--data_dir={data_copy}", f"--workdir={run_copy}", says=[says])
    refuse(evaluate, f"--workdir={run_copy}", says=[says, f"add --data_dir={data_copy}"])
    joined = f"--runs=audio={run_copy},text={run_copy}"
    refuse(train, "--config=fusion_at", joined, f"--workdir={run_copy}2", says=[says, "train it again"])
    evaluate.main([f"--workdir={run_copy}", f"--data_dir={data_copy}"])
    assert f"warning: {says.removesuffix('; ')}\n" in capsys.readouterr().err


def test_finished_run_is_left_alone(small_data, small_run, capsys):
    before = contents(small_run)
    assert train.main([*OF_SMALL_RUN, f"--data_dir={small_data}", f"--workdir={small_run}"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert contents(small_run) == before


# --- train: data --------------------------------------------------------------------------------------------


def test_unfinished_data_is_refused(refuse, data_copy, tmp_path):
    (data_copy / "audio" / "prepared.json").unlink()
    before = contents(data_copy)
    arguments = (NAMED, f"--data_dir={data_copy}", f"--workdir={tmp_path / 'run'}")
    refuse(train, *arguments, says=[str(data_copy / "audio"), "is not finished", "mumu_jax.prepare"])
    assert contents(data_copy) == before
    assert not (tmp_path / "run").exists()


def damage(data_dir: Path, split: str) -> Path:
    """Some bytes in the middle of a shard, where records are."""
    [shard] = (data_dir / "audio").glob(f"mumu-{split}.array_record*")
    content = bytearray(shard.read_bytes())
    for i in range(len(content) // 3, len(content) // 3 + 5000):
        content[i] ^= 0xFF
    shard.write_bytes(content)
    return shard


@pytest.mark.parametrize("how", ["damaged", "cut"])
def test_corrupt_shard_is_refused_before_training(refuse, data_copy, tmp_path, how):
    if how == "damaged":
        shard, says = damage(data_copy, "train"), ["checksum"]
    else:
        shard, says = next((data_copy / "audio").glob("mumu-test.array_record*")), ["bytes instead of"]
        shard.write_bytes(shard.read_bytes()[:-1000])
    before = contents(data_copy)
    arguments = (NAMED, f"--data_dir={data_copy}", f"--workdir={tmp_path / 'run'}")
    refuse(train, *arguments, says=[f"{shard} is damaged", *says, "mumu_jax.prepare"])
    assert contents(data_copy) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_corrupt_record_of_large_data_is_named_when_it_is_read(refuse, data_copy, run_copy, monkeypatch, command):
    """Above VERIFY_BYTES the checksums are not checked on opening; reading in threads finds the damage."""
    monkeypatch.setattr(records, "VERIFY_BYTES", 0)
    shard = damage(data_copy, "train" if command == "train" else "test")
    says = [f"{shard} is damaged: record", "mumu_jax.prepare"]
    if command == "train":
        refuse(train, NAMED, f"--data_dir={data_copy}", f"--workdir={run_copy.parent / 'new'}", says=says)
    else:
        before = contents(run_copy)
        refuse(evaluate, f"--data_dir={data_copy}", f"--workdir={run_copy}", says=says)
        assert contents(run_copy) == before


def test_split_without_audio_is_refused(refuse, tmp_path):
    data = prepare_tiny(tmp_path, "te")
    before = contents(data)
    arguments = (f"{NAMED}_logistic", f"--data_dir={data}", f"--workdir={tmp_path / 'run'}")
    refuse(train, *arguments, says=["split 'val'", str(data), "has no track", "prepare"])
    assert contents(data) == before
    assert not (tmp_path / "run").exists()


def test_without_a_test_split_the_final_evaluation_is_of_val(
    refuse, without_test, small_data, tmp_path, capsys, monkeypatch
):
    workdir = tmp_path / "run"
    small = ("--config.optim.max_epochs=1", "--config.album_optim.max_epochs=1", "--config.optim.batch_size=8")
    arguments = [f"{NAMED}_logistic", f"--data_dir={without_test}", f"--workdir={workdir}", *small]
    assert train.main(arguments) == 0
    assert "val split" in capsys.readouterr().out
    result = json.loads((workdir / "eval_val.json").read_text())
    assert result["album"]["n_items"] == 2
    assert not (workdir / "eval_test.json").exists()
    assert train.main(arguments) == 0
    assert "is finished" in capsys.readouterr().out

    before = contents(workdir)
    refuse(evaluate, f"--workdir={workdir}", says=["split 'test'", "has no track", "--split"])
    refuse(
        evaluate,
        *(f"--workdir={workdir}", f"--data_dir={small_data}"),
        says=[str(small_data), "24", str(workdir), "2", str(without_test)],
    )
    assert contents(workdir) == before

    run = load_run(workdir)
    run.seen[:] = False  # as where validation and training share no label
    result = evaluate.evaluate(run, records.open_prepared(without_test, run.config.audio), "val", tmp_path)
    evaluate.print_table(result, "label more albums")
    written = json.loads((tmp_path / "eval_val.json").read_text(), parse_constant=pytest.fail)
    assert written["album"]["roc_auc_macro"] is None
    assert "means over 0 of 2 labels" in capsys.readouterr().out

    monkeypatch.setattr(own_files, "map_in_order", lambda call, items, workers, on_death: map(call, items))
    tag.main([f"--workdir={workdir}", str(without_test.parent / "Noise0.wav")])
    [line] = [line for line in capsys.readouterr().out.splitlines() if "Noise0.wav: " in line]
    scores = [float(part.split()[-1]) for part in line.rpartition(": ")[2].split(", ")]
    assert len(scores) == 2
    assert all(0 < score < 1 for score in scores)  # a logistic network's are probabilities


def test_album_batch_size_is_checked_before_training(refuse, without_test, tmp_path):
    small = ("--config.optim.max_epochs=1", "--config.album_optim.batch_size=12")
    arguments = (f"{NAMED}_logistic", f"--data_dir={without_test}", f"--workdir={tmp_path / 'run'}", *small)
    refuse(train, *arguments, says=["config.album_optim.batch_size is 12", "multiple of 8"])
    assert not (tmp_path / "run").exists()


# --- which data ---------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What `train` would prepare and train, without doing it, in an empty current folder."""
    done = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUMU_DATA_DIR", raising=False)
    monkeypatch.setattr(train, "prepare", lambda *arguments: done.append(("prepare", *arguments)))
    monkeypatch.setattr(train, "train", lambda config, data, workdir, stop: done.append(("train", data, workdir)))
    return done


def test_without_data_it_says_loudly_that_it_takes_the_mini_dataset(calls, capsys):
    assert train.main([NAMED]) == 0
    mini = train.MINI_DATA_DIR
    assert calls == [("prepare", Job("synthetic", None, mini)), ("train", mini, Path("runs/audio_low_4x96"))]
    said = capsys.readouterr().err
    assert "***" in said
    assert "built-in mini dataset" in said
    assert str(mini) in said
    assert "--data_dir" in said


def test_data_dir_goes_before_the_environment_and_that_before_the_mini_dataset(calls, capsys, monkeypatch):
    monkeypatch.setenv("MUMU_DATA_DIR", "theirs")
    train.main([NAMED])
    train.main([NAMED, "--data_dir=mine", "--workdir=there"])
    assert calls == [("train", Path("theirs"), Path("runs/audio_low_4x96")), ("train", Path("mine"), Path("there"))]
    assert "mini" not in capsys.readouterr().err


# --- evaluate -----------------------------------------------------------------------------------------------


def check_against_sklearn(workdir: Path, data_dir: Path, split: str) -> None:
    """eval_<split>.json against the predictions, and those against the manifest."""
    result = json.loads((workdir / f"eval_{split}.json").read_text())
    found = np.load(workdir / f"predictions_{split}.npz")
    names, seen = found["label_names"].tolist(), load_run(workdir).seen
    albums = {album.album_id: album for album in read_manifest(data_dir / "manifest.jsonl") if album.split == split}
    of_track = {track.track_id: album for album in albums.values() for track in album.tracks}
    for level, known in (("track", of_track), ("album", albums)):
        ids, scores, labels = (found[f"{level}_{what}"] for what in ("ids", "scores", "labels"))
        assert sorted(ids) == sorted(known)
        for one, row in zip(ids, labels, strict=True):
            assert {names[i] for i in np.flatnonzero(row)} == set(known[one].genres)
        scored = seen & labels.any(axis=0) & ~labels.all(axis=0)
        scores64 = scores.astype(np.float64)
        expected = {
            "roc_auc_macro": roc_auc_score(labels[:, scored], scores64[:, scored], average="macro"),
            "pr_auc_macro": average_precision_score(labels[:, scored], scores64[:, scored], average="macro"),
            "n_items": len(ids),
            "n_labels": len(names),
            "n_labels_scored": scored.sum(),
        }
        order = np.argsort(-scores, axis=1, kind="stable")
        expected |= {f"coverage_at_{k}": len(set(order[:, :k].flat)) / len(names) for k in (1, 3, 5)}
        for key, value in expected.items():
            assert result[level][key] == pytest.approx(value, abs=1e-6), (level, key)


def test_evaluate_agrees_with_scikit_learn(run_copy, small_data):
    before = contents(run_copy)
    for name in ("eval_test.json", "predictions_test.npz"):
        (run_copy / name).unlink()
    done = succeed("mumu_jax.evaluate", f"--workdir={run_copy}")
    check_against_sklearn(run_copy, small_data, "test")
    result = json.loads((run_copy / "eval_test.json").read_text())
    for level in ("track", "album"):
        assert f"{result[level]['roc_auc_macro']:.3f}" in done.stdout
    assert str(run_copy / "eval_test.json") in done.stdout
    assert contents(run_copy) == before  # the same as `train` wrote, to the byte


def test_evaluate_another_split_on_eight_devices(run_copy, small_data, capsys):
    before = contents(run_copy)
    evaluate.main([f"--workdir={run_copy}", "--split=val", f"--data_dir={small_data}"])
    check_against_sklearn(run_copy, small_data, "val")
    assert "val split" in capsys.readouterr().out
    after = contents(run_copy)
    assert {path.name for path in after.keys() - before.keys()} == {"eval_val.json", "predictions_val.npz"}
    assert all(after[path] == content for path, content in before.items() if path.name != SEAL)


def test_evaluate_with_a_batch_that_these_devices_do_not_divide(run_copy, small_data):
    """A run that was trained on three devices, say, on a machine with eight."""
    assert len(jax.devices()) == 8
    run = load_run(run_copy)
    prepared = records.open_prepared(small_data, run.config.audio)
    expected = json.loads((run_copy / "eval_test.json").read_text())
    run.config.optim.batch_size = 15
    result = evaluate.evaluate(run, prepared, "test", run_copy)
    assert result["album"]["roc_auc_macro"] == pytest.approx(expected["album"]["roc_auc_macro"], abs=1e-3)


@pytest.mark.parametrize("command", [evaluate, tag])
def test_folder_that_is_no_run_is_refused(refuse, tmp_path, command):
    song = [tmp_path / "a.wav"] if command is tag else []
    refuse(command, *song, f"--workdir={tmp_path}", says=[f"{tmp_path} is not a run", "config.json", "--workdir"])
    refuse(command, *song, f"--workdir={tmp_path / 'no'}", says=["is not a run"])
    assert list(tmp_path.iterdir()) == []


def test_tag_command_says_that_a_folder_is_no_run(tmp_path):
    complain("mumu_jax.tag", f"--workdir={tmp_path}", "a.wav", says=[f"{tmp_path} is not a run"])


@pytest.mark.parametrize("command", [evaluate, tag])
@pytest.mark.parametrize("reached", ["nothing", "track"])
def test_unfinished_run_is_refused(refuse, run_copy, command, reached):
    for phase in ("album", "track")[: 1 if reached == "track" else 2]:
        shutil.rmtree(run_copy / phase)
    (run_copy / "eval_test.json").unlink()
    before = contents(run_copy)
    song = ["a.wav"] if command is tag else []
    missing = "album" if reached == "track" else "track"
    refuse(command, *song, f"--workdir={run_copy}", says=[str(run_copy), f"no trained {missing} network", "resumes"])
    assert contents(run_copy) == before


@pytest.mark.parametrize("command", [evaluate, tag])
def test_run_that_stopped_in_its_album_network_is_refused(refuse, run_copy, command):
    (run_copy / "eval_test.json").unlink()
    for path in (run_copy / "album").glob("*/progress/metadata"):
        path.write_text(path.read_text().replace('"finished": true', '"finished": false'))
    (run_copy / "album" / SEAL).unlink()
    song = ["a.wav"] if command is tag else []
    refuse(command, *song, f"--workdir={run_copy}", says=[str(run_copy), "album network"])
    assert not (run_copy / "eval_test.json").exists()


def test_labels_count_as_seen_only_where_training_has_audio(tmp_path, capsys):
    """A label whose only training album has lost its audio is warned of and left out of the macro means."""
    data = prepare_tiny(tmp_path, "ttve")
    albums = [a for a in read_manifest(data / "manifest.jsonl") if (a.split, *a.genres) != ("train", "Drone")]
    write_manifest(tmp_path / "albums.jsonl", [*albums, Album("lost", ("Drone", "Noise"), (), "train")])
    other = tmp_path / "other"
    arguments = ["--source=manifest", f"--input={tmp_path / 'albums.jsonl'}", f"--data_dir={other}", "--workers=1"]
    assert prepare.main(arguments) == 0
    prepared = open_prepared(other, AudioSettings())
    assert [label.name for label in prepared.labels] == ["Drone", "Noise"]
    constants, seen = fit_constants(load_config("audio_low_4x96_logistic"), prepared, other)
    assert seen.tolist() == [False, True]
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "warning: 1 of 2 labels (Drone) are on no training album with audio: no network can learn them"
    assert constants.fitted == {}


def test_what_is_said_of_labels_that_are_not_trained_on_is_true_of_the_target(tmp_path, capsys):  # 55
    """Cosine targets score them by the factors that albums of validation give."""
    data = prepare_tiny(tmp_path, "tvve")
    albums = read_manifest(data / "manifest.jsonl")
    unseen, nowhere = (next(a for a in albums if a.split == split) for split in ("val", "test"))
    more = {unseen.album_id: ("Unseen",), nowhere.album_id: ("Nowhere",)}
    albums = [replace(album, genres=album.genres + more.get(album.album_id, ())) for album in albums]
    write_manifest(tmp_path / "albums.jsonl", albums)
    arguments = [f"--input={tmp_path / 'albums.jsonl'}", f"--data_dir={tmp_path / 'other'}", "--workers=1"]
    assert prepare.main(["--source=manifest", *arguments]) == 0
    prepared = open_prepared(tmp_path / "other", AudioSettings())
    capsys.readouterr()
    expected = {
        "cosine": [
            "1 of 4 labels (Unseen) are on no training album with audio: they are scored by their factors alone, which "
            "the labels that they share albums with give",
            "1 of 4 labels (Nowhere) have no label factor: they score -1, and albums with no other label do not train",
        ],
        "logistic": ["2 of 4 labels (Nowhere, Unseen) are on no training album with audio: no network can learn them"],
    }
    for target, says in expected.items():
        fit_constants(load_config(f"audio_low_4x96_{target}"), prepared, tmp_path / "other")
        said = [line for line in capsys.readouterr().err.splitlines() if " labels (" in line]
        assert said == [f"warning: {line}" for line in says]
