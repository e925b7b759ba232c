"""Tests of the benchmarks: they run, on a bare machine if they promise it, and keep only rows that can be repeated."""

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bare import BARE
from conftest import complain, run_python, succeed

from benchmarks import __main__ as all_benchmarks
from benchmarks import (
    few_songs,
    harm,
    options,
    prepare,
    promises,
    results,
    reviews,
    table,
    timing,
    train_step,
)
from benchmarks.benchmark import Benchmark
from mumu_jax.config import Config
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.system import version

QUICK = ("--repeats=1", "--seconds=0.01", "--no_save")

# One row of the table on the terminal: what was measured, where, and how fast.
RATE = r"[\d,.]+ \([\d,.]+–[\d,.]+\)"
TRAIN_STEP_ROW = rf"audio_low_4x96 +float32 +2 +{RATE} +[\d,.]+ +135 +\d+% +[\d,.]+ +[\d.]+ +– +–"
TEXT_STEP_ROW = rf"text_vsm +float32 +2 +{RATE} +[\d,.]+ +11 +[\d,.]+ +{RATE} +– +–"


@pytest.mark.full
@pytest.mark.parametrize(
    ("module", "arguments", "row"),
    [
        ("train_step", ("--config=audio_low_4x96", "--batch_size=2"), TRAIN_STEP_ROW),
        (
            "text_step",
            ("--config=text_vsm", "--batch_size=2"),
            rf"text_vsm +float32 +2 +{RATE} +[\d,.]+ +11 +[\d,.]+ +{RATE}",
        ),
        (
            "encoder_step",
            ("--config=bert_4x256", "--batch_size=2"),
            rf"bert_4x256 +float32 +2 +frozen +{RATE} +[\d,.]+ +\d+% +[\d,.]+ +[\d.]+ +– +–",
        ),
        (
            "formulations",
            ("--config=audio_low_4x96", "--batch_size=2"),
            r"2 +319x96x1 4x96x1x64 4x1 float32 +conv0 quartered_im2col +2 +[\d.]+ +[\d.]+ +(chosen, )?fixed +–",
        ),
        ("metrics", (), rf"roc_auc_macro +float32 +3,147 +250 labels +{RATE}"),
    ],
)
def test_on_a_bare_machine(module, arguments, row):
    done = run_python("-c", BARE, f"benchmarks.{module}", *arguments, *QUICK)
    assert done.returncode == 0, done.stderr
    assert re.search(row, done.stdout)


def test_peer_that_is_not_installed():
    done = run_python("-c", BARE, "benchmarks.train_step", "--peer=torch")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --peer=torch needs PyTorch, which is not installed; pip install torch"


def test_metrics_beside_scikit_learn():
    done = succeed("benchmarks.metrics", *QUICK)
    assert re.search(rf"roc_auc_macro .* {RATE} +[\d,.]+ +{RATE} +(macro|by label), order [CF]", done.stdout)


def test_covers():
    done = succeed("benchmarks.covers", "--sides=64", *QUICK)
    for mode in ("read_image", "prepare"):
        assert re.search(rf"JPEG 64 × 64 +{mode} +{RATE} +[\d,.]+ +{RATE}", done.stdout)


@pytest.mark.full
def test_preparing_on_one_core_beside_librosa(tmp_path):
    rows = timing.alone(prepare.rows_of_one_core, [prepare.make_preview(tmp_path, 0)], 1)
    assert [row["mode"] for row in rows] == [*prepare.PARTS]
    assert all(row["peer"] == "librosa" and row["ratio"] > 0 for row in rows)


def test_loader():
    done = succeed("benchmarks.loader", "--tracks=40", "--batch_size=8", "--read_threads=1", *QUICK)
    for row in ("fixed patches, 1 threads +streaming", "random patches, 1 .* streaming", "fixed .* resident"):
        assert re.search(row + rf" +8 +{RATE} +[\d,.]+", done.stdout)


@pytest.mark.full
def test_end_to_end():
    done = succeed(
        "benchmarks.end_to_end",
        "--config=audio_low_4x96",
        "--batch_size=4",
        "--tracks=40",
        "--precision=bfloat16",
        *QUICK,
    )
    assert re.search(rf"audio_low_4x96 +bfloat16 +4 +resident +{RATE} +{RATE} +\d+\.\d%", done.stdout)


@pytest.mark.slow
def test_promises():
    """Each harm once, and all of it is survived."""
    done = run_python("-m", "benchmarks.promises", "--tries=1", "--no_save", timeout=3600)
    assert done.returncode in (0, 1), done.stderr
    rows = re.findall(
        r"(flipped bytes|odd files|kills|full disks) +(.+?) +([\d,]+) +([\d,]+) +[\d.]+$", done.stdout, re.M
    )
    assert [row[:2] for row in rows] == [(kind, name) for kind, (_, *names) in promises.HARM.items() for name in names]
    assert [row for row in rows if row[2] != row[3]] == [], done.stdout
    assert all(int(tries.replace(",", "")) > 0 for *_, tries, _ in rows), done.stdout


def test_odd_files_have_the_names_and_contents_that_were_asked_for(tmp_path):
    for name, content in (("a.flac", b"sound" * 99), ("b.jpg", b"picture" * 99)):
        (tmp_path / name).write_bytes(content)
    folder = tmp_path / "odd"
    folder.mkdir()
    n = 5 * len(harm.NAMES)
    harm.write_odd_files(folder, sorted(tmp_path.glob("*.*")), ".flac", n, np.random.default_rng(0))
    contents = {os.fsencode(path.name): path.read_bytes() for path in folder.iterdir()}
    assert contents.keys() == {b"%s %d.flac" % (harm.NAMES[i % len(harm.NAMES)], i) for i in range(n)}
    assert contents[b"plain 0.flac"] == b"sound" * 99
    assert {b"", b"picture" * 99} < {*contents.values()}
    assert len({*contents.values()}) > 20


def test_a_flipped_byte_is_put_back(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    flipped = [path.read_bytes() for _ in harm.flips(tmp_path, 20, seed=0)]
    assert b"abc" not in flipped
    assert {sum(a != b for a, b in zip(one, b"abc", strict=True)) for one in flipped} == {1}
    assert path.read_bytes() == b"abc"


def _tries(kind: str, name: str, n: int, survivors: int, **more) -> dict:
    row = {"config": kind, "mode": name, "tries": n, "survivors": survivors, "device": "CPU", **more}
    return results.make_row("promises", row)


def test_promises_have_the_newest_tries_of_all_commands():
    old, new = _tries("kills", "train", 9, 7), _tries("kills", "train", 10, 10)
    rows = [old, new, _tries("kills", "tag", 1_000, 999), _tries("odd files", "tag", 7, 7)]
    rendered = table.promises(rows)
    assert "the same bytes | kills | 1,010 | 1,009 | `tests/test_resume.py`" in rendered
    assert "of its shape | odd files | 7 | 7 |" in rendered
    assert "| one new song costs one decode | – | – | – | `tests/test_store.py` |" in rendered
    assert {kind for _, kind, _ in table.PROMISES if kind} == {*promises.HARM}


@pytest.mark.parametrize("environment", [{}, {"JAX_NUM_CPU_DEVICES": "8"}])
def test_simulated_devices_are_refused(environment):
    says = ["simulated ones are never measured"]
    complain("benchmarks.train_step", "--devices=1,2,4,8", says=["--devices=1,2,4,8", *says], **environment)
    if environment:
        complain("benchmarks.train_step", says=["on 8 CPU devices", *says], **environment)


def test_scaling_takes_each_batch_divided_and_on_each_device():
    assert train_step.combinations([32], [1, 2, 8]) == [(32, 1), (32, 2), (32, 8), (64, 2), (256, 8)]


def test_a_combination_that_fails_does_not_lose_the_others(monkeypatch, capsys, tmp_path):
    def measure(config, **_):
        if config == "audio_high_4x96":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand how")
        return {"examples_per_s": 12.5}

    monkeypatch.setattr(train_step, "measure", measure)
    monkeypatch.setattr(train_step, "fastest_product", lambda *_: None)
    monkeypatch.setattr(options, "check_devices", lambda wanted: None)
    assert train_step.main(["--config=audio_high_4x96,audio_low_4x96", "--no_save"]) == 1
    shown = capsys.readouterr()
    case = "config audio_high_4x96, precision float32, batch_size 32, n_devices 1"
    assert f"error: {case}: RuntimeError: RESOURCE_EXHAUSTED: out of memory" in shown.err
    assert re.search(r"audio_low_4x96 +float32 +32 +12\.5", shown.out)


def test_all_of_them_run_whatever_becomes_of_one(monkeypatch, capsys):
    ran = []

    def run(command):
        ran.append(command[1:])
        return SimpleNamespace(returncode=2 if "benchmarks.train_step" in command else 0)

    monkeypatch.setattr(all_benchmarks.subprocess, "run", run)
    assert all_benchmarks.main(["--no_save", "--peer=torch"]) == 1
    assert [command[1] for command in ran] == [f"benchmarks.{name}" for name in all_benchmarks.BENCHMARKS]
    assert [len(command) for command in ran] == [4 if "_step" in command[1] else 3 for command in ran]
    assert "train_step: failed (status 2)" in capsys.readouterr().out


def refuse_changes(monkeypatch) -> list[str]:
    """Make the checkout look changed, and fail if anything is measured; return the message's fragments."""
    monkeypatch.setattr(results, "changed_files", lambda: ["mumu_jax/train.py", "a", "b", "configs/audio.py"])
    for module in (train_step, reviews):
        monkeypatch.setattr(module, "measure", lambda *_, **__: pytest.fail("it measures"))
    monkeypatch.setattr(all_benchmarks, "subprocess", SimpleNamespace(run=lambda *_: pytest.fail("it measures")))
    return ["mumu_jax/train.py, a, b and 1 more", "commit them first", "--no_save"]


@pytest.mark.parametrize("benchmark", [train_step, reviews, all_benchmarks], ids=lambda module: module.__name__)
def test_a_row_from_a_changed_tree_is_refused_before_measuring(benchmark, monkeypatch):
    fragments = refuse_changes(monkeypatch)
    monkeypatch.setattr(train_step, "fastest_product", lambda *_: pytest.fail("it measures"))
    monkeypatch.setattr(options, "check_devices", lambda wanted: None)
    with pytest.raises(UserError) as refused:
        benchmark.main([])
    for fragment in fragments:
        assert fragment in str(refused.value)


def test_rows_of_a_changed_tree_are_printed_without_saving(monkeypatch, capsys):
    refuse_changes(monkeypatch)
    benchmark = Benchmark("train_step", doc=None)
    benchmark.start(["--no_save"])
    benchmark.add({"config": "audio_low_4x96"})
    assert "audio_low_4x96" in capsys.readouterr().out


def test_sides_take_turns():
    calls = []
    rates = timing.take_turns({"a": lambda: calls.append("a") or 2.0, "b": lambda: calls.append("b") or 1.0}, 3)
    assert calls == ["a", "b"] * 3
    figures = timing.figures(rates["a"], rates["b"])
    rows = ("examples_per_s", "examples_per_s_low", "examples_per_s_high", "ratio", "ratio_low", "ratio_high")
    assert figures == {**dict.fromkeys(rows, 2.0), "peer_examples_per_s": 1.0}
    assert "ratio" not in timing.figures(rates["a"])
    assert timing.columns("s", [1, 2, 3, 4, 5]) == {"s": 3, "s_low": 2, "s_high": 4}


def test_rows_are_appended_with_every_column(tmp_path, monkeypatch):
    for rate in (1.0, 2.0):
        row = {"config": "audio_low_4x96", "examples_per_s": rate, "extra": 1}
        results.append(results.make_row("train_step", row), tmp_path)
    rows = results.read(tmp_path)
    assert [row["examples_per_s"] for row in rows] == [1.0, 2.0]
    assert all(row["extra"] == 1 and row["mfu"] is None and "jax" in row["versions"] for row in rows)
    assert list(rows[0])[: len(results.COLUMNS)] == list(results.COLUMNS)
    assert [row["examples_per_s"] for row in results.latest(rows)] == [2.0]
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.append(results.make_row("train_step", {"examples_per_s": np.nan}), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert results.commit() is None
    results.check_committed()  # nothing is known to have changed


def test_changed_files_of_a_checkout(tmp_path, monkeypatch):
    """Code counts, new files too; results of benchmarks and other files do not."""
    for name in ("mumu_jax/system/version.py", "benchmarks/results/a.jsonl", "benchmarks/README.md", "tests/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(version, "__file__", str(tmp_path / "mumu_jax/system/version.py"))
    assert version.changed_files() is None
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "all")):
        subprocess.run([*git, *command], check=True)
    for name in ("benchmarks/results/a.jsonl", "benchmarks/README.md", "tests/a.py"):
        (tmp_path / name).write_text("changed")
    assert version.changed_files() == []
    clean = version.commit()
    (tmp_path / "mumu_jax/system/version.py").write_text("changed")
    (tmp_path / "benchmarks/new one.py").touch()
    assert version.changed_files() == ["mumu_jax/system/version.py", "benchmarks/new one.py"]
    assert version.commit() == f"{clean}+dirty"


def test_a_row_on_the_terminal(capsys):
    benchmark = Benchmark("train_step", doc=None)
    benchmark.start(["--no_save"], device="CPU", batch_size=1024)
    benchmark.add({"config": "audio_low_4x96", "n_devices": 8, "mfu": 0.5, "versions": {"jax": "0.12.0.1"}})
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split()[:6] == ["device", "JAX", "config", "precision", "batch", "examples/s"]
    assert row.split() == ["8", "×", "CPU", "0.12", "audio_low_4x96", "–", "1,024", *"––", "135", "50%", *"–––––"]


# A row as it might be measured.
MADE_UP = {
    "versions": {"jax": "0.12.0.1"},
    "config": "audio_high_4x70",
    "precision": "bfloat16",
    "batch_size": 32,
    "mode": "synthetic",
    "n_devices": 1,
    "device": "NVIDIA H200",
    "examples_per_s": 1e5,
    "examples_per_s_low": 9e4,
    "examples_per_s_high": 1.1e5,
    "epoch_s": 1.17836,
    "mfu": 0.4,
    "input_wait_fraction": 0.0,
    "peak_bytes": 3e9,
    "compile_s": 12.0,
    "peer_examples_per_s": 2e4,
    "ratio": 5.0,
    "ratio_low": 4.5,
    "ratio_high": 5.5,
    "commit": "abc1234",
}


@pytest.mark.full
def test_whole_table(tmp_path):
    arguments = ("--albums=30", "--rows=timbre_mlp", "--preset=smoke", "--no_save", f"--folder={tmp_path}")
    done = succeed("benchmarks.whole_table", *arguments)
    assert re.search(r"timbre_mlp +smoke +30 +1 +0 +\d+ +\d+\.\d", done.stdout)
    row = {"device": "a CPU", "config": "*", "mode": "smoke", "albums": 30, "n_runs": 1, "n_failed": 0, "n_epochs": 5}
    rendered = table.render([results.make_row("whole_table", {**row, "seconds": 90.0, "commit": "abc1234"})])
    assert "| a CPU | * | smoke | 30 | 1 | 0 | 5 | 1.50 |" in rendered
    assert "| NVIDIA H200 | – | paper | 31,471 | – | – | – | not measured |" in rendered
    for modality in ("audio", "timbre", "text", "image"):
        prepared = open_prepared(tmp_path / "data", getattr(Config(), modality))
        assert [len(prepared.split(split)) > 0 for split in ("train", "val", "test")] == [True] * 3


def test_rounds_of_few_songs_test_each_clip_once(tmp_path):
    files = [Path(f"{i}.wav") for i in range(7)]
    rounds = [few_songs._splits(files, 2, k) for k in range(3)]
    assert [split for _, split in rounds[2]] == ["test", "test", "val", "train", "train"]
    assert [file.name for file, _ in rounds[2]] == ["4.wav", "5.wav", "6.wav", "0.wav", "1.wav"]
    tested = [file for one in rounds for file, split in one if split == "test"]
    assert len(tested) == len({*tested}) == 6
    for genre, n in (("blues", 5), ("rock", 4)):
        (tmp_path / genre).mkdir()
        for i in range(n):
            (tmp_path / genre / f"{i}.wav").touch()
    assert {genre: len(clips) for genre, clips in few_songs._clips(tmp_path, 1).items()} == {"blues": 5, "rock": 4}
    with pytest.raises(UserError, match=r"with 5 clips or more; too few are in: rock 4; give fewer with --train"):
        few_songs._clips(tmp_path, 2)


def test_scores_of_few_songs():
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    truth = np.array(["blues", "rock", "rock", "rock"])
    found = few_songs._scores(scores, truth, np.array(["blues", "rock"]))
    assert found == {"accuracy": 0.75, "roc_auc": 1.0, "n_items": 4}
    row = {"device": "a CPU", "config": "audio_musicnn", "accuracy": 0.5, "roc_auc": 0.8, "n_items": 4}
    rows = [results.make_row("few_songs", {**row, "mode": mode}) for mode in ("10", "2")]
    rows.append(results.make_row("few_songs", {**row, "mode": "2", "config": "other", "accuracy": 0.25}))
    assert table.few_songs(rows).splitlines() == [
        "| clips a genre to train on | 2 | 10 |",
        "| --- | ---: | ---: |",
        "| audio_musicnn | 0.50 (0.800) | 0.50 (0.800) |",
        "| other | 0.25 (0.800) | – |",
    ]


def test_table():
    rows = [results.make_row("train_step", {**MADE_UP, "examples_per_s": 1.0}), results.make_row("train_step", MADE_UP)]
    rows.append(results.make_row("train_step", {**MADE_UP, "n_devices": 8, "batch_size": 256, "examples_per_s": 6e5}))
    rendered = table.render(rows)
    assert (
        "| NVIDIA H200 | 0.12 | audio_high_4x70 | bfloat16 | 32 | 100,000 (90,000–110,000) | 1.18 | 590 | 40% | 3,000 "
        "| 12.0 | 20,000 | 5.00 (4.50–5.50) |"
    ) in rendered
    cells = "audio_high_4x70 | bfloat16 | 256 | 600,000 (90,000–110,000) | – | 75%"
    assert f"| 8 × NVIDIA H200 | 0.12 | {cells} |" in rendered
    training, _, others = rendered.partition("### Training step of tagging networks")
    assert "not measured" not in training
    assert "| NVIDIA H200 | – | image_resnet101 | bfloat16 | 32 | not measured | – | 4,009 |" in others


def test_table_of_images():
    row = {**MADE_UP, "config": "image_resnet101", "examples_per_s": 3.456, "epoch_s": 7284.0}
    rendered = table.render([results.make_row("train_step", row)])
    audio, _, images = rendered.partition("### Training step of image networks")
    assert "image_resnet101" not in audio
    assert "| NVIDIA H200 | 0.12 | image_resnet101 | bfloat16 | 32 | 3.46 (" in images
    assert "not measured" not in images.partition("### All of Table 2")[0]


def test_what_was_not_measured_says_so():
    row = results.make_row("train_step", {**MADE_UP, "device": "some CPU"})
    assert "| NVIDIA H200 | – | audio_high_4x70 | bfloat16 | 32 | not measured | – | 590 |" in table.render([row])


def test_a_row_from_a_changed_tree_is_marked():
    clean, changed = MADE_UP, {**MADE_UP, "batch_size": 256, "commit": "abc1234+dirty"}
    rendered = table.render([results.make_row("train_step", row) for row in (clean, changed)])
    assert "| NVIDIA H200 | 0.12 | audio_high_4x70 | bfloat16 | 32 |" in rendered
    assert "| NVIDIA H200 † | 0.12 | audio_high_4x70 | bfloat16 | 256 |" in rendered
    assert rendered.count(table.NOTE) == 1


def test_table_goes_between_its_markers():
    text = "before\n<!-- of -->\nold\n<!-- /of -->\nafter\n"
    once = table.insert(text, "of", "new", table.README)
    assert once == "before\n<!-- of -->\nnew\n<!-- /of -->\nafter\n"
    assert table.insert(once, "of", "new", table.README) == once
    with pytest.raises(UserError, match="README"):
        table.insert("no markers", "of", "new", table.README)


@pytest.mark.parametrize("path", [table.README, table.BENCHMARKS, table.CODE], ids=["top", "benchmarks", "code"])
def test_readmes_show_the_committed_figures(path):
    assert table.renewed(path) == path.read_text(encoding="utf-8"), "run python -m benchmarks.table --write"


def test_the_summary_has_four_rows_of_speed_and_four_of_table_2():
    block = table.all_blocks()[table.README]["results"]
    speed, scores = (part for part in block.split("\n\n") if part.startswith("|"))
    assert len(speed.splitlines()) == len(scores.splitlines()) == 2 + 4
    for name in ("audio_high_4x70", "text_vsm", "image_resnet101", "prepare"):
        assert f"| {name}" in speed
    assert "NVIDIA H200" in block


def test_every_benchmark_is_listed_with_its_command():
    listed = re.findall(r"^\* `python -m (benchmarks[.\w]*)`: \w", table.commands(), re.MULTILINE)
    commands = [path.stem for path in table.HERE.glob("*.py") if "run_command(main)" in path.read_text()]
    assert sorted(listed) == sorted("benchmarks" if stem == "__main__" else f"benchmarks.{stem}" for stem in commands)
    assert {f"benchmarks.{name}" for name in all_benchmarks.BENCHMARKS} <= set(listed)


def test_committed_rows_are_whole():
    for row in results.read():
        assert set(results.COLUMNS) <= set(row), json.dumps(row)[:200]
        assert row["device"], row["benchmark"]
