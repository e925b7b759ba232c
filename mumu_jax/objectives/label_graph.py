"""The graph of genres that a graph head sees: which genres occur together, and which have similar features.

Ru et al. 2023, section 2.4: the mean of the conditional probability of one genre given another, over the training
albums, and of the cosine of their features: BERT's vectors of the genres' names, as theirs, or label factors.
"""

import numpy as np
from jaxtyping import Float, Float32, Shaped

ADJACENCY, FEATURES = "graph_adjacency", "graph_features"  # the names in what is fitted
LEAST_LENGTH = 1e-12


def fit_label_graph(
    labels: Shaped[np.ndarray, "albums labels"], features: Float[np.ndarray, "labels d"]
) -> dict[str, np.ndarray]:
    """Return the normalised adjacency [labels, labels] of multi-hot training labels, and the features of the nodes."""
    adjacency = (conditional_probabilities(labels) + cosines(features)) / 2
    return {ADJACENCY: normalised(adjacency), FEATURES: np.asarray(features, np.float32)}


def conditional_probabilities(labels: Shaped[np.ndarray, "albums labels"]) -> Float[np.ndarray, "labels labels"]:
    """Return the albums with labels i and j over those with j; 0 for a label without an album.

    It is the formula that is printed, P(i given j); the text beside it says P(j given i), its transpose.
    """
    present = (np.asarray(labels) != 0).astype(np.float64)
    together = present.T @ present
    return together / np.maximum(np.diagonal(together), 1)


def cosines(features: Float[np.ndarray, "labels d"]) -> Float[np.ndarray, "labels labels"]:
    """Return the cosine of each two rows, 0 if it is negative, so that every degree is positive."""
    rows = np.asarray(features, np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LEAST_LENGTH)
    return np.maximum(rows @ rows.T, 0)


def normalised(adjacency: Float[np.ndarray, "labels labels"]) -> Float32[np.ndarray, "labels labels"]:
    """Return D^-½ (A + I) D^-½, D the degrees.  Kipf and Welling 2017, equation 2."""
    with_self = adjacency + np.eye(len(adjacency))
    scale = 1 / np.sqrt(with_self.sum(axis=1))
    return (scale[:, None] * with_self * scale).astype(np.float32)
