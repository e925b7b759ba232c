"""Harm that a machine or its user does to a command: a kill, a full disk, a flipped byte, odd files."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mumu_jax.errors import UserError
from mumu_jax.system.seals import check_seal

# --- kills ----------------------------------------------------------------------------------------------------


def state_of(folder: Path) -> dict[Path, int]:
    """Return when each file below a folder was last written, in nanoseconds; one that has just gone is left out."""
    state = {}
    for path in folder.rglob("*"):
        try:
            state[path] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return state


def wait_for_work(process: subprocess.Popen[str], folder: Path) -> float:
    """Wait until a process has changed something below a folder, or has ended; return the time."""
    before = state_of(folder)
    while process.poll() is None and state_of(folder) == before:
        time.sleep(0.01)
    return time.monotonic()


def empty(folder: Path) -> None:
    """Remove everything in a folder, which may be a disk."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


# --- disks ----------------------------------------------------------------------------------------------------


class Disk:
    """A file system in memory of a given size.  Raises UserError if none can be mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._call("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"cannot mount a small file system on {folder}, which takes root; run as root") from error

    @contextmanager
    def filled(self, n_free: int) -> Iterator[None]:
        """Leave this number of bytes free, rounded to pages, in the block; a file takes the rest."""
        page, filler = os.sysconf("SC_PAGE_SIZE"), self.folder / ".filler"
        filler.write_bytes(bytes(page))  # a size of 0 would be no limit
        self._call("mount", "-o", f"remount,size={self.used + n_free // page * page}", self.folder)
        try:
            yield
        finally:
            self._call("mount", "-o", "remount,size=1g", self.folder)
            filler.unlink()

    def close(self) -> None:
        self._call("umount", self.folder)

    @property
    def used(self) -> int:
        state = os.statvfs(self.folder)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    @staticmethod
    def _call(*command: object) -> None:
        subprocess.run(list(map(str, command)), check=True, capture_output=True)


# --- flipped bytes --------------------------------------------------------------------------------------------


def flips(folder: Path, n: int, seed: int) -> Iterator[Path]:
    """Change one byte of a file at a time; yield the file, and put the byte back.

    A file is chosen by the root of its size, so that small ones are, too, and each of its bytes is as likely.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    files = [path for path in files if path.name != ".lock" and "events" not in path.parts]
    sizes = np.array([path.stat().st_size for path in files])
    rng = np.random.default_rng(seed)
    for which in rng.choice(len(files), n, p=np.sqrt(sizes) / np.sqrt(sizes).sum()):
        path = files[which]
        at, bits = int(rng.integers(sizes[which])), int(rng.integers(1, 256))
        with path.open("r+b") as file:
            file.seek(at)
            (before,) = file.read(1)
            file.seek(at)
            file.write(bytes([before ^ bits]))
            file.flush()
            yield path
            file.seek(at)
            file.write(bytes([before]))


def is_refused(read: Callable[[], object]) -> bool:
    """Return True if `read` ends in the one line that a command prints; any other error is raised."""
    try:
        read()
    except UserError as error:
        return "\n" not in str(error)
    return False


def check_run(folder: Path) -> None:
    """Check a run's files, and each checkpoint as restoring it does, before anything is read."""
    for phase in ("track", "album"):
        if (folder / phase).exists():
            for step in sorted(path.name for path in (folder / phase).iterdir() if path.is_dir()):
                check_seal(folder / phase, "remove it", step)
    check_seal(folder, "restore it")


# --- odd files ------------------------------------------------------------------------------------------------

NAMES = (b"plain", b"caf\xe9", b"\x1b[31mred", b"line\nbreak", b"tab\t", b'a, "b"', b"-dash", b"[b] $x$", b"\xff\xfe")
NAMES += ("日本 é".encode(), b"x" * 180, b" ", b"%s{}", b"\x7f\x01", b"a;b|c")


def write_odd_files(folder: Path, wholes: Sequence[Path], suffix: str, n: int, rng: np.random.Generator) -> None:
    """Write files with odd names; the first holds one of `wholes` with that suffix, the others odd contents, too."""
    own, others = ([path for path in wholes if (path.suffix == suffix) == is_own] for is_own in (True, False))
    for i in range(n):
        name = NAMES[i % len(NAMES)] + b" %d" % i + suffix.encode()
        content = own[rng.integers(len(own))].read_bytes()
        odd = _odd_content(content, others[rng.integers(len(others))].read_bytes(), rng)
        (folder / os.fsdecode(name)).write_bytes(odd if i else content)


def _odd_content(own: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Return nothing, a part, noise, a page, another format, or the own bytes, most with damage or something behind."""
    start, n = int(rng.integers(len(own))), int(rng.integers(1, 2000))
    noise = rng.bytes(n)
    contents = (
        *(b"", own, own[:start], own[start:], noise, bytes(n), b"<!DOCTYPE html><html>404</html>\n" * 40, other),
        *(own + noise, own + own, own[:start] + noise + own[start + n :], own[:start] + own[start + n :]),
        *(own[:64] + noise, own[: start % 64] + bytes(n) + own[start % 64 + n :]),
    )
    return contents[rng.integers(len(contents))]
