"""MP3 frames, counted without decoding: how much audio a file holds, and whether it was cut.

An mp3 is a row of frames without any header of its own.  Its length is written in it only where the encoder
put a Xing (or Info) frame in front, and programs that cut mp3s often drop that.  ISO/IEC 11172-3, 2.4.1.
"""

import io
import mmap
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_KBPS = {  # by (MPEG-1?, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SR_HZ = (44_100, 48_000, 32_000)  # MPEG-1; halved in MPEG-2, quartered in MPEG-2.5
_HEADER_BYTES = 4
_SAME_STREAM = 0xFFFE0C00  # sync, version, layer and sample rate: the same in all frames of a stream
_MONO = 3


class Frame(NamedTuple):
    """One frame header, read."""

    header: int
    n_bytes: int
    n_samples: int
    sr_hz: int


@dataclass(frozen=True)
class Stream:
    """What the frames of a file add up to.

    `seconds` counts the complete frames that hold audio; `tagged` says that a Xing header declares their
    number, `cut` that the file ends inside a frame.
    """

    seconds: float
    n_frames: int
    tagged: bool
    cut: bool
    start: int  # of the first frame, in bytes


def scan(path: Path) -> Stream:
    """Follow the frames from header to header through the file, and over damage to where two agree again."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = at = _next_frame(data, _after_id3(data), None)
        first = _frame(data, at)
        if first is None:
            return Stream(0.0, 0, tagged=False, cut=False, start=start)
        tag = re.search(b"(?:Xing|Info)...(.)", data[start : start + first.n_bytes], re.DOTALL)
        tagged = tag is not None and bool(tag[1][0] & 1)  # the flag says that a frame count follows
        n_frames, cut = -int(tag is not None), False
        while (frame := _frame(data, at, first)) is not None:
            at += frame.n_bytes
            cut = at > len(data)
            n_frames += not cut
            if not cut and _frame(data, at, first) is None:
                at = _next_frame(data, at, first)
        return Stream(n_frames * first.n_samples / first.sr_hz, n_frames, tagged, cut, start)


def tagged(path: Path, stream: Stream) -> io.BytesIO:
    """The file, in memory, with a Xing frame in front that declares the number of its frames."""
    data = path.read_bytes()
    first = _frame(data, stream.start)
    if first is None:
        return io.BytesIO(data)
    header = (first.header | 1 << 16).to_bytes(_HEADER_BYTES, "big")  # no checksum follows
    mono, mpeg1 = first.header >> 6 & 3 == _MONO, first.header >> 19 & 3 == 3
    side_information = bytes({(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[mpeg1, mono])
    count = b"Xing" + (1).to_bytes(4, "big") + stream.n_frames.to_bytes(4, "big")
    return io.BytesIO((header + side_information + count).ljust(first.n_bytes, b"\0") + data[stream.start :])


def _after_id3(data: mmap.mmap) -> int:
    """Where the tags end that some files begin with; their size is written in four times seven bits."""
    at = 0
    while (tag := data[at : at + 10])[:3] == b"ID3" and len(tag) == 10:
        a, b, c, d = tag[6:]
        at += 10 + (a << 21 | b << 14 | c << 7 | d)
    return at


def _next_frame(data: mmap.mmap, at: int, first: Frame | None) -> int:
    """The first place from `at` on with a frame that another follows, or that ends the file; else the file's end."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _frame(data, at, first)
        if frame is not None:
            after = at + frame.n_bytes
            if after == len(data) or _frame(data, after, frame) is not None:
                return at
        at += 1
    return len(data)


def _frame(data: mmap.mmap | bytes, at: int, like: Frame | None = None) -> Frame | None:
    """The frame that starts at byte `at`, or None where there is none (or not one of the stream of `like`)."""
    header = int.from_bytes(data[at : at + _HEADER_BYTES], "big")
    return None if like and (header ^ like.header) & _SAME_STREAM else _read_header(header)


@lru_cache  # a stream repeats few headers
def _read_header(header: int) -> Frame | None:
    if header >> 21 != 0x7FF:
        return None
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)  # version 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    rate, sr, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    if version == 1 or layer == 4 or rate in (0, 15) or sr == 3:
        return None
    sr_hz = _SR_HZ[sr] // {3: 1, 2: 2, 0: 4}[version]
    n_samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    n_slots = n_samples // 8 // slot * _KBPS[version == 3, layer][rate - 1] * 1000 // sr_hz + padding
    return Frame(header, n_slots * slot, n_samples, sr_hz)
