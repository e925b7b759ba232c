"""`python -m benchmarks.linking`: a gazetteer built from made-up N-Triples, loaded, and linked with made-up reviews.

Each is measured on one core, in a process of its own, so that its memory is its own.
"""

import argparse
import gzip
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import results, timing
from mumu_jax.data.modalities.text.entities import Gazetteer, dbpedia
from mumu_jax.system.terminal import positive, run_command

N_WORDS, N_CATEGORIES, CATEGORIES_PER_ENTITY = 200_000, 100_000, 4
TEXT_CHARACTERS, NAMES_PER_WORD = 1_000, 0.1  # an album's text as VSM+SEM cuts it
SYLLABLES = "bar ven tol mir kas del rin gor hal sut fen lom pra que zan wil dor esk tam ulf an er is on lé sø"
Row = dict[str, Any]


def main(argv: Sequence[str]) -> None:
    """Print and keep three rows: build (lines a second), load (entities a second), link (texts a second)."""
    options = _parse(argv)
    keep = results.make_row if options.no_save else results.append
    common = {"config": f"{options.names:,} names", "n_devices": 1, "device": results.cpu_device()}
    print(f"linking on {common['device']}: {common['config']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
        _in_a_process(write_triples, Path(folder), options.names)
        for measure in (measure_build, measure_load, measure_link):
            row = _in_a_process(measure, Path(folder), options)
            row = {**common, "mode": measure.__name__.removeprefix("measure_"), **row}
            _print(keep("linking", row))


def write_triples(folder: Path, n_names: int) -> None:
    rng = random.Random(0)
    resource = "<http://dbpedia.org/resource/"
    with (
        gzip.open(folder / "labels.nt.gz", "wt", compresslevel=1, encoding="utf-8") as labels,
        gzip.open(folder / "categories.nt.gz", "wt", compresslevel=1, encoding="utf-8") as categories,
    ):
        for name in islice(_names(), n_names):
            subject = f"{resource}{name.replace(' ', '_')}>"
            labels.write(f'{subject} <{dbpedia.LABEL}> "{name}"@en .\n')
            for category in rng.sample(range(N_CATEGORIES), CATEGORIES_PER_ENTITY):
                categories.write(f"{subject} <{dbpedia.SUBJECT}> {resource}Category:Musicians_of_kind_{category}> .\n")


def measure_build(folder: Path, options: argparse.Namespace) -> Row:
    sources = dbpedia.Sources(folder / "labels.nt.gz", folder / "categories.nt.gz")
    start = time.perf_counter()
    dbpedia.build_gazetteer(folder / "gazetteer.gz", sources, "en")
    n_lines = options.names * (1 + CATEGORIES_PER_ENTITY)
    return {**_once(n_lines, start), "n_bytes": (folder / "gazetteer.gz").stat().st_size}


def measure_load(folder: Path, options: argparse.Namespace) -> Row:
    start = time.perf_counter()
    Gazetteer.load(folder / "gazetteer.gz")
    return _once(options.names, start)


def measure_link(folder: Path, options: argparse.Namespace) -> Row:
    """Each text by itself, as preparing does."""
    gazetteer = Gazetteer.load(folder / "gazetteer.gz")
    texts = list(islice(_texts(options.names), options.texts))
    n_mentions = sum(len(gazetteer.link(text)) for text in texts)

    def link() -> None:
        for text in texts:
            gazetteer.link(text)

    calls = timing.calls_within(options.seconds, link)
    rates = [timing.rate(link, len(texts), calls) for _ in range(options.repeats)]
    per_second = timing.columns("examples_per_s", rates)
    text_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    return {
        **{"batch_size": 1, "repeats": options.repeats, **per_second},
        **{"bytes_per_s": per_second["examples_per_s"] * text_bytes, "peak_bytes": _peak_bytes()},
        "mentions_per_text": n_mentions / len(texts),
    }


def _names() -> Iterator[str]:
    """Different names of one to four words, of words that other names have too."""
    rng = random.Random(1)
    words = ["".join(rng.choices(SYLLABLES.split(), k=rng.randint(1, 4))).capitalize() for _ in range(N_WORDS)]
    seen: set[str] = set()
    while True:
        name = " ".join(rng.choices(words, k=rng.choice((1, 2, 2, 2, 3, 3, 4))))
        if len(name) > 2 and name not in seen:
            seen.add(name)
            yield name


def _texts(n_names: int) -> Iterator[str]:
    """Words in lower case, some of which begin names, and names."""
    rng = random.Random(2)
    names = list(islice(_names(), min(n_names, 50_000)))
    words = [word.lower() for name in names for word in name.split()]
    while True:
        text = ""
        while len(text) < TEXT_CHARACTERS:
            text += rng.choice(names if rng.random() < NAMES_PER_WORD else words) + rng.choice((" ", " ", " ", ", "))
        yield text[:TEXT_CHARACTERS]


def _once(amount: int, start: float) -> Row:
    """A row of what is done once."""
    seconds = time.perf_counter() - start
    rate = timing.columns("examples_per_s", [amount / seconds])
    return {"batch_size": 1, "repeats": 1, **rate, "seconds": seconds, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int | None:
    """The most memory that this process had; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _print(row: Row) -> None:
    memory = "–" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:,.0f} MB"
    what = f"{row['mode']:<6}{row['examples_per_s']:>12,.0f} a second, peak {memory}"
    if "bytes_per_s" in row:
        quartiles = f"{row['examples_per_s_low']:,.0f}–{row['examples_per_s_high']:,.0f}"
        what += f" ({quartiles}), {row['bytes_per_s'] / 1e6:.2f} MB/s, {row['mentions_per_text']:.1f} names a text"
    else:
        what += f", {row['seconds']:.1f} s" + (f", {row['n_bytes'] / 1e6:,.1f} MB" if "n_bytes" in row else "")
    print(what, flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linking", description=__doc__)
    parser.add_argument("--names", type=positive, default=1_000_000, help="in the gazetteer; default 1,000,000")
    parser.add_argument("--texts", type=positive, default=2_000, help="of 1,000 characters each; default 2,000")
    parser.add_argument("--repeats", type=positive, default=9, help="measurements of linking; default 9")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a measurement, about; default 1")
    parser.add_argument("--no_save", action="store_true", help="print the rows without adding them to results/")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
