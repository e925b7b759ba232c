"""What a file of an owner's folder is, if not what its name says."""

from pathlib import Path

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.timbre import DATASET, read_timbre
from mumu_jax.data.sources.mumu.first_bytes import head_of, other_than_data

HDF5 = b"\x89HDF\r\n\x1a\n"
_TEXT = frozenset(range(32, 127)) | {9, 10, 13}


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


def _first_bytes(head: bytes) -> str:
    return f"a file that begins with {head[:8]!r}"
