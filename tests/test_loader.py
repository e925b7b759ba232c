"""The loader: every item once an epoch, in an order that the seed and the epoch decide."""

import numpy as np
import pytest

from mumu_jax.config import AudioSettings
from mumu_jax.data.loader import Items, array_items, batches, multi_hot, patch_items, steps_per_epoch, train_chunks

N, BATCH, CHUNK = 23, 4, 4  # 6 steps an epoch, in chunks of 4 and 2


def items(random: bool = False) -> Items:
    return Items(
        lambda i, u: (np.array([i, u], np.float32), multi_hot([i % 3], 3)),
        N,
        item_shape=(2,),
        random=random,
    )


def take(seed: int, n_chunks: int, random: bool = False, threads: int = 2):
    chunks = train_chunks(items(random), BATCH, CHUNK, seed, threads)
    return [next(chunks) for _ in range(n_chunks)]


def test_every_item_once_an_epoch_and_the_rest_is_masked():
    first, second = take(seed=0, n_chunks=2)
    assert first.inputs.shape == (4, BATCH, 2)
    assert second.inputs.shape == (2, BATCH, 2)
    mask = np.concatenate([first.mask, second.mask]).ravel()
    index = np.concatenate([first.index, second.index]).ravel()
    assert mask.sum() == N
    assert not mask[-1]
    np.testing.assert_array_equal(np.sort(index[mask > 0]), np.arange(N))
    values = np.concatenate([first.inputs, second.inputs]).reshape(-1, 2)[:, 0]
    np.testing.assert_array_equal(values[mask > 0], index[mask > 0])
    assert (values[mask == 0] == 0).all()
    labels = np.concatenate([first.labels, second.labels]).reshape(-1, 3)
    np.testing.assert_array_equal(labels[mask > 0].argmax(1), index[mask > 0] % 3)


def test_order_is_new_each_epoch_and_the_seeds_alone():
    index = [chunk.index for chunk in take(seed=0, n_chunks=4)]
    assert (index[0] != index[2]).any()
    for ours, again, other in zip(index, take(0, 4, threads=1), take(1, 4), strict=True):
        np.testing.assert_array_equal(ours, again.index)
        assert (ours != other.index).any()


def test_state_says_where_to_go_on():
    chunks = train_chunks(items(random=True), BATCH, CHUNK, seed=5, read_threads=2)
    for _ in range(3):
        next(chunks)
    state = chunks.get_state()
    expected = [next(chunks) for _ in range(4)]
    resumed = train_chunks(items(random=True), BATCH, CHUNK, seed=5, read_threads=1)
    resumed.set_state(state)
    for chunk in expected:
        again = next(resumed)
        np.testing.assert_array_equal(chunk.inputs, again.inputs)
        np.testing.assert_array_equal(chunk.index, again.index)


def test_random_patches_differ_from_epoch_to_epoch():
    def places(chunks):
        return {int(i): u for c in chunks for i, u in c.inputs.reshape(-1, 2)[c.mask.ravel() > 0]}

    chunks = take(seed=0, n_chunks=4, random=True)
    first, second = places(chunks[:2]), places(chunks[2:])
    assert len(first) == N
    assert all(first[i] != second[i] for i in first)


def test_evaluation_batches_keep_the_order_and_one_shape():
    found = list(batches(items(), BATCH, read_threads=2))
    assert len(found) == steps_per_epoch(N, BATCH) == 6
    assert {batch.inputs.shape for batch in found} == {(BATCH, 2)}
    np.testing.assert_array_equal(np.concatenate([b.index[b.mask > 0] for b in found]), np.arange(N))


def test_rows_of_arrays():
    vectors, labels = np.eye(3, 5, dtype=np.float32), np.eye(3, dtype=np.uint8)
    (batch,) = batches(array_items(vectors, labels), 4, read_threads=1)
    np.testing.assert_array_equal(batch.inputs[:3], vectors)
    np.testing.assert_array_equal(batch.labels[:3], labels)


class FakeRecords(list):
    pass


@pytest.mark.parametrize("n_frames", [646, 322, 100, 2 * 646])
def test_patches_of_records(n_frames):
    settings = AudioSettings()
    ramp = -np.arange(n_frames, dtype=np.float16)[:, None] % 80 * np.ones(96, np.float16)
    records = FakeRecords([{"album_id": "a", "track_id": "t", "labels": np.array([1]), "cqt": ramp}])
    fixed = patch_items(records, 2, settings)
    patch, labels = fixed.read(0, 0.9)
    assert patch.shape == fixed.item_shape == (322, 96)
    assert patch.dtype == np.float16
    np.testing.assert_array_equal(labels, [0, 1])
    np.testing.assert_array_equal(patch, fixed.read(0, 0.1)[0])
    randomly = patch_items(records, 2, settings, patch="random")
    first, last = (randomly.read(0, u)[0] for u in (0.0, 0.999999))
    assert (first != last).any() == (n_frames > 322)
    if n_frames < 322:
        assert (patch[n_frames:] == settings.floor_db).all()
