"""The linear baseline: logistic regression on a summary of the prepared features, which a trained network must beat.

It is fitted after training, in seconds, and kept in the run's folder; every evaluation scores it beside the networks.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from scipy.sparse import csr_array

from mumu_jax.batch import Sparse
from mumu_jax.data.loader import Records, multi_hot
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.text.tfidf import sparse_rows
from mumu_jax.data.store.records import Dataset
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.sparse import sparse_dense
from mumu_jax.objectives.logits import Logistic
from mumu_jax.runs.albums import group_by_album, mean_by_album
from mumu_jax.runs.folder import BASELINE
from mumu_jax.system.files import read_npz, write_npz
from mumu_jax.system.seals import unseal

MOST_ITEMS = 2000  # in training: more change little and take longer than the baseline is worth
STRENGTHS = (0.1, 1.0, 10.0)  # scikit-learn's C; the one with the smallest validation loss is kept
MOST_STEPS = 50  # of each strength; all but the first start from the one before
SMALL_GRADIENT = 1e-4  # ends the fit: the largest component of the mean loss's gradient, as scikit-learn's `tol`
PARTS = ("mean", "std", "weights")  # what a Linear has for each modality
LEAST_STD = 1e-6  # a value that is the same in all albums is left as it is


class Linear(NamedTuple):
    """The logit of each label: the sum over the modalities of `(x - mean) / std @ weights`, and `bias`."""

    mean: dict[str, Any]  # of each modality float32 [d]
    std: dict[str, Any]
    weights: dict[str, Any]  # of each float32 [d, labels]
    bias: Any


class Summaries(NamedTuple):
    """The albums of a split as the baseline sees them.

    Each modality has dense rows, or a text's sparse ones.
    """

    inputs: dict[str, Any]  # of each modality float32 [albums, d] or Sparse
    labels: Any  # uint8 [albums, labels], multi-hot


def fit_baseline(
    inputs: Inputs, dataset: Dataset, watch: Callable[[Iterable[float]], Iterator[float]] = iter
) -> Linear | None:
    """Fit on at most MOST_ITEMS training items; None if an input has no summary.

    `watch` sees the strengths pass, and may end it all.  Several processes fit the same.
    """
    records = [dataset.split(split) for split in ("train", "val")]
    train, val = (summarize_albums(inputs, one, len(dataset.labels), choose_items(one)) for one in records)
    if train is None or val is None:
        return None
    linear, best, least = start_of(train), None, math.inf
    for strength in watch(STRENGTHS):
        linear = fit_linear(linear, train, strength)
        if (loss := float(_mean_loss(linear, val))) < least:
            best, least = linear, loss
    return best and jax.device_get(best)


def start_of(train: Summaries) -> Linear:
    """Return weights of zero, and the standardisation of dense rows; sparse ones stay as they are, to stay sparse."""
    n_labels, mean, std, weights = train.labels.shape[1], {}, {}, {}
    for name, rows in train.inputs.items():
        if isinstance(rows, Sparse):
            mean[name], std[name], width = np.zeros((), np.float32), np.ones((), np.float32), rows.n_columns
        else:
            mean[name], deviation, width = rows.mean(axis=0), rows.std(axis=0), rows.shape[1]
            std[name] = np.where(deviation > LEAST_STD, deviation, 1).astype(np.float32)
        weights[name] = np.zeros((width, n_labels), np.float32)
    return Linear(mean, std, weights, np.zeros(n_labels, np.float32))


@jax.jit
def fit_linear(start: Linear, train: Summaries, strength: Any) -> Linear:
    """Minimise the mean loss of all labels and the l2 penalty by L-BFGS, from `start`.

    Equals scikit-learn's LogisticRegression(C=strength) for each label.
    """
    tx, labels = optax.lbfgs(), train.labels

    def objective(trained: tuple[Any, Any]) -> Float[Array, ""]:
        weights, bias = trained
        loss = _mean_loss(start._replace(weights=weights, bias=bias), train)
        squares = sum(jnp.sum(part**2) for part in weights.values())
        return loss + squares / (2 * strength * labels.size)

    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry: Any) -> Any:
        trained, state, n_steps, _ = carry
        value, gradient = value_and_grad(trained, state=state)
        updates, state = tx.update(gradient, state, trained, value=value, grad=gradient, value_fn=objective)
        steepest = optax.tree.norm(gradient, ord=jnp.inf) * labels.shape[1]
        return optax.apply_updates(trained, updates), state, n_steps + 1, steepest

    def goes_on(carry: Any) -> Any:
        *_, n_steps, steepest = carry
        return (n_steps < MOST_STEPS) & (steepest > SMALL_GRADIENT)

    trained = (start.weights, start.bias)
    (weights, bias), *_ = jax.lax.while_loop(goes_on, step, (trained, tx.init(trained), 0, jnp.inf))
    return start._replace(weights=weights, bias=bias)


@jax.jit
def _mean_loss(linear: Linear, albums: Summaries) -> Float[Array, ""]:
    """Return the binary cross-entropy in nats, the mean over albums and labels."""
    return Logistic().loss(logits(linear, albums.inputs), albums.labels, {})[0].mean()


@jax.jit
def logits(linear: Linear, inputs: dict[str, Any]) -> Float[Array, "albums labels"]:
    """Return the logit of each label."""

    def of_one(name: str) -> Float[Array, "albums labels"]:
        rows, weights = inputs[name], linear.weights[name]
        if isinstance(rows, Sparse):
            return sparse_dense(rows, weights)
        standardised = (rows - linear.mean[name]) / linear.std[name]
        return jnp.matmul(standardised, weights, precision=product_precision(jnp.float32))

    return sum((of_one(name) for name in inputs), linear.bias)


# --- what it sees -------------------------------------------------------------------------------------------


def summarize_albums(
    inputs: Inputs, records: Records, n_labels: int, rows: Int[np.ndarray, " rows"] | None = None
) -> Summaries | None:
    """Return the summaries of albums, of tracks the mean of each album's, in the order of `see_items`."""
    rows = np.arange(len(records)) if rows is None else rows
    labels = np.zeros((len(rows), n_labels), np.uint8)

    def read(name: str) -> Iterator[dict[str, Any]]:
        for i, record in enumerate(inputs.own_records(name, records, rows)):
            labels[i] = multi_hot(record["labels"], n_labels)
            yield record

    summaries = {
        name: modality.summary(read(name), inputs.config, inputs.fitted[name])
        for name, modality in inputs.modalities.items()
    }
    if any(summary is None for summary in summaries.values()):
        return None
    if inputs.level == "album":
        return Summaries(summaries, labels)
    album_ids = np.array(records.album_ids)[rows].tolist()
    _, group, first = group_by_album(album_ids)

    def mean_of(summary: Any) -> Any:
        return _mean_rows(summary, group) if isinstance(summary, Sparse) else mean_by_album(summary, album_ids)[1]

    return Summaries({name: mean_of(summary) for name, summary in summaries.items()}, labels[first])


def _mean_rows(rows: Sparse, group: Int[np.ndarray, " rows"]) -> Sparse:
    """Return the mean of each group of rows."""
    n_rows, nnz = rows.columns.shape
    ends = np.arange(0, n_rows * nnz + 1, nnz)
    matrix = csr_array((rows.values.ravel(), rows.columns.ravel(), ends), (n_rows, rows.n_columns))
    return sparse_rows(csr_array((1 / np.bincount(group)[group], (group, np.arange(n_rows)))) @ matrix)


def choose_items(records: Records) -> Int[np.ndarray, " rows"]:
    """Return the rows of at most MOST_ITEMS items: all, or those of whole albums drawn at random."""
    if len(records) <= MOST_ITEMS:
        return np.arange(len(records))
    _, album = np.unique(records.album_ids, return_inverse=True)
    sizes, left, chosen = np.bincount(album), MOST_ITEMS, []
    for drawn in np.random.default_rng(0).permutation(len(sizes)):
        if sizes[drawn] <= left:
            left -= sizes[drawn]
            chosen.append(drawn)
    rows = np.flatnonzero(np.isin(album, chosen))
    return rows if len(rows) else np.arange(MOST_ITEMS)  # every album is larger: the first tracks of all


# --- in the run's folder ------------------------------------------------------------------------------------


def write_baseline(workdir: Path, linear: Linear | None) -> None:
    """Write the baseline to the run's folder; remove that of a run that was here before."""
    unseal(workdir, BASELINE)
    if linear is None:
        (workdir / BASELINE).unlink(missing_ok=True)
    else:
        arrays = {file_name: getattr(linear, field)[name] for field, name, file_name in _arrays_of(linear.weights)}
        write_npz(workdir / BASELINE, **arrays, bias=linear.bias)


def read_baseline(workdir: Path, inputs: Iterable[str]) -> Linear | None:
    """Read what `write_baseline` wrote for these modalities; None if the run has no baseline."""
    if not (workdir / BASELINE).exists():
        return None
    names = _arrays_of(inputs)
    arrays = read_npz(
        workdir / BASELINE, "restore it, or use another --workdir", "bias", *(file_name for *_, file_name in names)
    )
    parts: dict[str, dict[str, Any]] = {field: {} for field in PARTS}
    for field, name, file_name in names:
        parts[field][name] = arrays[file_name]
    return Linear(**parts, bias=arrays["bias"])


def _arrays_of(inputs: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return each array's field and modality, and its name in the file, which names the modality if it has others."""
    names = list(inputs)
    return [(field, name, field if len(names) == 1 else f"{field}_{name}") for field, name in product(PARTS, names)]
