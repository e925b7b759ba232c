"""Amazon's metadata and reviews, record by record, in any of the ways that such dumps are written.

JSON lines, an array, objects one after another, an object of records by album, and, as McAuley's dumps are, a Python
literal on each line; each may be gzipped.  A record that cannot be read is rejected, and reading goes on with the next
line that starts one.  If there is none, the rest is lost, and the rejection says to download the file again.
"""

import ast
import codecs
import gzip
import json
import math
import re
import reprlib
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec

from mumu_jax.data.sources.finding import Finding, Reject, Report, rejecter
from mumu_jax.data.sources.mumu.release import COPY_AGAIN, is_data
from mumu_jax.data.sources.mumu.taxonomy import Paths

CHUNK = 1 << 20  # bytes read at a time
LONGEST = 1 << 24  # characters of a record, or of an album's records; the longest review on Amazon has some 30,000
LOOKAHEAD = 1024  # characters; more than the white space before a record, or a key
LOST = "the rest is lost: download the file again"
_OTHER_BYTES = re.compile("[\udc80-\udcff]")  # those that are not UTF-8, by surrogateescape

ID_KEYS = ("amazon_id", "asin")
TEXT_KEY = "reviewText"
METADATA_KEYS = frozenset((*ID_KEYS, "title", "price", "imUrl", "related", "categories", "salesRank", "brand"))
REVIEW_KEYS = frozenset((*ID_KEYS, TEXT_KEY, "summary", "overall", "helpful", "reviewerID", "reviewerName"))


Record = tuple[int, str | None, Any]  # the line where it starts, its key in an object of records, its content


def read_records(path: Path, keys: frozenset[str], report: Report) -> Iterator[Record]:
    """Yield every record that can be read, in the file's order; its content is mostly a dict, which the caller checks.

    `keys` are names that fields of a record may have: they tell a record from an object of records.  It is an error if
    the file holds no records.
    """
    expected = "JSON records in UTF-8"
    if not is_data(path, expected, report):
        return
    reject = rejecter(report, path, COPY_AGAIN)
    window, line = _Window(_read_text(path)), 0
    try:
        while len(window.text) < LOOKAHEAD and not window.ended:
            window.more()
        framing = _recognize(window.text, keys)
        if framing is None:
            report(Finding("error", path, expected, repr(window.text.strip()[:40]), COPY_AGAIN))
            return
        for record in _records(window, framing, reject):
            line, _, _ = record
            yield record
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if line:
            reject(line, "truncated", "the whole file", f"{error}; {LOST}")
        else:
            report(Finding("error", path, expected, str(error), COPY_AGAIN))


def _read_text(path: Path) -> Iterator[str]:
    """Yield the file's text by chunks that are not empty, then an empty string."""
    # surrogateescape: one byte that is not UTF-8 costs one record, not the file
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        data = b" "
        while data:
            data = file.read1(CHUNK)  # type: ignore[union-attr]
            if text := decoder.decode(data, final=not data):
                yield text
    yield ""


def _records(window: "_Window", framing: "Framing", reject: Reject) -> Iterator[Record]:
    while window.skip_to(framing.record):
        text, at, line = window.text, window.at, window.line
        try:
            key, contents, end = framing.decode(text, at)
        except _MALFORMED as error:
            is_cut, is_long = _may_be_cut(error, text), len(text) - at > LONGEST
            if is_cut and not is_long and not window.ended:
                window.more()
                continue
            is_last = not window.skip_to(framing.line)
            reason = "too_long" if is_cut and is_long else "truncated" if is_cut and is_last else "malformed"
            found = f"{getattr(error, 'msg', error)} in {_excerpt(text, at)}"
            reject(line, reason, "a record", f"{found}; {LOST}" if is_last else found)
            continue
        window.skip(end)
        if _OTHER_BYTES.search(text, at, end):
            reject(line, "not_utf8", "UTF-8", f"other bytes in {_excerpt(text, at)}")
        else:
            yield from ((line, key, content) for content in contents)


class _Window:
    """A part of a file's text that moves on: `text[at:]` was not yet read, and starts in `line`."""

    def __init__(self, chunks: Iterator[str]):
        self._chunks = chunks
        self.text, self.at, self.line = "", 0, 1
        self.ended = False

    def more(self) -> None:
        """Forget the text before `at`, and add a chunk, or a line break at the file's end."""
        chunk = next(self._chunks)
        self.ended = not chunk
        self.text, self.at = self.text[self.at :] + (chunk or "\n"), 0

    def skip(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def skip_to(self, pattern: re.Pattern[str]) -> bool:
        """Skip to the end of the next match, or of the file; tell if there is a match."""
        while not (match := pattern.search(self.text, self.at)):
            if self.ended:
                self.skip(len(self.text))
                return False
            self.skip(max(self.at, len(self.text) - LOOKAHEAD))
            self.more()
        self.skip(match.end())
        return True


# --- framings -----------------------------------------------------------------------------------------------


class Framing(NamedTuple):
    """A way to write records: patterns that end where the next record starts, at any place or on a line, and a decoder.

    `decode` takes the text and a record's start, and returns its key, the contents under that key, and its end.
    """

    record: re.Pattern[str]
    line: re.Pattern[str]
    decode: Callable[[str, int], tuple[str | None, list[Any], int]]


_MALFORMED = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)  # the last four of Python literals
_JSON = json.JSONDecoder(strict=False)  # control characters in strings are against the standard, but do no harm


def _decode_value(text: str, at: int) -> tuple[None, list[Any], int]:
    value, end = _JSON.raw_decode(text, at)
    return None, [value], end


def _decode_pair(text: str, at: int) -> tuple[str, list[Any], int]:
    key, end = _JSON.raw_decode(text, at)
    colon = re.compile(r"\s*:\s*").match(text, end)
    if colon is None or not isinstance(key, str):
        raise json.JSONDecodeError("Expecting a key and ':'", text, end)
    value, end = _JSON.raw_decode(text, colon.end())
    return key, value if isinstance(value, list) else [value], end


def _decode_literal(text: str, at: int) -> tuple[None, list[Any], int]:
    end = text.find("\n", at)
    if end < 0:
        raise json.JSONDecodeError("Unterminated line", text, at)
    line = text[at:end].encode(errors="replace").decode()  # other bytes are not the literal's fault
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about backslashes that escape nothing
        try:
            return None, [ast.literal_eval(line)], end
        except ValueError:  # names of numbers, as JSON has them, or what is no value
            value = _Numbers().visit(ast.parse(line.lstrip(), mode="eval"))
        try:
            return None, [ast.literal_eval(value)], end
        except ValueError as error:  # whose message is an address in memory
            raise ValueError("a name or an expression where a value should be") from error


class _Numbers(ast.NodeTransformer):
    """Values for the names by which Python and JSON print floats that are not finite, and for JSON's words."""

    _values: ClassVar[dict[str, Any]] = {
        **{"nan": math.nan, "NaN": math.nan, "inf": math.inf, "Infinity": math.inf},
        **{"null": None, "true": True, "false": False},
    }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self._values[node.id]) if node.id in self._values else node


VALUES = Framing(re.compile(r"(?=[^\s,\[\]])"), re.compile(r"\n(?=[\s,\[]*\{)"), _decode_value)
PAIRS = Framing(re.compile(r"(?=[^\s,\[\]{}])"), re.compile(r'\n(?=\s*"[^"\\]*"\s*:\s*[\[{]\s*[{"])'), _decode_pair)
LITERALS = Framing(re.compile(r"(?=\S)"), re.compile(r"\n"), _decode_literal)


def _recognize(text: str, keys: frozenset[str]) -> Framing | None:
    """Return the framing of a file that starts with `text`, or None if that shows no record."""
    if text.strip() in ("[]", "{}"):
        return PAIRS
    # Names of fields and ids of albums hold no escapes.
    first = re.search(r"""\{\s*(?:u?'|"([^"\\]{1,256})"\s*:)""", text)
    if first is None:
        return None
    if first[1] is None:
        return LITERALS
    is_record = first[1] in keys
    with suppress(ValueError, RecursionError):  # longer than the text, or malformed
        is_record = not keys.isdisjoint(_JSON.raw_decode(text, first.start())[0])
    return VALUES if is_record else PAIRS


def _may_be_cut(error: Exception, text: str) -> bool:
    """Tell if the error may only come from the text's end: the longest word of JSON has nine characters."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated") or error.pos >= len(text) - 16


def _excerpt(text: str, at: int) -> str:
    return reprlib.repr(text[at : at + 60])


# --- metadata -----------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """An album's metadata: its line in the file, and its paths such as ("CDs & Vinyl", "Jazz", "Vocal Jazz")."""

    line: int
    paths: Paths


def read_metadata(path: Path, report: Report) -> dict[str, Entry]:
    """Return the albums by amazon_id, in the file's order; of an album that is repeated the first entry.

    A title, price, image or brand is often missing, and not read.  It is an error if the file holds no records.
    """
    reject = rejecter(report, path, COPY_AGAIN)
    entries: dict[str, Entry] = {}
    known: dict[Paths, Paths] = {}  # the same few paths again and again: keep one of each
    for line, key, record in read_records(path, METADATA_KEYS, report):
        fields = record if isinstance(record, dict) else {}
        album_id = key or _id_in(fields)
        paths = _paths(fields.get("categories"))
        if album_id is None or paths is None:
            reject(line, "malformed", "amazon_id and categories", reprlib.repr(record))
        elif album_id in entries:
            reject(line, "conflict", "each album once", f"{album_id}, as in line {entries[album_id].line}")
        else:
            entries[album_id] = Entry(line, known.setdefault(paths, paths))
    return entries


def _id_in(fields: Mapping[str, Any]) -> str | None:
    """Return the album's id, None if there is none; a number has lost the zeros before its ten digits."""
    album_id = next((fields[name] for name in ID_KEYS if fields.get(name)), None)
    if isinstance(album_id, int) and not isinstance(album_id, bool):
        return f"{album_id:010d}"
    return album_id if isinstance(album_id, str) else None


def _paths(categories: Any) -> Paths | None:
    """Return the paths, or None if they are not a list of lists of strings; no categories are no paths."""
    try:
        paths = msgspec.convert(categories or [], list[list[str]])
    except msgspec.ValidationError:
        return None
    return tuple(tuple(node.strip() for node in path) for path in paths)


# --- reviews ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reviews:
    """The reviews by album: the joined text if it is not empty, and their number; and the number of other albums'."""

    texts: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    n_of_others: int = 0


def read_reviews(path: Path, albums: Container[str], max_chars: int, report: Report) -> Reviews:
    """Return the reviews of `albums`: their texts in the file's order, joined by line breaks, cut at `max_chars`.

    The text of a review may be missing.  It is an error if the file holds no records.
    """
    reject = rejecter(report, path, COPY_AGAIN)
    texts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    n_of_others = 0
    for line, key, review in read_records(path, REVIEW_KEYS, report):
        album_id, text = _album_and_text(key, review)
        if album_id is None or text is None:
            expected = f"{TEXT_KEY!r} to be a string" if album_id else f"one of {', '.join(ID_KEYS)}"
            reject(line, "malformed", expected, reprlib.repr(review))
        elif album_id not in albums:
            n_of_others += 1
        else:
            counts[album_id] += 1
            before = texts.get(album_id, "")
            if text.strip() and len(before) < max_chars:
                texts[album_id] = (f"{before}\n{text[:max_chars]}" if before else text)[:max_chars]
    return Reviews({album_id: _encodable(text) for album_id, text in texts.items()}, counts, n_of_others)


def _album_and_text(key: str | None, review: Any) -> tuple[str | None, str | None]:
    """Return the album and the text of a review; None for one that is not a string."""
    if isinstance(review, str):
        return key, review
    if not isinstance(review, dict):
        return key, None
    album_id = _id_in(review) if any(name in review for name in ID_KEYS) else key
    text = review.get(TEXT_KEY)
    text = "" if text is None else text
    return album_id, (text if isinstance(text, str) else None)


def _encodable(text: str) -> str:
    """Join or replace by U+FFFD the halves of surrogate pairs, which JSON may hold but UTF-8 may not."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
