"""scripts/setup: which extra a machine gets, and what is said where JAX does not see its device; the demo's table."""

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
