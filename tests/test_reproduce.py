"""Tests of Table 2 in one command: its plan, its runs and their processes, its files."""

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import REPOSITORY, complain, succeed

from mumu_jax import reproduce
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config, load_experiments
from mumu_jax.fields import flatten
from mumu_jax.reports.tables.output import as_markdown, read_table, write_table
from mumu_jax.reports.tables.plan import describe_changes, make_plan
from mumu_jax.reports.tables.results import read_failures, read_result, run_folder
from mumu_jax.reports.tables.table2 import COLUMNS, NOT_IN_PAPER, TABLE2, Row, finding, table_rows
from mumu_jax.runs.flags import parse_flags
from mumu_jax.system.seals import SEAL
from mumu_jax.system.signals import EXIT_INTERRUPTED

pytestmark = pytest.mark.full

FAKE = Path(__file__).with_name("fake_train.py")
SPEC = REPOSITORY.parent / "shared" / "spec" / "oramas2017.md"


def plan(data_dir: Path, rows: str = "*", seeds: int = 1, preset: str = "smoke"):
    return make_plan(TABLE2, data_dir, rows, preset, seeds, "")


# --- the plan -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SPEC.exists(), reason="../shared is not here")
def test_rows_are_those_of_the_paper_in_its_order():
    printed = re.findall(
        r"^\| [A-Z +()]+ \| (LOGISTIC|COSINE) \| (.+?) \| .*\*?\*?(0\.\d{3})\*?\*? \| 0", SPEC.read_text(), re.M
    )
    rows = [row for row in table_rows() if row not in NOT_IN_PAPER]
    assert len(printed) == len(rows) == 26
    for (target, settings, auc), row in zip(printed, rows, strict=True):
        assert row.endswith(f"_{target.lower()}")
        name = settings.lower().replace("-", "_").replace("+", "_")
        assert settings in ("MLP", "RESNET") or name in row
        paper = load_experiments()[row].paper
        assert paper is not None
        assert f"{paper.roc_auc:.3f}" == auc


def test_sources_come_before_the_fusions_that_join_them(small_data):
    order = plan(small_data).runs
    assert len(order) == 27
    assert order.index(("text_vsm_sem_cosine", 0)) < order.index(("fusion_at_logistic", 0))
    of_one = plan(small_data, "fusion_ti", seeds=2)
    assert of_one.runs == [
        (row, seed)
        for seed in (0, 1)
        for row in ("text_vsm_sem_cosine", "image_resnet101_logistic", "fusion_ti_logistic", "fusion_ti_cosine")
    ]
    assert of_one.added == ["text_vsm_sem_cosine", "image_resnet101_logistic"]
    assert "8 runs on 96 albums (60 train, 12 val, 24 test)" in str(of_one)
    assert plan(small_data, "text_vsm_cosine,timbre*").rows == ["timbre_mlp_logistic", "text_vsm_cosine"]


def test_unknown_rows_are_refused(small_data):
    with pytest.raises(UserError, match="did you mean 'audio_low_4x96_cosine'"):
        plan(small_data, "audio_lo_4x96_cosine")


def test_what_the_data_does_not_allow_is_left_out(small_data, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("manifest.jsonl", "labels.json", "audio", "timbre", "text"):
        (data / name).symlink_to(small_data / name)
    found = plan(data)
    assert {row.split("_")[0] for row, _ in found.runs} == {"timbre", "audio", "text", "fusion"}
    assert "fusion_at_cosine" not in found.impossible
    assert "image" in found.impossible["fusion_ti_cosine"]
    (data / "text").unlink()
    described = json.loads((small_data / "text" / "prepared.json").read_text())
    described["splits"]["train"]["linked"] = 0
    (data / "text").mkdir()
    for file in (small_data / "text").iterdir():
        (data / "text" / file.name).symlink_to(file)
    (data / "text" / "prepared.json").unlink()
    (data / "text" / SEAL).unlink()
    (data / "text" / "prepared.json").write_text(json.dumps(described))
    found = plan(data)
    assert "linked entity" in found.impossible["text_vsm_sem_cosine"]
    assert found.jobs["fusion_ati_cosine"].joins["text"] == "text_vsm_cosine"
    assert "fusion_ti_cosine, fusion_ati_cosine: the data has no image" in str(found)
    assert "prepare again with mel among its --modalities" in found.impossible["audio_musicnn_mtt_logistic"]
    with pytest.raises(UserError, match="there is no prepared data in"):
        plan(tmp_path / "nothing")


def test_a_row_that_the_paper_does_not_have_is_labelled_and_stops_no_other(training, small_data, tmp_path, monkeypatch):
    """Mel spectrograms of other settings than its network's, or no published weights."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    shutil.copytree(small_data, data, copy_function=os.symlink)
    described = json.loads((small_data / "audio" / "prepared.json").read_text())
    (data / "mel").mkdir()
    (data / "mel" / "prepared.json").write_text(json.dumps(described))
    found = plan(data)
    assert len(found.runs) == 27
    why = found.impossible["audio_musicnn_mtt_logistic"]
    assert str(data / "mel") in why
    assert "there is no models/musicnn_mtt.safetensors (bash scripts/pretrained makes those of songs" in why
    call(data, tmp_path / "W", "--rows=audio_musicnn_mtt,timbre_mlp")
    row = next(row for row in read_table(TABLE2, tmp_path / "W" / "table2.csv") if row.row == "audio_musicnn_mtt")
    assert row.note == f"{NOT_IN_PAPER['audio_musicnn_mtt_logistic']}; {why}"


def test_presets_change_what_they_say(small_data):
    found = plan(small_data)
    for row in found.rows:
        named, run = flatten(load_config(row)), flatten(found.config(row, 3))
        changed = {name: run[name] for name in run if run[name] != named[name] and name != "seed"}
        assert changed == TABLE2.changes("smoke", row)
        assert run["seed"] == 3
        described = describe_changes(TABLE2, "smoke", row)
        assert all(name in described for name in changed)
    assert "optim.max_epochs 100 → 20 (÷ 5)" in describe_changes(TABLE2, "smoke", "audio_low_3x3")
    paper = plan(small_data, preset="paper")
    assert paper.config("audio_high_4x70_cosine", 0) == load_config("audio_high_4x70_cosine")


# --- the table ----------------------------------------------------------------------------------------------

ROWS = [
    Row("text_vsm", "cosine", 24_780_850, 0.5, 0.9, 0.01, 0.5, 0.6, 0.7, 5, "", "", "25M", 11, 0.901, 0.53, 0.44, 0.9),
    Row("fusion_at", "cosine", 320_000, None, 0.93, None, 0.5, 0.6, 0.7, 1, "optim.max_epochs 100 → 20 (÷ 5)"),
    Row("image_resnet101", "cosine", note="no 'image', \"so\"\n to say"),
]


def test_table_survives_its_file(tmp_path):
    write_table(TABLE2, tmp_path / "table2.csv", ROWS)
    assert read_table(TABLE2, tmp_path / "table2.csv") == ROWS
    with (tmp_path / "table2.csv").open(newline="") as file:
        assert next(csv.reader(file))[:6] == ["row", "target", "params", "epoch_s", "roc_auc_mean", "roc_auc_sd"]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table"):
        read_table(TABLE2, tmp_path / "other.csv")


def test_text_says_all_there_is():
    assert TABLE2.cells(ROWS[0])[:9] == [
        "text_vsm",
        "cosine",
        "24.78M",
        "25M",
        "0.5",
        "11",
        "5",
        "0.900 ± 0.010",
        "0.901",
    ]
    assert all(len(TABLE2.cells(row)) == len(COLUMNS) for row in ROWS)
    assert "text_vsm cosine (0.900), best fusion fusion_at cosine (0.930)" in finding(ROWS)[0]
    assert finding(ROWS[:1]) == []
    lines = as_markdown(TABLE2, ROWS).splitlines()
    assert len({line.count("|") for line in lines[2:7]}) == 1
    assert "* fusion_at: optim.max_epochs 100 → 20 (÷ 5)" in lines


# --- the runs -----------------------------------------------------------------------------------------------


class FakeTraining:
    """Processes of rows that run tests/fake_train.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = (sys.executable, "-I", str(FAKE), str(folder))

    def tell(self, **told: dict[str, Any]) -> None:
        """Say how rows behave: how some fail (`fails`), their `auc`, and the `split` of their final evaluation."""
        (self.folder / "told.json").write_text(json.dumps({"fails": {}, "auc": {}, "split": {}, **told}))
        (self.folder / "done").write_text("")

    @property
    def done(self) -> list[str]:
        """Rows and seeds that were trained since the last `tell`."""
        return (self.folder / "done").read_text().splitlines()

    @property
    def commands(self) -> list[list[str]]:
        """The flags of every call so far."""
        return [json.loads(line) for line in (self.folder / "commands.jsonl").read_text().splitlines()]


@pytest.fixture
def training(monkeypatch, tmp_path_factory) -> FakeTraining:
    fake = FakeTraining(tmp_path_factory.mktemp("fake"))
    fake.tell()
    monkeypatch.setitem(reproduce.COMMANDS, "train", fake.command)
    return fake


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def call(data_dir: Path, workdir: Path, *more: str) -> int:
    return reproduce.main([f"--data_dir={data_dir}", f"--workdir={workdir}", "--preset=smoke", *more])


def test_whole_table(training, small_data, tmp_path, capsys):
    planned = plan(small_data, seeds=2)
    assert call(small_data, tmp_path / "W", "--seeds=2") == 0
    assert len(training.done) == 54
    rows = read_table(TABLE2, tmp_path / "W" / "table2.csv")
    assert [f"{row.row}_{row.target}" for row in rows] == table_rows()
    fused = next(row for row in rows if (row.row, row.target) == ("fusion_ati", "cosine"))
    assert fused.roc_auc_mean == pytest.approx(0.905)
    assert fused.roc_auc_sd == pytest.approx(0.00707, abs=1e-5)
    assert (fused.params, fused.epoch_s, fused.seeds, fused.paper_roc_auc) == (1000, 2.0, 2, 0.931)
    parsed = [parse_flags(flags) for flags in training.commands]
    assert [flags.config for flags in parsed] == [planned.config(*run) for run in planned.runs]
    assert {flags.data_dir for flags in parsed} == {str(small_data)}
    joined = {flags.workdir: flags.runs for flags in parsed}
    joins = planned.jobs["fusion_ati_cosine"].joins
    expected = {name: run_folder(tmp_path / "W", row, 1) for name, row in joins.items()}
    assert joined[str(tmp_path / "W" / "fusion_ati_cosine" / "seed1")] == expected
    assert joined[str(tmp_path / "W" / "text_vsm_cosine" / "seed1")] is None
    said = capsys.readouterr().out
    assert "54/54" in said
    assert "best fusion fusion_ati cosine (0.905)" in said
    assert "training audio_low_3x3_cosine" in (tmp_path / "W" / "logs" / "audio_low_3x3_cosine_seed1.log").read_text()


def test_failed_row_does_not_stop_the_others_and_is_tried_again(training, small_data, tmp_path, capsys):
    fails = {"text_vsm_sem_cosine": "bug", "timbre_mlp_logistic": "user error", "text_vsm_cosine": "out of memory"}
    training.tell(fails=fails)
    assert call(small_data, tmp_path / "W", "--seeds=1") == 1
    rows = {f"{row.row}_{row.target}": row for row in read_table(TABLE2, tmp_path / "W" / "table2.csv")}
    assert rows["text_vsm_sem_cosine"].note == "seed 0 failed: ValueError: broken"
    assert rows["text_vsm_cosine"].note == "seed 0 failed: its process was killed by SIGKILL, as for lack of memory"
    assert "text_vsm_sem_cosine/seed0, which failed" in rows["fusion_at_cosine"].note
    assert rows["fusion_ai_cosine"].roc_auc_mean == pytest.approx(0.7)
    printed = capsys.readouterr()
    assert "timbre_mlp_logistic, seed 0: failed: no" in printed.out
    assert "failed: timbre_mlp_logistic, seed 0: no (see " in printed.err
    assert "failed: text_vsm_cosine, seed 0: its process was killed by SIGKILL" in printed.err
    logs = tmp_path / "W" / "logs"
    assert "Traceback" in (logs / "text_vsm_sem_cosine_seed0.log").read_text()
    assert (logs / "text_vsm_cosine_seed0.log").read_text() == "training text_vsm_cosine\n"
    training.tell()
    assert call(small_data, tmp_path / "W", "--seeds=1") == 0
    again = {*fails, *(f"fusion_{of}_{target}" for of in ("at", "ti", "ati") for target in ("logistic", "cosine"))}
    assert sorted(training.done) == sorted(f"{name} 0" for name in again)
    rows = read_table(TABLE2, tmp_path / "W" / "table2.csv")
    assert all(not row.note for row in rows if f"{row.row}_{row.target}" not in NOT_IN_PAPER)
    assert (logs / "text_vsm_cosine_seed0.log").read_text() == 2 * "training text_vsm_cosine\n"


def test_interrupted_table_goes_on(training, small_data, tmp_path, capsys):
    """A signal reaches the row's process, which ends as it does after saving; no other row is begun."""
    training.tell(fails={"text_vsm_cosine": "signal"})
    assert call(small_data, tmp_path / "W", "--rows=t*", "--seeds=1") == EXIT_INTERRUPTED
    assert capsys.readouterr().err.splitlines()[-1] == "SIGTERM; the same command goes on from here"
    assert training.done == ["timbre_mlp_logistic 0", "text_vsm_logistic 0", "text_vsm_sem_logistic 0"]
    assert read_failures(tmp_path / "W") == {("text_vsm_cosine", 0): "interrupted"}
    training.tell()
    assert call(small_data, tmp_path / "W", "--rows=t*", "--seeds=1") == 0
    assert training.done == ["text_vsm_cosine 0", "text_vsm_sem_cosine 0"]


def test_a_row_outlives_a_killed_table_and_keeps_its_lock(training, small_data, tmp_path):
    training.tell(fails={"timbre_mlp_logistic": "sleep"})
    arguments = [f"--data_dir={small_data}", f"--workdir={tmp_path / 'W'}", "--preset=smoke", "--rows=timbre_mlp"]
    code = (
        f"from mumu_jax import reproduce; reproduce.COMMANDS['train'] = {training.command}; reproduce.main({arguments})"
    )
    table = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    log = tmp_path / "W" / "logs" / "timbre_mlp_logistic_seed0.log"
    wait_for(lambda: log.exists() and "training" in log.read_text())
    [row] = psutil.Process(table.pid).children()
    table.kill()
    table.wait()
    with pytest.raises(UserError, match="another process is reproducing the table in"):
        call(small_data, tmp_path / "W", "--rows=timbre_mlp")
    row.kill()
    training.tell()
    wait_for(lambda: not row.is_running())
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0


def test_row_without_a_result_fails_alone(training, small_data, tmp_path):
    """No album of the test split has all modalities; no label has a positive and a negative there."""
    training.tell(split={"text_vsm_cosine": "val"}, auc={"text_vsm_logistic": None})
    assert call(small_data, tmp_path / "W", "--rows=text_*,timbre_mlp", "--seeds=1") == 1
    found = {f"{row.row}_{row.target}": row for row in read_table(TABLE2, tmp_path / "W" / "table2.csv")}
    assert "there is no result of the data's own test albums" in found["text_vsm_cosine"].note
    assert (found["text_vsm_logistic"].roc_auc_mean, found["text_vsm_logistic"].seeds) == (None, 1)
    assert found["timbre_mlp_logistic"].roc_auc_mean == pytest.approx(0.7)
    training.tell()
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0
    assert training.done == []
    found = {f"{row.row}_{row.target}": row for row in read_table(TABLE2, tmp_path / "W" / "table2.csv")}
    assert "there is no result" in found["text_vsm_cosine"].note  # of rows that were not asked for now


def test_scores_of_other_data_are_not_taken(training, small_data, tmp_path):
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0
    path = run_folder(tmp_path / "W", "timbre_mlp_logistic", 0) / "eval_test.json"
    path.write_text(path.read_text().replace('"checksum": "d"', '"checksum": "other"'))
    assert read_result(path.parent) is None


def test_folder_of_another_table_is_refused(training, small_data, tmp_path, monkeypatch):
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0
    with pytest.raises(UserError, match="--preset=smoke, not paper"):
        call(small_data, tmp_path / "W", "--preset=paper")
    changed = dataclasses.replace(plan(small_data, "timbre_mlp"), checksums={"timbre": "another"})
    monkeypatch.setattr(reproduce, "make_plan", lambda *arguments: changed)
    with pytest.raises(UserError, match=r"the timbre of .* has changed"):
        call(small_data, tmp_path / "W")


def test_folder_of_a_run_is_refused(training, small_data, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="the folder of a single run"):
        call(small_data, tmp_path)


def test_weights_that_do_not_fit_are_told_before_anything_is_done(training, small_data, tmp_path):
    with pytest.raises(UserError, match=r"nothing\.safetensors"):
        call(small_data, tmp_path / "W", f"--image_weights={tmp_path / 'nothing.safetensors'}")
    assert call(small_data, tmp_path / "W", "--rows=image_*", "--seeds=1") == 0
    assert all("from random weights" in row.cuts for row in read_table(TABLE2, tmp_path / "W" / "table2.csv"))


def test_trains_for_real_and_goes_on(small_data, tmp_path, capsys):
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0
    assert "1/1  timbre_mlp_logistic, seed 0: album AUC 0." in capsys.readouterr().out
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=2") == 0
    said = capsys.readouterr().out
    assert "1 of 2 runs are finished already" in said
    assert "2 runs took " in said
    [row] = read_table(TABLE2, tmp_path / "W" / "table2.csv")
    assert row.seeds == 2
    assert row.epoch_s is not None
    assert "96 albums (60 train, 12 val, 24 test)" in (tmp_path / "W" / "report.html").read_text()


def test_a_stopped_table_has_saved_its_row(small_data, tmp_path):
    """Stopping a service or a job signals all its processes: the row's gets a second signal, and still saves."""
    arguments = [f"--data_dir={small_data}", f"--workdir={tmp_path / 'W'}", "--rows=audio_low_4x96_cosine"]
    table = subprocess.Popen(
        [sys.executable, "-m", "mumu_jax.reproduce", *arguments, "--seeds=1"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    )
    run = run_folder(tmp_path / "W", "audio_low_4x96_cosine", 0)
    wait_for(lambda: "val/loss" in "".join(file.read_text() for file in run.glob("metrics.jsonl")))
    for process in (table, *psutil.Process(table.pid).children()):
        process.send_signal(signal.SIGTERM)
    _, said = table.communicate(timeout=120)
    assert table.returncode == EXIT_INTERRUPTED
    assert "SIGTERM; the same command goes on from here" in said
    log = (tmp_path / "W" / "logs" / "audio_low_4x96_cosine_seed0.log").read_text()
    assert re.search(r"SIGTERM: track network saved at step \d+; the same command goes on from here\n$", log)
    assert not (run / "eval_test.json").exists()


def test_command_says_what_it_wants(small_data, tmp_path):
    where = (f"--data_dir={small_data}", f"--workdir={tmp_path / 'W'}")
    complain("mumu_jax.reproduce", *where, "--rows=nothing", says=["--rows", "'nothing'"])


@pytest.mark.slow
def test_smoke_table_of_the_mini_dataset(tmp_path):
    """The best fusion is better than the best of one modality, and everything is better than chance."""
    data, workdir = tmp_path / "mini", tmp_path / "W"
    succeed("mumu_jax.prepare", "--source=synthetic", f"--data_dir={data}")
    where = (f"--data_dir={data}", f"--workdir={workdir}")
    succeed("mumu_jax.reproduce", *where, "--preset=smoke", "--seeds=1", timeout=3600)
    auc = {f"{row.row}_{row.target}": row.roc_auc_mean for row in read_table(TABLE2, workdir / "table2.csv")}
    assert len(auc) == 27
    assert all(value is not None and value > 0.55 for value in auc.values())
    fused = max(value for name, value in auc.items() if value and name.startswith("fusion"))
    assert fused > max(value for name, value in auc.items() if value and not name.startswith("fusion"))
