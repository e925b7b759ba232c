"""`python -m benchmarks.linking`: build a gazetteer from made-up N-Triples, load it, link made-up reviews with it.

Each is measured on one core, in a process of its own, so that its memory is its own.
"""

import argparse
import gzip
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks import results, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from mumu_jax.data.modalities.text.entities import Gazetteer, dbpedia
from mumu_jax.system.terminal import positive, run_command

N_WORDS, N_CATEGORIES, CATEGORIES_PER_ENTITY = 200_000, 100_000, 4
TEXT_CHARACTERS, NAMES_PER_WORD = 1_000, 0.1  # an album's text as VSM+SEM cuts it
SYLLABLES = "bar ven tol mir kas del rin gor hal sut fen lom pra que zan wil dor esk tam ulf an er is on lé sø"


def main(argv: Sequence[str]) -> None:
    """Add three rows: build (lines a second), load (names a second), link (texts a second)."""
    benchmark = Benchmark("linking", __doc__, repeats=9, seconds=1.0)
    benchmark.option("--names", type=positive, default=1_000_000, help="in the gazetteer; default %(default)s")
    benchmark.option("--texts", type=positive, default=2_000, help="of 1,000 characters each; default %(default)s")
    options = benchmark.start(argv, **results.one_core())
    with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
        timing.alone(write_triples, Path(folder), options.names)
        for mode, measure in (("build", measure_build), ("load", measure_load), ("link", measure_link)):
            row = timing.alone(measure, Path(folder), options)
            benchmark.add({"config": f"{options.names:,} names", "mode": mode, **row})


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
    """Link each text by itself, as preparing does."""
    gazetteer = Gazetteer.load(folder / "gazetteer.gz")
    texts = list(islice(_texts(options.names), options.texts))
    n_mentions = sum(len(gazetteer.link(text)) for text in texts)

    def link() -> None:
        for text in texts:
            gazetteer.link(text)

    rates = timing.take_turns({"link": timing.timed(link, len(texts), options.seconds)}, options.repeats)["link"]
    n_bytes = sum(len(text.encode()) for text in texts)
    return {
        **timing.figures(rates),
        "bytes_per_s": median(rates) * n_bytes / len(texts),
        "mentions_per_text": n_mentions / len(texts),
        "peak_bytes": timing.peak_bytes(),
    }


def _names() -> Iterator[str]:
    """Yield different names of one to four words, of words that other names have too."""
    rng = random.Random(1)
    words = ["".join(rng.choices(SYLLABLES.split(), k=rng.randint(1, 4))).capitalize() for _ in range(N_WORDS)]
    seen: set[str] = set()
    while True:
        name = " ".join(rng.choices(words, k=rng.choice((1, 2, 2, 2, 3, 3, 4))))
        if len(name) > 2 and name not in seen:
            seen.add(name)
            yield name


def _texts(n_names: int) -> Iterator[str]:
    """Yield texts of names and of words in lower case, some of which begin names."""
    rng = random.Random(2)
    names = list(islice(_names(), min(n_names, 50_000)))
    words = [word.lower() for name in names for word in name.split()]
    while True:
        text = ""
        while len(text) < TEXT_CHARACTERS:
            text += rng.choice(names if rng.random() < NAMES_PER_WORD else words) + rng.choice((" ", " ", " ", ", "))
        yield text[:TEXT_CHARACTERS]


def _once(amount: int, start: float) -> Row:
    """Return a row of work that is done once."""
    seconds = time.perf_counter() - start
    return {**timing.figures([amount / seconds]), "seconds": seconds, "repeats": 1, "peak_bytes": timing.peak_bytes()}


if __name__ == "__main__":
    run_command(main)
