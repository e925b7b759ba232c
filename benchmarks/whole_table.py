"""`python -m benchmarks.whole_table`: run all of `mumu_jax.reproduce` on data of MuMu's size, made of noise.

There is nothing to learn in noise: early stopping ends each run after a few epochs, and the row says after how many.
With --folder, the data and the runs are kept, and the same command resumes.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.made_up import N_DIFFERENT, TRACKS_PER_ALBUM, make
from mumu_jax.errors import UserError
from mumu_jax.reports.tables.results import TIMES
from mumu_jax.reports.tables.table2 import TABLE2
from mumu_jax.system.terminal import positive, run_command
from mumu_jax.training.log import read_lines

MUMU_ALBUMS = 31_471
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def main(argv: Sequence[str]) -> int:
    """Make the data, run the whole table, add a row; 1 if a run failed."""
    benchmark = Benchmark("whole_table", __doc__)
    benchmark.option("--albums", type=positive, default=MUMU_ALBUMS, help="default MuMu's: 25 GB, five tracks each")
    benchmark.option("--rows", default="*", help="rows of the table, as in mumu_jax.reproduce; default: all")
    benchmark.option("--seeds", type=positive, default=1, help="default: %(default)s")
    benchmark.option("--preset", choices=TABLE2.presets, default="paper", help="default: %(default)s")
    benchmark.option("--folder", type=Path, help="keeps the data and the runs; default: a temporary one")
    arguments = benchmark.start(argv)
    temporary = tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_")
    with temporary if arguments.folder is None else contextlib.nullcontext(arguments.folder) as folder:
        data_dir, workdir = Path(folder) / "data", Path(folder) / "table2"
        if not (data_dir / "labels.json").exists():  # which is written last
            n_tracks = {split: round(share * arguments.albums) * TRACKS_PER_ALBUM for split, share in SHARES.items()}
            make(data_dir, n_tracks, tuple(N_DIFFERENT))
        command = [sys.executable, "-m", "mumu_jax.reproduce", f"--data_dir={data_dir}", f"--workdir={workdir}"]
        command += [f"--rows={arguments.rows}", f"--seeds={arguments.seeds}", f"--preset={arguments.preset}"]
        status = subprocess.run(command).returncode
        if status not in (0, 1):
            raise UserError(f"mumu_jax.reproduce ended with status {status}; its message is above")
        case = {"config": arguments.rows, "mode": arguments.preset, "albums": arguments.albums}
        benchmark.add({**case, **_measured(workdir)})
    return status


def _measured(workdir: Path) -> Row:
    lines = read_lines(workdir / TIMES)
    errors = {(line["row"], line["seed"]): line["failed"] for line in lines}  # of the last try
    return {
        "n_runs": len(errors),
        "n_failed": sum(map(bool, errors.values())),
        "n_epochs": sum(_n_epochs(path) for path in workdir.glob("*/seed*/metrics.jsonl")),
        "seconds": sum(line["seconds"] for line in lines),
    }


def _n_epochs(path: Path) -> int:
    """Count the epochs of the network that sees the items; those of the album network take no time."""
    lines = read_lines(path)
    phase = lines[0]["phase"]
    return sum(line["phase"] == phase and "val/loss" in line for line in lines)


if __name__ == "__main__":
    run_command(main)
