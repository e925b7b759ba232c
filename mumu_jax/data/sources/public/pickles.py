"""Pickles of plain data: lists, dicts, strings, numbers and arrays of numbers.  Nothing else can be made by one.

Arrays are made here from their bytes: a pickle names NumPy's constructors, but none of these is called.
"""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

_ARRAYS = {("numpy", "ndarray"), *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core"))}
_KINDS = "biuf"  # numbers and truth values: no objects, no strings


class ForeignObject(ValueError):
    """A pickle names something else than plain data; its name is the message."""


class _Dtype:
    """A number's type as a pickle describes it: its code, such as `f8`, then its byte order."""

    def __init__(self, code: Any, *_: Any):
        self.dtype = np.dtype(code) if isinstance(code, str) else np.dtype("V1")

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class _Array:
    """An array as a pickle describes it: its constructor's arguments say nothing, its state all."""

    array: np.ndarray

    def __init__(self, *_: Any):
        self.array = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, described, is_fortran, content = state
        if not isinstance(described, _Dtype) or described.dtype.kind not in _KINDS:
            raise ForeignObject("an array of something else than numbers")
        data = content.encode("latin-1") if isinstance(content, str) else bytes(content)
        values = np.frombuffer(data, described.dtype)
        self.array = values.reshape(shape, order="F" if is_fortran else "C")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what takes the place of a name: a new object each time, so that a pickle cannot change ours."""
        if (module, name) in _ARRAYS:
            return partial(_Array)
        if (module, name) == ("numpy", "dtype"):
            return partial(_Dtype)
        if (module, name) == ("_codecs", "encode"):  # Python 3 writes bytes so for Python 2
            return partial(_encode)
        raise ForeignObject(f"{module}.{name}")


def _encode(text: Any, encoding: Any) -> bytes:
    return str(text).encode("latin-1")


def load_plain(path: Path) -> Any:
    """Return a pickle's content, also of Python 2, whose strings become text.

    Raises ForeignObject if it names anything but arrays of numbers, and other errors if it is damaged.
    """
    with path.open("rb") as file:
        return _plain(_Unpickler(file, encoding="latin-1").load())


def _plain(value: Any) -> Any:
    """Return the value with arrays in the place of their descriptions, at the top or in a list or a dict."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {_text(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value
