"""One byte of what we wrote is changed by a disk or a copy: found wherever it matters, in one line, never silent."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.harm import check_run, flips, is_refused
from mumu_jax import evaluate, export, prepare, report, tag, train
from mumu_jax.config import AudioSettings, Config
from mumu_jax.data.store.records import SEALED, open_prepared
from mumu_jax.errors import UserError
from mumu_jax.runs.exported import open_export
from mumu_jax.runs.folder import load_run
from mumu_jax.system.seals import SEAL, check_seal, damaged, seal, unseal
from mumu_jax.training.checkpoint import Checkpoints

N_FLIPS = 5000


# --- the list -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.json").write_text("1")
    (tmp_path / "deep" / "er" / "b").write_text("2")
    (tmp_path / "user's own").write_text("3")
    seal(tmp_path, "a.json", "deep", "not there")
    return tmp_path


def test_what_is_recorded_is_checked_and_nothing_else(folder):
    check_seal(folder, "restore it")
    (folder / "user's own").write_text("4")
    check_seal(folder, "restore it")
    (folder / "deep" / "er" / "b").write_text("3")
    with pytest.raises(UserError, match=r"er/b is damaged: it is not what was written .*; restore it"):
        check_seal(folder, "restore it")
    check_seal(folder, "restore it", "a.json")
    assert list(damaged(folder, "deep")) == ["deep/er/b"]


def test_files_that_are_gone_or_about_to_change_are_forgotten(folder):
    unseal(folder, "a.json")
    (folder / "a.json").write_text("2")
    check_seal(folder, "restore it")
    (folder / "deep" / "er" / "b").unlink()
    check_seal(folder, "restore it")  # its reader says that it is missing
    seal(folder)
    assert json.loads((folder / SEAL).read_text())["files"] == {}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"files": {"a.json": "0"}, "sha256": "0"}'])
def test_a_damaged_list_is_named(folder, content):
    (folder / SEAL).write_text(content)
    with pytest.raises(UserError, match=rf"{SEAL} is damaged .*; restore it, or remove it to go on unchecked"):
        check_seal(folder, "restore it")


# --- everything that is written -----------------------------------------------------------------------------


@pytest.mark.full
def test_no_flipped_byte_is_silent(small_data, small_run, small_runs, small_fusion, tmp_path, capsys):  # 16a, 30d
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    text = Path(shutil.copytree(small_runs["text"], tmp_path / "text"))
    fusion = Path(shutil.copytree(small_fusion, tmp_path / "fusion"))
    data = Path(shutil.copytree(small_data / "audio", tmp_path / "data" / "audio")).parent
    export.main([f"--workdir={run}", f"--out={tmp_path / 'model'}"])

    readers = {
        "run": (run, lambda: check_run(run)),
        "text run": (text, lambda: check_run(text)),
        "fusion": (fusion, lambda: check_run(fusion)),
        "prepared data": (data, lambda: open_prepared(data, AudioSettings(), verify=True)),
        "export": (tmp_path / "model", lambda: open_export(tmp_path / "model")),
    }
    figures = {}
    for seed, (name, (folder, read)) in enumerate(readers.items()):
        assert not is_refused(read)
        n = N_FLIPS // len(readers)
        silent = [path for path in flips(folder, n, seed) if not is_refused(read)]
        figures[name] = (n, len(silent))
        assert not silent, f"{len(silent)} of {n} in {name}, the first in {silent[0]}"
        assert not is_refused(read)
    with capsys.disabled():
        print(f"\nflipped bytes (tries, silent): {figures}")


@pytest.mark.parametrize("name", ["eval_test.json", "predictions_test.npz", "metrics.jsonl"])
def test_damaged_results_are_reported_and_can_be_made_again(name, small_run, tmp_path):  # 30d
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    data = bytearray((run / name).read_bytes())
    data[len(data) // 2] ^= 1
    (run / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is damaged: .*; restore it, or remove it; .*evaluate scores the run"):
        report.main([f"--workdir={run}"])
    if name != "metrics.jsonl":
        evaluate.main([f"--workdir={run}"])
        report.main([f"--workdir={run}"])


@pytest.mark.parametrize("name", ["config.json", "labels.json", "constants.npz", "calibration.npz"])
def test_every_command_refuses_a_run_with_a_flipped_byte(name, small_data, small_run, tmp_path):  # 16a
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    data = bytearray((run / name).read_bytes())
    data[len(data) // 2] ^= 1
    (run / name).write_bytes(data)
    again = ("--config=audio_low_4x96", "--config.optim.max_epochs=8", "--config.album_optim.max_epochs=20")
    commands = {
        evaluate: [],
        tag: ["song.wav"],
        report: [],
        export: [f"--out={tmp_path / 'model'}"],
        train: [*again, f"--data_dir={small_data}"],
    }
    for command, arguments in commands.items():
        with pytest.raises(UserError, match=rf"{name} is damaged: it is not what was written .*; restore it, or"):
            command.main([f"--workdir={run}", *arguments])


def test_a_new_run_in_a_folder_with_an_old_list(small_run, small_data, tmp_path):
    run = tmp_path / "run"
    arguments = ["--config=timbre_mlp", "--config.optim.max_epochs=1", "--config.album_optim.max_epochs=1"]
    for seed in (0, 1):
        train.main([*arguments, f"--config.seed={seed}", f"--data_dir={small_data}", f"--workdir={run}"])
        assert load_run(run).config.seed == seed
        (run / "config.json").unlink()
        (run / "eval_test.json").unlink()
        for phase in ("track", "album"):
            shutil.rmtree(run / phase)


@pytest.mark.parametrize("name", [*SEALED, SEAL])
def test_prepare_replaces_what_is_damaged(name, small_data, tmp_path):
    data = Path(shutil.copytree(small_data, tmp_path / "data"))
    (path, *_) = sorted((data / "timbre" / name).rglob("*")) or [data / "timbre" / name]
    if not path.exists():
        pytest.skip(f"timbre has no {name}")
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    arguments = [f"--input={data / 'manifest.jsonl'}", f"--data_dir={data}", "--modalities=timbre", "--workers=1"]
    prepare.main(["--source=manifest", *arguments])
    assert path.read_bytes() == before
    open_prepared(data, Config().timbre)


def test_a_damaged_checkpoint_is_not_restored(small_run, tmp_path):  # 16a
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    last = max((path for path in (run / "album").iterdir() if path.is_dir()), key=lambda path: int(path.name))
    files = [path for path in last.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with pytest.raises(UserError, match=rf"album/{last.name}/.* is damaged: it is not what was written"):
        load_run(run)


def test_the_last_checkpoint_of_a_killed_process_is_taken_as_it_is(tmp_path, small_run):
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    (run / "album" / SEAL).unlink()
    load_run(run)
    checkpoints = Checkpoints(run / "album")
    checkpoints.close()
    assert json.loads((run / "album" / SEAL).read_text())["files"]
