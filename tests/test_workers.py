"""Worker processes: order, death, and no orphans."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mumu_jax.system import workers
from mumu_jax.system.workers import map_in_order


def square(x: int) -> int:
    time.sleep(0.02 * (x % 3))
    return x * x


def die_at_5(x: int) -> int:
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def die_once(path: str) -> str:
    if path != "sound" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return "alive"


def surroundings(x: int) -> tuple[int, str, str]:
    time.sleep(0.05)
    return os.getpid(), os.environ["OPENBLAS_NUM_THREADS"], os.readlink("/proc/self/fd/2")


def fail(x: int) -> int:
    raise ValueError(f"no {x}")


def test_results_come_in_order():
    assert list(map_in_order(square, range(20), 2, lambda x: -1)) == [x * x for x in range(20)]


def test_no_items_start_no_process():
    assert list(map_in_order(square, [], 2, lambda x: -1)) == []


def test_a_dead_process_costs_one_item_only():  # 28
    assert list(map_in_order(die_at_5, range(12), 2, lambda x: -x)) == [-5 if x == 5 else x * x for x in range(12)]


def test_a_dead_process_starts_the_pool_once_more(monkeypatch):
    """Although it died while the items before it were still computed."""
    sizes, start = [], workers._start_pool
    monkeypatch.setattr(workers, "_start_pool", lambda size: sizes.append(size) or start(size))
    assert list(map_in_order(die_at_5, range(40), 2, lambda x: -x)) == [-5 if x == 5 else x * x for x in range(40)]
    assert sizes.count(2) == 2


def test_a_process_that_dies_once_costs_nothing(tmp_path):
    items = ["sound", str(tmp_path / "mark"), "sound"]
    assert list(map_in_order(die_once, items, 1, lambda _: "dead")) == ["alive"] * 3


def test_every_process_runs_one_thread_and_says_nothing():
    """The ones that start late, too: two threads each slow two processes on two cores by half."""
    found = set(map_in_order(surroundings, range(24), 3, lambda x: (0, "", "")))
    assert len(found) == 3
    assert {(threads, stderr) for _, threads, stderr in found} == {("1", os.devnull)}


def test_exceptions_are_passed_on():
    with pytest.raises(ValueError, match="no 0"):
        list(map_in_order(fail, range(3), 1, lambda x: -1))


def test_workers_end_with_a_killed_parent():
    code = (
        "import multiprocessing, time\n"
        "from mumu_jax.system.workers import map_in_order\n"
        "for _ in map_in_order(time.sleep, [0, 60, 60], 2, None):\n"
        "    pool = multiprocessing.active_children()\n"
        "    print(*(p.pid for p in pool), flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len([pid for pid in pids if is_running(pid)]) >= 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def block_at_5(x: int) -> int:
    if x == 5:
        time.sleep(600)
    return x * x


def test_an_item_that_blocks_is_given_up():  # 30a
    start = time.monotonic()
    found = list(map_in_order(block_at_5, range(12), 2, lambda x: -x, limit_s=1.0))
    assert found == [-5 if x == 5 else x * x for x in range(12)]
    assert time.monotonic() - start < 300


def time_out(x: int) -> int:
    raise TimeoutError(f"{x}")


def test_a_timeout_of_the_call_is_its_own():  # 30a
    with pytest.raises(TimeoutError, match="3"):
        list(map_in_order(time_out, [3], 1, lambda x: -x))


def test_workers_of_a_command_import_no_framework(monkeypatch):
    """What every process would import once more, with the modalities, which read the files."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", importlib.util.find_spec("mumu_jax.tag"))
    heavy = ("jax", "flax", "tensorflow_datasets")
    imported = f"__import__('mumu_jax.data.modalities') and [*filter(__import__('sys').modules.get, {heavy})]"
    assert list(map_in_order(eval, [imported], 1, str)) == [[]]
