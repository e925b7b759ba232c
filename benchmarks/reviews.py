"""`python -m benchmarks.reviews`: read MuMu's reviews and its single-label CSV, at full size.

The files are simulated in a temporary folder: 447,583 reviews of 31,471 albums, 438 MB a framing; 12,087 CSV rows.
"""

import csv
import json
import string
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from mumu_jax.data.sources.finding import Finding
from mumu_jax.data.sources.mumu.amazon import read_reviews
from mumu_jax.data.sources.mumu.tables import HEADER, read_csv
from mumu_jax.system.terminal import positive, run_command

N_ALBUMS, N_REVIEWS, N_ROWS, N_ROW_ALBUMS, N_GENRES = 31_471, 447_583, 12_087, 2_321, 16
TEXT_CHARS = 720  # of a review on average: 438 MB with everything around it
MAX_CHARS = 1000

Record = dict[str, Any]
# The texts before the first record, of a record, between two records, and after the last.
FRAMINGS: dict[str, tuple[str, Callable[[Record], str], str, str]] = {
    "array": ("[", json.dumps, ", ", "]"),
    "lines": ("", json.dumps, "\n", "\n"),
    "python": ("", repr, "\n", "\n"),
}


def main(argv: Sequence[str]) -> None:
    """Write each file, read it in fresh processes, and add a row."""
    benchmark = Benchmark("reviews", __doc__, repeats=3)
    benchmark.option("--framings", nargs="+", choices=FRAMINGS, default=[*FRAMINGS], help="default all")
    benchmark.option("--reviews", type=positive, default=N_REVIEWS, help="how many; default %(default)s")
    options = benchmark.start(argv, **results.one_core())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "single-label.csv"
        write_csv(path)
        benchmark.add({"config": "single_label_csv", "mode": "csv", **measure(path, options.repeats)})
        for framing in options.framings:
            path = Path(folder) / "reviews.json"
            write_reviews(path, framing, options.reviews)
            benchmark.add({"config": "reviews_json", "mode": framing, **measure(path, options.repeats)})


def measure(path: Path, repeats: int) -> Row:
    """Return rows or reviews a second, the seconds of one reading, and the peak memory of a process that only reads."""
    readings = [timing.alone(read, path) for _ in range(repeats)]
    return {
        **timing.figures([n_records / seconds for n_records, seconds, _ in readings]),
        **timing.columns("seconds", [seconds for _, seconds, _ in readings]),
        "peak_bytes": max((peak for *_, peak in readings if peak), default=None),
        "file_bytes": path.stat().st_size,
    }


def read(path: Path) -> tuple[int, float, int | None]:
    """Return the number of records in a file, the seconds to read it, and the peak memory of this process in bytes."""
    findings: list[Finding] = []
    start = time.perf_counter()
    if path.suffix == ".csv":
        n = sum(len(album.track_ids) for album in read_csv(path, True, findings.append).values())
    else:
        n = read_reviews(path, {_album_id(i) for i in range(N_ALBUMS)}, MAX_CHARS, findings.append).counts.total()
    seconds = time.perf_counter() - start
    assert not findings, findings[0]
    return n, seconds, timing.peak_bytes()


def write_reviews(path: Path, framing: str, n_reviews: int) -> None:
    """Write reviews with all fields of Amazon's, of random words, quotes and accents; some albums have many."""
    before, write, between, after = FRAMINGS[framing]
    with path.open("w", encoding="utf-8") as file:
        for number, record in enumerate(_records(n_reviews)):
            file.write((between if number else before) + write(record))
        file.write(after)


def _records(n_reviews: int) -> Iterator[Record]:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*string.ascii_lowercase], n)) for n in rng.integers(2, 10, 2000)]
    words += ['"classic"', "café", "it's", "C:\\", "rock\n\n", "—"] * 10
    text = " ".join(rng.choice(words, 400_000))
    albums = np.sort((N_ALBUMS * rng.random(n_reviews) ** 2).astype(int))
    sizes = np.minimum(rng.lognormal(np.log(TEXT_CHARS) - 0.5, 1, n_reviews), 30_000).astype(int)
    starts = rng.integers(0, len(text) - 30_000, n_reviews)
    for album, start, size in zip(albums.tolist(), starts.tolist(), sizes.tolist(), strict=True):
        yield {
            "reviewerID": f"A{start:013d}",
            "amazon_id": _album_id(album),
            "reviewerName": text[start : start + 12],
            "helpful": [3, 4],
            "reviewText": text[start : start + size],
            "overall": 5.0,
            "summary": text[start : start + 25],
            "unixReviewTime": 1_252_800_000,
            "reviewTime": "09 13, 2009",
        }


def write_csv(path: Path) -> None:
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADER)
        for number in range(N_ROWS):
            album = number * N_ROW_ALBUMS // N_ROWS
            mbid = rng.bytes(16).hex()
            rows.writerow((_album_id(album), mbid, f"TRAAAAA{number:011d}", mbid, mbid, f"Genre {album % N_GENRES}"))


def _album_id(number: int) -> str:
    return f"B{number:09d}"


if __name__ == "__main__":
    run_command(main)
