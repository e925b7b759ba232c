"""`python -m benchmarks.metrics`: compute macro ROC-AUC and mean average precision, beside scikit-learn.

The scores are made up, in the size of MuMu's test split.  Without scikit-learn ours are measured alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from mumu_jax.objectives import metrics
from mumu_jax.system.terminal import run_command

N_ITEMS, N_LABELS, LABELS_PER_ITEM = 3_147, 250, 5.97  # albums of MuMu's test split


def main(argv: Sequence[str]) -> None:
    benchmark = Benchmark("metrics", __doc__, repeats=9, seconds=0.5)
    case = {"precision": "float32", "batch_size": N_ITEMS, "mode": f"{N_LABELS} labels"}
    options = benchmark.start(argv, n_devices=1, **case)
    for name, ours in (("roc_auc_macro", metrics.roc_auc), ("pr_auc_macro", metrics.average_precision)):
        benchmark.add({"config": name, **measure(name, ours, options.repeats, options.seconds)})


def measure(name: str, ours: Callable[..., Any], repeats: int, seconds: float) -> Row:
    """Return a row's values: our metric with scores on the device, scikit-learn's on the host, in its fastest way."""
    scores, labels = test_set()
    macro = jax.jit(lambda scores, labels: jnp.mean(ours(scores, labels)))
    on_device = jax.device_put((scores, labels))
    value = float(macro(*on_device))
    sides = {"ours": timing.timed(lambda: float(macro(*on_device)), N_ITEMS, seconds)}
    about_peer: Row = {}
    if ways := scikit_learn(name, scores, labels):
        for way, function in ways.items():
            assert abs(function() - value) < 1e-5, (name, way)
        tried = {way: 1 / timing.rate(function, 1) for way, function in ways.items()}
        best = min(tried, key=lambda way: tried[way])
        sides["peer"] = timing.timed(ways[best], N_ITEMS, seconds)
        about_peer = {"peer": "scikit-learn", "peer_way": best, "peer_tried": tried}
    rates = timing.take_turns(sides, repeats)
    return {**timing.figures(rates["ours"], rates.get("peer")), **about_peer}


def scikit_learn(name: str, scores: np.ndarray, labels: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return the ways to call scikit-learn; none if it is not installed.

    Rows or columns are contiguous in memory, and labels are averaged by scikit-learn or one by one.
    """
    try:
        from sklearn.metrics import average_precision_score, roc_auc_score
    except ImportError:
        return {}
    function = roc_auc_score if name == "roc_auc_macro" else average_precision_score
    ways: dict[str, Callable[[], float]] = {}
    for order in ("C", "F"):
        x, y = np.asarray(scores, order=order), np.asarray(labels, order=order)  # type: ignore[call-overload]
        ways[f"macro, order {order}"] = lambda x=x, y=y: float(np.mean(function(y, x, average="macro")))
        ways[f"by label, order {order}"] = lambda x=x, y=y: float(
            np.mean([function(y[:, i], x[:, i]) for i in range(N_LABELS)])
        )
    return ways


def test_set() -> tuple[np.ndarray, np.ndarray]:
    """Return made-up scores and labels [items, labels]: positives score a little higher, and each label has one."""
    rng = np.random.default_rng(0)
    labels = (rng.random((N_ITEMS, N_LABELS)) < LABELS_PER_ITEM / N_LABELS).astype(np.uint8)
    labels[rng.integers(0, N_ITEMS, N_LABELS), np.arange(N_LABELS)] = 1
    scores = rng.normal(size=labels.shape) + labels
    return scores.astype(np.float32), labels


if __name__ == "__main__":
    run_command(main)
