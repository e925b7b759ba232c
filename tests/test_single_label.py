"""Single-label metrics against scikit-learn in float64, with ties, absent labels and padding."""

import numpy as np
import pytest
from sklearn import metrics as sk

from mumu_jax.objectives import metrics

TOLERANCE = 1e-6


def summarize(scores, labels) -> dict[str, float]:
    """The metrics of one label an item, and the number of items."""
    summary = metrics.summarize(scores, labels, np.ones(scores.shape[1], bool), single_label=True)
    names = [name for name, metric in metrics.METRICS.items() if metric.single_label]
    return {name: summary[name] for name in (*names, "n_items")}


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with few and many ties, long-tailed and absent labels, padding rows full of garbage."""
    rng = np.random.default_rng(seed)
    n_items, n_labels = 250, (1, 3, 40)[seed % 3]  # few shapes, so that few programs are compiled
    frequency = np.geomspace(1, 0.002, n_labels)
    labels = np.eye(n_labels, dtype=np.uint8)[rng.choice(n_labels, n_items, p=frequency / frequency.sum())]
    scores = rng.normal(size=(n_items, n_labels)) + rng.choice([0, 0.5, 3]) * labels
    if seed % 2:
        scores = np.round(scores * rng.choice([0.5, 2])) / 7  # -0.0 among them
    scores = scores.astype(np.float32)
    mask = rng.random(n_items) < rng.choice([0.2, 0.8])
    scores[~mask] = rng.choice([np.nan, np.inf, -np.inf, 1e30], size=scores[~mask].shape)
    labels[~mask] = rng.random(labels[~mask].shape) < 0.5
    return scores, labels, mask


def reference_accuracy(scores, labels, k: int) -> float:
    """Ties to the lowest label: by a stable sort of the negated scores."""
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
    return float(np.mean([label in row for label, row in zip(labels.argmax(axis=1), best, strict=True)]))


@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn's, on seeds with one label
@pytest.mark.parametrize("seed", range(12))
def test_summary_and_matrix_equal_scikit_learn(seed):
    scores, labels, mask = random_case(seed)
    n_labels = labels.shape[1]
    true, predicted = labels[mask].argmax(axis=1), scores[mask].argmax(axis=1)  # NumPy's ties go to the lowest too
    matrix = np.asarray(metrics.confusion_matrix(scores, labels, mask))
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(true, predicted, labels=range(n_labels)))
    macro = sk.precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    expected = {
        **dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=False)),
        **{f"accuracy_at_{k}": reference_accuracy(scores[mask], labels[mask], k) for k in (1, 3, 5)},
        "n_items": mask.sum(),
    }
    found = summarize(scores[mask], labels[mask])
    assert found == pytest.approx(expected, abs=TOLERANCE)
    assert found["accuracy_at_1"] == pytest.approx(sk.accuracy_score(true, predicted), abs=TOLERANCE)
    padded = metrics.accuracy_at_k(scores, labels, min(3, n_labels), mask)
    assert float(padded) == pytest.approx(expected["accuracy_at_3"], abs=TOLERANCE)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_accuracy_equals_scikit_learn_without_ties(k):
    rng = np.random.default_rng(k)
    true = rng.integers(0, 24, 300)
    scores = rng.permuted(np.tile(np.arange(24, dtype=np.float32), (300, 1)), axis=1)
    expected = sk.top_k_accuracy_score(true, scores, k=k, labels=range(24))
    found = metrics.accuracy_at_k(scores, np.eye(24)[true], k)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_macro_means_are_over_the_labels_that_occur_or_are_predicted():
    # Label 0 is right once of twice, 1 has an item but is never predicted, 2 is predicted but has none, 3 is absent.
    labels = np.eye(4)[[0, 0, 1]]
    scores = np.eye(4, dtype=np.float32)[[0, 2, 0]]
    found = summarize(scores, labels)
    assert found["precision_macro"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found["recall_macro"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found["f1_macro"] == pytest.approx((1 / 2 + 0 + 0) / 3)


def test_accuracy_by_label_is_recall():
    scores, labels, mask = random_case(2)
    true, predicted = labels[mask].argmax(axis=1), scores[mask].argmax(axis=1)
    found = metrics.accuracy_by_label(metrics.confusion_matrix(scores, labels, mask))
    there = np.isin(np.arange(40), true)
    assert 1 < there.sum() < 40
    expected = sk.recall_score(true, predicted, labels=range(40), average=None, zero_division=0)
    np.testing.assert_allclose(found, np.where(there, expected, np.nan), atol=1e-12)


def test_ties_extremes_and_nan():
    scores = np.array(
        [[1, 1, 1], [0.0, -0.0, -1], [-0.0, 0.0, -1], [np.nan, -np.inf, -1], [np.nan, -np.inf, np.nan]], np.float32
    )
    labels = np.eye(3)[[1, 1, 1, 2, 1]]
    expected = np.zeros((3, 3), int)
    expected[1, 0], expected[2, 2] = 4, 1
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, labels), expected)
    accuracy = [float(metrics.accuracy_at_k(scores, labels, k)) for k in (1, 2, 3)]
    assert accuracy == pytest.approx([1 / 5, 1, 1])


def test_one_label_and_k_above_the_labels():
    found = summarize(np.zeros((4, 1), np.float32), np.ones((4, 1), bool))
    assert found == {
        **dict.fromkeys(("accuracy_at_1", "accuracy_at_3", "accuracy_at_5"), 1.0),
        **dict.fromkeys(("precision_macro", "recall_macro", "f1_macro"), 1.0),
        "n_items": 4,
    }
    two = summarize(np.eye(2, dtype=np.float32), np.eye(2)[::-1])
    assert [two[f"accuracy_at_{k}"] for k in (1, 3, 5)] == [0, 1, 1]


def test_no_real_item():
    scores, labels, mask = random_case(1)
    mask[:] = False
    assert np.isnan(metrics.accuracy_at_k(scores, labels, 3, mask))
    matrix = metrics.confusion_matrix(scores, labels, mask)
    assert not np.asarray(matrix).any()
    assert np.isnan(metrics.accuracy_by_label(matrix)).all()


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k is {k}; it must be from 1 to the number of labels, 3"):
        metrics.accuracy_at_k(np.ones((2, 3), np.float32), np.eye(3)[:2], k)


def test_summarize_refuses_what_it_cannot_measure():
    scores, labels = np.ones((3, 2), np.float32), np.eye(2)[[0, 1, 0]]
    with pytest.raises(ValueError, match=r"one label an item, found 2 in row 1.* in 2 of 3 rows"):
        summarize(scores, np.array([[1, 0], [1, 1], [0, 0]]))
    with pytest.raises(ValueError, match=r"found 0 in row 2.* in 1 of 3 rows"):
        summarize(scores, np.array([[1, 0], [0, 1], [0, 0]]))
    with pytest.raises(ValueError, match="no item to score"):
        summarize(scores[:0], labels[:0])
    scores[1, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 3 items have NaN scores"):
        summarize(scores, labels)
