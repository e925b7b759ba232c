"""Lyrics as people keep them: in text files, with time stamps (.lrc) or without, or in the song's own tags."""

import re
from pathlib import Path

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.song_tags import find_in_tags, lyrics_in
from mumu_jax.data.modalities.suffixes import is_audio
from mumu_jax.data.modalities.text.files import plain, read_text

SUFFIXES = (".lrc", ".txt")
# Tags hold lyrics with stamps, too, and .txt files: [01:23.45] before a line, <01:23.45> before a word.
_STAMP = re.compile(r"[\[<]\d{1,3}:\d\d(?:[.:]\d{1,3})?[\]>][ \t]*")
_HEADER = re.compile(
    r"^\[(?:al|ar|au|by|id|la|length|offset|re|ti|tool|ve):.*\][ \t\r]*$", re.IGNORECASE | re.MULTILINE
)
_STAMPED, _HEADER_CHARS = 4, 1000  # a file with a stamp a word has up to so many times the words' characters


def is_lyrics(path: Path) -> bool:
    """Return True if a file is one of lyrics by its name."""
    return path.suffix.lower() in SUFFIXES


def read_lyrics(path: Path, max_chars: int) -> str:
    """Return the first `max_chars` characters of the lyrics in a text file or in a song's tags, without time stamps.

    Raises Rejected, with "missing" also if the tags hold none, and UserError if tags cannot be read without mutagen.
    """
    text = find_in_tags(path, lyrics_in) if is_audio(path) else read_text(path, _HEADER_CHARS + _STAMPED * max_chars)
    if not text and is_audio(path):
        raise Rejected("missing", "its tags hold no lyrics")
    return unstamped(plain(text))[:max_chars]


def unstamped(text: str) -> str:
    """Return lyrics without the time stamps and the header of an .lrc file."""
    return _STAMP.sub("", _HEADER.sub("", text)).strip() if _STAMP.search(text) else text
