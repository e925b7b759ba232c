"""Estimate seconds from compiled programs and data sheets: none of them is a measurement."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.columns import Row
from benchmarks.data_sheets import DATA_SHEETS, DataSheet

PAPER_DEVICES = (4, 8, 64)


def step_s(sheet: DataSheet, precision: str, flops: float, n_bytes: float) -> float:
    """Return the seconds of one device's part of a step: of its products or of its bytes, whichever take longer."""
    return max(flops / sheet.peak(precision), n_bytes / sheet.bytes_per_s)


def all_reduce_s(sheet: DataSheet, n_bytes: float, n_devices: int) -> float:
    """Return the seconds in which a ring of devices sums so many bytes: each sends them almost twice."""
    if n_devices == 1:
        return 0.0
    return 2 * (n_devices - 1) / n_devices * n_bytes / sheet.between(n_devices)


def scaling(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each program of several devices: its network on more of them, on paper.

    The largest batch of one device is on each device (weak scaling), or divided by them (strong scaling).  A smaller
    batch's FLOPs and bytes are on the line through those of the two batch sizes that were compiled for one device.
    """
    return [_scaled(*case) for case in _cases(rows)]


def _cases(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, Row]]:
    """Yield the rows of one device with the smallest and the largest batch, and one of several devices."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        if row["benchmark"] == "compiled":
            groups.setdefault((row["device"], row["config"], row["precision"]), []).append(row)
    for group in groups.values():
        alone = sorted((row for row in group if row["n_devices"] == 1), key=lambda row: row["batch_size"])
        several = [row for row in group if row["n_devices"] > 1]
        if len(alone) > 1 and several:
            yield alone[0], alone[-1], several[0]


def _scaled(small: Row, large: Row, several: Row) -> Row:
    sheet = next(sheet for sheet in DATA_SHEETS.values() if sheet.kind == large["device"])
    size, precision, n_examples = large["batch_size"], large["precision"], large["n_examples"]

    def part_s(n_items: float) -> float:
        share = (n_items - small["batch_size"]) / (size - small["batch_size"])
        flops, n_bytes = (small[name] + share * (large[name] - small[name]) for name in ("step_flops", "step_bytes"))
        return step_s(sheet, precision, flops, n_bytes)

    scaled = {name: large[name] for name in ("device", "config", "precision", "batch_size", "versions", "commit")}
    for n in PAPER_DEVICES:
        sent_s = all_reduce_s(sheet, several["all_reduce_bytes"], n)
        scaled[f"weak_{n}_s"] = (part_s(size) + sent_s) * n_examples / (size * n)
        scaled[f"strong_{n}_s"] = (part_s(size / n) + sent_s) * n_examples / size
    return {"benchmark": "scaling", "n_devices": 1, "alone_s": part_s(size) * n_examples / size, **scaled}
