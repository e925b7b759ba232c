"""Headers of MPEG-4 and Windows Media files, read without decoding: encryption, completeness, length.

ISO/IEC 14496-12, 4.2; Advanced Systems Format, revision 01.20.03, 2.1 and 3.2.
"""

import mmap
import re
from collections.abc import Iterator
from typing import NamedTuple

from mumu_jax.data.manifest import Rejected

_PROTECTED = Rejected(
    "protected", "it is encrypted (DRM), and plays in its shop's own programs alone; get a copy without DRM"
)
# The first sample description of an audio track: of FairPlay, Common Encryption or Audible.
_ENCRYPTED_MPEG4 = re.compile(rb"stsd.{12}(?:drms|enca|aavd)", re.DOTALL)
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_ENCRYPTED = ("fbb3112223bdd211b4b700a0c955fc6e", "14e68a292226174cb935dae07ee9289c")
_BROADCAST = 1  # a flag: the header was written before the end was known


class Box(NamedTuple):
    """A box at the top level of an MPEG-4 file."""

    kind: bytes
    start: int
    end: int


def check_mpeg4(data: mmap.mmap | bytes) -> None:
    """Raise Rejected if a file is encrypted, several recordings, or cut off as far as its boxes tell."""
    boxes = list(_boxes(data))
    indices = [box for box in boxes if box.kind == b"moov"]
    if not indices:
        raise Rejected("truncated", "its index (moov) is missing, which most programs write last")
    if len(indices) > 1:
        raise several(max(box.start for box in boxes if box.kind == b"ftyp"), len(data))
    if _ENCRYPTED_MPEG4.search(data, indices[0].start, indices[0].end):
        raise _PROTECTED
    if boxes[-1].end > len(data) and any(box.kind == b"moof" for box in boxes):
        missing = f"{boxes[-1].end - len(data):,} bytes of its last fragment are missing"
        raise Rejected("truncated", missing)  # its index does not know how long the fragments are


def _boxes(data: mmap.mmap | bytes) -> Iterator[Box]:
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:  # to the file's end
            size = len(data) - at
        if size < 8:
            return
        yield Box(kind, at, at + size)
        at += size


def declared_by_asf(data: mmap.mmap | bytes) -> float:
    """Return the seconds that a Windows Media file declares, 0 if it does not know.

    FFmpeg guesses them from the size of a file that was cut off.  Raises Rejected if it is encrypted or several
    recordings.
    """
    end = min(int.from_bytes(data[16:24], "little"), len(data))  # of the header
    if any(data.find(bytes.fromhex(guid), 0, end) > 0 for guid in _ASF_ENCRYPTED):
        raise _PROTECTED
    another = data.find(_ASF, 1)
    if another > 0:
        raise several(another, len(data))
    at = data.find(_ASF_FILE, 0, end)
    if at < 0 or int.from_bytes(data[at + 88 : at + 92], "little") & _BROADCAST:
        return 0.0
    play_100ns, preroll_ms = (int.from_bytes(data[at + i : at + i + 8], "little") for i in (64, 80))
    return max(0.0, play_100ns / 1e7 - preroll_ms / 1e3)


def several(start: int, n_bytes: int) -> Rejected:
    """Return the rejection of a file whose second recording begins at byte `start`."""
    where = f"another begins after {start:,} of {n_bytes:,} bytes"
    return Rejected("chained", f"the file is several recordings, one after the other: {where}; split it")
