"""`python -m benchmarks.table`: the README's figures, from the rows in `results/`; `--write` puts them there.

Of each thing that was measured, the newest row counts.  `results/table2.csv` is what `mumu_jax.reproduce` wrote for the
mini dataset.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks import results
from benchmarks.options import IMAGES, SIX, experiments
from benchmarks.output import digits
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_experiments
from mumu_jax.reports.table2 import TABLE, as_markdown, read_table
from mumu_jax.system.terminal import run_command

README = results.FOLDER.parent.parent / "README.md"

Row = dict[str, Any]
ABSENT = "–"
# What the project is for, measured or not.
WANTED = "NVIDIA H200"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put them into README.md, in the place of what is there")
    if parser.parse_args(argv).write:
        README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(sections().values()))
    return 0


def sections() -> dict[str, str]:
    """What the README shows, in Markdown, by the marker that it stands behind."""
    return {"benchmarks": render(results.read()), "table2": as_markdown(read_table(results.FOLDER / TABLE)).strip()}


def renewed(text: str) -> str:
    """The README with today's figures."""
    for marker, rendered in sections().items():
        text = insert(text, marker, rendered)
    return text


def insert(text: str, marker: str, rendered: str) -> str:
    """`text` with `rendered` between <!-- marker --> and <!-- /marker -->, in the place of what is there."""
    before, begin, rest = text.partition(f"<!-- {marker} -->")
    _, end, after = rest.partition(f"<!-- /{marker} -->")
    if not begin or not end:
        raise UserError(f"{README} has no <!-- {marker} --> … <!-- /{marker} -->; add the two lines where these belong")
    return f"{before}{begin}\n{rendered}\n{end}{after}"


def render(rows: list[Row]) -> str:
    """All tables, in Markdown."""
    by_name: dict[str, list[Row]] = {}
    for row in results.latest(rows):
        by_name.setdefault(row["benchmark"], []).append(row)
    single = [row for row in by_name.get("train_step", []) if row["n_devices"] == 1]
    several = [row for row in by_name.get("train_step", []) if row["n_devices"] > 1]
    of_images = [row for row in single if row["config"] in experiments("image")]
    of_audio = [row for row in single if row not in of_images]
    tables = [
        ("Training step, data on the device", _training(of_audio, SIX)),
        ("Training step of the text network, beside dense first layers", _text(by_name.get("text_step", []))),
        ("Training step of image networks, augmentation included; PyTorch is spared it", _training(of_images, IMAGES)),
        ("Several devices", _scaling(several, single)),
        ("Training from shards, beside that ceiling", _end_to_end(by_name.get("end_to_end", []))),
        ("Loading", _loading(by_name.get("loader", []))),
        ("Metrics of 3,147 albums × 250 labels, beside scikit-learn", _metrics(by_name.get("metrics", []))),
        ("Preparation, beside librosa", _preparation(by_name.get("prepare", []))),
        ("Reading covers, one process, beside Pillow alone", _covers(by_name.get("covers", []))),
        ("Reading MuMu's files, one process", _reviews(by_name.get("reviews", []))),
        ("Entity linking, one process", _linking(by_name.get("linking", []))),
        ("All of Table 2, on noise of MuMu's size", _whole_table(by_name.get("whole_table", []))),
        ("Programs compiled for an H200, not run", _modules(by_name.get("h200_module", []))),
    ]
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in tables if table)


def _training(rows: list[Row], wanted: Sequence[str]) -> str:
    """With a line for each wanted network where there is none of the wanted device."""
    k40 = {name: experiment.paper.epoch_s for name, experiment in load_experiments().items() if experiment.paper}
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "network": lambda row: _network(row["config"]),
        "precision": lambda row: row["precision"],
        "batch": lambda row: row["batch_size"],
        "examples/s": lambda row: _rate(row),
        "s an epoch": lambda row: f"{row['epoch_s']:,.3g}" if row["epoch_s"] < 1000 else f"{row['epoch_s']:,.0f}",
        "K40, 2017": lambda row: f"{k40[row['config']]:,}",
        "of the matmul peak": lambda row: f"{row['mfu']:.0%}",
        "memory": lambda row: f"{row['peak_bytes'] / 1e6:,.0f} MB",
        "compile": lambda row: f"{row['compile_s']:.1f} s",
        "PyTorch": lambda row: f"{row['peer_examples_per_s']:{digits(row['peer_examples_per_s'])}}",
        "ratio": lambda row: _ratio(row, "ratio"),
    }
    rows = sorted(rows, key=_place)
    if not any(WANTED in row["device"] for row in rows):
        missing = {"device": WANTED, "precision": "bfloat16", "batch_size": 32, "examples_per_s": "not measured"}
        rows += [{**missing, "config": name} for name in wanted]
    return _markdown(columns, rows)


def _text(rows: list[Row]) -> str:
    k40 = {name: experiment.paper.epoch_s for name, experiment in load_experiments().items() if experiment.paper}
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "network": lambda row: row["config"],
        "precision": lambda row: row["precision"],
        "batch": lambda row: row["batch_size"],
        "examples/s": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "s an epoch": lambda row: f"{row['epoch_s']:,.3g}",
        "K40, 2017": lambda row: f"{k40[row['config']]:,}",
        "ours, dense": lambda row: f"{row['dense_examples_per_s']:,.0f}",
        "ratio to it": lambda row: _ratio(row, "dense_ratio"),
        "PyTorch, dense": lambda row: f"{row['peer_examples_per_s']:,.0f}",
        "ratio": lambda row: _ratio(row, "ratio"),
    }
    if not any(WANTED in row["device"] for row in rows):
        missing = {"device": WANTED, "precision": "bfloat16", "batch_size": 32, "examples_per_s": "not measured"}
        rows = [*rows, {**missing, "config": "text_vsm"}]
    return _markdown(columns, rows)


def _reviews(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "file": lambda row: f"{row['config']}, {row['mode']}",
        "MB": lambda row: f"{row['file_bytes'] / 1e6:,.0f}",
        "rows or reviews/s": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "s": lambda row: _spread(row, "seconds", ".2f"),
        "peak memory": lambda row: f"{row['peak_bytes'] / 1e6:,.0f} MB",
    }
    return _markdown(columns, rows)


def _linking(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "gazetteer": lambda row: row["config"],
        "part": lambda row: {"build": "build, lines/s", "load": "load, names/s", "link": "link, texts/s"}[row["mode"]],
        "a second": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "MB of text/s": lambda row: f"{row['bytes_per_s'] / 1e6:,.2f}",
        "peak memory": lambda row: f"{row['peak_bytes'] / 1e6:,.0f} MB",
    }
    return _markdown(columns, rows)


def _scaling(rows: list[Row], single: list[Row]) -> str:
    """Beside one device with the same batch in all (strong), or on each (weak)."""
    alone = {(row["config"], row["precision"], row["device"], row["batch_size"]): row for row in single}

    def efficiency(row: Row, batch_size: int) -> str:
        base = alone[row["config"], row["precision"], row["device"], batch_size]
        return f"{row['examples_per_s'] / base['examples_per_s'] / row['n_devices']:.0%}"

    columns: dict[str, Callable[[Row], Any]] = {
        "devices": lambda row: f"{row['n_devices']} × {row['device']}",
        "network": lambda row: _network(row["config"]),
        "precision": lambda row: row["precision"],
        "batch": lambda row: row["batch_size"],
        "examples/s": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "of one device, same batch": lambda row: efficiency(row, row["batch_size"]),
        "same batch on each": lambda row: efficiency(row, row["batch_size"] // row["n_devices"]),
    }
    return _markdown(columns, rows)


def _place(row: Row) -> Any:
    return row["device"], _order(row["config"]), row["precision"], row["batch_size"]


def _end_to_end(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "network": lambda row: _network(row["config"]),
        "precision": lambda row: row["precision"],
        "batch": lambda row: row["batch_size"],
        "data": lambda row: row["mode"],
        "examples/s": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "of the ceiling": lambda row: _spread(row, "ratio", ".2f"),
        "waiting for input": lambda row: f"{row['input_wait_fraction']:.1%}",
    }
    return _markdown(columns, sorted(rows, key=lambda row: (row["device"], row["mode"], *_place(row))))


def _loading(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "data": lambda row: f"{row['mode']}, {row['config']}",
        "patches/s": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "MB/s": lambda row: f"{row['bytes_per_s'] / 1e6:,.0f}",
    }
    return _markdown(columns, rows)


def _metrics(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "metric": lambda row: row["config"],
        "ms": lambda row: f"{1000 * row['batch_size'] / row['examples_per_s']:.3g}",
        "scikit-learn, ms": lambda row: f"{1000 * row['batch_size'] / row['peer_examples_per_s']:.3g}",
        "ratio": lambda row: _ratio(row, "ratio"),
    }
    return _markdown(columns, rows)


def _preparation(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "part": lambda row: row["mode"],
        "processes": lambda row: row["n_devices"],
        "tracks/s": lambda row: _spread(row, "examples_per_s", ".1f"),
        "librosa": lambda row: f"{row['peer_examples_per_s']:.1f}",
        "ratio": lambda row: _ratio(row, "ratio"),
        "scaling efficiency": lambda row: f"{row['scaling_efficiency']:.0%}",
    }
    return _markdown(columns, rows)


def _covers(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "files": lambda row: row["config"],
        "part": lambda row: row["mode"],
        "covers/s": lambda row: _spread(row, "examples_per_s", ",.0f"),
        "Pillow": lambda row: f"{row['peer_examples_per_s']:,.0f}",
        "ratio": lambda row: _ratio(row, "ratio"),
    }
    return _markdown(columns, rows)


def _whole_table(rows: list[Row]) -> str:
    """With a line where there is none of the wanted device."""
    columns: dict[str, Callable[[Row], Any]] = {
        "device": lambda row: row["device"],
        "albums": lambda row: f"{row['albums']:,}",
        "preset": lambda row: row["mode"],
        "runs": lambda row: row["n_runs"],
        "epochs in all": lambda row: row["n_epochs"],
        "minutes": lambda row: row["seconds"] if isinstance(row["seconds"], str) else f"{row['seconds'] / 60:.1f}",
    }
    if not any(WANTED in row["device"] for row in rows):
        rows = [*rows, {"device": WANTED, "albums": 31_471, "mode": "paper", "seconds": "not measured"}]
    return _markdown(columns, rows)


def _modules(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], Any]] = {
        "network": lambda row: _network(row["config"]),
        "precision": lambda row: row["precision"],
        "batch": lambda row: row["batch_size"],
        "kernels a step": lambda row: row["n_kernels"],
        "MB moved an example": lambda row: f"{row['bytes_per_example'] / 1e6:.1f}",
        "giant-window convolutions": lambda row: row["n_giant_windows"],
    }
    return _markdown(columns, sorted(rows, key=lambda row: (_order(row["config"]), row["precision"])))


def _markdown(columns: dict[str, Callable[[Row], Any]], rows: Iterable[Row]) -> str:
    """A table, or nothing where there are no rows."""
    lines = [[_cell(text, row) for text in columns.values()] for row in rows]
    head = [list(columns), ["---"] * len(columns)]
    return "\n".join(f"| {' | '.join(line)} |" for line in head + lines) if lines else ""


def _cell(text: Callable[[Row], Any], row: Row) -> str:
    """A dash where the row has no such value."""
    try:
        found = text(row)
    except (TypeError, KeyError):
        return ABSENT
    return ABSENT if found is None else str(found)


def _rate(row: Row) -> str:
    found = row["examples_per_s"]
    return found if isinstance(found, str) else _spread(row, "examples_per_s", digits(found))


def _spread(row: Row, name: str, how: str) -> str:
    if isinstance(row[name], str):
        return row[name]
    return f"{row[name]:{how}} ({row[f'{name}_low']:{how}}–{row[f'{name}_high']:{how}})"


def _ratio(row: Row, name: str) -> str:
    return f"**{row[name]:.2f}** ({row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f})"


def _network(config: str) -> str:
    """An audio CNN as the paper writes it: `HIGH-4x70`, and its target where that is not cosine."""
    if not config.startswith("audio_"):
        return config
    _, width, kernel, *target = config.split("_")
    return "-".join([width.upper(), kernel, *target])


def _order(config: str) -> int:
    return SIX.index(config) if config in SIX else len(SIX)


if __name__ == "__main__":
    run_command(main)
