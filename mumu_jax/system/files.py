"""Files that exist whole or not at all, also after a kill or a power cut, and locks on folders."""

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import secrets
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from mumu_jax.errors import UserError
from mumu_jax.system.disk import UNFINISHED, naming
from mumu_jax.system.lines import print_remark

_NAME_BYTES = 200
LOCK = ".lock"  # of `only_one`
ABANDONED_AFTER_S = 3600.0  # without a write, nobody is writing it any more


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`.  On success the file there replaces `path`; on error it is deleted."""
    name = os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])  # a name may have 255 bytes
    temporary = path.with_name(f".{name}.{secrets.token_hex(4)}{UNFINISHED}")  # another writer has another one
    try:
        with naming(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes.  Raises OSError if it is something else, which might never give any: a pipe."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file", str(path))
    return path.open("rb")


@contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap | bytes]:
    """Yield a file's bytes, in memory only if its file system cannot map it."""
    try:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        file.seek(0)
        yield file.read()
    else:
        with data:
            yield data


def check_line_of_utf8(folder: Path) -> None:
    """Raise UserError unless the absolute path is a line of UTF-8: ArrayRecord and TensorStore can open no other."""
    path = os.path.abspath(folder)
    if any("\ud800" <= char <= "\udfff" or char == "\n" for char in path):
        raise UserError(
            f"expected a folder whose path is a line of UTF-8, as records and checkpoints need it, found {path}; "
            "rename it, or give another one"
        )


@contextmanager
def only_one(folder: Path, doing: str) -> Iterator[BinaryIO]:
    """Hold the lock on `folder`, which ends with the process; first remove what killed processes left in it.

    Raises UserError if another process holds the lock, which is then `doing` the folder, and as `check_line_of_utf8`.
    """
    check_line_of_utf8(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("wb") as lock:
        hold(lock, folder, doing)
        _remove_abandoned(folder)
        yield lock


def hold(lock: IO[Any], path: Path, doing: str) -> None:
    """Lock an open file until it is closed.  Raises UserError if another process holds it, `doing` the `path`."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another process is {doing} {path}; wait until it ends") from error
    except OSError as error:  # storage of a cluster may have no locks
        print_remark(f"warning: {path} cannot be locked ({error.strerror}): use it once at a time")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    with replacing(path) as temporary:
        temporary.write_text(_as_json(value))


def write_checked_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` with a checksum of its own, `sha256`."""
    write_json(path, _with_checksum(value))


def read_checked_json(path: Path) -> dict[str, Any]:
    """Read what `write_checked_json` wrote; raises ValueError if a byte of it has changed.

    Without a `sha256`, as in files from before there was one, it is read as it is.
    """
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, found {text:.20}")
    value = {name: one for name, one in content.items() if name != "sha256"}
    if "sha256" in content and text != _as_json(_with_checksum(value)):
        raise ValueError("it is not what was written: its checksum differs")
    return content


def _with_checksum(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "sha256": hashlib.sha256(_as_json(value).encode()).hexdigest()}


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def write_npz(path: Path, compressed: bool = False, **arrays: Any) -> None:
    """Write arrays by name to an `.npz` file, whole or not at all; the same arrays give the same bytes."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], about: dict[str, str] | None = None) -> None:
    """Write contiguous tensors by name to a `.safetensors` file, whole or not at all; `about` is its metadata."""
    from safetensors.numpy import save  # few processes write any, and a bare machine does not have it

    with replacing(path) as temporary:  # not `save_file`, whose files only their owner can read
        temporary.write_bytes(save(tensors, about))


def read_npz(path: Path, remedy: str, *names: str) -> dict[str, np.ndarray]:
    """Read all arrays of an `.npz` file, `names` among them.

    Raises UserError, which ends with `remedy`, if the file or one of `names` is missing, or if it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in dict.fromkeys((*names, *arrays.files))}
    except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is missing or damaged ({error!r}); {remedy}") from error


def _remove_abandoned(folder: Path) -> None:
    oldest = time.time() - ABANDONED_AFTER_S
    for unfinished in folder.rglob(f".*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):  # its writer has just finished
            if unfinished.stat().st_mtime < oldest:
                unfinished.unlink()
