"""Lines that a command prints: results on standard output, remarks on standard error; names in them are literal.

A character that a terminal would obey, or that UTF-8 cannot hold, is shown by its bytes: `\\x1b`, `\\xe9`.
"""

import os
import re
import sys

# Control characters (line breaks and escape codes among them), the other line breaks of Unicode, and lone surrogates,
# which stand for the bytes of a file's name that are not UTF-8.
_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text as one line, with the bytes of each character that cannot be printed as `\\xNN`."""
    return _UNPRINTABLE.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in _bytes_of(match[0])), text)


def _bytes_of(char: str) -> bytes:
    code = ord(char)
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else char.encode("utf-8", "surrogatepass")


def write_name(name: str) -> str:
    """Return a file's name or path as a line of UTF-8, from which `read_name` makes it again.

    It is `printable`, and a backslash that would look like an escape is one itself: `\\x5c`.
    """
    return printable(re.sub(r"\\(?=x[0-9a-f]{2})", r"\\x5c", name))


def read_name(line: str) -> str:
    """Return the name that `write_name` was given; another line that no file can be named, as it is."""
    try:
        raw = os.fsencode(line)
    except UnicodeEncodeError:
        return line
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), raw))


def print_line(text: str = "") -> None:
    """Print a line of a command's result on standard output."""
    print(printable(text), flush=True)


def print_lines(text: str) -> None:
    """Print text of several lines, none of whose breaks is part of a name."""
    for line in text.split("\n"):
        print_line(line)


def print_remark(text: str) -> None:
    """Print a line about the work on standard error, where it is not among the results."""
    print(printable(text), file=sys.stderr, flush=True)


def print_in_any_encoding() -> None:
    """Let this process print on any terminal and pipe: what its encoding does not have is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
