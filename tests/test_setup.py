"""scripts/setup: a machine's Python and extra, and what is said where JAX does not see its device; the demo's table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

NVIDIA_SMI = """#!/bin/sh
if [ "$1" = -L ]; then echo "GPU 0: A"; echo "GPU 1: B"; else echo "| Driver Version: 1  CUDA Version: {cuda}  |"; fi
"""


def setup(function: str, tools: Path) -> subprocess.CompletedProcess:
    script = f"set -euo pipefail; source scripts/setup; {function}"
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def put(tools: Path, name: str, script: str) -> None:
    (tools / name).write_text(script)
    (tools / name).chmod(0o755)


@pytest.mark.parametrize(("cuda", "extra"), [("12.8", "cuda12"), ("13.1", "cuda13"), ("", "cuda12")])
def test_a_gpu_gets_the_extra_of_its_driver(cuda, extra, tmp_path):
    put(tmp_path, "nvidia-smi", NVIDIA_SMI.format(cuda=cuda))
    assert setup("find_extra", tmp_path).stdout == extra


def python(version: tuple[int, int], pip: bool = True) -> str:
    """Return a stand-in for a Python of that version: it runs what it is given as if it were one."""
    absent = "" if pip else "find.find_spec = lambda name: None;"
    given = f"import importlib.util as find, sys; sys.version_info = {version};{absent} exec(sys.argv[1])"
    return f"#!/bin/sh\nexec {sys.executable} -c '{given}' \"$2\"\n"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"python3": python((3, 11)), "python3.13": python((3, 13)), "python3.12": python((3, 12))}, "python3.13"),
        ({"python3": python((3, 11)), "python3.12": python((3, 12), pip=False)}, "python3"),
        ({"python3": python((3, 9)), "python3.11": python((3, 11))}, "python3.11"),
    ],
)
def test_the_python_with_the_newest_tested_jax_that_can_install(there, expected, tmp_path):
    for name in ("python3.14", "python3.13", "python3.12", "python3.11", "python3", "python"):
        put(tmp_path, name, there.get(name, "#!/bin/sh\nexit 127\n"))
    assert setup("find_python", tmp_path).stdout == expected


def test_a_python_that_is_named_is_the_one_that_is_used(tmp_path):
    put(tmp_path, "python3.13", python((3, 13)))
    put(tmp_path, "mine", python((3, 12)))
    assert setup("PYTHON=mine; find_python", tmp_path).stdout == "mine"
    done = setup("PYTHON=/none/python3; find_python", tmp_path)
    assert done.returncode == 1
    assert "PYTHON=/none/python3 is no Python 3.11 or newer with pip" in done.stderr


def test_a_driver_without_a_gpu_is_a_cpu(tmp_path):
    put(tmp_path, "nvidia-smi", "#!/bin/sh\necho 'No devices were found'; exit 6\n")
    assert setup("find_extra", tmp_path).stdout in ("", "tpu")


def test_a_gpu_that_jax_does_not_see_is_a_warning_with_the_remedy(tmp_path):
    done = setup("expect_backend gpu 'check the driver'; echo went on", tmp_path)
    assert done.stdout == "went on\n"
    assert "warning: there is a gpu here, but JAX runs on" in done.stderr
    assert "check the driver" in done.stderr


def test_the_demos_last_words(small_run):
    """The table that `scripts/demo` ends with, of a run that is there."""
    _, _, rest = (REPOSITORY / "scripts" / "demo").read_text().partition("<<'EOF'\n")
    program, _, _ = rest.partition("EOF\n")
    done = subprocess.run([sys.executable, "-c", program, small_run], capture_output=True, text=True)
    titles = [line[:18].strip() for line in done.stdout.splitlines() if line]
    assert titles == ["test albums", "ROC-AUC", "coverage@1", "coverage@3", "coverage@5", "examples/s", "the run"]
    assert done.returncode == 0 or "above chance; at least 0.15 was expected" in done.stderr
