"""`python -m benchmarks`: run the benchmarks one after the other, each in a process of its own.

`--no_save` is passed to all of them, `--peer=torch` to those that can choose a peer.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.results import check_committed
from mumu_jax.system.terminal import run_command

WITH_PEER = ("train_step", "text_step", "encoder_step")
BENCHMARKS = ("metrics", *WITH_PEER, "loader", "end_to_end", "prepare", "covers", "reviews", "linking", "matching")


def main(argv: Sequence[str]) -> int:
    """Run all benchmarks, even if one fails; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--no_save", action="store_true", help="print the rows without adding them to results/")
    parser.add_argument("--peer", choices=["torch"], help="measure PyTorch's network beside ours")
    arguments = parser.parse_args(argv)
    if not arguments.no_save:
        check_committed()
    status = {}
    for i, name in enumerate(BENCHMARKS, start=1):
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        command += ["--no_save"] if arguments.no_save else []
        command += [f"--peer={arguments.peer}"] if arguments.peer and name in WITH_PEER else []
        place, start = f"[{i}/{len(BENCHMARKS)}]", time.monotonic()
        print(f"{place} {' '.join(command[1:])}", flush=True)
        status[name] = subprocess.run(command).returncode
        print(f"{place} {name}: {_outcome(status[name])}, {time.monotonic() - start:.0f} s\n", flush=True)
    print(", ".join(f"{name}: {_outcome(code)}" for name, code in status.items()))
    return int(any(status.values()))


def _outcome(code: int) -> str:
    return "done" if code == 0 else f"failed (status {code})"


if __name__ == "__main__":
    run_command(main)
