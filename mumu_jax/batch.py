"""Where the host side and the compute side meet."""

from typing import Any

from flax import struct


@struct.dataclass
class Batch:
    """Items as the step sees them: NumPy arrays on the host, JAX arrays on the device.

    A chunk is a Batch whose leaves have one more leading axis, the optimisation steps.
    """

    inputs: Any  # [items, …]: float16 dB patches [items, frames, bins], or float32 feature vectors [items, d]
    labels: Any  # [items, labels] uint8, multi-hot
    mask: Any  # [items] float32, 1 = real, 0 = padding of the last batch
