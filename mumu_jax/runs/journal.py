"""A journal of changed songs: JSON lines from which each file is restored byte for byte.

A line is on the disk before its song is changed.  It has the song's path, time of change and genres, the SHA-256 of the
file before and after, and the steps that make the one of the other (`delta.py`).
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.runs.delta import difference, restored
from mumu_jax.runs.song_tags import NotWritten
from mumu_jax.system.disk import fault_of, naming
from mumu_jax.system.files import hold, mapped, replacing, sha256_of
from mumu_jax.system.lines import read_name, write_name

FIELDS = {"path", "mtime_ns", "genres", "sha256", "sha256_after", "steps"}
RESTORED, AS_BEFORE = "restored", "is as it was before"


class Journal:
    """A journal to append to.  Raises UserError if the file is something else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            self._file = path.open("ab")
        try:
            hold(self._file, path, "writing")
            _, n_bytes = _read(path)
            self._file.truncate(n_bytes)  # a killed call may have left a line unfinished; its song is unchanged
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the journal; remove it if nothing is in it."""
        self._file.close()
        if not self._path.stat().st_size:
            self._path.unlink()

    def add(self, song: Path, changed: Path, genres: Sequence[str]) -> None:
        """Write the line of a song that `changed` is about to replace; `genres` are those it has now."""
        with song.open("rb") as file, changed.open("rb") as other, mapped(file) as old, mapped(other) as new:
            steps = difference(new, old)
            before, after = sha256_of(song), sha256_of(changed)
            if _sha256(restored(new, steps)) != before:
                raise NotWritten("it was changed at the same time; try again")
        values = (write_name(str(song)), song.stat().st_mtime_ns, list(genres), before, after, steps)
        names = ("path", "mtime_ns", "genres", "sha256", "sha256_after", "steps")
        line = json.dumps(dict(zip(names, values, strict=True))).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            with naming(self._path):
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise


def undo(path: Path) -> Iterator[tuple[Path, str, bool]]:
    """Restore the songs of a journal, the last change first: yield each with what became of it, and if that is well.

    A song that was changed since is left as it is.  Raises UserError if the file is no journal.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; give --undo the journal that --write named")
    for line in reversed(_read(path)[0]):
        song = Path(read_name(line["path"]))
        try:
            outcome = _restore(song, line)
        except (OSError, ValueError) as error:
            yield song, f"cannot be restored: {fault_of(error) or error}", False
        else:
            yield song, outcome, outcome in (RESTORED, AS_BEFORE)


def _restore(song: Path, line: dict[str, Any]) -> str:
    found = sha256_of(song)
    if found == line["sha256"]:
        return AS_BEFORE
    if found != line["sha256_after"]:
        return "was changed since and is left as it is; restore it from a backup, or remove its genres by hand"
    check_writable(song)
    with replacing(song) as temporary:
        with song.open("rb") as file, mapped(file) as new, temporary.open("wb") as out:
            for part in restored(new, line["steps"]):
                out.write(part)
        if sha256_of(temporary) != line["sha256"]:
            raise ValueError("its line of the journal is damaged")
        copy_status(song, temporary)
        os.utime(temporary, ns=(song.stat().st_atime_ns, line["mtime_ns"]))
    return RESTORED


def check_writable(song: Path) -> None:
    """Raise PermissionError if a file is read-only, even for those who could replace it all the same."""
    if not song.stat().st_mode & 0o222 or not os.access(song, os.W_OK):
        raise PermissionError(13, "the file is read-only", str(song))


def copy_status(song: Path, to: Path) -> None:
    """Let another file have a song's permissions, times, attributes and owner."""
    shutil.copystat(song, to)
    status, other = song.stat(), to.stat()
    if (status.st_uid, status.st_gid) != (other.st_uid, other.st_gid):
        os.chown(to, status.st_uid, status.st_gid)
        to.chmod(status.st_mode & 0o7777)  # changing the owner may drop some


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return a journal's lines, and the bytes that they take; a last line that a kill cut off is none."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    start = b'{"path": "'
    rest = content[len(whole) :]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        is_journal = all(isinstance(line, dict) and line.keys() >= FIELDS for line in lines)
    except ValueError:
        is_journal = False
    if not is_journal or not (rest.startswith(start) or start.startswith(rest)):
        raise UserError(f"{path} is not a journal of songs; give another --journal (or --undo)")
    return lines, len(whole)


def _sha256(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
