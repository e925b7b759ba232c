"""`python -m benchmarks`: every benchmark in a process of its own, one after the other.

Arguments are handed on to all of them (`--no_save`); `--peer=torch` to those that have a peer to choose.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from mumu_jax.system.terminal import run_command

BENCHMARKS = ("metrics", "train_step", "text_step", "loader", "end_to_end", "prepare", "covers", "reviews", "linking")
WITH_PEER = ("train_step", "text_step")


def main(argv: Sequence[str]) -> int:
    """Run them all, whatever becomes of one; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--no_save", action="store_true", help="print the rows without adding them to results/")
    parser.add_argument("--peer", choices=["torch"], help="measure PyTorch's networks beside ours")
    arguments = parser.parse_args(argv)
    status = {}
    for i, name in enumerate(BENCHMARKS, start=1):
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        command += ["--no_save"] if arguments.no_save else []
        command += [f"--peer={arguments.peer}"] if arguments.peer and name in WITH_PEER else []
        print(f"[{i}/{len(BENCHMARKS)}] {' '.join(command[1:])}", flush=True)
        start = time.monotonic()
        status[name] = subprocess.run(command).returncode
        print(f"[{i}/{len(BENCHMARKS)}] {name}: {_said(status[name])}, {time.monotonic() - start:.0f} s\n", flush=True)
    print(", ".join(f"{name}: {_said(code)}" for name, code in status.items()))
    return int(any(status.values()))


def _said(code: int) -> str:
    return "done" if code == 0 else f"failed (status {code})"


if __name__ == "__main__":
    run_command(main)
