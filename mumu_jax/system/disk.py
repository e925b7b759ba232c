"""Faults of the place where files are: a full or read-only disk, missing permission, a drive that fails.

Libraries raise them as errors of many kinds.  `naming` adds the path that was being written, and `fault_of` recognises
them all, so that every command ends with one line.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mumu_jax.errors import UserError

UNFINISHED = ".mumu_jax.part"  # the end of the name of a file that is being written, or was when its process was killed
_FULL = "free some space there, or give a path on another disk; then give the same command again"
_FORBIDDEN = "give a path that you may use, or change its permissions"
_FAILING = "check that disk or network drive, or use another; then give the same command again"
_OTHER = "fix that, or give another path"
REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _FORBIDDEN,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.EEXIST: _OTHER,
    errno.EISDIR: _OTHER,
    errno.ENOTDIR: _OTHER,
    errno.ENAMETOOLONG: _OTHER,
    errno.ELOOP: _OTHER,
}
# Faults that have ended a thread: the main thread meets what that thread no longer does, and raises them.
faults_of_threads: list[BaseException] = []
# Libraries that are not written in Python give these as text alone.
_IN_TEXT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raise a fault of the disk in the block, whatever its kind, as an OSError that names `path`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _number_of(error)
        named = getattr(error, "filename", None)
        if number is None or (named is not None and not str(named).endswith(UNFINISHED)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def fault_of(error: BaseException) -> str | None:
    """Return a line about the fault of the disk that `error` is, or that led to it; None for any other error."""
    chain = _chain(error)
    number = next((number for one in chain if (number := _number_of(one)) is not None), None)
    if number is None:
        return None
    paths = [one.filename for one in chain if isinstance(one, OSError) and one.filename is not None]
    where = f"cannot use {os.fsdecode(paths[0])}: " if paths and not isinstance(paths[0], int) else ""
    return f"{where}{os.strerror(number)}; {REMEDIES[number]}"


def _number_of(error: BaseException) -> int | None:
    """Return the number of the fault that `error` itself is."""
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return error.errno
    text = str(error)
    return next((number for number in _IN_TEXT if os.strerror(number) in text), None)


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and its causes, and full or failing disks that it came after: a file could not be closed, say."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        before = None if error.__suppress_context__ else error.__context__
        after_fault = before is not None and _number_of(before) in _IN_TEXT
        error = error.__cause__ or (before if after_fault else None)
    return chain
