"""Vectors of albums: the means of their tracks', without those of all tracks in memory at once."""

import tracemalloc
import weakref

import jax
import numpy as np
import pytest

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.network import Constants, Standardisation, item_network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.predict import predict
from mumu_jax.compute.state import create_state
from mumu_jax.experiments import load_config
from mumu_jax.runs.albums import AlbumMeans, mean_by_album

N_TRACKS, WIDTH = 4096, 512


def album_ids() -> list[str]:
    """Albums of 1 to 16 tracks, the last of which come again at the end."""
    rng = np.random.default_rng(0)
    ids = [f"a{album}" for album in range(N_TRACKS) for _ in range(rng.integers(1, 17))]
    return [*ids[: N_TRACKS - 3], "a0", "a5", "a0"]


@pytest.mark.parametrize("patches", [1, 3])
@pytest.mark.parametrize("chunk", [7, 1000, 3 * N_TRACKS])
def test_means_are_those_of_all_vectors_together(chunk, patches):
    ids, rng = album_ids(), np.random.default_rng(1)
    vectors = rng.normal(size=(patches * N_TRACKS, 5)).astype(np.float32)
    means = AlbumMeans(ids, patches)
    for low in range(0, len(vectors), chunk):
        means.add(vectors[low : low + chunk])
    labels = np.arange(N_TRACKS, dtype=np.uint8)[:, None]
    found, of_each = means.albums(labels), np.repeat(ids, patches)
    assert found.album_ids == list(dict.fromkeys(ids))
    np.testing.assert_array_equal(found.labels, labels[[ids.index(album) for album in found.album_ids]])
    expected = [vectors[of_each == album].mean(axis=0, dtype=np.float64) for album in found.album_ids]
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-5, atol=1e-6)
    assert found.vectors.dtype == np.float32
    if patches == 1:
        np.testing.assert_allclose(mean_by_album(vectors, ids)[1], expected, rtol=1e-6, atol=1e-7)


def test_the_host_holds_the_sums_of_albums_and_one_chunk():
    ids, rng = album_ids(), np.random.default_rng(0)
    chunks = [rng.normal(size=(128, WIDTH)).astype(np.float32)] * (N_TRACKS // 128)
    tracemalloc.start()
    means = AlbumMeans(ids)
    for chunk in chunks:
        means.add(chunk)
    assert len(means.means()) == len(set(ids))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    of_albums, of_tracks = 4 * WIDTH * len(set(ids)), 4 * WIDTH * N_TRACKS
    assert of_albums < peak < 2 * of_albums + 3 * chunks[0].nbytes + 200_000 < of_tracks / 2


def test_vectors_are_folded_chunk_by_chunk():
    config = load_config("timbre_mlp")
    network, mesh, rng = item_network(config, 6, {}), devices.make_mesh(), np.random.default_rng(0)
    item = {"timbre": jax.ShapeDtypeStruct((48,), np.float32)}
    constants = Constants({"timbre": Standardisation(np.zeros(48, np.float32), np.ones(48, np.float32))}, {})
    mask = np.ones((5, 2, 16), np.float32)
    mask[-1, -1, 3:] = 0
    vectors = rng.normal(size=(5, 2, 16, 48)).astype(np.float32)
    labels = np.ones((5, 2, 16, 6), np.uint8)
    chunks = [
        devices.put_chunk(Batch({"timbre": x}, y, m), mesh) for x, y, m in zip(vectors, labels, mask, strict=True)
    ]
    variables = create_state(network, make_optimizer(config.optim), item, seed=0).variables
    whole = predict(variables, chunks, constants, network, mesh)
    folded, alive, seen = [], [], []

    def fold(embedding: np.ndarray) -> None:
        alive.append(sum(one() is not None for one in seen))
        seen.append(weakref.ref(embedding))
        folded.append(embedding.copy())

    found = predict(variables, chunks, constants, network, mesh, fold=fold)
    assert [len(one) for one in folded] == [32, 32, 32, 32, 19]
    np.testing.assert_array_equal(np.concatenate(folded), whole.embedding)
    np.testing.assert_array_equal(found.scores, whole.scores)
    assert found.embedding.shape == (len(whole.embedding), 0)
    assert max(alive) <= 1
