"""Just enough of protobuf's wire format to read a `tf.train.Example` where its bytes lie.

protobuf's own parser copies each tensor twice, which is half of the time of reading a record.
"""

from collections.abc import Iterator
from typing import Any

VARINT, LENGTH_DELIMITED = 0, 2  # the wire types that an Example uses
BYTES_LIST, INT64_LIST = 1, 3  # the fields of a Feature that hold byte strings, and integers


def read_example(message: memoryview) -> dict[str, list[Any]]:
    """The values of each feature, by name.  Raises ValueError, KeyError or TypeError on anything else."""
    found = {}
    for _, features in _fields(message):
        for _, entry in _fields(features):
            named = dict(_fields(entry))  # 1: name, 2: Feature
            for kind, values in _fields(named[2]):
                if kind not in (BYTES_LIST, INT64_LIST):
                    raise ValueError(f"a feature of kind {kind}")
                contents = [content for _, content in _fields(values)]
                found[bytes(named[1]).decode()] = _integers(contents) if kind == INT64_LIST else contents
    return found


def _integers(contents: list[Any]) -> list[int]:
    """Of an Int64List, whether it is packed or not."""
    integers = []
    for content in contents:
        if isinstance(content, int):
            integers.append(content)
            continue
        at = 0
        while at < len(content):
            value, at = _varint(content, at)
            integers.append(value)
    return integers


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, content) of each field of a message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        content, at = _varint(message, at)
        if tag & 7 == LENGTH_DELIMITED:
            start, at = at, at + content
            if at > len(message):
                raise ValueError(f"a field of {content} bytes ends beyond its message of {len(message)}")
            content = message[start:at]
        elif tag & 7 != VARINT:
            raise ValueError(f"wire type {tag & 7}")
        yield tag >> 3, content


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """(value, where the next thing begins): seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a number without an end")
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
