"""Sound files: opening them, and the length that their containers declare, before anything is decoded."""

import errno
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import soundfile

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.audio import mp3
from mumu_jax.system.files import open_regular

TRUNCATED_S = 0.5  # a file may decode this much shorter than it declares: encoders pad, and headers round
_UNREADABLE = (2, 3)  # libsndfile's SF_ERR_SYSTEM and SF_ERR_MALFORMED_FILE
_UNKNOWN_LENGTH = 2**31 - 2**13  # programs that write to a pipe put at least this into a WAV header
_UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's number of frames if a header does not know it: a FLAC that was piped
# A header that declares more is damaged: believing it takes gigabytes for a file of kilobytes.
_MOST_CHANNELS, _LOWEST_SR_HZ, _HIGHEST_SR_HZ = 256, 1000, 1_000_000
_LEAST_MP3_SHARE = 0.01  # of its bytes: other files hold a few that look like frames
_OGG = rb"OggS\0[\x02\x06]"
_BEGINNINGS = (_OGG, rb"fLaC\0\0\0\x22", rb"RIFF....WAVE", rb"FORM....AIF[FC]")  # of a recording, by container
_NO_SAMPLES = "RIFF|RIFX|FORM|LIST|id3 |ID3 "  # chunks of WAV and AIFF whose size is not that of the samples
_FOREIGN_KINDS = {  # the beginning of a file that libsndfile does not read
    rb"....ftyp": "MPEG-4 (AAC or ALAC)",
    rb"\xff[\xf0\xf1\xf8\xf9]": "AAC",
    rb"\x30\x26\xb2\x75": "Windows Media",
    rb"\x1aE\xdf\xa3": "Matroska or WebM",
    rb"MAC ": "Monkey's Audio",
    rb"wvpk": "WavPack",
    rb"MPCK|MP\+": "Musepack",
    rb"TTA1": "True Audio",
    rb"#!AMR": "AMR",
    rb"\.RMF|\.ra\xfd": "RealAudio",
    rb"DSD |FRM8": "DSD",
}


class _ForwardFile(soundfile.SoundFile):
    """A file that is only read forward.  Others seek after every read, and mp3 decoders then go back some frames."""

    def seekable(self) -> bool:
        return False


def open_sound(path: Path) -> tuple[soundfile.SoundFile, float]:
    """Return the file and the seconds that it declares; 0 if it does not know.

    Raises Rejected if it cannot be opened, is incomplete, or holds several recordings.
    """
    try:
        with open_regular(path) as file:
            head = file.read(16)
            if not head:
                raise Rejected("empty", "no bytes")
            _check_one_recording(file, head)
        file = _ForwardFile(cast(str, os.fsencode(path)))  # bytes, which it takes, too: the name need not be UTF-8
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise Rejected("missing" if missing else "unreadable", error.strerror or str(error)) from error
    except soundfile.LibsndfileError as error:
        unreadable = error.code in _UNREADABLE and not _foreign_kind(head)
        raise Rejected("unreadable", message_of(error)) if unreadable else _not_audio(head) from error
    except TypeError as error:  # soundfile asks for the sample rate of a headerless `.raw`
        raise _not_audio(head) from error
    if file.channels > _MOST_CHANNELS or not _LOWEST_SR_HZ <= file.samplerate <= _HIGHEST_SR_HZ:
        detail = f"its header declares {file.channels:,} channels of {file.samplerate:,} Hz"
        raise Rejected("unreadable", detail)
    if file.format == "MP3":
        return _declared_mp3(file, path, head)
    return file, _declared_s(file)


def _not_audio(head: bytes) -> Rejected:
    kind = _foreign_kind(head)
    remedy = f"it is {kind}; convert it: ffmpeg -i FILE NEW.flac" if kind else "it is none of its formats"
    return Rejected("not_audio", f"libsndfile {soundfile.__libsndfile_version__} does not read it: {remedy}")


def _foreign_kind(head: bytes) -> str | None:
    """Return the kind of an audio file, from its first bytes, if libsndfile does not read that kind."""
    return next((kind for pattern, kind in _FOREIGN_KINDS.items() if re.match(pattern, head, re.DOTALL)), None)


def _check_one_recording(file: BinaryIO, head: bytes) -> None:
    """Raise Rejected if a file is several recordings, one after the other: libsndfile decodes the first alone."""
    beginning = next((pattern for pattern in _BEGINNINGS if re.match(pattern, head, re.DOTALL)), None)
    if beginning is None:
        return
    with _mapped(file) as data:
        first = 0
        if beginning == _OGG:  # the streams of one recording begin together: look behind the first other page
            other = re.search(rb"OggS\0[^\x02\x06]", data, re.DOTALL)
            first = other.start() if other else len(data)
        later = re.compile(beginning, re.DOTALL).search(data, first + 1)
        if later:
            where = f"another begins after {later.start():,} of {len(data):,} bytes"
            raise Rejected("chained", f"the file is several recordings, one after the other: {where}; split it")


@contextmanager
def _mapped(file: BinaryIO) -> Iterator[mmap.mmap | bytes]:
    """Yield a file's bytes, in memory only if its file system cannot map it."""
    try:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        file.seek(0)
        yield file.read()
    else:
        with data:
            yield data


def _declared_mp3(file: soundfile.SoundFile, path: Path, head: bytes) -> tuple[soundfile.SoundFile, float]:
    """Return an mp3 that will be decoded whole, and its seconds: those that are counted, or declared if these are more.

    Raises Rejected if little of the file is frames, or if they are of several kinds.
    """
    stream = mp3.scan(path)
    guessed_s = file.frames / file.samplerate
    if stream.share < _LEAST_MP3_SHARE:
        if _foreign_kind(head):
            raise _not_audio(head)
        if stream.n_frames == 0 and not stream.tagged:
            return file, 0.0  # of free format, whose frames do not say how long they are
        detail = f"{stream.seconds:.2f} s of mp3 frames are {stream.share:.1%} of its bytes"
        raise Rejected("truncated" if stream.tagged else "unreadable", detail)
    if stream.other_s > TRUNCATED_S:
        detail = f"{stream.seconds:.1f} s are of {file.samplerate:,} Hz, and {stream.other_s:.1f} s of another kind"
        raise Rejected("chained", f"the file is several recordings, one after the other: {detail}; split it")
    if stream.tagged and stream.seconds < guessed_s + TRUNCATED_S:
        return file, guessed_s
    if stream.cut:
        raise Rejected("truncated", f"the file ends inside a frame, after {stream.seconds:.1f} s")
    if abs(stream.seconds - guessed_s) > TRUNCATED_S:
        # libsndfile decodes no further than the length that the Xing header declares; without one, that which follows
        # from the first frame's bit rate, even if the file is ten times as long.
        file.close()
        file = _ForwardFile(mp3.tagged(path, stream))
    return file, stream.seconds


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


def check_length(decoded_s: float, declared_s: float, error: str = "") -> None:
    """Raise Rejected if less was decoded than the file declares; `error` is what the decoder said."""
    if decoded_s < declared_s - TRUNCATED_S:
        detail = f"decoded {decoded_s:.1f} s of the {declared_s:.1f} s that the file declares"
        raise Rejected("truncated", f"{detail} ({error})" if error else detail)


def message_of(error: soundfile.LibsndfileError) -> str:
    """Return what libsndfile says."""
    return error.error_string.removeprefix("Error : ").rstrip(".")
