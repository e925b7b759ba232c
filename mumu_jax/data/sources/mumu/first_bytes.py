"""What a file is, by its first bytes: downloads fail by leaving something else under the right name."""

from pathlib import Path

HEAD_BYTES = 512
LFS_POINTER = b"version https://git-lfs.github.com/"
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head")
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive"}


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


def head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
