"""Table 2 in one command: its plan, its runs, its files."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, complain, succeed

from mumu_jax import reproduce
from mumu_jax.config import flatten
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config, load_experiments
from mumu_jax.reports import presets
from mumu_jax.reports.plan import make_plan, table_rows
from mumu_jax.reports.table2 import Row, read_result, read_table, run_folder, write_table
from mumu_jax.reports.table2_text import COLUMNS, as_markdown, cells, finding
from mumu_jax.system.signals import EXIT_INTERRUPTED, Interrupted

SPEC = REPOSITORY.parent / "shared" / "spec" / "oramas2017.md"


def plan(data_dir: Path, rows: str = "*", seeds: int = 1, preset: str = "smoke"):
    return make_plan(data_dir, rows, preset, seeds, "")


# --- the plan -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SPEC.exists(), reason="../shared is not here")
def test_rows_are_those_of_the_paper_in_its_order():
    printed = re.findall(
        r"^\| [A-Z +()]+ \| (LOGISTIC|COSINE) \| (.+?) \| .*\*?\*?(0\.\d{3})\*?\*? \| 0", SPEC.read_text(), re.M
    )
    rows = [row for row in table_rows() if row != "image_resnet101_cosine"]
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
    (data / "text" / "prepared.json").write_text(json.dumps(described))
    found = plan(data)
    assert "linked entity" in found.impossible["text_vsm_sem_cosine"]
    assert found.sources["text"] == "text_vsm_cosine"
    assert "left out: fusion_ti_cosine: the data has no image" in str(found)
    with pytest.raises(UserError, match="there is no prepared data in"):
        plan(tmp_path / "nothing")


def test_presets_change_what_they_say(small_data):
    found = plan(small_data)
    for row in found.rows:
        named, run = flatten(load_config(row)), flatten(found.config(row, 3))
        changed = {name: run[name] for name in run if run[name] != named[name] and name != "seed"}
        assert changed == presets.changes("smoke", load_config(row))
        assert run["seed"] == 3
        said = presets.describe("smoke", load_config(row))
        assert all(name in said for name in changed)
    assert "optim.max_epochs 100 → 20 (÷ 5)" in presets.describe("smoke", load_config("audio_low_3x3"))
    paper = plan(small_data, preset="paper")
    assert paper.config("audio_high_4x70_cosine", 0) == load_config("audio_high_4x70_cosine")


# --- the table ----------------------------------------------------------------------------------------------

ROWS = [
    Row("text_vsm", "cosine", 24_780_850, 0.5, 0.9, 0.01, 0.5, 0.6, 0.7, 5, "", "", "25M", 11, 0.901, 0.53, 0.44, 0.9),
    Row("fusion_at", "cosine", 320_000, None, 0.93, None, 0.5, 0.6, 0.7, 1, "optim.max_epochs 100 → 20 (÷ 5)"),
    Row("image_resnet101", "cosine", note="no 'image', \"so\"\n to say"),
]


def test_table_survives_its_file(tmp_path):
    write_table(tmp_path / "table2.csv", ROWS)
    assert read_table(tmp_path / "table2.csv") == ROWS
    with (tmp_path / "table2.csv").open(newline="") as file:
        assert next(csv.reader(file))[:6] == ["row", "target", "params", "epoch_s", "roc_auc_mean", "roc_auc_sd"]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table"):
        read_table(tmp_path / "other.csv")


def test_text_says_all_there_is():
    assert cells(ROWS[0])[:9] == ["text_vsm", "cosine", "24.78M", "25M", "0.5", "11", "5", "0.900 ± 0.010", "0.901"]
    assert all(len(cells(row)) == len(COLUMNS) for row in ROWS)
    assert "text_vsm cosine (0.900), best fusion fusion_at cosine (0.930)" in finding(ROWS)[0]
    assert finding(ROWS[:1]) == []
    lines = as_markdown(ROWS).splitlines()
    assert len({line.count("|") for line in lines[2:7]}) == 1
    assert "* fusion_at: optim.max_epochs 100 → 20 (÷ 5)" in lines


# --- the runs -----------------------------------------------------------------------------------------------


class FakeTraining:
    """Stands for `train` and `keep_features`: leaves what a finished run leaves, or fails as told."""

    def __init__(self, monkeypatch) -> None:
        self.done: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.joined: dict[str, dict] = {}
        self.auc: dict[str, float | None] = {}  # that is not as below
        self.split: dict[str, str] = {}  # that the final evaluation is of
        monkeypatch.setattr(reproduce, "train", self.train)
        monkeypatch.setattr(reproduce, "keep_features", self.keep_features)
        monkeypatch.setattr(reproduce, "check_network", lambda config: None)

    def keep_features(self, config, runs, data_dir, workdir, watch):
        assert all((run / "eval_test.json").exists() for run in runs.values())
        self.joined[config.name] = runs

    def train(self, config, data_dir, workdir, stop):
        if config.name in self.fails:
            raise self.fails[config.name]
        print(f"training {config.name}")
        self.done.append(f"{config.name} {config.seed}")
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "perf.jsonl").write_text('{"phase": "album", "perf/epoch_s": 2.0}\n')
        (workdir / "config.json").write_text('{"params": 1000, "data": {"checksum": "d"}}')
        auc = {"text_vsm_sem_cosine": 0.8, "fusion_ati_cosine": 0.9}.get(config.name, 0.7) + config.seed / 100
        album = {"roc_auc_macro": self.auc.get(config.name, auc), **{f"coverage_at_{k}": 0.5 for k in (1, 3, 5)}}
        found = {"album": album, "data": {"checksum": "d"}}
        (workdir / f"eval_{self.split.get(config.name, 'test')}.json").write_text(json.dumps(found))


@pytest.fixture
def training(monkeypatch) -> FakeTraining:
    return FakeTraining(monkeypatch)


def call(data_dir: Path, workdir: Path, *more: str) -> int:
    return reproduce.main([f"--data_dir={data_dir}", f"--workdir={workdir}", "--preset=smoke", *more])


def test_whole_table(training, small_data, tmp_path, capsys):
    assert call(small_data, tmp_path / "W", "--seeds=2") == 0
    assert len(training.done) == 54
    rows = read_table(tmp_path / "W" / "table2.csv")
    assert [f"{row.row}_{row.target}" for row in rows] == table_rows()
    fused = next(row for row in rows if (row.row, row.target) == ("fusion_ati", "cosine"))
    assert fused.roc_auc_mean == pytest.approx(0.905)
    assert fused.roc_auc_sd == pytest.approx(0.00707, abs=1e-5)
    assert (fused.params, fused.epoch_s, fused.seeds, fused.paper_roc_auc) == (1000, 2.0, 2, 0.931)
    expected = {name: run_folder(tmp_path / "W", f"{row}", 1) for name, row in plan(small_data).sources.items()}
    assert training.joined["fusion_ati_cosine"] == expected
    said = capsys.readouterr().out
    assert "54/54" in said
    assert "best fusion fusion_ati cosine (0.905)" in said
    assert "training audio_low_3x3_cosine" in (tmp_path / "W" / "logs" / "audio_low_3x3_cosine_seed1.log").read_text()


def test_failed_row_does_not_stop_the_others_and_is_tried_again(training, small_data, tmp_path, capsys):
    training.fails = {"text_vsm_sem_cosine": ValueError("broken\nin two lines"), "timbre_mlp_logistic": UserError("no")}
    assert call(small_data, tmp_path / "W", "--seeds=1") == 1
    found = {f"{row.row}_{row.target}": row for row in read_table(tmp_path / "W" / "table2.csv")}
    assert found["text_vsm_sem_cosine"].note == "seed 0 failed: ValueError: broken"
    assert "text_vsm_sem_cosine/seed0, which failed" in found["fusion_at_cosine"].note
    assert found["fusion_ai_cosine"].roc_auc_mean == pytest.approx(0.7)
    said = capsys.readouterr()
    assert "timbre_mlp_logistic, seed 0: failed: no" in said.out
    assert "failed: timbre_mlp_logistic, seed 0: see " in said.err
    assert "Traceback" in (tmp_path / "W" / "logs" / "text_vsm_sem_cosine_seed0.log").read_text()
    training.fails, training.done = {}, []
    assert call(small_data, tmp_path / "W", "--seeds=1") == 0
    again = {"timbre_mlp_logistic", "text_vsm_sem_cosine"}
    again |= {f"fusion_{of}_{target}" for of in ("at", "ti", "ati") for target in ("logistic", "cosine")}
    assert sorted(training.done) == sorted(f"{name} 0" for name in again)
    assert all(not row.note for row in read_table(tmp_path / "W" / "table2.csv"))


def test_interrupted_table_goes_on(training, small_data, tmp_path, capsys):
    training.fails = {"text_vsm_cosine": Interrupted("SIGTERM")}
    assert call(small_data, tmp_path / "W", "--rows=t*", "--seeds=1") == EXIT_INTERRUPTED
    assert "the same command goes on from here" in capsys.readouterr().err
    assert training.done == ["timbre_mlp_logistic 0", "text_vsm_logistic 0", "text_vsm_sem_logistic 0"]
    training.fails = {}
    assert call(small_data, tmp_path / "W", "--rows=t*", "--seeds=1") == 0
    assert len(training.done) == len(set(training.done)) == 5


def test_row_without_a_result_fails_alone(training, small_data, tmp_path):
    """No album of the test split has all modalities; no label has a positive and a negative there."""
    training.split["text_vsm_cosine"], training.auc["text_vsm_logistic"] = "val", None
    assert call(small_data, tmp_path / "W", "--rows=text_*,timbre_mlp", "--seeds=1") == 1
    found = {f"{row.row}_{row.target}": row for row in read_table(tmp_path / "W" / "table2.csv")}
    assert "there is no result of the data's own test albums" in found["text_vsm_cosine"].note
    assert (found["text_vsm_logistic"].roc_auc_mean, found["text_vsm_logistic"].seeds) == (None, 1)
    assert found["timbre_mlp_logistic"].roc_auc_mean == pytest.approx(0.7)
    training.done = []
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0
    assert training.done == []
    found = {f"{row.row}_{row.target}": row for row in read_table(tmp_path / "W" / "table2.csv")}
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
    assert all("from random weights" in row.cuts for row in read_table(tmp_path / "W" / "table2.csv"))


def test_trains_for_real_and_goes_on(small_data, tmp_path, capsys):
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=1") == 0
    assert "1/1  timbre_mlp_logistic, seed 0: album AUC 0." in capsys.readouterr().out
    assert call(small_data, tmp_path / "W", "--rows=timbre_mlp", "--seeds=2") == 0
    said = capsys.readouterr().out
    assert "1 of 2 runs are finished already" in said
    assert "2 runs took " in said
    [row] = read_table(tmp_path / "W" / "table2.csv")
    assert row.seeds == 2
    assert row.epoch_s is not None
    assert "96 albums (60 train, 12 val, 24 test)" in (tmp_path / "W" / "report.html").read_text()


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
    auc = {f"{row.row}_{row.target}": row.roc_auc_mean for row in read_table(workdir / "table2.csv")}
    assert len(auc) == 27
    assert all(value is not None and value > 0.55 for value in auc.values())
    fused = max(value for name, value in auc.items() if value and name.startswith("fusion"))
    assert fused > max(value for name, value in auc.items() if value and not name.startswith("fusion"))
