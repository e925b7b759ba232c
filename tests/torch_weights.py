"""Our variables as the tensors of PyTorch's networks, by the names and in the shapes that those have."""

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from mumu_jax.models import pretrained
from mumu_jax.models.pretrained import Layout

# Of the audio and text networks in `benchmarks.torch_networks`.
OWN = Layout(
    "dense",
    (
        (r"^conv(\d)_kernel$", r"convs.\1.weight"),
        (r"^conv(\d)_bias$", r"convs.\1.bias"),
        (r"^hidden(\d)_kernel$", r"hidden.\1.weight"),
        (r"^hidden(\d)_bias$", r"hidden.\1.bias"),
    ),
)


def by_name(variables, layout: Layout = OWN) -> dict[str, np.ndarray]:
    """Return variables or gradients, a tree with "params", by PyTorch's names and with its order of axes."""
    leaves = flatten_dict(jax.device_get(variables))
    return {
        pretrained._source(layout, path, leaf.shape).name: np.transpose(leaf, (-1, -2, *range(leaf.ndim - 2)))
        if path[-1].endswith("kernel")
        else np.asarray(leaf)
        for path, leaf in leaves.items()
    }
