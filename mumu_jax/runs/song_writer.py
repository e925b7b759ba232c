"""Genres into songs' own tags: which, and without a moment at which a song is neither the old file nor the new one."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mumu_jax.runs.journal import Journal, check_writable, copy_status
from mumu_jax.runs.song_tags import NotWritten, check_installed, genres_in, set_genres
from mumu_jax.system.disk import fault_of
from mumu_jax.system.files import replacing
from mumu_jax.system.lines import print_line, printable


@dataclass(frozen=True)
class Writing:
    """The way to write genres.

    `mode` is `empty` (only where there is no genre), `append` or `replace`.  The best `max_genres` are separate values,
    or one value joined by `separator`.
    """

    mode: str
    max_genres: int
    separator: str | None
    is_dry: bool

    def wanted(self, present: Sequence[str], genres: Sequence[str]) -> list[str]:
        """Return the genres that a song should have, of those it has and those found for it, best first."""
        if not genres or (self.mode == "empty" and present):
            return [*present]
        best = [*genres[: self.max_genres]]
        if self.mode == "append":
            known = {part.strip() for value in present for part in value.split(self.separator or "\0")}
            best = [*present, *(genre for genre in best if genre not in known)]
            if len(best) == len(present):
                return best
        return [self.separator.join(best)] if self.separator else best


class SongWriter:
    """Writes genres into songs, and counts them; use it in a `with`.

    Raises UserError without mutagen, and if the journal is something else.
    """

    def __init__(self, writing: Writing, journal: Path) -> None:
        check_installed()
        self._writing, self._path = writing, journal
        self._journal = None if writing.is_dry else Journal(journal)
        self.n_written = self.n_kept = self.n_failed = 0

    def __enter__(self) -> "SongWriter":
        return self

    def __exit__(self, *raised: object) -> None:
        if self._journal:
            self._journal.close()

    def write(self, song: Path | None, genres: Sequence[str]) -> str:
        """Write the best of `genres` into a song's tags; return why they could not be, "" if they were or are there."""
        if song is None:  # an album without one
            return ""
        try:
            present = genres_in(song)
            wanted = self._writing.wanted(present, genres)
            if wanted == present:
                self.n_kept += 1
                return ""
            if self._journal is None:
                print_line(f"{song}: would write {' | '.join(wanted)} (has {' | '.join(present) or 'no genre'})")
            else:
                _replace(Path(os.path.realpath(song)), wanted, present, self._journal)
        except (NotWritten, OSError) as error:
            self.n_failed += 1
            return printable(f"not written: {fault_of(error) or error}")
        self.n_written += 1
        return ""

    def summary(self) -> str:
        """Return a line about what was done."""
        did = "would be written" if self._journal is None else "written"
        line = f"genres {did} into {self.n_written} songs; {self.n_kept} have theirs already"
        line += f", {self.n_failed} could not be written" if self.n_failed else ""
        undo = f"; to undo: python -m mumu_jax.tag --undo={self._path}"
        return line + (undo if self._journal and self.n_written else "")


def _replace(song: Path, wanted: Sequence[str], present: Sequence[str], journal: Journal) -> None:
    """Replace a song by a copy with other genres; its line of the journal is on the disk before that."""
    check_writable(song)
    before = song.stat()
    with replacing(song) as temporary:
        shutil.copyfile(song, temporary)
        with temporary.open("r+b") as file:
            set_genres(file, song.name, wanted)
        copy_status(song, temporary)
        journal.add(song, temporary, present)
        now = song.stat()
        if (before.st_mtime_ns, before.st_size, before.st_ino) != (now.st_mtime_ns, now.st_size, now.st_ino):
            raise NotWritten("it was changed at the same time; try again")
