"""Sound files of libsndfile's formats: opening them, and the length that they declare, before anything is decoded."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile
from jaxtyping import Float32

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.audio import mp3
from mumu_jax.data.modalities.audio.foreign import foreign_kind, not_read, open_foreign
from mumu_jax.data.modalities.audio.headers import several
from mumu_jax.data.modalities.audio.sound import TRUNCATED_S, Sound, check_header, check_length
from mumu_jax.system.files import mapped, open_regular

# Frames decoded at a time, as many as a core's cache holds.  Fewer for Ogg, because libsndfile hides a gap in the
# stream if one read spans it.
_BLOCK_FRAMES, _OGG_BLOCK_FRAMES = 1 << 15, 1 << 12
_UNREADABLE = (2, 3)  # libsndfile's SF_ERR_SYSTEM and SF_ERR_MALFORMED_FILE
_UNKNOWN_LENGTH = 2**31 - 2**13  # programs that write to a pipe put at least this into a WAV header
_UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's number of frames if a header does not know it: a FLAC that was piped
_LEAST_MP3_SHARE = 0.01  # of its bytes: other files hold a few that look like frames
_OGG = rb"OggS\0[\x02\x06]"
_BEGINNINGS = (_OGG, rb"fLaC\0\0\0\x22", rb"RIFF....WAVE", rb"FORM....AIF[FC]")  # of a recording, by container
_NO_SAMPLES = "RIFF|RIFX|FORM|LIST|id3 |ID3 "  # chunks of WAV and AIFF whose size is not that of the samples


class _ForwardFile(soundfile.SoundFile):
    """A file that is only read forward.  Others seek after every read, and mp3 decoders then go back some frames."""

    def seekable(self) -> bool:
        return False


def open_sound(path: Path) -> Sound:
    """Open a file with libsndfile, or, if that does not know its kind, with FFmpeg's libraries.

    Raises Rejected if it cannot be opened, is incomplete, or holds several recordings.
    """
    try:
        with open_regular(path) as file:
            head = file.read(16)
            if not head:
                raise Rejected("empty", "no bytes")
            _check_one_recording(file, head)
        return _open_native(path)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise Rejected("missing" if missing else "unreadable", error.strerror or str(error)) from error


def _open_native(path: Path) -> Sound:
    try:
        file = _ForwardFile(cast(str, os.fsencode(path)))  # bytes, which it takes, too: the name need not be UTF-8
    except (soundfile.LibsndfileError, TypeError) as error:  # soundfile asks for the sample rate of a headerless `.raw`
        kind = foreign_kind(path)
        if kind:
            return open_foreign(path, kind)
        if isinstance(error, soundfile.LibsndfileError) and error.code in _UNREADABLE:
            raise Rejected("unreadable", message_of(error)) from error
        raise not_read(None) from error
    check_header(file.channels, file.samplerate)
    if file.format == "MP3":
        return _open_mp3(file, path)
    return _sound(file, _declared_s(file))


def _sound(file: soundfile.SoundFile, declared_s: float) -> Sound:
    return Sound(file, file.samplerate, declared_s, _blocks(file, declared_s))


def _check_one_recording(file: BinaryIO, head: bytes) -> None:
    """Raise Rejected if a file is several recordings, one after the other: libsndfile decodes the first alone."""
    beginning = next((pattern for pattern in _BEGINNINGS if re.match(pattern, head, re.DOTALL)), None)
    if beginning is None:
        return
    with mapped(file) as data:
        first = 0
        if beginning == _OGG:  # the streams of one recording begin together: look behind the first other page
            other = re.search(rb"OggS\0[^\x02\x06]", data, re.DOTALL)
            first = other.start() if other else len(data)
        elif head.startswith(b"RIFF"):  # declares its size, which most files have: there is nothing to search
            end = 8 + int.from_bytes(head[4:8], "little")
            first = end - 1 if end <= len(data) else 0
        later = re.compile(beginning, re.DOTALL).search(data, first + 1)
        if later:
            raise several(later.start(), len(data))


def _open_mp3(file: soundfile.SoundFile, path: Path) -> Sound:
    """Return an mp3 that will be decoded whole; it declares the seconds that are counted, or those of its header.

    Raises Rejected if little of the file is frames, or if they are of several kinds.
    """
    stream = mp3.scan(path)
    guessed_s = file.frames / file.samplerate
    if stream.share < _LEAST_MP3_SHARE:
        kind = foreign_kind(path)
        if kind:
            file.close()
            return open_foreign(path, kind)
        if stream.n_frames == 0 and not stream.tagged:
            return _sound(file, 0.0)  # of free format, whose frames do not say how long they are
        detail = f"{stream.seconds:.2f} s of mp3 frames are {stream.share:.1%} of its bytes"
        raise Rejected("truncated" if stream.tagged else "unreadable", detail)
    if stream.other_s > TRUNCATED_S:
        detail = f"{stream.seconds:.1f} s are of {file.samplerate:,} Hz, and {stream.other_s:.1f} s of another kind"
        raise Rejected("chained", f"the file is several recordings, one after the other: {detail}; split it")
    if stream.tagged and stream.seconds < guessed_s + TRUNCATED_S:
        return _sound(file, guessed_s)
    if stream.cut:
        raise Rejected("truncated", f"the file ends inside a frame, after {stream.seconds:.1f} s")
    if abs(stream.seconds - guessed_s) > TRUNCATED_S:
        # libsndfile decodes no further than the length that the Xing header declares; without one, that which follows
        # from the first frame's bit rate, even if the file is ten times as long.
        file.close()
        file = _ForwardFile(mp3.tagged(path, stream))
    return _sound(file, stream.seconds)


def _declared_s(file: soundfile.SoundFile) -> float:
    """Return the seconds that a file of another format declares, which may be more than are present."""
    log, present_s = file.extra_info, file.frames / file.samplerate
    if "lacks an end-of-stream bit" in log:
        raise Rejected("truncated", f"the last page of the Ogg stream is missing, after {present_s:.1f} s")
    if file.frames == _UNKNOWN_FRAMES:
        return 0.0
    # libsndfile corrects sizes that reach beyond the end of the file, and notes it in its log.  If the samples have a
    # size of their own, that of the whole file says nothing of them, and neither does that of a chunk of tags.
    corrections = re.findall(rf"^ *(?!{_NO_SAMPLES})\S.*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    sizes = [(int(declared), int(present)) for declared, present in corrections]
    ratios = [declared / present for declared, present in sizes if present and declared < _UNKNOWN_LENGTH]
    return present_s * max([1.0, *ratios])


def _blocks(file: soundfile.SoundFile, declared_s: float) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    n_frames = _OGG_BLOCK_FRAMES if file.format == "OGG" else _BLOCK_FRAMES
    buffer = np.empty((n_frames, file.channels), np.float32)
    block, n_decoded = buffer, 0
    while len(block) == n_frames:  # a shorter one is the end, or a gap that libsndfile would step over
        try:
            block = file.read(out=buffer)
        except soundfile.LibsndfileError as error:
            check_length(n_decoded / file.samplerate, declared_s, message_of(error))
            raise Rejected("unreadable", message_of(error)) from error
        n_decoded += len(block)
        yield block


def message_of(error: soundfile.LibsndfileError) -> str:
    """Return what libsndfile says."""
    return error.error_string.removeprefix("Error : ").rstrip(".")
