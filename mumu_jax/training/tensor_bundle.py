"""TensorFlow's checkpoints ("tensor bundles", of version 2) without TensorFlow.

The index is a LevelDB table: blocks of keys that share prefixes, each block with a checksum, found through a footer.
Its values are protocol buffers that say of each tensor its type, shape, place in the data file and checksum.  All
checksums of what is read are checked; nothing is executed.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
TRAILER_BYTES = 5  # of a block: its compression, its checksum
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # by TensorFlow's numbers
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a field of a protocol buffer is stored

Fields = dict[int, list[Any]]  # by number


def read_bundle(index: bytes, data: bytes, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint's index and only data file whose names are `wanted`.

    Raises ValueError if a byte of what is read is not as it was written.
    """
    try:
        entries = _table(index)
        header = _fields(entries.pop(b"", b""))
        if header.get(1, [1]) != [1] or header.get(2, [0]) != [0]:
            raise ValueError("it has several data files, or is big-endian")
        named = {key.decode(): _fields(value) for key, value in entries.items()}
        return {name: _tensor(name, fields, data) for name, fields in named.items() if wanted(name)}
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"its index is damaged ({type(error).__name__}: {error})") from error


def _tensor(name: str, fields: Fields, data: bytes) -> np.ndarray:
    (number,), (size,), (checksum,) = fields[1], fields[5], fields[6]
    (offset,) = fields.get(4, [0])
    if number not in DTYPES:
        raise ValueError(f"tensor {name!r} is of TensorFlow's type {number}, which no weight has")
    dtype = np.dtype(DTYPES[number])
    shape = tuple(_fields(side).get(1, [0])[0] for side in _fields(fields[2][0]).get(2, []))
    content = data[offset : offset + size]
    if len(content) != size or size != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise ValueError(f"tensor {name!r} of shape {shape} should have {size} bytes, and has {len(content)}")
    if _masked_crc32c(content) != checksum:
        raise ValueError(f"the checksum of tensor {name!r} is wrong")
    return np.frombuffer(content, dtype).reshape(shape)


def _table(index: bytes) -> dict[bytes, bytes]:
    """Return the values of a LevelDB table by key."""
    footer = index[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("its index is not a TensorFlow checkpoint's")
    place = 0
    for _ in range(2):  # the handle of a block that is empty here
        _, place = _varint(footer, place)
    blocks = [_block(index, *_handle(handle)) for _, handle in _block(index, *_handle(footer, place))]
    return {key: value for block in blocks for key, value in block}


def _handle(content: bytes, place: int = 0) -> tuple[int, int]:
    """Return a block's offset and size."""
    offset, place = _varint(content, place)
    return offset, _varint(content, place)[0]


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block; each key is stored without the prefix that it shares with the one before."""
    whole = index[offset : offset + size + TRAILER_BYTES]
    if len(whole) != size + TRAILER_BYTES or _masked_crc32c(whole[:-4]) != struct.unpack("<I", whole[-4:])[0]:
        raise ValueError("the checksum of a block of its index is wrong")
    if whole[size]:
        raise ValueError("its index is compressed, which TensorFlow's checkpoints are not")
    block, key = whole[:size], b""
    (n_restarts,) = struct.unpack("<I", block[-4:])
    place, end = 0, size - 4 - 4 * n_restarts
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        n_bytes, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + n_bytes]
        place += n_bytes


def _fields(message: bytes) -> Fields:
    """Return the values of a protocol buffer's fields: numbers, or bytes."""
    fields: Fields = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        if tag & 7 == VARINT:
            value, place = _varint(message, place)
        elif tag & 7 == BYTES:
            size, place = _varint(message, place)
            value, place = message[place : place + size], place + size
        elif tag & 7 in (FIXED32, FIXED64):
            size = 4 if tag & 7 == FIXED32 else 8
            value, place = int.from_bytes(message[place : place + size], "little"), place + size
        else:
            raise ValueError(f"its index has a field of an unknown kind, {tag & 7}")
        if place > len(message):
            raise ValueError("its index ends inside a field")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("its index has a number that does not end")


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _crc32c_table()


def _masked_crc32c(content: bytes) -> int:
    """Return the checksum (Castagnoli's) as LevelDB stores it: turned, plus a constant."""
    crc, table = 0xFFFFFFFF, _CRC32C
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
