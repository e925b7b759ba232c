"""Text files in the encodings that people use: UTF-8, UTF-16 from an old editor, or a Windows code page."""

import codecs
from pathlib import Path

from mumu_jax.data.manifest import Rejected
from mumu_jax.system.files import open_regular

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAX_BYTES_PER_CHAR = 4  # in any of these encodings


def read_text(path: Path, max_chars: int) -> str:
    """Return the first `max_chars` characters of a text.

    Raises Rejected: "missing", "unreadable", or "not_text" if the bytes cannot be text.
    """
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_BYTES_PER_CHAR * max_chars)
            whole = not file.read(1)
    except FileNotFoundError as error:
        raise Rejected("missing", "no such file") from error
    except (OSError, ValueError) as error:
        raise Rejected("unreadable", getattr(error, "strerror", None) or str(error)) from error
    return decode(data, whole)[:max_chars]


def decode(data: bytes, whole: bool = True) -> str:
    """Decode by the byte order mark, as UTF-8, or else as Windows-1252.

    If the data is not `whole`, its end may cut a character.  Raises Rejected("not_text", …) if it holds zero bytes.
    """
    if data.startswith(_UTF16):
        return codecs.getincrementaldecoder("utf-16")("replace").decode(data, final=whole)
    if b"\0" in data:
        raise Rejected("not_text", "expected text in UTF-8, found zero bytes")
    utf8 = codecs.getincrementaldecoder("utf-8-sig")
    try:
        return utf8().decode(data, final=whole)
    except UnicodeDecodeError:
        return utf8("replace").decode(data) if data.startswith(codecs.BOM_UTF8) else data.decode("cp1252", "replace")
