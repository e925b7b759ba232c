"""A full disk, or one that may not be written or fails: one line that names the path and the remedy, nothing lost."""

import errno
import os
import threading
from collections.abc import Iterator
from importlib import import_module

import pytest
from conftest import run_python

from benchmarks.harm import Disk, empty
from mumu_jax.errors import UserError
from mumu_jax.system.disk import REMEDIES, fault_of, naming
from mumu_jax.system.files import replacing
from mumu_jax.system.terminal import run_command
from mumu_jax.training.log import MetricsLog

# What the libraries raise, each as it was seen.
FULL = [
    OSError(errno.ENOSPC, "No space left on device", "x"),
    RuntimeError("write() failed: No space left on device; writing x; at byte 4096; Failed to close chunk_writer"),
    ValueError('RESOURCE_EXHAUSTED: Failed to write to "x" [OS error 28: ENOSPC No space left on device]'),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
]


def raise_(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", FULL, ids=["Python", "array_record", "TensorStore", "safetensors"])
def test_a_full_disk_is_known_whatever_raises_it(error, capsys):  # 22
    with pytest.raises(SystemExit) as stop:
        run_command(lambda argv: raise_(error), [])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "No space left on device; free some space there" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES])
def test_every_fault_of_the_place_has_a_remedy(number, tmp_path, capsys):  # 22
    def write(argv):
        with naming(tmp_path / "tags.csv"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(SystemExit):
        run_command(write, [])
    expected = f"error: cannot use {tmp_path / 'tags.csv'}: {os.strerror(number)}; {REMEDIES[number]}\n"
    assert capsys.readouterr().err == expected


def test_the_cause_of_an_error_is_found():
    failed = ValueError("checkpoint failed")
    failed.__cause__ = OSError(errno.EIO, os.strerror(errno.EIO), "/data/x")
    assert fault_of(failed) == f"cannot use /data/x: Input/output error; {REMEDIES[errno.EIO]}"


def test_a_fault_that_was_dealt_with_is_not_the_cause_of_a_bug():
    bug = TypeError("unsupported operand")
    bug.__context__ = OSError(errno.EACCES, os.strerror(errno.EACCES), "/proc/1/mem")
    assert fault_of(bug) is None
    bug.__context__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")
    assert fault_of(bug) == f"cannot use /data/x: No space left on device; {REMEDIES[errno.ENOSPC]}"


@pytest.mark.parametrize("error", [ValueError("no space for it"), OSError(errno.ENOENT, "No such file"), KeyError("x")])
def test_other_errors_are_not_faults_of_the_disk(error):
    assert fault_of(error) is None
    with pytest.raises(type(error)):
        run_command(lambda argv: raise_(error), [])


def test_an_error_that_the_user_can_fix_keeps_its_own_words(tmp_path):
    for words in ("no such run", "/data/a is damaged: Input/output error; run prepare again"):
        with pytest.raises(UserError, match=words), naming(tmp_path):
            raise UserError(words)


def test_the_path_is_the_users_and_not_a_temporary_one(tmp_path):
    with pytest.raises(OSError, match=r"tags\.csv'$"), replacing(tmp_path / "tags.csv") as temporary:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(temporary))


def test_a_thread_that_a_full_disk_ended_does_not_block_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("mumu_jax.training.log.faults_of_threads", [OSError(errno.ENOSPC, "No space left on device")])
    log = MetricsLog(tmp_path)
    monkeypatch.setattr(log, "_writers", {threading.Thread()})  # one that has ended
    with pytest.raises(OSError, match=r"No space left on device: '.*/events'"):
        log.metrics("track", 0, 1, {"train/loss": 1.0})
    with pytest.raises(OSError, match="No space left on device"):
        log.__exit__()


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = Disk(folder)
    except UserError as error:
        pytest.skip(str(error))
    yield disk
    disk.close()


@pytest.mark.full
@pytest.mark.parametrize("command", ["prepare", "train", "tag", "report", "figures", "export", "features"])
def test_a_full_disk_ends_a_command_in_one_line(command, disk, small_data, small_run, capsys):  # 22, 30c
    """Of half the space that it needs; `benchmarks.promises` tries others.

    Commands whose libraries write in threads, or shards, are processes.
    """
    folder = disk.folder
    run, manifest = f"--workdir={small_run}", small_data / "manifest.jsonl"
    arguments = {
        "prepare": (
            "prepare",
            "--source=manifest",
            f"--input={manifest}",
            "--modalities=timbre",
            f"--data_dir={folder / 'd'}",
        ),
        "train": (
            "train",
            "--config=timbre_mlp",
            f"--data_dir={small_data}",
            f"--workdir={folder / 'run'}",
            "--config.optim.max_epochs=3",
        ),
        "tag": ("tag", run, str(small_data.parent / "small_source" / "audio"), f"--out={folder / 'tags.csv'}"),
        "report": ("report", run, f"--out={folder / 'report.html'}"),
        "figures": ("report", "figures", run, f"--out={folder / 'figures'}"),
        "export": ("export", run, f"--out={folder / 'model'}"),
        "features": ("evaluate", run, f"--features={folder / 'features.npz'}"),
    }[command]

    def call() -> tuple[int, str]:
        """Return the exit status and what is said on standard error."""
        if command in ("prepare", "train"):
            done = run_python("-m", f"mumu_jax.{arguments[0]}", *arguments[1:])
            return done.returncode, done.stderr
        with pytest.raises(SystemExit) as end:
            run_command(import_module(f"mumu_jax.{arguments[0]}").main, arguments[1:])
        return int(str(end.value.code)), capsys.readouterr().err

    assert call()[0] == 0
    n_bytes = disk.used
    empty(folder)
    with disk.filled(n_bytes // 2):
        status, said = call()
    assert status == 2, said
    assert "Traceback" not in said
    assert "Exception" not in said
    (line,) = [line for line in said.splitlines() if "error" in line]
    assert line.startswith("error: cannot ")
    assert str(folder) in line
    assert "No space left on device" in line
    assert call()[0] == 0
