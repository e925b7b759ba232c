"""First bytes of downloads: one may fail by leaving something else than data under the right name."""

from pathlib import Path

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".7z", ".rar")
HEAD_BYTES = 512
_LFS_POINTER = b"version https://git-lfs.github.com/"
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head")
_PACKED = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive"}


def other_than_data(path: Path) -> str | None:
    """Name the file's kind if its first bytes are no data: empty, a pointer, a web page, an archive; else None."""
    head = read_head(path)
    if not head:
        return "an empty file"
    if head.startswith(_LFS_POINTER):
        return "a Git LFS pointer, not the data it stands for"
    if head.lstrip().lower().startswith(_MARKUP):
        return "a web page (HTML)"
    if not head.strip(b"\0"):
        return "zero bytes only"
    packed = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
    return None if path.suffix == ".gz" else packed


def read_head(path: Path) -> bytes:
    """Return the first HEAD_BYTES bytes."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
