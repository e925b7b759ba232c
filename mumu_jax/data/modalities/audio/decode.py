"""Decode an audio file, and transform the whole recording; the log-CQT.

A recording is cut into excerpts (30 s, as long as MuMu's previews), each relative to its own maximum, so that a song
that is tagged looks like the previews of training.  Memory is bounded by an excerpt, however long the file is.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
from jaxtyping import Float, Float16, Float32

from mumu_jax.config import AudioSettings, DescriptorsSettings, MelSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.audio.containers import open_sound
from mumu_jax.data.modalities.audio.front_ends import front_end_of
from mumu_jax.data.modalities.audio.sound import check_length

ExcerptSettings = AudioSettings | MelSettings | DescriptorsSettings

EXCERPT_TOLERANCE_S = 0.5  # mp3 padding beyond 30 s does not make a second excerpt
SHORTEST_S = 1.0  # the lowest octave's filters need 0.75 s; shorter recordings are padded with zeros
TOO_SHORT_S = 0.1  # nobody hears a genre in less
CANCELLED = 1e-3  # of the loudest sample of a channel: a mix that stays below is its channels' rounding noise
_AMIN = 1e-10  # librosa's default: power_to_db does not distinguish smaller powers


class TrackFrames(NamedTuple):
    """A recording's transform, its duration, and if all of it is silent."""

    frames: Float16[np.ndarray, "frames bins"]
    seconds: float
    silent: bool


def track_cqt(path: Path, settings: AudioSettings) -> TrackFrames:
    """Return the log-CQTs of the file's excerpts in dB, concatenated.  Raises Rejected as `excerpts`."""
    return track_frames(path, settings, lambda piece: log_cqt(piece, settings), silence=settings.floor_db)


def track_frames(
    path: Path,
    settings: AudioSettings | MelSettings,
    transform: Callable[[Float32[np.ndarray, " samples"]], Float32[np.ndarray, "frames bins"]],
    silence: float,
) -> TrackFrames:
    """Return the transforms of the file's excerpts, concatenated; it is silent if no value is above `silence`.

    All excerpts of a file with more than one have `patches.n_frames_of_excerpt(settings)` frames.  Raises Rejected as
    `excerpts`.
    """
    frames, seconds = transformed_excerpts(path, settings, lambda piece: transform(piece).astype(np.float16))
    silent = all(part.max() <= silence for part in frames)
    return TrackFrames(np.concatenate(frames), seconds, silent)


def transformed_excerpts(
    path: Path,
    settings: ExcerptSettings,
    transform: Callable[[Float32[np.ndarray, " samples"]], Float[np.ndarray, "..."]],
) -> tuple[list[Float[np.ndarray, "..."]], float]:
    """Return the transform of each of the file's excerpts, and its duration in seconds.  Raises Rejected as `excerpts`.

    One that is shorter than TOO_SHORT_S is rejected, too.
    """
    n_samples = 0

    def count(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal n_samples
        for block in blocks:
            n_samples += len(block)
            yield block

    pieces = _cut(count(decode(path, settings.sr_hz)), settings)
    with np.errstate(over="ignore"):  # samples of 1e30: what is not finite is rejected
        transforms = [transform(piece) for piece in pieces]
    seconds = n_samples / settings.sr_hz
    if seconds < TOO_SHORT_S:
        raise Rejected("short", f"expected at least {TOO_SHORT_S:g} s of sound, found {seconds:.3f} s")
    return transforms, seconds


def log_cqt(y: Float32[np.ndarray, " samples"], settings: AudioSettings) -> Float32[np.ndarray, "frames bins"]:
    """Return the power of the constant-Q transform in dB relative to its maximum, from `floor_db` to 0.

    An excerpt without power (at most 1e-10 anywhere) is at the floor throughout; librosa would put it at 0 dB, the
    loudest.  An excerpt shorter than SHORTEST_S is padded with zeros.  Oramas et al. 2017, section 5.1.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # samples of 1e30: the result is not finite, which is rejected
        power = front_end_of(settings).power(padded(y, settings.sr_hz), settings)
        loudest = power.max()
        if loudest <= _AMIN:
            return np.full(power.shape, settings.floor_db, np.float32)
        below_db = 10 * np.log10(np.maximum(power, _AMIN)) - 10 * np.log10(loudest)
    return np.maximum(below_db, np.float32(settings.floor_db))


def padded(y: Float32[np.ndarray, " samples"], sr_hz: int) -> Float32[np.ndarray, " more"]:
    """Return an excerpt with zeros behind it, if it is shorter than SHORTEST_S."""
    return np.pad(y, (0, max(0, round(SHORTEST_S * sr_hz) - len(y))))


def excerpts(path: Path, settings: ExcerptSettings) -> Iterator[Float32[np.ndarray, " samples"]]:
    """Yield the recording in mono at `sr_hz`, in consecutive pieces of `excerpt_s`.

    A file of at most `excerpt_s` + EXCERPT_TOLERANCE_S is one piece.  In a longer file every piece is `excerpt_s`
    long: the last one ends with the file and overlaps the one before it (or leaves a gap shorter than the tolerance).
    Up to `excerpt_s` the samples are `librosa.load`'s, bit for bit.

    Raises Rejected as `decode`, possibly after some pieces.
    """
    return _cut(decode(path, settings.sr_hz), settings)


def _cut(blocks: Iterable[np.ndarray], settings: ExcerptSettings) -> Iterator[np.ndarray]:
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
    `missing` (no such file), `unreadable` (a folder, a pipe, no permission, damaged), `empty` (no bytes or no samples),
    `not_audio` (the format is unknown, or needs the extra `m4a`), `protected` (it is encrypted),
    `nan` (a sample is NaN or infinite), `chained` (several recordings in one file, of which the first is decoded),
    `cancelled` (the channels cancel when they are mixed, and only their rounding is left) or
    `truncated`: decoded more than TRUNCATED_S short of the length that the file declares.  It declares it by the frame
    count in FLAC and in Ogg's last page, and by the size of the chunk with the samples in WAV, AIFF, AU and similar
    formats.  An mp3 declares the frames in its Xing header, and holds those that are counted: one that holds fewer is
    truncated, and one that holds more is decoded whole.  Without that header it is truncated if it ends inside a
    frame, or if the decoder gives up before its last frame; Ogg if the page that ends the stream is missing.
    Containers that FFmpeg reads declare it in their header; bare AAC by the bytes of its frames, as mp3.

    Not detected: an mp3 or bare AAC without a header that was cut exactly between two frames, a NIST or VOC file that
    was cut, and damage that keeps the length.
    """
    with open_sound(path) as sound:
        resample = soxr.ResampleStream(sound.sr_hz, sr_hz, 1, dtype="float32", quality="HQ")
        n_decoded = n_resampled = 0
        loudest, loudest_mixed = 0.0, 0.0
        for block in sound.blocks:
            peak = _peak(block)
            if not np.isfinite(peak):
                raise Rejected("nan", f"a sample after {n_decoded / sound.sr_hz:.1f} s is NaN or infinite")
            mixed = _mono(block)
            loudest, loudest_mixed = max(loudest, peak), max(loudest_mixed, _peak(mixed))
            n_decoded += len(block)
            resampled = resample.resample_chunk(mixed)
            n_resampled += len(resampled)
            yield resampled
        if n_decoded == 0:
            raise Rejected("empty", "no samples")
        check_length(n_decoded / sound.sr_hz, sound.declared_s)
        if loudest_mixed < CANCELLED * loudest:
            detail = f"a peak of {loudest:.2g} becomes {loudest_mixed:.2g}; invert one channel, or keep only one"
            raise Rejected("cancelled", f"the channels cancel when they are mixed to mono: {detail}")
        n_left = int(np.ceil(n_decoded * (sr_hz / sound.sr_hz))) - n_resampled
        rest = resample.resample_chunk(np.zeros(0, np.float32), last=True)[:n_left]
        yield np.pad(rest, (0, n_left - len(rest)))


def _peak(block: Float32[np.ndarray, "..."]) -> float:
    """Return the largest magnitude; NaN if a sample is."""
    return float(max(block.max(), -block.min())) if block.size else 0.0


def _mono(block: Float32[np.ndarray, "samples channels"]) -> Float32[np.ndarray, " samples"]:
    """Return the mean of the channels, bit for bit `librosa.to_mono`'s; reading along memory saves 20 ms a preview."""
    return reduce(np.add, block.T) / np.float32(block.shape[1])
