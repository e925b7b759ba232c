"""The benchmarks: they run, on a bare machine where they promise it, keep what they measure, refuse make-believe."""

import importlib.util
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPOSITORY, complain, run_python, succeed

from benchmarks import __main__ as all_benchmarks
from benchmarks import h200_module, results, table, timing, train_step
from benchmarks.output import Output
from mumu_jax.config import Config
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError

QUICK = ("--repeats=1", "--seconds=0.01", "--no_save")

# Everything that jax, flax, optax and numpy do not bring.
BARE = """
import runpy, sys
HIDDEN = {"grain", "tensorflow_datasets", "array_record", "librosa", "soundfile", "soxr", "numba", "PIL", "sklearn",
          "ml_collections", "tensorboardX", "torch", "pandas"}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{name} is not on a bare machine", name=name)

sys.meta_path.insert(0, Hide())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""

# One row of the table on the terminal: what was measured, where, and how fast.
TRAIN_STEP_ROW = r"audio_low_4x96 +float32 +2 +synthetic +1 +[\d,]+ \([\d,]+–[\d,]+\) +[\d,.e+]+ +[\d,]+ +\d+% +–"


@pytest.mark.parametrize(
    ("module", "arguments", "row"),
    [
        ("train_step", ("--config=audio_low_4x96", "--batch_size=2"), TRAIN_STEP_ROW),
        ("metrics", (), r"roc_auc_macro +float32 +3147 +250 labels +1 +[\d,]+"),
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
    assert re.search(r"roc_auc_macro .* \d+\.\d\d \(\d+\.\d\d–\d+\.\d\d\)", done.stdout)


def test_covers():
    done = succeed("benchmarks.covers", "--sides=64", *QUICK)
    for mode in ("read_image", "prepare"):
        assert re.search(rf"JPEG 64 × 64 .* {mode} +1 +[\d,]+ \(.* \d+\.\d\d \(", done.stdout)


def test_loader():
    done = succeed("benchmarks.loader", "--tracks=40", "--batch_size=8", "--read_threads=1", *QUICK)
    for row in (r"fixed patches, 1 threads +– +8 +streaming", "random patches, 1 .* streaming", "fixed .* resident"):
        assert re.search(row + r" +1 +[\d,]+", done.stdout)


def test_end_to_end():
    done = succeed(
        "benchmarks.end_to_end",
        "--config=audio_low_4x96",
        "--batch_size=4",
        "--tracks=40",
        "--precision=bfloat16",
        *QUICK,
    )
    assert re.search(r"audio_low_4x96 +bfloat16 +4 +resident .* \d+\.\d% .* \d+\.\d\d \(", done.stdout)


@pytest.mark.parametrize("environment", [{}, {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}])
def test_simulated_devices_are_refused(environment):
    says = ["simulated ones are never measured"]
    complain("benchmarks.train_step", "--devices=1,2,4,8", says=["--devices=1,2,4,8", *says], **environment)
    if environment:
        complain("benchmarks.train_step", says=["on 8 CPU devices", *says], **environment)


def test_scaling_takes_each_batch_divided_and_on_each_device():
    arguments = SimpleNamespace(batch_size=[32], devices=[1, 2, 8])
    assert train_step.combinations(arguments, "audio_high_4x70") == [(32, 1), (32, 2), (32, 8), (64, 2), (256, 8)]


def test_a_combination_that_fails_does_not_lose_the_others(monkeypatch, capsys, tmp_path):
    def measure(name, *_):
        if name == "audio_high_4x96":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand how")
        return {"config": name, "precision": "float32", "batch_size": 32, "mode": "synthetic", "n_devices": 1}

    monkeypatch.setattr(train_step, "measure", measure)
    monkeypatch.setattr(train_step, "Peak", lambda *_: None)
    monkeypatch.setattr(train_step, "check_devices", lambda wanted: None)
    assert train_step.main(["--config=audio_high_4x96,audio_low_4x96", "--no_save"]) == 1
    shown = capsys.readouterr()
    assert "audio_high_4x96, float32, batch 32, 1 devices: RuntimeError: RESOURCE_EXHAUSTED: out of memory" in shown.err
    assert "audio_low_4x96" in shown.out


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


def test_sides_take_turns():
    calls = []
    found = timing.take_turns({"a": lambda: calls.append("a") or 2.0, "b": lambda: calls.append("b") or 1.0}, 3)
    assert calls == ["a", "b"] * 3
    assert timing.columns("ratio", timing.ratios(found["a"], found["b"])) == dict.fromkeys(
        ("ratio", "ratio_low", "ratio_high"), 2.0
    )
    assert timing.spread([1, 2, 3, 4, 5]) == (3, 2, 4)


def test_rows_are_appended_with_every_column(tmp_path, monkeypatch):
    for rate in (1.0, 2.0):
        results.append("train_step", {"config": "audio_low_4x96", "examples_per_s": rate, "extra": 1}, tmp_path)
    rows = results.read(tmp_path)
    assert [row["examples_per_s"] for row in rows] == [1.0, 2.0]
    assert all(row["extra"] == 1 and row["mfu"] is None and "jax" in row["versions"] for row in rows)
    assert list(rows[0])[: len(results.COLUMNS)] == list(results.COLUMNS)
    assert [row["examples_per_s"] for row in results.latest(rows)] == [2.0]
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.append("train_step", {"examples_per_s": np.nan}, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert results.commit() is None


def test_a_row_on_the_terminal(capsys):
    Output("train_step", save=False).add({"config": "audio_low_4x96", "mode": "synthetic", "mfu": 0.5})
    title, _, row = capsys.readouterr().out.splitlines()
    assert title.startswith("train_step on ")
    assert row.split() == ["audio_low_4x96", *"––", "synthetic", *"––––", "50%", *"––––––"]


# A loop of two kernels, one of which became a convolution with a giant window, and a copy behind it.
MODULE = """
%body (p: (f32[2,3], bf16[4])) -> (f32[2,3], bf16[4]) {
  %p = (f32[2,3]{1,0}, bf16[4]{0}) parameter(0)
  %a = f32[2,3]{1,0} get-tuple-element(%p), index=0
  %w = (f32[2,3]{1,0}, u8[999]{0}) custom-call(%a, %a), window={size=319x27}, custom_call_target="__cudnn$convForward"
  %k = (f32[2,3]{1,0}, u8[999]{0}) custom-call(%a, %a), window={size=4x6}, custom_call_target="__cudnn$convForward"
}

ENTRY %main.1 (x: f32[2,3]) -> f32[2,3] {
  %x = f32[2,3]{1,0} parameter(0)
  %loop = (f32[2,3]{1,0}, bf16[4]{0}) while(%x), condition=%cond, body=%body
  ROOT %copy = f32[2,3]{1,0} copy(%x)
}
"""


def test_what_a_compiled_module_says():
    computations = h200_module.parse_module(MODULE)
    kernels = list(h200_module.kernels_of(computations, "ENTRY"))
    assert h200_module.step_of(computations) == kernels[:2]
    assert [(one.opcode, n_bytes) for one, n_bytes in kernels] == [
        ("custom-call", 48),
        ("custom-call", 48),
        ("copy", 48),
    ]
    assert ["319x27" in line for line in h200_module.giant_windows(computations)] == [True]


def test_step_compiled_for_an_h200():
    """No weight gradient is a convolution with a giant window; HIGH-4x70 moves half of a plain network's 86 MB."""
    if not any(_is_installed(f"jax_plugins.xla_cuda{version}") for version in (12, 13)):
        pytest.skip("no CUDA plugin for JAX is installed")
    arguments = ("--config=audio_high_4x70", "--precision=bfloat16", "--batch_size=256", "--no_save")
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    done = succeed("benchmarks.h200_module", *arguments, JAX_PLATFORMS="cpu", PYTHONPATH=path)
    found = re.search(r"audio_high_4x70 +bfloat16 +256 +(\d+) +([\d.]+) +(\d+)", done.stdout)
    assert found
    assert int(found[1]) < 100
    assert float(found[2]) < 43
    assert int(found[3]) == 0


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


# What issue and README promise of a row.
MADE_UP = {
    **{"config": "audio_high_4x70", "precision": "bfloat16", "batch_size": 32, "mode": "synthetic", "n_devices": 1},
    **{"device": "NVIDIA H200", "examples_per_s": 1e5, "examples_per_s_low": 9e4, "examples_per_s_high": 1.1e5},
    **{"epoch_s": 1.17836, "mfu": 0.4, "peak_bytes": 3e9, "compile_s": 12.0, "peer_examples_per_s": 2e4},
    **{"ratio": 5.0, "ratio_low": 4.5, "ratio_high": 5.5, "input_wait_fraction": 0.0},
}


def test_whole_table(tmp_path):
    arguments = ("--albums=30", "--rows=timbre_mlp", "--preset=smoke", "--no_save", f"--folder={tmp_path}")
    done = succeed("benchmarks.whole_table", *arguments)
    assert re.search(r"timbre_mlp +smoke +1 +0 +\d+ +0\.\d", done.stdout)
    rows = [{"device": "a CPU", "albums": 30, "mode": "smoke", "n_runs": 1, "n_epochs": 5, "seconds": 90.0}]
    rendered = table.render([results.make_row("whole_table", row) for row in rows])
    assert "| a CPU | 30 | smoke | 1 | 5 | 1.5 |" in rendered
    assert "| NVIDIA H200 | 31,471 | paper | – | – | not measured |" in rendered
    for modality in ("audio", "timbre", "text", "image"):
        prepared = open_prepared(tmp_path / "data", getattr(Config(), modality))
        assert [len(prepared.split(split)) > 0 for split in ("train", "val", "test")] == [True] * 3


def test_table():
    rows = [results.make_row("train_step", {**MADE_UP, "examples_per_s": 1.0}), results.make_row("train_step", MADE_UP)]
    rows.append(results.make_row("train_step", {**MADE_UP, "n_devices": 8, "batch_size": 256, "examples_per_s": 6e5}))
    rendered = table.render(rows)
    assert (
        "| NVIDIA H200 | HIGH-4x70 | bfloat16 | 32 | 100,000 (90,000–110,000) | 1.18 | 590 | 40% | 3,000 MB | 12.0 s "
        "| 20,000 | **5.00** (4.50–5.50) |"
    ) in rendered
    assert "| 8 × NVIDIA H200 | HIGH-4x70 | bfloat16 | 256 | 600,000 (90,000–110,000) | – | 75% |" in rendered
    training, _, others = rendered.partition("**Training step of the text network")
    assert "not measured" not in training
    assert "| NVIDIA H200 | image_resnet101 | bfloat16 | 32 | not measured | – | 4,009 |" in others


def test_table_of_images():
    row = {**MADE_UP, "config": "image_resnet101", "examples_per_s": 3.456, "epoch_s": 7284.0}
    rendered = table.render([results.make_row("train_step", row)])
    audio, _, images = rendered.partition("**Training step of image networks")
    assert "image_resnet101" not in audio
    assert "| NVIDIA H200 | image_resnet101 | bfloat16 | 32 | 3.46 (" in images
    assert "not measured" not in images.partition("**All of Table 2")[0]


def test_what_was_not_measured_says_so():
    row = results.make_row("train_step", {**MADE_UP, "device": "some CPU"})
    assert "| NVIDIA H200 | HIGH-4x70 | bfloat16 | 32 | not measured | – | 590 |" in table.render([row])


def test_table_goes_between_its_markers():
    text = "before\n<!-- of -->\nold\n<!-- /of -->\nafter\n"
    once = table.insert(text, "of", "new")
    assert once == "before\n<!-- of -->\nnew\n<!-- /of -->\nafter\n"
    assert table.insert(once, "of", "new") == once
    with pytest.raises(UserError, match="README"):
        table.insert("no markers", "of", "new")


def test_readme_shows_the_committed_figures():
    text = table.README.read_text(encoding="utf-8")
    assert table.renewed(text) == text, "run python -m benchmarks.table --write"


def test_committed_rows_are_whole():
    for row in results.read():
        assert set(results.COLUMNS) <= set(row), json.dumps(row)[:200]
        assert row["device"], row["benchmark"]
