"""Text as people store it: files in UTF-8, UTF-16 or a Windows code page, and text that was taken from a web page."""

import codecs
import html
import html.entities
import re
from pathlib import Path

from mumu_jax.data.manifest import Rejected
from mumu_jax.system.files import open_regular

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
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


def plain(text: str) -> str:
    """Return text with HTML's entities as the characters that they stand for: `&quot;` and `&#39;` are no words.

    Those without a semicolon stay, because people write "rock&roll", too, and so do names that are no entity's.
    """
    return _ENTITY.sub(lambda match: html.unescape(match[0]) if _is_entity(match[0]) else match[0], text)


def _is_entity(reference: str) -> bool:
    return reference.startswith("&#") or reference[1:] in html.entities.html5


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
