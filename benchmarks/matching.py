"""`python -m benchmarks.matching`: find made-up albums among a million releases, as `mumu_jax.build` does, on one core.

Each part is measured in a process of its own, so that its memory is its own, by the processor's time.  Of the albums
that are looked for, some are sold as editions, some have a typing error, and some are no release.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks import results, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from mumu_jax.data.matching.index import Entry, build_index
from mumu_jax.data.matching.match import GROUPS, Match, Matcher
from mumu_jax.data.matching.scoring import THRESHOLD, named
from mumu_jax.system.terminal import positive, run_command

N_WORDS, ALBUMS_AN_ARTIST = 150_000, 5
SYLLABLES = "bar ven tol mir kas del rin gor hal sut fen lom pra que zan wil dor esk tam ulf an er is on lé sø"
FREQUENT = ["love", "live", "greatest hits", "best of", "blue", "night", "songs", "volume 1", "world", "heart"]
EDITIONS, TYPING_ERRORS, NO_RELEASES = 0.3, 0.2, 0.3  # shares of the albums that are looked for

Album = tuple[str, str]  # title and artist


def main(argv: Sequence[str]) -> None:
    """Add two rows: build the index (releases a second), and match (albums a second)."""
    benchmark = Benchmark("matching", __doc__, repeats=9)
    benchmark.option("--releases", type=positive, default=1_000_000, help="in the index; default %(default)s")
    benchmark.option("--albums", type=positive, default=5_000, help="to find; default %(default)s")
    options = benchmark.start(argv, **results.one_core())
    with tempfile.TemporaryDirectory(prefix="mumu_jax_benchmark_") as folder:
        for mode, measure in (("index", measure_index), ("match", measure_match)):
            row = timing.alone(measure, Path(folder), options)
            benchmark.add({"config": f"{options.releases:,} releases", "mode": mode, **row})


def measure_index(folder: Path, options: argparse.Namespace) -> Row:
    """Normalise the names of all releases and write the index."""
    releases = islice(_releases(options.releases), options.releases)
    start = time.process_time()
    build_index(folder, (Entry(i, named(one[0], one[1:]), one) for i, one in enumerate(releases)))
    seconds = time.process_time() - start
    mbids = np.array([str(i) for i in range(options.releases)], "S36")
    np.savez(folder / GROUPS, mbids=mbids, kinds=np.zeros(options.releases, np.uint8))
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    rates = timing.figures([options.releases / seconds])
    return {**rates, "seconds": seconds, "repeats": 1, "file_bytes": n_bytes, "peak_bytes": timing.peak_bytes()}


def measure_match(folder: Path, options: argparse.Namespace) -> Row:
    """Find the best release and the runner-up of each album, from names as they are written to scores."""
    albums = _albums(options.releases, options.albums)
    matcher, rates = Matcher(folder), []
    for _ in range(options.repeats + 1):
        start = time.process_time()
        matches = [Match("", *one, *matcher.match(named(one[0], one[1:]))) for one, _ in albums]
        rates.append(len(albums) / (time.process_time() - start))
    pairs = list(zip(matches, (release for _, release in albums), strict=True))
    found = [(one.best, release) for one, release in pairs if one.best and one.decide(THRESHOLD) == "matched"]
    n_right = sum((best.title, best.artist) == release for best, release in found)
    return {
        **timing.figures(rates[1:]),
        "precision_of_matches": n_right / len(found),
        "recall_of_matches": n_right / sum(release is not None for _, release in albums),
        "peak_bytes": timing.peak_bytes(),
    }


def _releases(n: int) -> Iterator[Album]:
    """Yield albums of artists of whom some have many, of words of which some are frequent."""
    rng = random.Random(0)
    words = ["".join(rng.choices(SYLLABLES.split(), k=rng.randint(1, 4))) for _ in range(N_WORDS)]

    def some(shape: int, counts: tuple[int, ...], frequent: float) -> str:
        chosen = (
            rng.choice(FREQUENT) if rng.random() < frequent else words[int(N_WORDS * rng.random() ** shape)]
            for _ in range(rng.choice(counts))
        )
        return " ".join(chosen).title()

    artists = [some(2, (1, 2, 2, 2, 3), 0) for _ in range(max(1, n // ALBUMS_AN_ARTIST))]
    while True:
        yield some(3, (1, 1, 2, 2, 3, 4), 0.4), artists[int(len(artists) * rng.random() ** 2)]


def _albums(n_releases: int, n: int) -> list[tuple[Album, Album | None]]:
    """Return albums to find, each with the release that it is, or None."""
    rng = random.Random(1)
    releases = list(islice(_releases(n_releases), n_releases))
    albums: list[tuple[Album, Album | None]] = []
    for _ in range(n):
        title, artist = release = rng.choice(releases)
        kind = rng.random()
        if kind < EDITIONS:
            title += rng.choice((" [Import]", " (Deluxe Edition)", " - Remastered Edition"))
        elif kind < EDITIONS + TYPING_ERRORS:
            at = rng.randrange(len(title))
            title = title[:at] + rng.choice("aeiou") + title[at + 1 :]
        elif kind < EDITIONS + TYPING_ERRORS + NO_RELEASES:
            albums.append(((title, rng.choice(releases)[1]), None))
            continue
        albums.append(((title, artist), release))
    return albums


if __name__ == "__main__":
    run_command(main)
