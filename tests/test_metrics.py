"""Metrics against scikit-learn in float64 where it has them, else against plain loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from mumu_jax.objectives import metrics

TOLERANCE = 1e-6
BY_LABEL = {
    "roc_auc": (metrics.roc_auc, sk.roc_auc_score),
    "average_precision": (metrics.average_precision, sk.average_precision_score),
}
BY_ITEM = {"precision": metrics.precision_at_k, "ndcg": metrics.ndcg_at_k}


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with few and many ties, long-tailed and absent labels, padding rows full of garbage."""
    rng = np.random.default_rng(seed)
    n_items, n_labels = 250, (1, 3, 40)[seed % 3]  # few shapes, so that few programs are compiled
    labels = rng.random((n_items, n_labels)) < np.geomspace(0.6, 0.002, n_labels)
    scores = rng.normal(size=(n_items, n_labels)) + rng.choice([0, 0.5, 3]) * labels
    if seed % 2:
        scores = np.round(scores * rng.choice([0.5, 2, 20])) / 7  # -0.0 among them
    scores = scores.astype(np.float32)
    mask = rng.random(n_items) < rng.choice([0.2, 0.8])
    scores[~mask] = rng.choice([np.nan, np.inf, -np.inf, 1e30], size=scores[~mask].shape)
    labels[~mask] = rng.random(labels[~mask].shape) < 0.5
    return scores, labels, mask


def reference_by_label(function, scores, labels, mask) -> np.ndarray:
    scores, labels = scores[mask].astype(np.float64), labels[mask]
    result = np.full(labels.shape[1], np.nan)
    for j in range(labels.shape[1]):
        enough = labels[:, j].any() and (function is not sk.roc_auc_score or not labels[:, j].all())
        if enough:
            result[j] = function(labels[:, j], scores[:, j])
    return result


def ranking(row: np.ndarray) -> list[int]:
    """Labels by falling score, ties by rising index."""
    return sorted(range(len(row)), key=lambda j: (-row[j], j))


def reference_by_item(name: str, scores, labels, mask, k: int) -> float:
    values = []
    for row, relevant in zip(scores[mask].astype(np.float64), labels[mask], strict=True):
        hits = [relevant[j] for j in ranking(row)[:k]]
        if name == "precision":
            values.append(sum(hits) / k)
        else:
            gain = sum(hit / np.log2(rank + 2) for rank, hit in enumerate(hits))
            best = sum(1 / np.log2(rank + 2) for rank in range(min(k, relevant.sum())))
            values.append(gain / best if best else 0.0)
    return float(np.mean(values))


def reference_coverage(scores, mask, k: int) -> float:
    return len({j for row in scores[mask] for j in ranking(row)[:k]}) / scores.shape[1]


@pytest.mark.parametrize("name", BY_LABEL)
@pytest.mark.parametrize("seed", range(12))
def test_by_label_equals_scikit_learn(name, seed):
    ours, theirs = BY_LABEL[name]
    scores, labels, mask = random_case(seed)
    expected = reference_by_label(theirs, scores, labels, mask)
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(ours(scores, labels, mask), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("seed", range(12))
def test_by_item_equals_loops(seed):
    scores, labels, mask = random_case(seed)
    k = min(3, scores.shape[1])
    for name, ours in BY_ITEM.items():
        expected = reference_by_item(name, scores, labels, mask, k)
        np.testing.assert_allclose(ours(scores, labels, k, mask), expected, atol=TOLERANCE, err_msg=name)
    expected = reference_coverage(scores, mask, k)
    np.testing.assert_allclose(metrics.coverage_at_k(scores, k, mask), expected, atol=TOLERANCE)


@pytest.mark.parametrize("k", [5, 24])
def test_ndcg_equals_scikit_learn_without_ties(k):
    rng = np.random.default_rng(k)
    labels = rng.random((300, 24)) < 0.08
    assert not labels.any(axis=1).all()
    scores = rng.permuted(np.tile(np.arange(24, dtype=np.float32), (300, 1)), axis=1)
    np.testing.assert_allclose(metrics.ndcg_at_k(scores, labels, k), sk.ndcg_score(labels, scores, k=k), atol=TOLERANCE)


@pytest.mark.parametrize("shuffled", [False, True])
def test_float32_sums_stay_exact_at_the_size_of_mumu(shuffled):
    rng = np.random.default_rng(0)
    labels = rng.random((15_000, 12)) < np.geomspace(0.84, 0.0006, 12)
    scores = (rng.normal(size=labels.shape) + (0 if shuffled else 1.5 * labels)).astype(np.float32)
    scores[:, ::4] = np.round(scores[:, ::4], 1)
    for ours, theirs in BY_LABEL.values():
        expected = theirs(labels, scores.astype(np.float64), average=None)
        np.testing.assert_allclose(ours(scores, labels), expected, atol=TOLERANCE, rtol=0)
    perfect = labels.astype(np.float32)
    # A label on most items, with a perfect score: its fractions are all alike, so that rounding would add up.
    np.testing.assert_allclose(metrics.roc_auc(perfect, labels), 1, atol=1e-7)
    np.testing.assert_allclose(metrics.average_precision(perfect, labels), 1, atol=1e-7)
    untied = rng.permuted(np.tile(np.arange(12, dtype=np.float32), (15_000, 1)), axis=1)
    expected = sk.ndcg_score(labels, untied, k=5)
    np.testing.assert_allclose(metrics.ndcg_at_k(untied, labels, 5), expected, atol=TOLERANCE)


def test_constant_scores():
    _, labels, mask = random_case(1)
    labels[::7] = True
    scores = np.zeros(labels.shape, np.float32)
    scores[::2] = -0.0
    np.testing.assert_allclose(metrics.roc_auc(scores, labels, mask), 0.5, atol=1e-7)
    frequency = labels[mask].mean(axis=0)
    np.testing.assert_allclose(metrics.average_precision(scores, labels, mask), frequency, atol=1e-7)
    np.testing.assert_array_equal(metrics.top_labels(scores, 2), np.tile([0, 1], (len(scores), 1)))
    np.testing.assert_allclose(metrics.coverage_at_k(scores, 1, mask), 1 / 3, atol=1e-7)


def test_absent_and_universal_labels():
    scores, labels, mask = random_case(1)
    labels[:] = [False, True, False]
    labels[np.flatnonzero(mask)[0], 2] = True
    scores[np.flatnonzero(mask)[0], 2] = 100
    np.testing.assert_array_equal(metrics.roc_auc(scores, labels, mask), [np.nan, np.nan, 1])
    np.testing.assert_array_equal(metrics.average_precision(scores, labels, mask), [np.nan, 1, 1])


def test_order_of_extreme_scores():
    tiny, huge = 1e-40, 3e38
    row = np.array([[np.nan, 0.0, -np.inf, -0.0, tiny, np.inf, -tiny, huge, -huge, -np.nan]], np.float32)
    np.testing.assert_array_equal(metrics.top_labels(row, 10), [[5, 7, 4, 1, 3, 6, 8, 0, 2, 9]])
    # The same values as ten items of one label: the positive at -0.0 beats five items and ties with one.
    labels = np.arange(10)[:, None] == 3
    np.testing.assert_allclose(metrics.roc_auc(row.T, labels), [(5 + 0.5) / 9], atol=1e-7)


def test_other_dtypes():
    _, labels, mask = random_case(1)
    scores = jnp.asarray(np.random.default_rng(0).normal(size=labels.shape), jnp.bfloat16)
    expected = reference_by_label(sk.roc_auc_score, np.asarray(scores), labels, mask)
    ours = metrics.roc_auc(scores, labels.astype(np.float32), mask.astype(np.float32))
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE)


def test_no_real_item():
    scores, labels, mask = random_case(1)
    mask[:] = False
    assert np.isnan(metrics.roc_auc(scores, labels, mask)).all()
    assert np.isnan(metrics.average_precision(scores, labels, mask)).all()
    assert np.isnan(metrics.precision_at_k(scores, labels, 3, mask))
    assert np.isnan(metrics.ndcg_at_k(scores, labels, 3, mask))
    assert metrics.coverage_at_k(scores, 3, mask) == 0


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range(k):
    scores, labels = np.ones((2, 3), np.float32), np.ones((2, 3), bool)
    for measure in (
        lambda: metrics.coverage_at_k(scores, k),
        lambda: metrics.precision_at_k(scores, labels, k),
        lambda: metrics.ndcg_at_k(scores, labels, k),
    ):
        with pytest.raises(ValueError, match=rf"k is {k}; it must be from 1 to the number of labels, 3"):
            measure()


@pytest.mark.parametrize("seed", [1, 2, 4, 5, 7, 8])  # 3 and 40 labels
def test_summarize(seed):
    scores, labels, mask = random_case(seed)
    n_labels = labels.shape[1]
    seen = np.arange(n_labels) % 5 != 4
    result = metrics.summarize(scores, labels, seen, mask)

    auc = reference_by_label(sk.roc_auc_score, scores, labels, mask)
    precision = reference_by_label(sk.average_precision_score, scores, labels, mask)
    scored = seen & ~np.isnan(auc)
    expected = {
        "roc_auc_macro": auc[scored].mean(),
        "pr_auc_macro": precision[scored].mean(),
        "n_items": mask.sum(),
        "n_labels": n_labels,
        "n_labels_scored": scored.sum(),
        "n_labels_unseen": n_labels // 5,
    }
    for k in (1, 3, 5):
        clipped = min(k, n_labels)
        expected[f"coverage_at_{k}"] = reference_coverage(scores, mask, clipped)
        for name in BY_ITEM:
            expected[f"{name}_at_{k}"] = reference_by_item(name, scores, labels, mask, clipped)
    assert result.keys() == expected.keys()
    for key, value in expected.items():
        assert result[key] == pytest.approx(value, abs=TOLERANCE), key


def test_summarize_without_a_label_to_score():
    scores, labels, _ = random_case(1)
    labels[:] = [True, False, False]
    result = metrics.summarize(np.nan_to_num(scores), labels, seen=np.array([True, True, False]))
    assert result["n_items"] == len(scores)  # no mask: all are real
    assert np.isnan(result["roc_auc_macro"])
    assert np.isnan(result["pr_auc_macro"])
    assert (result["n_labels_scored"], result["n_labels_unseen"]) == (0, 1)
    assert result["precision_at_5"] == pytest.approx(1 / 3)  # k clipped to 3


def test_summarize_refuses_what_it_cannot_measure():
    scores, labels, seen = np.ones((3, 2), np.float32), np.ones((3, 2), bool), np.ones(2, bool)
    with pytest.raises(ValueError, match="no item to score among 3 rows"):
        metrics.summarize(scores, labels, seen, mask=np.zeros(3))
    bad = np.array([[1, np.nan], [1, 2], [np.nan, 1]], np.float32)
    with pytest.raises(ValueError, match="1 of 2 items have NaN scores"):
        metrics.summarize(bad, labels, seen, mask=np.array([1, 1, 0]))
    with pytest.raises(ValueError, match=r"seen \(2,\) and mask \(1,\)"):
        metrics._check(scores, labels, seen, np.ones(1, bool))  # in tests the types refuse it earlier
