"""Tests of the command for a bare accelerator machine: its minutes, its processes, its rows and its tables."""

import json
import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from bare import BARE
from conftest import REPOSITORY, run_python

from benchmarks import device, device_process, device_table, kernel_times, options, resident_epoch, results
from benchmarks.device import Session, Task
from benchmarks.device_process import Died, Process
from benchmarks.device_table import Prediction
from benchmarks.made_up_batches import Problem
from benchmarks.other_formulations import alternatives, formulated
from mumu_jax.compute.network import Network
from mumu_jax.data.loader import Schedule
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.kernels.backend import traced_for
from mumu_jax.system.processor import processor

KEEP = Namespace(out=None, no_save=False, commit="abc1234")
H200 = {"device": "NVIDIA H200", "rehearsal": False}


# --- a bare machine ---------------------------------------------------------------------------------------------


def answers(*cases) -> list[dict]:
    """What a worker on a bare machine says about itself and answers to the cases."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    done = subprocess.run(
        [sys.executable, "-c", BARE, "benchmarks.device_worker"],
        input="".join(json.dumps(case) + "\n" for case in cases),
        cwd=REPOSITORY,
        env={**inherited, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_worker_starts_on_a_bare_machine():
    (machine,) = answers()
    assert machine == {"device": processor(), "rehearsal": True}


@pytest.mark.full
def test_the_worker_measures_on_a_bare_machine():
    case = {"config": "audio_low_4x96", "precision": "float32", "batch_size": 2}
    _, step, epoch, kernels, metric, listed, wrong = answers(
        {"measure": "step", **case},
        {"measure": "epoch", **case, "n_items": 5},
        {"measure": "kernels", **case},
        {"measure": "metric", "config": "roc_auc_macro"},
        {"measure": "formulations", **case},
        {"measure": "step", **case, "config": "audio_low_4x97"},
    )
    for answer, benchmark in ((step, "train_step"), (epoch, "resident_epoch"), (kernels, "kernel_times")):
        (row,) = answer["rows"]
        assert {"benchmark": benchmark, "device": processor(), **case}.items() <= row.items()
        assert row["mode"].startswith("rehearsal: ")
        assert device_table.line_of(row, 1, {})
    assert kernels["rows"][0]["kernels"][0]["share"] > 0
    assert metric["rows"][0]["examples_per_s"] > 0
    assert {"measure": "formulation", **case, "shape": [4, 96, 1, 8]}.items() <= listed["cases"][0].items()
    assert wrong["failed"].startswith("UserError: no experiment 'audio_low_4x97'")


@pytest.mark.full
@pytest.mark.parametrize(
    ("module", "arguments", "row"),
    [
        ("resident_epoch", ("--items=5", "--repeats=1"), r"float32 +2 +[\d,.]+ \(.*\) +[\d,.]+ +135"),
        ("kernel_times", ("--seconds=0.01",), r"float32 +2 +\d+ +[\d,.]+ +\d+% "),
    ],
)
def test_commands_on_a_bare_machine(module, arguments, row):
    case = ("--config=audio_low_4x96", "--precision=float32", "--batch_size=2", "--no_save")
    done = run_python("-c", BARE, f"benchmarks.{module}", *case, *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"audio_low_4x96 +{row}", done.stdout)


def test_what_a_library_prints_is_no_answer():
    program = (
        "import os, benchmarks.device_worker as w\n"
        "w.MEASURES['x'] = lambda: print('noise') or os.write(1, b'more') and {'rows': []}\n"
        "w.main()"
    )
    case = json.dumps({"measure": "x"}) + "\n"
    done = subprocess.run([sys.executable, "-c", program], input=case, cwd=REPOSITORY, capture_output=True, text=True)
    assert [json.loads(line) for line in done.stdout.splitlines()][1:] == [{"rows": []}]
    assert "noise" in done.stderr
    assert "more" in done.stderr


# --- processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def start(monkeypatch):
    """`start(program)`: a process that runs this after it has said which machine it is on."""

    def start_process(program: str) -> Process:
        head = "import json, os, sys, time\nprint(json.dumps({'pid': os.getpid()}), flush=True)\n"
        monkeypatch.setattr(device_process, "WORKER", (sys.executable, "-c", head + program))
        return Process({"WHO": "me"}, limit_s=60)

    return start_process


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid: int) -> bool:
    """If the process ends within seconds, though nobody may ask for its status."""
    for _ in range(200):
        if not is_running(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_process_answers_in_its_environment(start):
    process = start("for line in sys.stdin: print(json.dumps([json.loads(line), os.environ['WHO']]), flush=True)")
    assert process.ask({"a": 1}, limit_s=60) == [{"a": 1}, "me"]
    process.close()
    assert not is_running(process.machine["pid"])


def test_a_process_that_hangs_is_killed_with_its_children(start):
    process = start(
        "child = os.fork()\nif child: print(json.dumps({'child': child}), flush=True)\nprint('stuck', file=sys.stderr, "
        "flush=True)\ntime.sleep(600)"
    )
    child = process.ask({}, limit_s=60)["child"]
    with pytest.raises(Died, match=r"stopped after 0 s \(stuck\)"):
        process.ask({}, limit_s=0.2)
    process.close()
    assert not is_running(process.machine["pid"])
    assert ends(child)


def test_a_process_that_crashes_says_why(start):
    process = start("sys.stdin.readline(); print('out of memory', file=sys.stderr); os.abort()")
    with pytest.raises(Died, match=r"the process ended with status -6 \(out of memory\)"):
        process.ask({}, limit_s=60)
    process.close()


# --- a session --------------------------------------------------------------------------------------------------


class FakeProcess:
    """A process in which each case takes ten seconds of a clock of its own."""

    now, asked, started, closed = 0.0, [], 0, 0

    def __init__(self, environment, limit_s):
        assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
        type(self).started += 1
        self.machine = H200

    def ask(self, case, limit_s):
        FakeProcess.asked.append(case["config"])
        FakeProcess.now += min(10, limit_s)
        if limit_s < 10 or case["config"] == "hangs":
            raise Died("stopped after 10 s")
        if case["config"] == "fails":
            return {"failed": "ValueError: no"}
        if case["config"] == "lists":
            return {"cases": [made_up("of_list"), made_up("of_list_2")]}
        return {"rows": [row_of(case["config"], case["batch_size"])]}

    def close(self):
        type(self).closed += 1


def made_up(config: str) -> dict:
    return {"measure": "step", "config": config, "batch_size": 256}


def row_of(config: str, batch_size: int, epoch_s: float = 1.0, **more) -> dict:
    row = {"config": config, "precision": "bfloat16", "batch_size": batch_size, "device": "NVIDIA H200", "mfu": 0.4}
    row |= {"examples_per_s": 117_836 / epoch_s, "epoch_s": epoch_s, "n_devices": 1, "mode": "synthetic"}
    return results.make_row("train_step", {**row, "commit": None, **more})


@pytest.fixture
def session(monkeypatch, tmp_path):
    """`session(seconds, tasks…)`: one that has measured these tasks in a made-up time, and is closed."""
    monkeypatch.setattr(FakeProcess, "asked", [])
    for name in ("now", "started", "closed"):
        monkeypatch.setattr(FakeProcess, name, 0)
    monkeypatch.setattr(device, "Process", FakeProcess)
    monkeypatch.setattr(device.time, "monotonic", lambda: FakeProcess.now)
    monkeypatch.setattr(results, "changed_files", lambda: None)

    def measure(seconds, *tasks, keep=KEEP) -> Session:
        monkeypatch.setattr(device, "tasks", lambda *_: iter(tasks))
        made = Session(seconds, tmp_path)
        made.start(Namespace(**{**vars(keep), "out": tmp_path / "rows"}))
        made.measure()
        return made

    return measure


def test_a_case_that_fails_or_hangs_takes_no_other_with_it(session, tmp_path, capsys):
    cases = [made_up(name) for name in ("a", "fails", "hangs", "lists", "b")]
    done = session(600, Task("first", 10, cases), Task("second", 10, [made_up("c")]))
    assert FakeProcess.asked == ["a", "fails", "hangs", "lists", "of_list", "of_list_2", "b", "c"]
    assert [row["config"] for row in done.rows] == ["a", "of_list", "of_list_2", "b", "c"]
    assert done.failed == ["fails at 256: ValueError: no", "hangs at 256: stopped after 10 s"]
    assert (FakeProcess.started, FakeProcess.closed) == (3, 3)
    rows = [json.loads(line) for line in (tmp_path / "rows" / "train_step.jsonl").read_text().splitlines()]
    assert [row["config"] for row in rows] == [row["config"] for row in done.rows]
    assert {row["commit"] for row in rows} == {"abc1234"}
    assert "failed: fails at 256: ValueError: no" in capsys.readouterr().out


def test_rows_are_kept_before_the_next_case(session, tmp_path, monkeypatch):
    kept = []
    ask = FakeProcess.ask

    def look(self, case, limit_s):
        path = tmp_path / "rows" / "train_step.jsonl"
        kept.append(len(path.read_text().splitlines()) if path.exists() else 0)
        return ask(self, case, limit_s)

    monkeypatch.setattr(FakeProcess, "ask", look)
    session(600, Task("first", 10, [made_up(name) for name in "abc"]))
    assert kept == [0, 1, 2]


def test_what_does_not_fit_into_the_minutes_is_left_out(session, capsys):
    long, short = (
        Task("long", 30, [made_up(name) for name in "abc"]),
        Task("short", 5, [made_up(name) for name in "def"]),
    )
    session(45, long, Task("other", 40, [made_up("x")]), short)
    assert FakeProcess.asked == ["a", "b", "d", "e"]  # after 20 s, 30 more are not left, but two times five are
    assert FakeProcess.now <= 45
    printed = " ".join(capsys.readouterr().out.split())
    assert "left out for lack of time: long (c at 256); other; short (f at 256)" in printed


def test_rows_of_a_changed_tree_are_refused(session, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "changed_files", lambda: ["mumu_jax/train.py"])
    monkeypatch.setattr(results, "FOLDER", tmp_path / "rows")
    with pytest.raises(UserError, match=r"mumu_jax/train.py; commit them first, or only print the rows with --no_save"):
        session(600)
    session(600, Task("first", 10, [made_up("a")]), keep=Namespace(**{**vars(KEEP), "no_save": True}))
    assert not (tmp_path / "rows").exists()


def test_jax_that_does_not_start_is_an_error():
    done = run_python("-m", "benchmarks.device", "--minutes=0.001")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: JAX does not start in 0.001 minutes: stopped after 0 s")
    assert done.stderr.endswith("; give more --minutes\n")


@pytest.mark.full
def test_a_minute_ends_in_time_with_what_was_left_out():
    done = run_python("-m", "benchmarks.device", "--minutes=0.5", timeout=90)
    first, *_, last = done.stdout.splitlines()
    assert "a rehearsal with small networks, 0.5 min, no row is" in first
    assert "left out for lack of time: " in done.stdout
    assert "kernels of the slowest network" in " ".join(done.stdout.split())
    assert float(last.split()[0]) <= 30
    assert max(map(len, done.stdout.splitlines())) < 80


# --- tasks ------------------------------------------------------------------------------------------------------


def test_tasks_by_importance(monkeypatch):
    monkeypatch.setattr(device, "has_torch", lambda: True)
    first, second, *others = device.tasks([], False, {})
    assert {case["config"] for case in first.cases} == {case["config"] for case in second.cases} == {*options.SIX}
    assert first.cases[0] == {**made_up("audio_high_4x70"), "precision": "bfloat16"}
    assert {case["batch_size"] for case in second.cases} == {32}
    assert [task.cases[0]["measure"] for task in others] == [
        *("epoch", "formulations", "peer", "metric", "step", "step", "kernels")
    ]
    monkeypatch.setattr(device, "has_torch", lambda: False)
    assert "peer" not in {task.cases[0]["measure"] for task in device.tasks([], False, {})}


def test_the_slowest_beside_its_prediction_is_profiled():
    predictions = device_table.read_predictions()
    rows = [row_of("audio_high_3x3", 256, 8.0), row_of("audio_low_4x96", 256, 0.2), row_of("audio_high_4x70", 256, 2.0)]
    *_, last = device.tasks(rows, False, predictions)
    assert last.cases == [
        {"measure": "kernels", "config": "audio_low_4x96", "precision": "bfloat16", "batch_size": 256}
    ]


def test_predictions_are_of_experiments():
    predictions = device_table.read_predictions()
    assert {(name, size) for name in options.SIX for size in (32, 256)} < predictions.keys()
    for (name, _), prediction in predictions.items():
        assert load_config(name).name == name
        assert 0 < prediction.low_s <= prediction.high_s < 20
    assert predictions["audio_high_4x70", 256] == Prediction(1.24, 1.24, 1.5)


# --- tables -----------------------------------------------------------------------------------------------------

KERNEL = {"name": "nvjet_hsh_192x192_64x4", "operation": "fusion.7", "seconds": 2e-4, "share": 0.4, "calls": 2.0}


def test_summary_beside_the_predictions():
    rows = [
        row_of("audio_high_4x70", 256, 1.3, mfu=0.46),
        row_of("audio_low_3x3", 256, 1.424),
        row_of("audio_low_4x96", 32, 0.3),
        row_of("image_resnet101", 256, 9.0, examples_per_s=2797.0),
        row_of("audio_high_4x70", 256, 1.1, benchmark="other_formulations", mode="4×6×256×512 im2col"),
        row_of("audio_high_4x70", 256, 1.4, benchmark="resident_epoch"),
        row_of("audio_high_4x70", 256, benchmark="kernel_times", kernels=[KERNEL], n_kernels=80, seconds=1e-3),
        row_of("roc_auc_macro", 3_147, benchmark="metrics", ratio=4.1),
        row_of("audio_high_4x70", 256, 1.31, ratio=3.2, peer_way="channels-last, banded, compile+graph"),
    ]
    predictions = device_table.read_predictions()
    lines = "\n".join(device_table.summary(rows, predictions)).splitlines()
    assert lines[3].split() == ["audio_high_4x70", "256", "1.30", "1.24", "1.05", "1.5", "46%"]
    assert next(line for line in lines if "low_3x3" in line).split() == [
        *("audio_low_3x3", "256", "1.42", "0.89", "1.60", "slow", "–", "40%")
    ]
    assert next(line for line in lines if "low_4x70 " in line).split()[2:] == ["–", "0.28", "–", "–", "–"]
    assert " 40%     200 µs  2.0 ×  fusion.7: nvjet_hsh_192x192_64x4" in lines
    text = " ".join(" ".join(lines).split())
    assert (
        "1. audio_high_4x70 at 256: 1.30 s an epoch (goal 1.5), 46% of the peak (goal 35%): reached. A resident "
        in text
    )
    assert "2. 1.5 times slower than predicted, or more: audio_low_3x3 at 256 (1.60 ×)." in text
    assert "of audio_high_4x70: 4×6×256×512 im2col, 1.10 s." in text
    assert "audio_low_4x96's, 81.5 µs, where launches alone" in text
    assert "4.10 × scikit-learn. ResNet-101 at 256: 2,797 images/s" in text
    lines += [line for row in rows for line in device_table.line_of(row, 399, predictions).splitlines()]
    assert max(map(len, lines)) < 80
    missed = device_table.what_next([row_of("audio_high_4x70", 256, 1.6, mfu=0.46)], predictions)
    assert "missed" in missed[0]
    assert [point.count("not measured") for point in missed[2:]] == [1, 2]
    assert "not measured" in device_table.what_next([], predictions)[0]


# --- what is measured -------------------------------------------------------------------------------------------


def event(pid: int, tid: int, name: str, microseconds: float, **more) -> dict:
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "dur": microseconds, "args": more}


def named(kind: str, name: str, pid: int, tid: int = 0) -> dict:
    return {"ph": "M", "name": f"{kind}_name", "pid": pid, "tid": tid, "args": {"name": name}}


HOST = [
    named("process", "/host:CPU", 1),
    event(1, 1, "dot.3", 30, hlo_op="dot.3"),
    event(1, 2, "while.3", 99, hlo_op="while.3"),
    event(1, 3, "$profiler.py:271 stop_trace", 999),
]


def test_kernels_of_a_gpu_are_those_of_its_streams():
    device_events = [
        *(named("process", "/device:GPU:0", 2), named("thread", "Stream #14(Compute)", 2, 5)),
        named("thread", "XLA Modules", 2, 6),
        *(event(2, 5, "gemm", 15, hlo_op="fusion.1") for _ in range(4)),
        *(event(2, 5, "gemm", 5, hlo_op="fusion.2") for _ in range(4)),
        event(2, 5, "MemcpyD2D", 20),
        event(2, 6, "jit_train_chunk", 100),
    ]
    track, kernels = kernel_times.kernels_of(HOST + device_events, n_steps=2)
    assert track == "a device's streams"
    assert [tuple(kernel)[:2] for kernel in kernels] == [("gemm", "fusion.1"), ("gemm", "fusion.2"), ("MemcpyD2D", "")]
    assert [kernel.calls for kernel in kernels] == [2, 2, 0.5]
    assert kernels[0].seconds == pytest.approx(30e-6)
    assert [kernel.share for kernel in kernels] == [0.6, 0.2, 0.2]


def test_a_trace_without_a_device_says_so():
    track, (kernel,) = kernel_times.kernels_of(HOST, n_steps=3)
    assert track == "threads of the host: the trace has no device"
    assert kernel[:2] == ("dot.3", "dot.3")
    assert kernel.seconds == pytest.approx(10e-6)
    with pytest.raises(UserError, match="no event of a compiled program"):
        kernel_times.kernels_of(HOST[:1], n_steps=3)


def small(name: str, precision: str = "float32") -> Problem:
    config = load_config(name)
    config.model.width_divisor, config.model.precision = 32, precision
    return Problem(config)


def test_every_other_formulation_of_a_gpu_is_listed():
    with traced_for("gpu"):
        pairs = alternatives(small("audio_high_4x70", "bfloat16"))
    first, second, third, last = (4, 70, 1, 8), (4, 6, 8, 16), (4, 1, 16, 32), (1, 1, 32, 32)
    assert pairs[0] == (first, "plain")
    assert {shape for shape, _ in pairs} == {first, second, third, last}
    assert {name for shape, name in pairs if shape == second} == {"im2col", "plain"}


def test_a_convolution_is_traced_in_the_other_formulation():
    problem = small("audio_low_4x96")
    patches = np.zeros((1, 322, 96), np.float32)

    def convolutions(network: Network) -> str:
        model = network.model
        params = jax.eval_shape(model.init, jax.random.key(0), patches)
        return str(jax.make_jaxpr(model.apply)(params, patches))

    assert "conv_general_dilated" not in convolutions(problem.network)
    other = formulated(problem.network, (4, 96, 1, 2), "plain")
    assert convolutions(other).count("conv_general_dilated[") == 1


def test_an_epoch_is_made_up_and_held_on_the_device():
    row = resident_epoch.measure(small("audio_low_4x96"), batch_size=2, n_items=5, repeats=2)
    assert (row["n_items"], row["mode"]) == (5, "resident")
    assert row["examples_per_s_low"] <= 5 / row["epoch_s"] <= row["examples_per_s_high"]


def test_an_epoch_has_training_s_rows_and_the_host_is_one_chunk_ahead():
    schedule, events = Schedule(20, 2, chunk_steps=3, seed=1), []

    class Losses:
        def __init__(self, n):
            self.n = n

        def block_until_ready(self):
            events.append(("waited", self.n))

    def chunk(rows, uniforms):
        events.append(("gathered", rows.tolist()))
        return SimpleNamespace(mask=rows)

    def program(state, chunk, constants):
        events.append(("trained", chunk.mask.tolist()))
        return state + len(chunk.mask), Losses(state)

    programs = {3: program, 1: program}
    assert resident_epoch._train_epoch(0, None, programs, SimpleNamespace(chunk=chunk), schedule, epoch=1) == 10
    rows = [schedule.rows(number).tolist() for number in range(4, 8)]
    assert [value for what, value in events if what == "trained"] == rows
    assert [what for what, _ in events][:6] == ["gathered", "trained", "gathered", "trained", "gathered", "waited"]
    assert [value for what, value in events if what == "waited"] == [0, 3, 6]
