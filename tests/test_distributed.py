"""Two processes of four devices each train like one process of eight, are killed like one, and resume like one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, complain, succeed

from mumu_jax.errors import UserError
from mumu_jax.runs.calibration import read_calibrator
from mumu_jax.system import processes
from mumu_jax.system.seals import is_sealed

pytestmark = pytest.mark.full

SETTINGS = (
    "--config=audio_low_4x96",
    "--config.optim.batch_size=16",
    "--config.optim.max_epochs=2",
    "--config.optim.later=sgd:0.01@50%",
    "--config.album_optim.batch_size=16",
    "--config.album_optim.max_epochs=2",
    "--config.loop.chunk_steps=3",
    "--config.model.dropout=0.3",
)


FOUR_DEVICES = {"JAX_NUM_CPU_DEVICES": "4"}


def start_two(*command: str | Path) -> list[subprocess.Popen]:
    """`python command…` twice, as two processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, **FOUR_DEVICES, "PYTHONPATH": str(REPOSITORY)}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command), coordinator, "--num_processes=2", f"--process_id={i}"],
            env=environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def finish(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """(exit status, stdout, stderr) of each."""
    return [(p.returncode, *said) for p, said in [(p, p.communicate(timeout=300)) for p in processes]]


def losses(workdir: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["phase"], line["step"], line.get("train/loss", line.get("val/loss"))) for line in lines]


def assert_same(ours: Path, theirs: Path, tolerance: float) -> None:
    assert [line[:2] for line in losses(ours)] == [line[:2] for line in losses(theirs)]
    np.testing.assert_allclose([x for *_, x in losses(ours)], [x for *_, x in losses(theirs)], atol=tolerance)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, small_data) -> Path:
    workdir = tmp_path_factory.mktemp("one_process") / "run"
    succeed("mumu_jax.train", *SETTINGS, f"--data_dir={small_data}", f"--workdir={workdir}", JAX_NUM_CPU_DEVICES="8")
    return workdir


def test_two_processes_train_like_one(one_process, small_data, tmp_path):  # 26
    """And the first two are killed in mid-epoch: two others, which stream, and use pmap, go on to the same end."""
    workdir = tmp_path / "run"
    arguments = (*SETTINGS, f"--data_dir={small_data}", f"--workdir={workdir}")
    killer = (REPOSITORY / "tests" / "killed_train.py", "chunk:5")
    killed = finish(start_two(*killer, *arguments, "--config.loop.checkpoint_minutes=0"))
    assert [code for code, *_ in killed] == [-9, -9], killed
    assert (workdir / "track").is_dir()
    otherwise = ("--config.data.mode=streaming", "--config.parallel=pmap")
    done = finish(start_two("-m", "mumu_jax.train", *arguments, *otherwise))
    assert [code for code, *_ in done] == [0, 0], done
    (_, said, _), (_, silence, other) = done
    assert "ROC-AUC" in said
    assert "ROC-AUC" not in silence  # Gloo itself speaks
    assert "track network:" not in other
    assert_same(workdir, one_process, tolerance=1e-4)
    assert is_sealed(workdir, "calibration.npz")
    found, whole = (read_calibrator(run, 24) for run in (workdir, one_process))
    np.testing.assert_allclose((found.slope, found.intercept), (whole.slope, whole.intercept), rtol=0.02)
    result, expected = (json.loads((run / "eval_test.json").read_text()) for run in (workdir, one_process))
    assert result["track"]["roc_auc_macro"] == pytest.approx(expected["track"]["roc_auc_macro"], abs=5e-3)


def test_all_processes_compute_as_the_first_one_has_measured(small_data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = (*SETTINGS, "--config.model.width_divisor=8", "--config.model.formulations=measured")
    arguments = (*settings, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
    killed = finish(start_two(REPOSITORY / "tests" / "killed_train.py", "chunk:2", *arguments))
    assert [code for code, *_ in killed] == [-9, -9], killed
    assert ["measured in" in said for *_, said in killed] == [True, False]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["formulations"]["backend"] == "cpu"


def test_pmap_trains_like_jit(one_process, small_data, tmp_path):
    succeed(
        *("mumu_jax.train", *SETTINGS, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}"),
        "--config.parallel=pmap",
        JAX_NUM_CPU_DEVICES="8",
    )
    assert_same(tmp_path / "run", one_process, tolerance=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--num_processes=2"], ["--coordinator=None, --num_processes=2 and --process_id=None", "HOST:PORT"]),
        (["--coordinator=localhost:1", "--num_processes=2"], ["--process_id=None", "give all three"]),
        (["--coordinator=localhost:1", "--num_processes=2", "--process_id=2"], ["--process_id is 2", "from 0 to", "1"]),
        (["--coordinator=auto"], ["cannot reach the other processes", "--coordinator=HOST:PORT"]),
    ],
)
def test_wrong_answers_about_processes(arguments, says):
    complain("mumu_jax.train", "--config=audio_low_4x96", *arguments, says=says)


@pytest.mark.parametrize(
    ("environment", "many"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, True),
    ],
)
def test_launchers_that_start_several(environment, many):
    assert processes._is_one_of_many(environment) == many


JOINS = (
    "from mumu_jax.system import processes as d; import jax; d.join(None, None, None); print(d.any_of_all(d.is_main()))"
)


def test_processes_of_srun_meet_by_themselves():
    slurm = {"SLURM_JOB_ID": "4", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    slurm |= {"SLURM_STEP_NUM_NODES": "1", "PYTHONPATH": str(REPOSITORY), **FOUR_DEVICES}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOINS],
            env={**os.environ, **slurm, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    (first, said, error), (second, silence, _) = finish(processes)
    assert (first, second) == (0, 0), error
    assert "[True]" in said
    assert "[True]" not in silence


def test_one_process_asks_nobody():
    assert processes.any_of_all(True, False) == [True, False]
    assert processes.least_of_all(3.5) == 3.5
    with pytest.raises(UserError, match="do not go together"):
        processes.join("auto", 2, None)
