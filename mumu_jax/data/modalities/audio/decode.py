"""One audio file → the log-CQT of the whole recording.

A recording is cut into excerpts (30 s, as long as MuMu's previews), each referenced to its own maximum, so that
a song is seen in use as previews were seen in training.  Memory is bounded by the excerpt, whatever the file.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float16, Float32

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.audio import mp3
from mumu_jax.data.modalities.audio.front_ends import front_end_of

TRUNCATED_S = 0.5  # a file may decode this much shorter than it declares: encoders pad, and headers round
EXCERPT_TOLERANCE_S = 0.5  # mp3 padding beyond 30 s does not make a second excerpt
SHORTEST_S = 1.0  # the lowest octave's filters need 0.75 s; shorter recordings are padded with zeros

# Frames decoded at a time: what stays in a core's cache.  Few for Ogg: libsndfile hides a hole in the stream that
# lies inside one read.
_BLOCK_FRAMES, _OGG_BLOCK_FRAMES = 1 << 15, 1 << 12
_AMIN = 1e-10  # librosa's default: power_to_db does not tell smaller powers apart
_UNREADABLE = (2, 3)  # libsndfile's SF_ERR_SYSTEM and SF_ERR_MALFORMED_FILE
_UNKNOWN_LENGTH = 2**31 - 2**13  # what programs that write to a pipe put into a WAV header, or more


class _Forward(soundfile.SoundFile):
    """A file that is only read forward.  Others seek after every read, and mp3 decoders then go back some frames."""

    def seekable(self) -> bool:
        return False


# (log-CQT, seconds, whether it is silent)
TrackCqt = tuple[Float16[np.ndarray, "frames bins"], float, bool]


def track_cqt(path: Path, settings: AudioSettings) -> TrackCqt:
    """The log-CQTs of the file's excerpts one after the other, its duration in seconds, and whether it is silent.

    All excerpts of a file longer than one have `patches.n_frames_of_excerpt(settings)` frames.  Silent means that
    every excerpt is.  Raises Rejected as `excerpts` does.
    """
    n_samples = 0

    def counted(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal n_samples
        for block in blocks:
            n_samples += len(block)
            yield block

    pieces = _cut(counted(decode(path, settings.sr_hz)), settings)
    cqts = [log_cqt(piece, settings).astype(np.float16) for piece in pieces]
    silent = all(cqt.max() <= settings.floor_db for cqt in cqts)
    return np.concatenate(cqts), n_samples / settings.sr_hz, silent


def read_track(path: Path, settings: AudioSettings) -> TrackCqt | Rejected:
    """`track_cqt`, or why there is none, whatever happens: an odd file must not end a night's work."""
    try:
        return track_cqt(path, settings)
    except Rejected as rejected:
        return rejected
    except Exception as error:
        return Rejected("crashed", f"{type(error).__name__}: {error}")


def log_cqt(y: Float32[np.ndarray, " samples"], settings: AudioSettings) -> Float32[np.ndarray, "frames bins"]:
    """Power of the constant-Q transform in dB below its maximum: 0 at the loudest, `floor_db` at the least.

    An excerpt without power (at most 1e-10 anywhere) is at the floor throughout, where librosa would put it at
    0 dB, the loudest.  One shorter than SHORTEST_S is padded with zeros at its end.  Oramas et al. 2017, section 5.1.
    """
    n_lacking = round(SHORTEST_S * settings.sr_hz) - len(y)
    power = front_end_of(settings).power(np.pad(y, (0, n_lacking)) if n_lacking > 0 else y, settings)
    loudest = power.max()
    if loudest <= _AMIN:
        return np.full(power.shape, settings.floor_db, np.float32)
    below_db = 10 * np.log10(np.maximum(power, _AMIN)) - 10 * np.log10(loudest)
    return np.maximum(below_db, np.float32(settings.floor_db))


def excerpts(path: Path, settings: AudioSettings) -> Iterator[Float32[np.ndarray, " samples"]]:
    """The recording in mono at `sr_hz`, in consecutive pieces of `excerpt_s`.

    A file of at most `excerpt_s` + EXCERPT_TOLERANCE_S gives one piece with all of it.  In a longer one every
    piece is `excerpt_s` long: the last ends with the file and overlaps the one before it (or leaves out less
    than the tolerance between them).  Up to `excerpt_s` the samples are `librosa.load`'s, bit for bit.

    Raises Rejected, also after pieces were yielded, as `decode` does.
    """
    return _cut(decode(path, settings.sr_hz), settings)


def _cut(blocks: Iterable[np.ndarray], settings: AudioSettings) -> Iterator[np.ndarray]:
    size = round(settings.excerpt_s * settings.sr_hz)
    tolerance = round(EXCERPT_TOLERANCE_S * settings.sr_hz)
    before, held, n_held = np.zeros(0, np.float32), [], 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        if n_held > size + tolerance:
            rest = np.concatenate(held)
            while len(rest) > size + tolerance:
                before, rest = rest[:size], rest[size:]
                yield before
            held, n_held = [rest], len(rest)
    rest = np.concatenate(held)
    yield np.concatenate((before, rest))[-size:] if len(before) else rest


def decode(path: Path, sr_hz: int) -> Iterator[Float32[np.ndarray, " samples"]]:
    """The recording, mixed to mono and resampled to `sr_hz` (soxr HQ, librosa's default), block by block.

    Raises Rejected with the reason
    `missing` (no such file), `unreadable` (a folder, no permission, damaged), `empty` (no bytes or no samples),
    `not_audio` (libsndfile knows no such format), `nan` (a sample is NaN or infinite) or
    `truncated`: decoded more than TRUNCATED_S short of what the file declares.  That is the frame count in an
    mp3's Xing header, in FLAC, and in Ogg's last page; the chunk sizes of WAV, AIFF, AU and their kin.  An mp3
    without a Xing header declares nothing: it counts as truncated where it ends inside a frame, or where the
    decoder gives up before its last frame; Ogg where the page is missing that ends the stream.

    Not seen: an mp3 without a Xing header that was cut exactly between two frames, a NIST or VOC file that was
    cut, and damage that keeps the length.
    """
    file, declared_s = _open(path)
    with file:
        resample = soxr.ResampleStream(file.samplerate, sr_hz, 1, dtype="float32", quality="HQ")
        n_decoded = n_resampled = 0
        for block in _mono_blocks(file, declared_s):
            if not np.isfinite(block).all():
                raise Rejected("nan", f"a sample after {n_decoded / file.samplerate:.1f} s is NaN or infinite")
            n_decoded += len(block)
            resampled = resample.resample_chunk(block)
            n_resampled += len(resampled)
            yield resampled
        if n_decoded == 0:
            raise Rejected("empty", "no samples")
        _check_length(n_decoded / file.samplerate, declared_s)
        n_left = int(np.ceil(n_decoded * (sr_hz / file.samplerate))) - n_resampled
        rest = resample.resample_chunk(np.zeros(0, np.float32), last=True)[:n_left]
        yield np.pad(rest, (0, n_left - len(rest)))


def _open(path: Path) -> tuple[soundfile.SoundFile, float]:
    """The file, and how long it says it is, in seconds; raises Rejected where it says that it is incomplete."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise Rejected("empty", "no bytes")
        file = _Forward(path)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise Rejected("missing" if missing else "unreadable", error.strerror or str(error)) from error
    except soundfile.LibsndfileError as error:
        unreadable = error.code in _UNREADABLE
        raise Rejected("unreadable", _said(error)) if unreadable else _not_audio() from error
    except TypeError as error:  # soundfile wants to be told the sample rate of a headerless `.raw`
        raise _not_audio() from error
    if file.format == "MP3":
        return _declared_mp3(file, path)
    return file, _declared_s(file)


def _not_audio() -> Rejected:
    return Rejected("not_audio", f"not in a format that libsndfile {soundfile.__libsndfile_version__} knows")


def _declared_mp3(file: soundfile.SoundFile, path: Path) -> tuple[soundfile.SoundFile, float]:
    stream = mp3.scan(path)
    guessed_s = file.frames / file.samplerate
    if stream.tagged:
        return file, guessed_s
    if stream.cut:
        raise Rejected("truncated", f"the file ends inside a frame, after {stream.seconds:.1f} s")
    if abs(stream.seconds - guessed_s) > TRUNCATED_S:
        # Without a Xing header libsndfile takes the first frame's bit rate for all, and decodes no further
        # than the length which that gives, though there were ten times as much.
        file.close()
        file = _Forward(mp3.tagged(path, stream))
    return file, stream.seconds


def _declared_s(file: soundfile.SoundFile) -> float:
    log, held_s = file.extra_info, file.frames / file.samplerate
    if "lacks an end-of-stream bit" in log:
        raise Rejected("truncated", f"the Ogg stream lacks its last page, after {held_s:.1f} s")
    # libsndfile corrects chunk sizes that reach beyond the end of the file, and says so in its log.
    sizes = [(int(size), int(held)) for size, held in re.findall(r": (\d+) \(should be (\d+)\)", log)]
    return held_s * max([1.0, *(size / held for size, held in sizes if held and size < _UNKNOWN_LENGTH)])


def _mono_blocks(file: soundfile.SoundFile, declared_s: float) -> Iterator[Float32[np.ndarray, " samples"]]:
    n_frames = _OGG_BLOCK_FRAMES if file.format == "OGG" else _BLOCK_FRAMES
    buffer = np.empty((n_frames, file.channels), np.float32)
    block, n_decoded = buffer, 0
    while len(block) == n_frames:  # a shorter one is the end, or a hole that libsndfile would step over
        try:
            block = file.read(out=buffer)
        except soundfile.LibsndfileError as error:
            _check_length(n_decoded / file.samplerate, declared_s, _said(error))
            raise Rejected("unreadable", _said(error)) from error
        n_decoded += len(block)
        yield _mono(block)


def _mono(block: Float32[np.ndarray, "samples channels"]) -> Float32[np.ndarray, " samples"]:
    """librosa.to_mono to the last bit, but along memory instead of across it: 20 ms less for a preview."""
    return reduce(np.add, block.T) / np.float32(block.shape[1])


def _check_length(decoded_s: float, declared_s: float, why: str = "") -> None:
    if decoded_s < declared_s - TRUNCATED_S:
        said = f" ({why})" if why else ""
        raise Rejected("truncated", f"decoded {decoded_s:.1f} s of the {declared_s:.1f} s it declares{said}")


def _said(error: soundfile.LibsndfileError) -> str:
    return error.error_string.removeprefix("Error : ").rstrip(".")
