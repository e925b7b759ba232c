"""What a network's output means, by the kind of target: its loss against the labels, and its scores for them."""

from typing import Any

import numpy as np
from flax import struct
from jax import nn
from jaxtyping import Array, Float, UInt8

from mumu_jax.objectives import cosine
from mumu_jax.objectives.losses import binary_cross_entropy, cosine_loss, softmax_cross_entropy, weighted_sum

LOSSES_OF_LOGITS = {"logistic": binary_cross_entropy, "softmax": softmax_cross_entropy}
READABLE = {"logistic": nn.sigmoid, "softmax": nn.softmax}


@struct.dataclass
class Constants:
    """What the step needs beside parameters; fitted on the data (of images, on ImageNet), kept in the run's folder."""

    mean: Any  # float32, the inputs' standardisation: [frames, bins], [d] or, of images, [3]
    std: Any
    label_factors: Any  # [labels, d] float32, C of section 4.1; [labels, 0] for logistic and softmax


def n_outputs(kind: str, constants: Constants) -> int:
    """Width of the output layer: label factors for cosine, else labels."""
    n_labels, n_factors = constants.label_factors.shape
    return n_factors if kind == "cosine" else n_labels


def loss_sum_and_weight(
    kind: str,
    output: Float[Array, "items outputs"],
    labels: UInt8[Array, "items labels"],
    constants: Constants,
    mask: Float[Array, " items"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum of the loss over the items that count, how many count): real ones, whose target exists.

    Sums, because those of several devices add up.  Oramas et al. 2017, section 5.1.
    """
    if kind in LOSSES_OF_LOGITS:
        loss, weight = LOSSES_OF_LOGITS[kind](output, labels), mask
    else:
        loss, has_target = cosine_loss(output, cosine.item_factors(labels, constants.label_factors))
        weight = mask * has_target
    return weighted_sum(loss, weight), weight.sum()


def scores(kind: str, output: Float[Array, "items outputs"], constants: Constants) -> Float[Array, "items labels"]:
    """How much each label fits: the logits, or the cosine with each label's factors."""
    return output if kind in LOSSES_OF_LOGITS else cosine.cosine_scores(output, constants.label_factors)


def readable(kind: str, scores: Float[Array | np.ndarray, "items labels"]) -> Float[Array | np.ndarray, "items labels"]:
    """Scores as people read them, an item's in the same order: probabilities of logits, cosines as they are."""
    return READABLE[kind](scores) if kind in READABLE else scores
