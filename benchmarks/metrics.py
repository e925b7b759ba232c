"""`python -m benchmarks.metrics`: macro ROC-AUC and mean average precision of MuMu's test set, beside scikit-learn's.

Needs jax and numpy, and scikit-learn for the peer; without it ours are measured alone.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import results, timing
from benchmarks.options import add_common
from benchmarks.output import COMPARISON, Output
from mumu_jax.objectives import metrics
from mumu_jax.system.terminal import run_command

BENCHMARK = "metrics"
N_ITEMS, N_LABELS, LABELS_PER_ITEM = 3_147, 250, 5.97  # albums of MuMu's test split


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    add_common(parser, repeats=9, seconds=0.5)
    arguments = parser.parse_args(argv)
    out = Output(BENCHMARK, not arguments.no_save, COMPARISON)
    scores, labels = test_set()
    for name, ours in (("roc_auc_macro", metrics.roc_auc), ("pr_auc_macro", metrics.average_precision)):
        out.add(measure(name, ours, scores, labels, arguments))
    return out.status


def measure(
    name: str, ours: Callable[..., Any], scores: np.ndarray, labels: np.ndarray, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One row: ours on scores that lie on the device, scikit-learn's on the host, in its fastest way."""
    macro = jax.jit(lambda scores, labels: jnp.mean(ours(scores, labels)))
    on_device = jax.device_put((scores, labels))
    run = lambda: float(macro(*on_device))  # noqa: E731
    value = run()
    calls = timing.calls_within(arguments.seconds, run)
    sides = {"ours": lambda: timing.rate(run, N_ITEMS, calls)}
    about_peer: dict[str, Any] = {}
    if ways := scikit_learn(name, scores, labels):
        for way, function in ways.items():
            assert abs(function() - value) < 1e-5, (name, way)
        seconds = {way: 1 / timing.rate(function, 1, calls=1) for way, function in ways.items()}
        best = min(seconds, key=lambda way: seconds[way])
        sides["peer"] = lambda: timing.rate(ways[best], N_ITEMS, max(1, round(arguments.seconds / seconds[best])))
        about_peer = {"peer": "scikit-learn", "peer_way": best, "peer_tried": seconds}

    rates = timing.take_turns(sides, arguments.repeats)
    if "peer" in rates:
        about_peer["peer_examples_per_s"] = timing.spread(rates["peer"]).median
        about_peer |= timing.columns("ratio", timing.ratios(rates["ours"], rates["peer"]))
    return {
        **{"config": name, "precision": "float32", "batch_size": N_ITEMS, "mode": f"{N_LABELS} labels"},
        **{"n_devices": 1, "device": results.device(), "repeats": arguments.repeats},
        **timing.columns("examples_per_s", rates["ours"]),
        **about_peer,
    }


def scikit_learn(name: str, scores: np.ndarray, labels: np.ndarray) -> dict[str, Callable[[], float]]:
    """The ways to call it: rows or columns side by side in memory, macro mean or label by label; none without it."""
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
    """Scores, float32, and labels that are on average a little above the others; each label has a positive."""
    rng = np.random.default_rng(0)
    labels = (rng.random((N_ITEMS, N_LABELS)) < LABELS_PER_ITEM / N_LABELS).astype(np.uint8)
    labels[rng.integers(0, N_ITEMS, N_LABELS), np.arange(N_LABELS)] = 1
    scores = rng.normal(size=labels.shape) + labels
    return scores.astype(np.float32), labels


if __name__ == "__main__":
    run_command(main)
