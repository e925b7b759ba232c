"""PyTorch's files from before version 1.6 without PyTorch: pickles that may name nothing but tensors, then their bytes.

The file holds five pickles (a magic number, a version, properties of the machine, the state dict, the storages' keys),
then for each storage the number of its values and these.
"""

import collections
import pickle
import struct
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
HEAD = pickle.dumps(MAGIC, protocol=2)  # the first bytes of such a file
VERSION = 1001
DTYPES = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": jnp.bfloat16},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "ByteStorage": "u1", "BoolStorage": "?"},
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    n_values: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class ForeignObject(ValueError):
    """A pickle names something other than a tensor; its name is the message."""


class NoStateDict(ValueError):
    """A file holds something other than tensors by name: `content`."""

    def __init__(self, content: Any):
        super().__init__("it should hold a state dict")
        self.content = content


class _Unpickler(pickle.Unpickler):
    """An unpickler that can build tensors' descriptions, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what takes the place of a name: a new object each time, so that a pickle cannot change ours."""
        if (module, name) == ("collections", "OrderedDict"):
            return partial(collections.OrderedDict)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return partial(_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return partial(lambda tensor, requires_grad, hooks: tensor)
        if module == "torch" and name in DTYPES:
            return name
        raise ForeignObject(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that a persistent id describes."""
        kind, dtype, key, _, n_values, *_ = pid
        if kind != "storage" or dtype not in DTYPES or not isinstance(n_values, int) or n_values < 0:
            raise ValueError("it describes an invalid storage")
        return _Storage(key, dtype, n_values)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("it describes an invalid tensor")
    if len(shape) != len(strides):
        raise ValueError("it describes a tensor of other strides than sides")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    size = int(np.prod(shape, dtype=object))
    if size and (last >= storage.n_values or size > storage.n_values):
        raise ValueError("it describes a tensor larger than its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def is_legacy(path: Path) -> bool:
    """Return whether a file begins as PyTorch's did before version 1.6."""
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD


def read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict.

    Raises ForeignObject if it holds other objects, NoStateDict if these are no tensors by name, and other errors if
    the file is damaged.
    """
    with path.open("rb") as file:
        if (_load(file), _load(file)) != (MAGIC, VERSION):
            raise ValueError("its version is unknown")
        _load(file)
        state, keys = _load(file), _load(file)
        if not isinstance(state, dict) or not all(isinstance(tensor, _Tensor) for tensor in state.values()):
            raise NoStateDict(state)
        storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
        values = {key: _values(file, storages[key]) for key in keys}
        if file.read(1):
            raise ValueError("it has bytes after its end")
    return {name: _array(tensor, values[tensor.storage.key]) for name, tensor in state.items()}


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file).load()


def _values(file: BinaryIO, storage: _Storage) -> np.ndarray:
    dtype = np.dtype(DTYPES[storage.dtype])
    (n_values,) = struct.unpack("<q", file.read(8))
    if n_values != storage.n_values:
        raise ValueError(f"a storage of {storage.n_values} values has {n_values}")
    content = file.read(n_values * dtype.itemsize)
    if len(content) != n_values * dtype.itemsize:
        raise ValueError("it ends inside a tensor")
    return np.frombuffer(content, dtype)


def _array(tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    strides = [stride * values.itemsize for stride in tensor.strides]
    array = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()
    return array.astype(np.float32) if array.dtype.kind not in "iub" else array
