"""Files that are replaced as a whole, versions, and errors of the first process."""

import contextlib
import errno
import os
import re
import time
from pathlib import Path
from unittest import mock

import pytest
from conftest import run_python

import mumu_jax
from mumu_jax.errors import nearest
from mumu_jax.system import files, processes
from mumu_jax.system.files import only_one, replacing, write_json
from mumu_jax.system.memory import left_by_container
from mumu_jax.system.processor import processor, processor_in_full
from mumu_jax.system.version import versions


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first, and longer")
        second.write_text("second")
        assert first != second
        assert not path.exists()
    assert path.read_text() == "first, and longer"  # the last to end
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    write_json(tmp_path / "a.json", [1])
    with contextlib.suppress(ValueError), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert (tmp_path / "a.json").read_text() == "[\n 1\n]\n"
    assert os.listdir(tmp_path) == ["a.json"]


def test_files_of_killed_writers_are_removed_once_nobody_can_be_writing_them(tmp_path):  # 10
    (tmp_path / "inner").mkdir()
    abandoned = tmp_path / "inner" / f".a.txt.0123abcd{files.UNFINISHED}"
    recent = tmp_path / f".b.txt.0123abcd{files.UNFINISHED}"
    users = tmp_path / ".song.mp3.part"
    for path in (abandoned, recent, users):
        path.touch()
    before = time.time() - files.ABANDONED_AFTER_S - 60
    for path in (abandoned, users):
        os.utime(path, (before, before))
    with only_one(tmp_path, "testing"):
        assert [path.exists() for path in (abandoned, recent, users)] == [False, True, True]


def test_versions_need_no_installation():  # 29
    assert versions("mumu_jax", "no such package") == {"mumu_jax": mumu_jax.__version__}
    assert versions("numpy").keys() == {"numpy"}


def test_nearest_name():
    assert nearest("audio_hi", ("text", "audio_high", "audio_low")) == "audio_high"
    assert nearest("timbre", ("text", "audio")) is None


def test_the_other_processes_hear_of_any_error_of_the_first(monkeypatch):  # 25
    told = []
    monkeypatch.setattr(processes, "any_of_all", lambda failed: told.append(failed) or [failed])
    with pytest.raises(ZeroDivisionError):
        processes.main_first(lambda: 1 / 0, "it")
    assert told == [True]


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, capsys):  # 27
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with only_one(tmp_path, "training"):
        pass
    warning = f"warning: {tmp_path} cannot be locked (Operation not supported): use it once at a time\n"
    assert capsys.readouterr().err == warning


VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def make_group(folder, names, limit, used, inactive):
    folder.mkdir(parents=True, exist_ok=True)
    limit_name, used_name, cache_name = names
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{cache_name} {inactive}\nactive_file 100\n")


@pytest.mark.parametrize(
    ("lines", "below", "names"),
    [("0::/jobs/17\n", ".", VERSION_2), ("5:cpu,cpuacct:/jobs\n4:memory:/jobs/17\n0::/\n", "memory", VERSION_1)],
)
def test_files_that_were_read_are_no_used_memory_of_a_container(tmp_path, lines, below, names):
    process, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    root = mounted / below
    assert left_by_container(process, mounted) == float("inf")
    process.write_text(lines)
    assert left_by_container(process, mounted) == float("inf")
    make_group(root / "jobs" / "17", names, "max", 5_000, 100)
    assert left_by_container(process, mounted) == float("inf")
    make_group(root / "jobs" / "17", names, 16_000, 15_000, 9_000)
    assert left_by_container(process, mounted) == 16_000 - 15_000 + 9_000
    make_group(root / "jobs", names, 20_000, 19_000, 1_000)  # the group above has less left
    assert left_by_container(process, mounted) == 2_000
    make_group(root, names, 2_000, 1_500, 0)  # a container sees its own group at the top
    assert left_by_container(process, mounted) == 500


def test_the_processor_has_a_name_and_cores():
    assert re.fullmatch(r".+, \d+ cores", processor())
    assert processor_in_full().startswith(processor())


@pytest.mark.parametrize(
    ("flags", "vectors"),
    [("fpu sse2", ""), ("fpu avx avx2 fma", ", AVX2"), ("fpu avx avx2 fma avx512f avx512vl", ", AVX-512")],
)
def test_processors_of_one_name_differ_by_their_vectors(flags, vectors, monkeypatch):
    said = f"processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", mock.Mock(return_value=said))
    assert re.fullmatch(rf"AMD EPYC{vectors}, \d+ cores", processor())


def test_without_what_linux_says_the_processor_has_a_name(monkeypatch):
    monkeypatch.setattr(Path, "read_text", mock.Mock(side_effect=FileNotFoundError))
    assert re.fullmatch(r".+, \d+ cores", processor_in_full())


COMPILES = """
import resource, sys
import jax
from mumu_jax.system.cache import keep_compiled_programs
if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
keep_compiled_programs()
assert jax.jit(lambda x: x + 1).lower(1.0).compile()(1.0) == 2
"""


def test_a_kept_program_that_is_cut_is_made_again(tmp_path):
    """What a killed process, or a full disk, leaves of a compiled program harms one later process, and says so."""
    here = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    full = run_python("-c", COMPILES, "100", **here)  # no file may have more bytes
    line = rf"cannot keep jit_\w+ in {tmp_path}: it is compiled again next time \(OSError: .*\)\n"
    assert re.fullmatch(f"({line})+", full.stderr)
    assert os.listdir(tmp_path) == []
    assert run_python("-c", COMPILES, **here).stderr == ""
    kept = {path: path.stat().st_size for path in tmp_path.glob("*-cache")}
    assert min(kept.values()) > 1000
    for path in kept:
        os.truncate(path, 100)
    again = run_python("-c", COMPILES, **here)
    line = rf"compiling jit_\w+ again: its copy in {tmp_path} cannot be read \(.*\)\n"
    assert re.fullmatch(f"({line})+", again.stderr)
    assert min(path.stat().st_size for path in kept) > 1000
    assert run_python("-c", COMPILES, **here).stderr == ""
