"""The options of `tag` that write genres into songs' own tags, and undo it."""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mumu_jax.data.modalities.base import Reader
from mumu_jax.errors import UserError
from mumu_jax.runs.journal import AS_BEFORE, RESTORED, undo
from mumu_jax.runs.song_writer import SongWriter, Writing
from mumu_jax.system.lines import print_line, print_remark
from mumu_jax.system.terminal import positive

JOURNAL = Path("tags.journal.jsonl")  # without --out


def add_writing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser that has --out."""
    group = parser.add_argument_group("genres in the songs' own tags (needs the extra `write`)")
    group.add_argument("--write", action="store_true", help="write the best genres into songs that have none")
    modes = group.add_mutually_exclusive_group()
    modes.add_argument("--append", dest="mode", action="store_const", const="append", help="... behind those they have")
    modes.add_argument("--replace", dest="mode", action="store_const", const="replace", help="... in place of theirs")
    group.add_argument("--max_genres", type=positive, help="genres to write into a song (default: 1, the best)")
    group.add_argument("--separator", metavar="TEXT", help="write one value joined by TEXT, not a value a genre")
    group.add_argument("--dry_run", action="store_true", help="print what would be written, and change no song")
    journal_help = f"what --undo needs (default: beside --out, or {JOURNAL})"
    group.add_argument("--journal", type=Path, metavar="FILE", help=journal_help)


def check_options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the command, as argparse does, if options do not go together."""
    if not arguments.paths:
        parser.error("expected songs (or other files), or folders of them; found none")
    names = ("mode", "max_genres", "separator", "dry_run", "journal")
    if not arguments.write and any(getattr(arguments, name) for name in names):
        parser.error("--append, --replace, --max_genres, --separator, --dry_run and --journal need --write")
    if arguments.write and arguments.all_tags:
        parser.error("--write puts genres into songs, and --all_tags gives other tags, too; leave one of them out")
    if arguments.top_k and (arguments.max_genres or 1) > arguments.top_k:
        parser.error(f"--max_genres={arguments.max_genres} is more than are found; give --top_k as many")


def open_writer(
    arguments: argparse.Namespace, readers: Mapping[str, Reader]
) -> AbstractContextManager[SongWriter | None, None]:
    """Open what writes into songs, None if nothing is to be written.  Raises UserError if the run sees no songs."""
    if not arguments.write:
        return nullcontext()
    if not any(reader.is_one(Path("song.mp3")) for reader in readers.values()):
        sees = ", ".join(readers)
        raise UserError(f"--write is for runs that see songs, and this one sees {sees} alone; leave it out")
    out = arguments.out
    journal = arguments.journal or (out.with_suffix(".journal.jsonl") if out else JOURNAL)
    writing = Writing(arguments.mode or "empty", arguments.max_genres or 1, arguments.separator, arguments.dry_run)
    return SongWriter(writing, journal)


def undo_and_print(journal: Path) -> bool:
    """Restore the songs of a journal; print those that cannot be, and return True if there are any."""
    outcomes = []
    for song, outcome, is_well in undo(journal):
        outcomes.append(outcome)
        if not is_well:
            print_remark(f"{song}: {outcome}")
    n_restored, n_as_before = outcomes.count(RESTORED), outcomes.count(AS_BEFORE)
    n_failed = len(outcomes) - n_restored - n_as_before
    print_line(f"{n_restored} songs restored; {n_as_before} are as before already; {n_failed} cannot be restored")
    return n_failed > 0
