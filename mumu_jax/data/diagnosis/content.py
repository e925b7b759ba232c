"""What a file is, by its first bytes: downloads fail by leaving something else under the right name."""

from pathlib import Path

from mumu_jax.data.modalities.timbre import DATASET, read_timbre
from mumu_jax.data.rejected import Rejected

HEAD_BYTES = 512
LFS_POINTER = b"version https://git-lfs.github.com/"
HDF5 = b"\x89HDF\r\n\x1a\n"
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head")
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive"}
_TEXT = frozenset(range(32, 127)) | {9, 10, 13}


def other_than_data(path: Path) -> str | None:
    """What the file is instead of data of any kind: empty, a pointer, a web page, an archive; None if nothing known.

    Raises OSError where it cannot be read.
    """
    head = head_of(path)
    if not head:
        return "an empty file"
    if head.startswith(LFS_POINTER):
        return "a Git LFS pointer, not the data it stands for"
    if head.lstrip().lower().startswith(_MARKUP):
        return "a web page (HTML)"
    if not head.strip(b"\0"):
        return "zero bytes only"
    packed = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    return None if path.suffix == ".gz" else packed


def other_than_audio(path: Path) -> str | None:
    """As `other_than_data`, and plain text; that the rest decodes is for `prepare` to see."""
    return other_than_data(path) or ("plain text" if _TEXT.issuperset(head_of(path)) else None)


def other_than_image(path: Path) -> str | None:
    """What the file is instead of a JPEG, PNG, GIF, BMP or WebP image."""
    head = head_of(path)
    known = head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM")) or head[8:12] == b"WEBP"
    return None if known else other_than_data(path) or _first_bytes(head)


def other_than_timbre(path: Path) -> str | None:
    """What the file is instead of an MSD .h5 that timbre can be read from."""
    head = head_of(path)
    if not head.startswith(HDF5):
        return other_than_data(path) or _first_bytes(head)
    try:
        read_timbre(path)
    except Rejected as rejected:
        return f"HDF5 whose {DATASET} is {rejected.reason}"
    return None


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _first_bytes(head: bytes) -> str:
    return f"a file that begins with {head[:8]!r}"
