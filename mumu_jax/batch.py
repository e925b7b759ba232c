"""Where the host side and the compute side meet."""

from typing import Any

from flax import struct


@struct.dataclass
class Sparse:
    """Rows of a matrix that is mostly zero: the columns of the other values, and those values.

    A row with fewer than nnz values ends with values of 0, whatever their columns.  A column comes once in a row.
    """

    columns: Any  # [items, nnz] int32
    values: Any  # [items, nnz] float32


@struct.dataclass
class Batch:
    """Items as the step sees them: NumPy arrays on the host, JAX arrays on the device.

    A chunk is a Batch whose leaves have one more leading axis, the optimisation steps.
    """

    # [items, …]: float16 dB patches [items, frames, bins], uint8 images [items, side, side, 3], float32 vectors
    # [items, d], or Sparse
    inputs: Any
    labels: Any  # [items, labels] uint8, multi-hot
    mask: Any  # [items] float32, 1 = real, 0 = padding of the last batch
