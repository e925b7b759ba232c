"""Files of the benchmarks' figures: `results/BENCHMARK.jsonl`, one object a row, the newest last."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.system.processor import processor
from mumu_jax.system.version import changed_files, commit, versions

FOLDER = Path(__file__).parent / "results"

# Rows that agree in these are of one thing, measured again.
IDENTITY = ("benchmark", "config", "precision", "batch_size", "mode", "n_devices", "device")
SPEED = ("examples_per_s", "examples_per_s_low", "examples_per_s_high", "repeats", "epoch_s")
COST = ("flops_per_s", "peak_flops_per_s", "mfu", "input_wait_fraction", "peak_bytes", "compile_s")
PEER = ("peer", "peer_examples_per_s", "ratio", "ratio_low", "ratio_high")
ORIGIN = ("versions", "commit")

# Every row has these, in this order; null if it does not apply or was not measured.  A benchmark adds its own.
COLUMNS = IDENTITY + SPEED + COST + PEER + ORIGIN

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "grain", "array_record", "librosa", "scikit-learn")


def check_committed() -> None:
    """Raise UserError if code differs from the last commit: its rows could not be measured again."""
    if files := changed_files():
        names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        raise UserError(
            f"a row in {FOLDER} must come from committed code, and these files differ from the last commit: {names}; "
            "commit them first, or only print the rows with --no_save"
        )


def make_row(benchmark: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with every column: the missing ones null, `versions` and `commit` those of this process."""
    installed = {"python": platform.python_version(), **versions(*_PACKAGES)}
    known = {"benchmark": benchmark, "versions": installed, "commit": commit(), **row}
    return {column: known.get(column) for column in COLUMNS} | known


def append(row: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Add a row with all its columns to `results/BENCHMARK.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{row['benchmark']}.jsonl").open("a") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def read(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return all rows, benchmark by benchmark, the newest of each last."""
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def latest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest row of each thing that was measured."""
    return list({tuple(row[name] for name in IDENTITY): row for row in rows}.values())


def is_reproducible(row: Mapping[str, Any]) -> bool:
    """Return False for a row that was measured with code which no commit holds."""
    return not (row.get("commit") or "").endswith("+dirty")


def device() -> str:
    """Return the name of the device that JAX runs on: an accelerator's kind, or the processor."""
    import jax  # here, because preparing needs none of it

    return processor() if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def one_core() -> dict[str, Any]:
    """Return the columns of work that one core does, an item at a time."""
    return {"batch_size": 1, "n_devices": 1, "device": processor()}
