"""Suffixes of the names of audio files and images."""

from pathlib import Path

import soundfile

# libsndfile's formats, and the other suffixes they go by.  Not `raw`: it has no header to decode it by.
READABLE = {name.lower() for name in soundfile.available_formats()} - {"raw"} | {
    *("aif", "aifc", "mp1", "mp2", "mpga", "oga", "ogx", "opus", "sf", "snd", "sph"),
}

# Audio that it does not read, but FFmpeg does (PyAV, the extra `m4a`).  Listed also without the extra, and where FFmpeg
# does not read it either, so that preparing the data reports it as rejected instead of leaving it out in silence.
FOREIGN = {
    *("3g2", "3gp", "aac", "aax", "ac3", "alac", "amr", "ape", "dff", "dsf", "dts", "m4a", "m4b", "m4p", "m4r"),
    *("mka", "mp4", "mpc", "ra", "shn", "spx", "tak", "tta", "weba", "webm", "wma", "wv"),
}

AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in READABLE | FOREIGN)
IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


def is_audio(path: Path) -> bool:
    """Return True if the name has a suffix of audio, in any case; the content is checked when it is decoded."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_foreign(path: Path) -> bool:
    """Return True if the name has a suffix of audio that libsndfile does not read."""
    return path.suffix.lower().removeprefix(".") in FOREIGN


def is_image(path: Path) -> bool:
    """Return True if the name has a suffix of images, in any case."""
    return path.suffix.lower() in IMAGE_SUFFIXES
