"""PPMI, label and item factors against the paper's equations in plain NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mumu_jax.objectives import cosine

ABSENT, UNIVERSAL = 1, 2  # the columns that `random_labels` makes extreme on request

GRADIENT_OF_L2_NORMALIZE = jax.jit(jax.grad(lambda x: jnp.sum(cosine.l2_normalize(x))))


def random_labels(seed: int, n_labels: int = 24, extreme: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parents = rng.random((300, n_labels)) < np.geomspace(0.5, 0.03, n_labels)
    labels = parents | np.roll(parents & (rng.random(parents.shape) < 0.5), 1, axis=1)
    if extreme:
        labels[:, ABSENT], labels[:, UNIVERSAL] = False, True
    return labels


def reference_ppmi(labels: np.ndarray) -> np.ndarray:
    """Equation (1), a pair at a time."""
    n_labels = labels.shape[1]
    X = np.zeros((n_labels, n_labels))
    for i in range(n_labels):
        for j in range(n_labels):
            together = np.mean(labels[:, i] & labels[:, j])
            if together:
                X[i, j] = max(0, np.log(together / (np.mean(labels[:, i]) * np.mean(labels[:, j]))))
    return X


def reference_factors(X: np.ndarray, d: int) -> np.ndarray:
    U, singular, _ = np.linalg.svd(X)
    C = U[:, :d] * np.sqrt(singular[:d])
    return C * np.sign(C[np.argmax(np.abs(C), axis=0), np.arange(d)])


def cosine_of(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("n_labels", [3, 24])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ppmi_equals_equation_1(seed, n_labels, extreme):
    labels = random_labels(seed, n_labels, extreme)
    X = cosine.ppmi(labels)
    np.testing.assert_allclose(X, reference_ppmi(labels), atol=1e-6)
    np.testing.assert_array_equal(X, X.T)
    np.testing.assert_allclose(jax.jit(cosine.ppmi)(labels.astype(np.float32)), X, atol=1e-6)
    assert np.all(np.diagonal(X) > 0) != extreme


@pytest.mark.parametrize(("n_labels", "n_factors"), [(3, 2), (3, 50), (24, 5), (24, 50)])
@pytest.mark.parametrize("seed", range(3))
def test_label_factors_equal_numpy(seed, n_labels, n_factors):
    X = reference_ppmi(random_labels(seed, n_labels))
    d = min(n_factors, n_labels)
    C = cosine.label_factors(X.astype(np.float32), n_factors)
    assert C.shape == (n_labels, d)
    np.testing.assert_allclose(C, reference_factors(X, d), atol=2e-4)


@pytest.mark.parametrize("signs", [(1, -1, 1), (-1, 1, -1)])
def test_signs_do_not_depend_on_the_svd(signs):
    nearly = 0.7000002  # equal but for rounding: the first decides
    columns = jnp.asarray([[0.1, 0.5, -0.7], [-0.9, -0.5, nearly], [0.2, 0.4, 0.1]])
    expected = [[-0.1, 0.5, 0.7], [0.9, -0.5, -nearly], [-0.2, 0.4, -0.1]]
    np.testing.assert_allclose(cosine._fix_signs(columns * jnp.asarray(signs)), expected, rtol=1e-7)


def test_equal_labels_share_a_factor():
    labels = random_labels(0)
    labels[:, 20:] = labels[:, [3]]  # five equal columns: rank 20
    X = cosine.ppmi(labels)
    C = cosine.label_factors(X, 50)
    assert C.shape == (24, 20)
    np.testing.assert_allclose(C[20:], np.tile(C[3], (4, 1)), atol=1e-5)
    # Symmetric X = U S V has V = ±Uᵀ by column, so that C·diag(±1)·Cᵀ gives X back.
    U, singular, V = np.linalg.svd(np.asarray(X, np.float64))
    sign = np.sign(np.sum(U.T * V, axis=1))[:20]
    np.testing.assert_allclose((C * sign) @ C.T, X, atol=2e-4)
    assert singular[20] < 1e-5 * singular[0]


@pytest.mark.parametrize("n_factors", [5, 50])
def test_labels_without_information_have_a_zero_factor(n_factors):
    labels = random_labels(0, extreme=True)
    C = cosine.label_factors(cosine.ppmi(labels), n_factors)
    expected = ~np.isin(np.arange(24), [ABSENT, UNIVERSAL])
    np.testing.assert_array_equal(np.any(C != 0, axis=1), expected)
    np.testing.assert_array_equal(cosine.has_direction(C), expected)
    assert C.shape[1] == min(n_factors, 22)


def test_a_label_beyond_the_factors_kept_has_a_zero_factor():
    labels = np.repeat(np.eye(3, dtype=bool), [2, 3, 5], axis=0)  # disjoint: each label is its own factor
    C = cosine.label_factors(cosine.ppmi(labels), 2)
    np.testing.assert_allclose(C, [[np.sqrt(np.log(5)), 0], [0, np.sqrt(np.log(10 / 3))], [0, 0]], atol=1e-6)
    np.testing.assert_array_equal(cosine.has_direction(C), [True, True, False])


def test_label_factors_refuse_what_has_none():
    with pytest.raises(ValueError, match="PPMI of the labels is zero"):
        cosine.label_factors(cosine.ppmi(np.array([[1, 0], [1, 0]])), 50)
    with pytest.raises(ValueError, match="n_factors is 0"):
        cosine.label_factors(np.eye(3, dtype=np.float32), 0)


@pytest.mark.parametrize("seed", range(3))
def test_item_factors_and_cosine_scores_equal_loops(seed):
    labels = random_labels(seed, extreme=True)
    labels[:5] = False
    labels[:3, [ABSENT, UNIVERSAL]] = True  # labels without a direction leave an item without one
    C = cosine.label_factors(cosine.ppmi(labels[5:]), 8)
    F = cosine.item_factors(labels, C)
    C64 = np.asarray(C, np.float64)
    total = np.stack([C64[row].sum(axis=0) for row in labels])
    length = np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(F, total / np.where(length > 0, length, 1), atol=1e-6)
    np.testing.assert_array_equal(cosine.has_direction(F), length[:, 0] > 0)
    np.testing.assert_array_equal(F[:5], 0)

    prediction = np.random.default_rng(seed).normal(size=F.shape).astype(np.float32)
    prediction[0] = 0
    scores = cosine.cosine_scores(jnp.asarray(prediction), C)
    for j in range(24):
        if j in (ABSENT, UNIVERSAL):
            np.testing.assert_array_equal(scores[:, j], -1)
        else:
            expected = [0, *(cosine_of(p, C64[j]) for p in prediction[1:].astype(np.float64))]
            np.testing.assert_allclose(scores[:, j], expected, atol=1e-6)
    np.testing.assert_allclose(jax.jit(cosine.cosine_scores)(prediction, C), scores, atol=1e-6)
    np.testing.assert_allclose(jax.jit(cosine.item_factors)(labels, C), F, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1e-30, 1e-13, 1.1e-12, 1e-6, 1, 1e6])
def test_l2_normalize_and_its_gradient_are_finite(length):
    x = jnp.asarray([[0.6, -0.8, 0.0]]) * length
    y = cosine.l2_normalize(x)
    gradient = GRADIENT_OF_L2_NORMALIZE(x)
    expected = [[0.6, -0.8, 0]] if length > 1e-12 else [[0, 0, 0]]
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert np.any(gradient != 0) == (length > 1e-12)


def test_a_vector_that_is_not_a_number_stays_one():
    """A diverged network must not look like one that answers in no direction."""
    vectors = jnp.asarray([[jnp.nan, 1.0], [jnp.inf, 1.0], [3.0, 4.0]])
    found = np.asarray(cosine.l2_normalize(vectors))
    assert np.isnan(found[:2]).any(axis=1).all()
    np.testing.assert_allclose(found[2], [0.6, 0.8])
