"""The form in which the host side hands items to the compute side."""

from typing import Any

from flax import struct


@struct.dataclass
class Sparse:
    """Rows of a matrix that is mostly zero: the columns of the other values, and those values.

    A row with fewer than nnz values ends with values of 0, whatever their columns.  A column comes once in a row.
    """

    columns: Any  # [items, nnz] int32
    values: Any  # [items, nnz] float32
    n_columns: int = struct.field(pytree_node=False)  # of the matrix


@struct.dataclass
class Batch:
    """Items as the step sees them: NumPy arrays on the host, JAX arrays on the device.

    A chunk is a Batch whose leaves have one more leading axis, the optimisation steps.
    """

    # By modality [items, …]: float16 dB patches [items, frames, bins], uint8 images [items, side, side, 3], float32
    # vectors [items, d], int32 ids of word pieces [items, tokens] with 0 as padding, or Sparse
    inputs: dict[str, Any]
    labels: Any  # [items, labels] uint8, multi-hot
    mask: Any  # [items] float32, 1 = real, 0 = padding of the last batch
