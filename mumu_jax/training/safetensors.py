"""The safetensors format: a header of JSON, then the tensors' bytes.  There is nothing in it to run.

https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# The format's names of dtypes.  bfloat16, which NumPy has not, is the upper half of a float32.
DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"},
}
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
METADATA = "__metadata__"

Tensors = dict[str, np.ndarray]


def from_bytes(data: bytes) -> tuple[Tensors, dict[str, str]]:
    """(tensors, metadata) of a whole file; bfloat16 becomes float32.

    Raises ValueError, one line, for what is no such file: the tensors must fill what follows the header exactly.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header should have {size:,} bytes, the file has {len(data):,}")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict):
            raise TypeError(metadata)
        tensors, body, at = {}, memoryview(data)[8 + size :], 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = entry["data_offsets"]
            if start != at or not at <= stop <= len(body):
                raise ValueError(f"tensor {name!r} should be bytes {start:,} to {stop:,} of {len(body):,}")
            tensors[name], at = _tensor(body[start:stop], name, entry), stop
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise ValueError("its header is not the format's") from error
    if at != len(body):
        raise ValueError(f"its tensors fill {at:,} bytes of {len(body):,}")
    return tensors, metadata


def _tensor(data: memoryview, name: str, entry: dict[str, Any]) -> np.ndarray:
    shape, dtype = entry["shape"], entry["dtype"]
    if dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} is {dtype}; expected one of {', '.join(DTYPES)}")
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"tensor {name!r} has the shape {shape}")
    expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if len(data) != expected:
        raise ValueError(f"tensor {name!r}, {dtype} {shape}, should have {expected:,} bytes and has {len(data):,}")
    tensor = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
    return (tensor.astype("<u4") << 16).view("<f4") if dtype == "BF16" else tensor


def to_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A file of float32 tensors; the same content gives the same bytes."""
    header: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))}
    parts, at = [], 0
    for name, tensor in sorted(tensors.items()):
        parts.append(np.ascontiguousarray(tensor, "<f4").tobytes())
        stop = at + len(parts[-1])
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, stop]}
        at = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors lie aligned
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))
