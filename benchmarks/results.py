"""Where the benchmarks' figures are kept: `results/BENCHMARK.jsonl`, one object a row, the newest last."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mumu_jax.system.version import commit

FOLDER = Path(__file__).parent / "results"

# What every row has, in this order; null where it does not apply or was not measured.  A benchmark adds its own.
COLUMNS = (
    *("benchmark", "config", "precision", "batch_size", "mode", "n_devices", "device"),
    *("examples_per_s", "examples_per_s_low", "examples_per_s_high", "repeats", "epoch_s"),
    *("flops_per_s", "peak_flops_per_s", "mfu", "input_wait_fraction", "peak_bytes", "compile_s"),
    *("peer", "peer_examples_per_s", "ratio", "ratio_low", "ratio_high", "versions", "commit"),
)

# Rows that agree in these are of one thing, measured again.
IDENTITY = ("benchmark", "config", "precision", "batch_size", "mode", "n_devices", "device")

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "grain", "array_record", "librosa", "scikit-learn")


def make_row(benchmark: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every column: the missing ones null, `versions` and `commit` those of this process."""
    known = {"benchmark": benchmark, "versions": versions(), "commit": commit(), **row}
    return {column: known.get(column) for column in COLUMNS} | known


def append(benchmark: str, row: Mapping[str, Any], folder: Path = FOLDER) -> dict[str, Any]:
    """Add a row to `results/BENCHMARK.jsonl`; the row with all its columns."""
    full = make_row(benchmark, row)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{benchmark}.jsonl").open("a") as file:
        file.write(json.dumps(full, allow_nan=False) + "\n")
    return full


def read(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """All rows, benchmark by benchmark, the newest of each last."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def latest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each thing that was measured, the newest row."""
    return list({tuple(row[name] for name in IDENTITY): row for row in rows}.values())


def versions() -> dict[str, str]:
    """Of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def device() -> str:
    """What JAX runs on: an accelerator's kind, or the processor."""
    import jax  # here, because preparing measures nothing of it

    return cpu_device() if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def cpu_device() -> str:
    """The processor's model and the number of cores that this process may use, such as `AMD EPYC, 2 cores`."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {n_cores} cores"
