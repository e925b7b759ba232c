"""Decode an audio file, and compute the log-CQT of the whole recording.

A recording is cut into excerpts (30 s, as long as MuMu's previews), each relative to its own maximum, so that a song
that is tagged looks like the previews of training.  Memory is bounded by an excerpt, however long the file is.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import NamedTuple

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

# Frames decoded at a time, as many as a core's cache holds.  Fewer for Ogg, because libsndfile hides a gap in the
# stream if one read spans it.
_BLOCK_FRAMES, _OGG_BLOCK_FRAMES = 1 << 15, 1 << 12
_AMIN = 1e-10  # librosa's default: power_to_db does not distinguish smaller powers
_UNREADABLE = (2, 3)  # libsndfile's SF_ERR_SYSTEM and SF_ERR_MALFORMED_FILE
_UNKNOWN_LENGTH = 2**31 - 2**13  # programs that write to a pipe put at least this into a WAV header


class TrackCqt(NamedTuple):
    """A recording's log-CQT in dB, its duration, and if all of it is silent."""

    cqt: Float16[np.ndarray, "frames bins"]
    seconds: float
    silent: bool


class _ForwardFile(soundfile.SoundFile):
    """A file that is only read forward.  Others seek after every read, and mp3 decoders then go back some frames."""

    def seekable(self) -> bool:
        return False


def track_cqt(path: Path, settings: AudioSettings) -> TrackCqt:
    """Return the log-CQTs of the file's excerpts, concatenated.

    All excerpts of a file with more than one have `patches.n_frames_of_excerpt(settings)` frames.  Raises Rejected as
    `excerpts`.
    """
    n_samples = 0

    def count(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal n_samples
        for block in blocks:
            n_samples += len(block)
            yield block

    pieces = _cut(count(decode(path, settings.sr_hz)), settings)
    cqts = [log_cqt(piece, settings).astype(np.float16) for piece in pieces]
    silent = all(cqt.max() <= settings.floor_db for cqt in cqts)
    return TrackCqt(np.concatenate(cqts), n_samples / settings.sr_hz, silent)


def read_track(path: Path, settings: AudioSettings) -> TrackCqt | Rejected:
    """Return `track_cqt`, or any error as a Rejected: one bad file must not abort an overnight run."""
    try:
        return track_cqt(path, settings)
    except Rejected as rejected:
        return rejected
    except Exception as error:
        return Rejected("crashed", f"{type(error).__name__}: {error}")


def log_cqt(y: Float32[np.ndarray, " samples"], settings: AudioSettings) -> Float32[np.ndarray, "frames bins"]:
    """Return the power of the constant-Q transform in dB relative to its maximum, from `floor_db` to 0.

    An excerpt without power (at most 1e-10 anywhere) is at the floor throughout; librosa would put it at 0 dB, the
    loudest.  An excerpt shorter than SHORTEST_S is padded with zeros.  Oramas et al. 2017, section 5.1.
    """
    n_padding = max(0, round(SHORTEST_S * settings.sr_hz) - len(y))
    power = front_end_of(settings).power(np.pad(y, (0, n_padding)), settings)
    loudest = power.max()
    if loudest <= _AMIN:
        return np.full(power.shape, settings.floor_db, np.float32)
    below_db = 10 * np.log10(np.maximum(power, _AMIN)) - 10 * np.log10(loudest)
    return np.maximum(below_db, np.float32(settings.floor_db))


def excerpts(path: Path, settings: AudioSettings) -> Iterator[Float32[np.ndarray, " samples"]]:
    """Yield the recording in mono at `sr_hz`, in consecutive pieces of `excerpt_s`.

    A file of at most `excerpt_s` + EXCERPT_TOLERANCE_S is one piece.  In a longer file every piece is `excerpt_s`
    long: the last one ends with the file and overlaps the one before it (or leaves a gap shorter than the tolerance).
    Up to `excerpt_s` the samples are `librosa.load`'s, bit for bit.

    Raises Rejected as `decode`, possibly after some pieces.
    """
    return _cut(decode(path, settings.sr_hz), settings)


def _cut(blocks: Iterable[np.ndarray], settings: AudioSettings) -> Iterator[np.ndarray]:
    size = round(settings.excerpt_s * settings.sr_hz)
    tolerance = round(EXCERPT_TOLERANCE_S * settings.sr_hz)
    previous, pending, n_pending = np.zeros(0, np.float32), [], 0
    for block in blocks:
        pending.append(block)
        n_pending += len(block)
        if n_pending > size + tolerance:
            rest = np.concatenate(pending)
            while len(rest) > size + tolerance:
                previous, rest = rest[:size], rest[size:]
                yield previous
            pending, n_pending = [rest], len(rest)
    rest = np.concatenate(pending)
    yield np.concatenate((previous, rest))[-size:] if len(previous) else rest


def decode(path: Path, sr_hz: int) -> Iterator[Float32[np.ndarray, " samples"]]:
    """Yield the recording block by block, mixed to mono and resampled to `sr_hz` (soxr HQ, librosa's default).

    Raises Rejected with the reason
    `missing` (no such file), `unreadable` (a folder, no permission, damaged), `empty` (no bytes or no samples),
    `not_audio` (libsndfile does not know the format), `nan` (a sample is NaN or infinite) or
    `truncated`: decoded more than TRUNCATED_S short of the length that the file declares.  It declares it by the frame
    count in an mp3's Xing header, in FLAC and in Ogg's last page, and by the chunk sizes of WAV, AIFF, AU and similar
    formats.  An mp3 without a Xing header counts as truncated if it ends inside a frame, or if the decoder gives up
    before its last frame; Ogg if the page that ends the stream is missing.

    Not detected: an mp3 without a Xing header that was cut exactly between two frames, a NIST or VOC file that was
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
    """Return the file and the seconds that it declares.  Raises Rejected if it cannot be opened or is incomplete."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise Rejected("empty", "no bytes")
        file = _ForwardFile(path)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise Rejected("missing" if missing else "unreadable", error.strerror or str(error)) from error
    except soundfile.LibsndfileError as error:
        unreadable = error.code in _UNREADABLE
        raise Rejected("unreadable", _message(error)) if unreadable else _not_audio() from error
    except TypeError as error:  # soundfile asks for the sample rate of a headerless `.raw`
        raise _not_audio() from error
    if file.format == "MP3":
        return _declared_mp3(file, path)
    return file, _declared_s(file)


def _not_audio() -> Rejected:
    return Rejected("not_audio", f"not in a format that libsndfile {soundfile.__libsndfile_version__} knows")


def _declared_mp3(file: soundfile.SoundFile, path: Path) -> tuple[soundfile.SoundFile, float]:
    """Return an mp3 that will be decoded whole, and its seconds; without a Xing header these are counted."""
    stream = mp3.scan(path)
    guessed_s = file.frames / file.samplerate
    if stream.tagged:
        return file, guessed_s
    if stream.cut:
        raise Rejected("truncated", f"the file ends inside a frame, after {stream.seconds:.1f} s")
    if abs(stream.seconds - guessed_s) > TRUNCATED_S:
        # Without a Xing header libsndfile takes the first frame's bit rate for that of all, and decodes no further than
        # the length that follows from it, even if the file is ten times as long.
        file.close()
        file = _ForwardFile(mp3.tagged(path, stream))
    return file, stream.seconds


def _declared_s(file: soundfile.SoundFile) -> float:
    """Return the seconds that a file of another format declares, which may be more than are present."""
    log, present_s = file.extra_info, file.frames / file.samplerate
    if "lacks an end-of-stream bit" in log:
        raise Rejected("truncated", f"the last page of the Ogg stream is missing, after {present_s:.1f} s")
    # libsndfile corrects chunk sizes that reach beyond the end of the file, and notes it in its log.
    corrections = re.findall(r": (\d+) \(should be (\d+)\)", log)
    sizes = [(int(declared), int(present)) for declared, present in corrections]
    ratios = [declared / present for declared, present in sizes if present and declared < _UNKNOWN_LENGTH]
    return present_s * max([1.0, *ratios])


def _mono_blocks(file: soundfile.SoundFile, declared_s: float) -> Iterator[Float32[np.ndarray, " samples"]]:
    n_frames = _OGG_BLOCK_FRAMES if file.format == "OGG" else _BLOCK_FRAMES
    buffer = np.empty((n_frames, file.channels), np.float32)
    block, n_decoded = buffer, 0
    while len(block) == n_frames:  # a shorter one is the end, or a gap that libsndfile would step over
        try:
            block = file.read(out=buffer)
        except soundfile.LibsndfileError as error:
            _check_length(n_decoded / file.samplerate, declared_s, _message(error))
            raise Rejected("unreadable", _message(error)) from error
        n_decoded += len(block)
        yield _mono(block)


def _mono(block: Float32[np.ndarray, "samples channels"]) -> Float32[np.ndarray, " samples"]:
    """Return the mean of the channels, bit for bit `librosa.to_mono`'s; reading along memory saves 20 ms a preview."""
    return reduce(np.add, block.T) / np.float32(block.shape[1])


def _check_length(decoded_s: float, declared_s: float, error: str = "") -> None:
    if decoded_s < declared_s - TRUNCATED_S:
        detail = f"decoded {decoded_s:.1f} s of the {declared_s:.1f} s that the file declares"
        raise Rejected("truncated", f"{detail} ({error})" if error else detail)


def _message(error: soundfile.LibsndfileError) -> str:
    return error.error_string.removeprefix("Error : ").rstrip(".")
