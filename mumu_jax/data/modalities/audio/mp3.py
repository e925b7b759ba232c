"""MP3 frames, counted without decoding: how much audio a file holds, and if its end was cut off.

An mp3 is a sequence of frames without a header of its own.  It states its length only if the encoder put a Xing (or
Info) frame in front, and programs that cut mp3s often drop that.  ISO/IEC 11172-3, 2.4.1.
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
_SIDE_INFORMATION_BYTES = {  # by (MPEG-1?, mono?)
    (True, False): 32,
    (True, True): 17,
    (False, False): 17,
    (False, True): 9,
}
_HEADER_BYTES = 4
_SAME_STREAM = 0xFFFE0C00  # sync, version, layer and sample rate: the same in all frames of a stream
_MPEG1 = 3  # versions, as the header numbers them
_MPEG2 = 2
_RESERVED_VERSION = 1
_MONO = 3


class Frame(NamedTuple):
    """A frame, as its header describes it."""

    header: int
    n_bytes: int
    n_samples: int
    sr_hz: int


@dataclass(frozen=True)
class Stream:
    """All frames of a file.

    `seconds` and `n_frames` count the complete frames that hold audio.  `tagged` is set if a Xing header declares
    their number, and `cut` if the file ends inside a frame.  `share` is the share of the file's bytes, behind its
    tags, that are frames; `other_s` is the duration of those of another kind than the first: another sample rate, say.
    """

    seconds: float
    n_frames: int
    tagged: bool
    cut: bool
    start: int  # byte offset of the first frame that holds audio
    share: float
    other_s: float


def scan(path: Path) -> Stream:
    """Follow the frames of a file from header to header; after damage, go on where two frames agree again."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = _next_frame(data, end_of_id3(data))
        first = _frame(data, start)
        if first is None:
            return Stream(0.0, 0, tagged=False, cut=False, start=start, share=0.0, other_s=0.0)
        xing = re.search(b"(?:Xing|Info)...(.)", data[start : start + first.n_bytes], re.DOTALL)
        if xing:
            start += first.n_bytes  # the Xing frame holds no audio
        n_frames, cut, n_bytes, other_s = _count_frames(data, start, first)
        share = n_bytes / max(1, len(data) - start)
    tagged = xing is not None and bool(xing[1][0] & 1)  # this flag says that a frame count follows
    return Stream(n_frames * first.n_samples / first.sr_hz, n_frames, tagged, cut, start, share, other_s)


def tagged(path: Path, stream: Stream) -> io.BytesIO:
    """Return the file, in memory, with a Xing frame in front that declares its number of frames."""
    data = path.read_bytes()
    first = _frame(data, stream.start)
    if first is None:
        return io.BytesIO(data)
    mpeg1 = first.header >> 19 & 3 == _MPEG1
    mono = first.header >> 6 & 3 == _MONO
    header = (first.header | 1 << 16).to_bytes(_HEADER_BYTES, "big")  # the bit says that no checksum follows
    side_information = bytes(_SIDE_INFORMATION_BYTES[mpeg1, mono])
    count = b"Xing" + (1).to_bytes(4, "big") + stream.n_frames.to_bytes(4, "big")
    xing_frame = (header + side_information + count).ljust(first.n_bytes, b"\0")
    return io.BytesIO(xing_frame + data[stream.start :])


def _count_frames(data: mmap.mmap, start: int, first: Frame) -> tuple[int, bool, int, float]:
    """Count the complete frames of the stream from `start` on.

    Returns their number, if the file ends inside another, the bytes of all frames, and the seconds of those that are
    not of the stream.
    """
    n_frames, n_bytes, other_s, at = 0, 0, 0.0, _next_frame(data, start)
    while (frame := _frame(data, at)) is not None:
        at += frame.n_bytes
        if at > len(data):
            return n_frames, True, n_bytes, other_s
        n_bytes += frame.n_bytes
        if _same_stream(frame, first):
            n_frames += 1
        else:
            other_s += frame.n_samples / frame.sr_hz
        if _frame(data, at, frame) is None:
            at = _next_frame(data, at)
    return n_frames, False, n_bytes, other_s


def end_of_id3(data: mmap.mmap | bytes) -> int:
    """Return the offset behind the ID3 tags at the file's beginning; their size is coded as four times seven bits."""
    at = 0
    while (tag := data[at : at + 10])[:3] == b"ID3" and len(tag) == 10:
        a, b, c, d = tag[6:]
        at += 10 + (a << 21 | b << 14 | c << 7 | d)
    return at


def _next_frame(data: mmap.mmap, at: int) -> int:
    """Return the next offset of a frame that another frame or the file's end follows, or else the file's end."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _frame(data, at)
        if frame is not None:
            end = at + frame.n_bytes
            if end == len(data) or _frame(data, end, frame) is not None:
                return at
        at += 1
    return len(data)


def _frame(data: mmap.mmap | bytes, at: int, like: Frame | None = None) -> Frame | None:
    """Return the frame at offset `at`, None if there is none, or none of the same stream as `like`."""
    frame = _read_header(int.from_bytes(data[at : at + _HEADER_BYTES], "big"))
    return None if frame and like and not _same_stream(frame, like) else frame


def _same_stream(frame: Frame, other: Frame) -> bool:
    return not (frame.header ^ other.header) & _SAME_STREAM


@lru_cache  # a stream repeats few headers
def _read_header(header: int) -> Frame | None:
    if header >> 21 != 0x7FF:
        return None
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    rate, sr, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    if version == _RESERVED_VERSION or layer == 4 or rate in (0, 15) or sr == 3:
        return None
    mpeg1 = version == _MPEG1
    sr_hz = _SR_HZ[sr] // (1 if mpeg1 else 2 if version == _MPEG2 else 4)
    n_samples = 384 if layer == 1 else 1152 if layer == 2 or mpeg1 else 576
    slot_bytes = 4 if layer == 1 else 1
    n_slots = n_samples // 8 // slot_bytes * _KBPS[mpeg1, layer][rate - 1] * 1000 // sr_hz + padding
    return Frame(header, n_slots * slot_bytes, n_samples, sr_hz)
