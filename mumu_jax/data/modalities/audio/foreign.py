"""Audio that libsndfile does not read (AAC, ALAC, WMA, …), decoded by FFmpeg's libraries: PyAV, the extra `m4a`.

A file's first bytes name its container; FFmpeg guesses nothing, and opens no other file.  Of several audio streams the
one is decoded that FFmpeg takes for the best (the default one, then that of the most channels); videos and cover art
are passed over.  Encoder delay is cut off where the container declares it (MPEG-4's edit list or iTunes' own tag,
Matroska's codec delay); a bare AAC stream cannot, and begins with some 50 ms of silence.  The padding of the last frame
may stay, some 20 ms.
"""

import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.audio.headers import check_mpeg4, declared_by_asf
from mumu_jax.data.modalities.audio.mp3 import end_of_id3
from mumu_jax.data.modalities.audio.sound import Sound, check_header, check_length
from mumu_jax.system.files import mapped

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, FFmpegError, Packet
    from av.container import InputContainer

_BLOCK_FRAMES = 1 << 15
_HEAD_BYTES = 64
_MOST_PLANES = 8  # PyAV 18 reads beyond the end of more
_ATTACHED_PICTURE = 1 << 10  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC: cover art


class Kind(NamedTuple):
    """A kind of file: its name in words, FFmpeg's name of its container, and a reader of the container's header.

    `inspect` raises Rejected on what cannot be decoded whole, and returns the seconds that the header declares, None if
    FFmpeg knows them.  A kind that `is_bare` is frames without a container, whose length FFmpeg could only guess.
    """

    name: str
    demuxer: str
    inspect: Callable[[mmap.mmap | bytes], float | None] = lambda data: None
    is_bare: bool = False


_KINDS = {  # by the first bytes
    rb"....ftyp": Kind("MPEG-4 (AAC or ALAC)", "mov", check_mpeg4),
    rb"\xff[\xf0\xf1\xf8\xf9]": Kind("AAC", "aac", is_bare=True),
    rb"\x30\x26\xb2\x75": Kind("Windows Media", "asf", declared_by_asf),
    rb"\x1aE\xdf\xa3": Kind("Matroska or WebM", "matroska"),
    rb"MAC ": Kind("Monkey's Audio", "ape"),
    rb"wvpk": Kind("WavPack", "wv"),
    rb"MPCK": Kind("Musepack", "mpc8"),
    rb"MP\+": Kind("Musepack", "mpc"),
    rb"TTA1": Kind("True Audio", "tta"),
    rb"#!AMR": Kind("AMR", "amr", is_bare=True),
    rb"\.RMF|\.ra\xfd": Kind("RealAudio", "rm"),
    rb"DSD ": Kind("DSD", "dsf"),
    rb"FRM8": Kind("DSD", "iff"),
    rb"\x0bw": Kind("AC-3", "ac3", is_bare=True),
    rb"\x7f\xfe\x80\x01": Kind("DTS", "dts", is_bare=True),
    rb"tBaK": Kind("TAK", "tak"),
    rb"OggS.{24}Speex": Kind("Speex", "ogg"),
}


def foreign_kind(path: Path) -> Kind | None:
    """Return the kind of an audio file, from its first bytes behind tags, if libsndfile does not read that kind."""
    with path.open("rb") as file, mapped(file) as data:
        start = end_of_id3(data)
        head = data[start : start + _HEAD_BYTES]
    return next((kind for pattern, kind in _KINDS.items() if re.match(pattern, head, re.DOTALL)), None)


def not_read(kind: Kind | None) -> Rejected:
    """Return the rejection of a file that libsndfile does not read."""
    remedy = "it is none of its formats"
    if kind:
        remedy = f"it is {kind.name}; pip install 'mumu_jax[m4a]', or convert it: ffmpeg -i FILE NEW.flac"
    return Rejected("not_audio", f"libsndfile {soundfile.__libsndfile_version__} does not read it: {remedy}")


@cache
def libav_versions() -> dict[str, str]:
    """Return the versions of FFmpeg's libraries that samples depend on; none without the extra `m4a`."""
    try:
        import av
    except ImportError:
        return {}
    return {name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libavformat")}


def open_foreign(path: Path, kind: Kind) -> Sound:
    """Open a file of a kind that libsndfile does not read.  Raises Rejected, also if the extra `m4a` is missing."""
    with ExitStack() as opened:
        with path.open("rb") as file, mapped(file) as data:
            declared_s = kind.inspect(data)
        try:
            import av
        except ImportError as error:
            raise not_read(kind) from error
        try:
            name = os.path.abspath(path)  # no protocol begins with a slash
            # Tags may be any bytes, which PyAV 19 takes without being asked.
            tags: Any = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
            container = opened.enter_context(av.open(name, "r", format=kind.demuxer, **tags))
        except av.FFmpegError as error:
            raise Rejected("unreadable", _message_of(error)) from error
        stream = _audio_stream(container)
        tally = _Tally(0.0 if kind.is_bare else _declared_s(container, stream, declared_s), kind.is_bare)
        frames = _frames(container, stream, tally)
        first = next(frames)
        check_header(len(first.layout.channels), first.sample_rate)
        return Sound(opened.pop_all(), first.sample_rate, tally.declared_s, _blocks(chain([first], frames)))


def _audio_stream(container: "InputContainer") -> "AudioStream":
    """Return the stream to decode.  Raises Rejected if there is none that can be."""
    import av

    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        kinds = ", ".join(sorted({one.type for one in container.streams})) or "nothing"
        raise Rejected("not_audio", f"expected an audio stream, found {kinds}")
    if stream.codec_context is None:
        raise Rejected("not_audio", f"FFmpeg {av.ffmpeg_version_info} has no decoder for its codec")
    stream.codec_context.thread_count = 1  # each worker has one core
    return stream


def _declared_s(container: "InputContainer", stream: "AudioStream", of_file_s: float | None) -> float:
    """Return the seconds that a container declares for a stream, 0 if it does not know.

    `of_file_s` is what its header says of the whole file, None if FFmpeg knows.  Of a film that says nothing of the
    sound, whose length Matroska declares in a tag at most, and Windows Media not at all.
    """
    if of_file_s is None and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    if any(one.type == "video" and not one.disposition & _ATTACHED_PICTURE for one in container.streams):
        return 0.0
    return (container.duration or 0) / 1e6 if of_file_s is None else of_file_s


@dataclass
class _Tally:
    """The amounts of a stream that were decoded and lost, and what the decoder said last."""

    declared_s: float
    is_bare: bool
    sr_hz: int = 0
    decoded_s: float = 0.0
    lost_s: float = 0.0
    n_bytes: int = 0  # of the packets that were decoded
    start: int | None = None  # the first one's place in the file
    end: int = 0
    is_cut: bool = False  # the last packet could not be decoded
    error: str = ""

    def count(self, packet: "Packet") -> None:
        """Count a packet that was decoded."""
        if packet.size and packet.pos is not None:
            self.start = packet.pos if self.start is None else self.start
            self.end, self.is_cut = packet.pos + packet.size, False
            self.n_bytes += packet.size

    def lose(self, packet: "Packet", error: "FFmpegError") -> None:
        """Count a packet that could not be decoded."""
        self.lost_s += float((packet.duration or 0) * packet.time_base)
        self.error, self.is_cut = _message_of(error), True

    def hear(self, frame: "AudioFrame") -> None:
        """Count a frame.  Raises Rejected if its sample rate is another than those before it had."""
        self.sr_hz = self.sr_hz or frame.sample_rate
        if frame.sample_rate != self.sr_hz:
            found = f"{self.sr_hz:,} Hz, and after {self.decoded_s:.1f} s {frame.sample_rate:,} Hz"
            raise Rejected("chained", f"the file is several recordings, one after the other: {found}; split it")
        self.decoded_s += frame.samples / self.sr_hz

    def check(self) -> None:
        """Raise Rejected at the end if there was no sound, or if more than TRUNCATED_S was lost.

        Bare frames also if the last is cut off, or if bytes between them are no frames.
        """
        if not self.decoded_s:
            broken = Rejected("unreadable", f"nothing can be decoded ({self.error})")
            raise broken if self.error else Rejected("empty", "no samples")
        if self.is_bare and self.is_cut:
            raise Rejected("truncated", f"the file ends inside a frame, after {self.decoded_s:.1f} s")
        if self.is_bare and self.n_bytes:
            self.lost_s = self.decoded_s * ((self.end - (self.start or 0)) / self.n_bytes - 1)
        check_length(self.decoded_s, max(self.declared_s, self.decoded_s + self.lost_s), self.error)


def _frames(container: "InputContainer", stream: "AudioStream", tally: _Tally) -> Iterator["AudioFrame"]:
    """Yield the frames of a stream that can be decoded.  Raises Rejected as `_Tally`."""
    import av

    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except EOFError:  # the end, before a first packet
                continue
            except av.FFmpegError as error:
                tally.lose(packet, error)
                continue
            tally.count(packet)
            for frame in frames:
                tally.hear(frame)
                yield frame
    except av.FFmpegError as error:  # the container is damaged here, and not read any further
        tally.error = _message_of(error)
    tally.check()


def _blocks(frames: Iterable["AudioFrame"]) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    """Yield the frames' samples, many frames at a time; their number of channels may change."""
    pending, n_pending = [], 0
    for frame in frames:
        samples = _samples(frame)
        if pending and (n_pending >= _BLOCK_FRAMES or len(samples) != len(pending[0])):
            yield np.concatenate(pending, axis=1).T
            pending, n_pending = [], 0
        pending.append(samples)
        n_pending += samples.shape[1]
    yield np.concatenate(pending, axis=1).T


def _samples(frame: "AudioFrame") -> Float32[np.ndarray, "channels samples"]:
    """Return a frame's samples, integers scaled as libsndfile does: -1 is the lowest one."""
    n_channels = len(frame.layout.channels)
    if frame.format.is_planar and n_channels > _MOST_PLANES:
        raise Rejected("unreadable", f"it has {n_channels} channels, of which PyAV can read {_MOST_PLANES}")
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(frame.samples, -1).T
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is rejected
        samples = values.astype(np.float32)
    if values.dtype == np.uint8:
        return (samples - 128) / 128
    n_bits = 8 * values.dtype.itemsize
    return samples / np.float32(2 ** (n_bits - 1)) if values.dtype.kind == "i" else samples


def _message_of(error: "FFmpegError") -> str:
    """Return what FFmpeg says."""
    return f"FFmpeg: {error.strerror}"
