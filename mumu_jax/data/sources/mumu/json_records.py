"""The records of a large JSON file one by one, in whichever of the ways that such dumps are written.

An array, one object after another (JSON lines), a dict of lists of records, and, as McAuley's Amazon dumps are, a
Python dict literal a line; each also gzipped.  What cannot be read is rejected, and reading goes on with the next
record.  The file moves through a window; what is in memory is a record or a chunk, whichever is larger.
"""

import ast
import codecs
import gzip
import json
import re
import reprlib
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mumu_jax.data.sources.mumu.rejections import Reject
from mumu_jax.data.sources.mumu.release import FROM_HOME
from mumu_jax.errors import UserError

CHUNK = 1 << 20  # bytes read at a time
LONGEST = 1 << 24  # characters of a record; the longest review on Amazon has some 30,000
LOOKAHEAD = 1024  # more than a key of a dict has

# Control characters in strings are against the standard, but do no harm.
_DECODER = json.JSONDecoder(strict=False)
# Names of fields and ids of albums hold no escapes.
_FIRST_RECORD = re.compile(r"""\{\s*(?:u?'|"([^"\\]{1,256})"\s*:)""")
_SPACE = re.compile(r"\s*")
_KEY = re.compile(r'"([^"\\]{1,256})"\s*:')


def read_records(path: Path, keys: frozenset[str], reject: Reject) -> Iterator[tuple[int, str | None, Any]]:
    """(line where it starts, key of the dict or None, record) of every record that can be read, in order.

    `keys` are names that fields of a record may have: by them a record is told from a dict of records.  A record is
    mostly a dict; that it is one of `keys` is for the caller to see.  Raises UserError where no record is in sight.
    """
    with _Window(path) as window:
        first = _find_first(path, window)
        if first and first[1] is None:
            yield from _literals(window, reject)
        elif first:
            yield from _json(window, _is_keyed(window.text, first, keys), keys, reject)
        if window.damage:
            reject(window.line, "truncated", f"{window.damage}; the file is not whole: copy it again")


class _Window:
    """A part of the file's text that moves on: `text[at:]` was not yet read, and starts in `line`."""

    def __init__(self, path: Path):
        self._file = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115, __exit__ closes it
        # surrogateescape: one byte that is not UTF-8 costs one record, not the file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self.text, self.at, self.line = "", 0, 1
        self.ended = False
        self.damage: Exception | None = None

    def __enter__(self) -> "_Window":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def more(self) -> None:
        """Forget what was read, and add at least a chunk and at most as much as is left unread."""
        rest = self.text[self.at :]
        data = b""
        while len(data) < max(CHUNK, len(rest)) and not self.ended:
            try:
                part = self._file.read1(CHUNK)  # type: ignore[union-attr]
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                part, self.damage = b"", error
            data += part
            self.ended = not part
        self.text, self.at = rest + self._decode(data, self.ended), 0

    def skip(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to


def _find_first(path: Path, window: _Window) -> re.Match[str] | None:
    """Where the first record starts, with its first key, or no group for a Python literal; None if there is none."""
    while len(window.text) < LOOKAHEAD and not window.ended:
        window.more()
    start = window.text[:LOOKAHEAD].strip()
    first = _FIRST_RECORD.search(window.text)
    if start in ("[]", "{}"):
        return None
    if first is None or start.startswith("<"):
        found = window.damage or (repr(start[:40]) if start else "nothing")
        raise UserError(f"{path}: expected JSON records in UTF-8, found {found}; copy the file again: {FROM_HOME}")
    return first


def _is_keyed(text: str, first: re.Match[str], keys: frozenset[str]) -> bool:
    """Whether what looks like the first record is a dict of records."""
    if first[1] in keys:
        return False
    try:
        record, _ = _DECODER.raw_decode(text, first.start())
    except (ValueError, RecursionError):  # longer than the window, or malformed
        return text[first.end() :].lstrip()[:1] in ("[", "{")
    return keys.isdisjoint(record)


# --- JSON ---------------------------------------------------------------------------------------------------


def _json(window: _Window, keyed: bool, keys: frozenset[str], reject: Reject) -> Iterator[tuple[int, str | None, Any]]:
    """The records, whatever brackets and commas stand between them: a lost bracket costs no more than a record."""
    between = re.compile(r"[\s,\[\]}]*" if keyed else r"[\s,\[\]]*")
    next_record = _next_record(keyed, keys)
    key = None
    while True:
        window.skip(between.match(window.text, window.at).end())  # type: ignore[union-attr]
        text, at = window.text, window.at
        if len(text) - at < LOOKAHEAD and not window.ended:
            window.more()
            continue
        if at == len(text):
            return
        if keyed and (found := _KEY.match(text, at)) and found[1] not in keys:
            key = found[1]
            window.skip(found.end())
            continue
        if keyed and (found := _FIRST_RECORD.match(text, at)) and found[1] not in keys:
            window.skip(at + 1)  # the dict's own brace
            continue
        try:
            record, end = _decode(text, at)
        except (ValueError, RecursionError) as error:
            cut = _may_be_cut(error, text)
            if cut and not window.ended and len(text) - at <= LONGEST:
                window.more()
                continue
            line, excerpt = window.line, _excerpt(text, at)
            key = key if text[at] == "{" else None  # it may be the next album's key that is malformed
            is_last = not _skip_to(window, next_record)
            if cut and len(text) - at > LONGEST:
                reject(line, "too_long", f"a record of more than {LONGEST:,} characters: {excerpt}")
            elif cut and is_last:
                reject(line, "truncated", f"the file ends inside {excerpt}")
            else:
                reject(line, "malformed", f"{_fault(error, text)} in {excerpt}")
            continue
        line = window.line
        window.skip(end)
        if _is_utf8(text[at:end]):
            yield line, key, record
        else:
            reject(line, "not_utf8", f"bytes that are not UTF-8 in {_excerpt(text, at)}")


def _decode(text: str, at: int) -> tuple[Any, int]:
    """The record, and where it ends.  Raises ValueError or RecursionError where there is none.

    What looks like a string but ends in the middle of something is none: a lost quotation mark turns texts inside out.
    """
    record, end = _DECODER.raw_decode(text, at)
    after = _SPACE.match(text, end).end()  # type: ignore[union-attr]
    if isinstance(record, str) and text[after : after + 1] not in (",", "]", "}"):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, after)
    return record, end


def _may_be_cut(error: Exception, text: str) -> bool:
    """Whether the error may only come from the window's end: the longest word of JSON has nine characters."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - 16


def _next_record(keyed: bool, keys: frozenset[str]) -> re.Pattern[str]:
    """Where a record may start, or what stands before a key of a dict of records.

    A quotation mark inside a string is escaped, so none of it is found in a review's text.  No repetition starts the
    pattern: that would take the square of the time where the same character comes a million times.
    """
    record = r'(?<=[}\s\[,])(?<!: )(?=\{\s*")'
    known = "|".join(map(re.escape, sorted(keys)))
    key = rf'[\]}}"]\s*,\s*(?="(?!(?:{known})")[^"\\]{{1,256}}"\s*:\s*[\[{{"])'
    return re.compile(f"{record}|{key}" if keyed else record)


def _fault(error: Exception, text: str) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return str(error)  # too many brackets, or too many digits
    return f"{error.msg}, after {text[max(0, error.pos - 20) : error.pos]!r},"


def _skip_to(window: _Window, pattern: re.Pattern[str]) -> bool:
    """To the end of the next match, or of the file; whether there is one."""
    window.skip(window.at + 1)
    while not (found := pattern.search(window.text, window.at)):
        if window.ended:
            window.skip(len(window.text))
            return False
        window.skip(max(window.at, len(window.text) - LOOKAHEAD))
        window.more()
    window.skip(found.end())
    return True


# --- Python literals ----------------------------------------------------------------------------------------


def _literals(window: _Window, reject: Reject) -> Iterator[tuple[int, None, Any]]:
    while window.at < len(window.text) or not window.ended:
        text, at, line = window.text, window.at, window.line
        end = text.find("\n", at)
        if end < 0 and not window.ended and len(text) - at <= LONGEST:
            window.more()
            continue
        if end < 0 and not window.ended:
            reject(line, "too_long", f"a line of more than {LONGEST:,} characters: {_excerpt(text, at)}")
            _skip_to(window, re.compile("\n"))
            continue
        end = len(text) if end < 0 else end + 1
        window.skip(end)
        literal = text[at:end].strip()
        if not literal:
            continue
        if not _is_utf8(literal):
            reject(line, "not_utf8", f"bytes that are not UTF-8 in {_excerpt(text, at)}")
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about backslashes that escape nothing
                record = ast.literal_eval(literal)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            reject(line, "malformed", f"no Python literal ({error}): {_excerpt(text, at)}")
            continue
        yield line, None, record


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _excerpt(text: str, at: int) -> str:
    return reprlib.repr(text[at : at + 60])
