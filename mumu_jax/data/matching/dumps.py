"""Files of public dumps as lines: plain, packed by gzip, bzip2 or xz, or one file of a tar archive."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from mumu_jax.errors import UserError

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
_ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def lines_of(path: Path, member: str = "") -> Iterator[bytes]:
    """Yield a file's lines; of an archive, those of its first file that is named `member`, in whichever folder.

    Raises UserError if the file cannot be read or unpacked, and if the archive has no such file.
    """
    with _readable(path):
        if not is_archive(path):
            with _open(path) as file:
                yield from file
            return
        for name, file in files_of(path):
            if name.rpartition("/")[2] == member:
                yield from file
                return
    raise UserError(f"expected a file {member!r} in {path}, found none; download the archive again")


def files_of(archive: Path) -> Iterator[tuple[str, BufferedIOBase]]:
    """Yield the names and contents of a tar archive's files, as a stream: each must be read before the next one."""
    with _readable(archive), tarfile.open(archive, "r|*") as files:
        for one in files:
            content = files.extractfile(one)
            if content is not None:
                yield one.name, cast(BufferedIOBase, content)


def is_archive(path: Path) -> bool:
    """Return True for a path that is named as tar archives are."""
    return path.name.endswith(_ARCHIVES)


def _open(path: Path) -> BufferedIOBase:
    with path.open("rb") as file:
        head = file.read(3)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    return cast(BufferedIOBase, opener(path, "rb") if opener else path.open("rb"))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise UserError(f"cannot read {path}: {error.strerror}; give the path of a file that exists") from error
        raise UserError(f"{path} is damaged or incomplete ({error}); download it again") from error
