"""`python -m mumu_jax.build`: build a data set as MuMu was built: Amazon's albums × MusicBrainz × the MSD."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.data.matching.funnel import rows_of
from mumu_jax.data.matching.job import FUNNEL, MATCHES, WORK, Job, build
from mumu_jax.data.matching.scoring import THRESHOLD
from mumu_jax.data.preparation.job import CORES
from mumu_jax.data.sources.mumu.taxonomy import MIN_ALBUMS
from mumu_jax.data.store.beam import chosen_for_each
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import positive, print_table, run_command, share


def main(argv: Sequence[str]) -> None:
    """Build the data set and print the counts from Amazon's albums to it."""
    options = _parse(argv)
    funnel = build(
        Job(
            amazon=options.amazon,
            musicbrainz=options.musicbrainz,
            mapping=options.mapping,
            out=options.out,
            msd=options.msd,
            reviews=options.reviews,
            threshold=options.threshold,
            minimum=options.min_albums,
            workers=options.workers,
            for_each=chosen_for_each(options.beam_runner, options.beam_options),
        )
    )
    print_table("from Amazon to the data set", ("", "here", "paper"), rows_of(funnel), width=78)
    print_line(f"written: {options.out}: MuMu's files, {MATCHES} (every match with its scores), {FUNNEL}")
    print_line(f"{options.out / WORK} is for another call, such as with another --threshold; remove it to save room")
    print_line(f"next: python -m mumu_jax.prepare --source=mumu --input={options.out} --data_dir=DATA")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mumu_jax.build",
        description="Build a data set as MuMu was built (Oramas et al. 2017, section 3): albums of Amazon are matched "
        "with those of MusicBrainz by title and artist, their recordings with tracks of the Million Song Dataset.  "
        "Needs the extra `build` (RapidFuzz).  After a kill, the same call continues.",
        epilog="exit status: 0 done, 2 wrong input, 130 interrupted",
    )
    files = {
        "amazon": "Amazon's metadata, such as meta_CDs_and_Vinyl.json.gz of McAuley's dumps",
        "musicbrainz": "release.tar.xz of MusicBrainz' JSON dumps, the file in it, or the folder mbdump of its tables",
        "mapping": "msd-mbid-2016-01-results-ab.csv of AcousticBrainz Labs, or their archive of Echo Nest's answers, "
        "unpacked or not",
    }
    for name, content in files.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=content)
    parser.add_argument("--out", type=Path, required=True, metavar="MUMU", help="the folder to write")
    parser.add_argument(
        "--msd",
        type=Path,
        metavar="PATH",
        help="unique_tracks.txt or track_metadata.db of the MSD: its tracks; needed for Echo Nest's answers",
    )
    parser.add_argument(
        "--reviews", type=Path, metavar="PATH", help="Amazon's reviews, of which those of the albums are kept"
    )
    parser.add_argument(
        "--threshold",
        type=share,
        default=THRESHOLD,
        help="the least score of a match: the similarity of the titles times that of the artists (%(default)s)",
    )
    parser.add_argument(
        "--min_albums", type=positive, default=MIN_ALBUMS, metavar="N", help="a genre is on so many (%(default)s)"
    )
    parser.add_argument("--workers", type=positive, default=CORES, metavar="N", help="number of processes (all cores)")
    parser.add_argument(
        "--beam_runner",
        metavar="NAME",
        help="match under Apache Beam by this runner, such as DirectRunner or SparkRunner; all its machines must see "
        "--out under the same path",
    )
    parser.add_argument(
        "--beam_options", default="", metavar="OPTIONS", help="options of Beam, in one argument, as of mumu_jax.prepare"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
