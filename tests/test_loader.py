"""The loader: every item once an epoch, in an order that the seed and the epoch decide."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from mumu_jax.batch import Sparse
from mumu_jax.compute import devices
from mumu_jax.config import AudioSettings, Config, DataSettings, MelSettings
from mumu_jax.data.loader import Items, Schedule, array_items, multi_hot, read_chunk, read_rows, stream
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.errors import UserError
from mumu_jax.training.feed import Feed, open_feeds
from mumu_jax.training.resident import Resident

N, BATCH, CHUNK = 23, 4, 4  # 6 steps an epoch, in chunks of 4 and 2


def items() -> Items:
    """Item i is [i, where its random patch lies], with label i % 3."""

    def read(rows, uniforms, inputs, labels):
        inputs["vectors"][:] = np.stack([rows, np.zeros(len(rows)) if uniforms is None else uniforms], axis=1)
        labels[np.arange(len(rows)), rows % 3] = 1

    return Items(read, N, item={"vectors": jax.ShapeDtypeStruct((2,), np.float32)}, n_labels=3)


def schedule(seed: int | None = 0, batch_size: int = BATCH) -> Schedule:
    return Schedule(N, batch_size, CHUNK, seed)


def test_every_item_once_an_epoch_and_the_rest_is_masked():
    chunks = list(stream(items(), schedule(), range(2), read_threads=2))
    assert [chunk.inputs["vectors"].shape for chunk in chunks] == [(4, BATCH, 2), (2, BATCH, 2)]
    mask = np.concatenate([chunk.mask for chunk in chunks]).ravel()
    values = np.concatenate([chunk.inputs["vectors"] for chunk in chunks]).reshape(-1, 2)[:, 0]
    labels = np.concatenate([chunk.labels for chunk in chunks]).reshape(-1, 3)
    assert mask.sum() == N
    assert not mask[-1]
    np.testing.assert_array_equal(np.sort(values[mask > 0]), np.arange(N))
    np.testing.assert_array_equal(labels[mask > 0].argmax(1), values[mask > 0] % 3)
    assert (values[mask == 0] == 0).all()
    assert (labels[mask == 0] == 0).all()


def test_order_is_new_each_epoch_and_the_seeds_alone():
    assert (schedule(0).rows(0) != schedule(0).rows(2)).any()
    for chunk in range(4):
        np.testing.assert_array_equal(schedule(0).rows(chunk), schedule(0).rows(chunk))
        assert (schedule(0).rows(chunk) != schedule(1).rows(chunk)).any()
    np.testing.assert_array_equal(np.concatenate([schedule(None).rows(c).ravel() for c in (2, 3)])[:N], np.arange(N))


def test_the_number_of_a_chunk_says_where_to_go_on():
    assert [schedule().chunk_of(step) for step in (0, 4, 6, 10, 12)] == [0, 1, 2, 3, 4]
    expected = list(stream(items(), schedule(5), range(7), read_threads=2))[3:]
    resumed = stream(items(), schedule(5), range(3, 7), read_threads=1)
    for chunk, again in zip(expected, resumed, strict=True):
        np.testing.assert_array_equal(chunk.inputs["vectors"], again.inputs["vectors"])


def test_random_patches_differ_from_epoch_to_epoch():
    def places(numbers):
        chunks = [read_chunk(items(), schedule(), number) for number in numbers]
        return {int(i): u for c in chunks for i, u in c.inputs["vectors"].reshape(-1, 2)[c.mask.ravel() > 0]}

    first, second = places((0, 1)), places((2, 3))
    assert len(first) == N
    assert all(first[i] != second[i] for i in first)


def test_processes_read_parts_that_make_up_the_whole():
    whole = read_chunk(items(), schedule(), 1)
    parts = [read_chunk(items(), schedule(), 1, slice(low, low + 2)) for low in (0, 2)]
    inputs = np.concatenate([part.inputs["vectors"] for part in parts], axis=1)
    np.testing.assert_array_equal(inputs, whole.inputs["vectors"])
    np.testing.assert_array_equal(np.concatenate([part.mask for part in parts], axis=1), whole.mask)


def test_rows_of_arrays():
    vectors, labels = np.eye(3, 5, dtype=np.float32), np.eye(3, dtype=np.uint8)
    found = read_rows(array_items(vectors, labels), np.array([2, 0, 3], np.int32), np.zeros(3))
    np.testing.assert_array_equal(found[0], [vectors[2], vectors[0], np.zeros(5)])
    np.testing.assert_array_equal(found[1], [labels[2], labels[0], np.zeros(3)])


class FakeRecords(list):
    album_ids = item_ids = ("a",)
    n_bytes = 10_000

    def read(self, rows):
        return (self[row] for row in rows)


class FakePairs(FakeRecords):
    """As `PairedRecords`: the items are the records of the first modality, but for one that a later one has not."""

    def __init__(self, **records: FakeRecords):
        order = np.delete(np.arange(N + 1, dtype=np.int32), 3)
        self.parts = {name: (one, order) for name, one in records.items()}
        super().__init__([None] * N)


def songs(n_bins: int, field: str, n: int = N) -> FakeRecords:
    """Songs of 1 to 50 frames: shorter than a patch of 6, within an excerpt of 20, of several excerpts."""
    rng = np.random.default_rng(0)
    lengths = [1, 3, 6, 7, 19, 20, 21, 40, 45, 50, *rng.integers(1, 51, n)][:n]
    frames = [rng.uniform(-80, 0, (length, n_bins)).astype(np.float16) for length in lengths]
    return FakeRecords(
        {"album_id": "a", "track_id": str(i), "labels": np.array([i % 3]), field: one} for i, one in enumerate(frames)
    )


def split_of(kind: str) -> Items:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (N, 3), np.uint8)
    if kind == "dense":
        return array_items({"one": rng.uniform(-80, 0, (N, 6, 5)).astype(np.float16)}, labels)
    if kind == "sparse":
        columns, values = rng.integers(0, 99, (N, 4), np.int32), rng.uniform(0, 1, (N, 4)).astype(np.float32)
        return array_items({"one": Sparse(columns, values, 99)}, labels)
    excerpt_s = 19 * 512 / 22_050
    audio = AudioSettings(n_bins=5, patch_frames=6, hop_length=512, sr_hz=22_050, excerpt_s=excerpt_s)
    mel = MelSettings(n_bins=4, patch_frames=6, hop_length=512, sr_hz=22_050, excerpt_s=excerpt_s)
    inputs = Inputs.unfitted(Config(modality=kind, audio=audio, mel=mel))
    timbre = [{**song, "timbre": rng.normal(size=48)} for song in songs(1, "unused", N + 1)]
    given = {"audio": songs(5, "cqt", N + 1), "mel": songs(4, "mel", N + 1), "timbre": FakeRecords(timbre)}
    records = FakePairs(**{name: given[name] for name in inputs.modalities}) if "+" in kind else given[kind][:N]
    return inputs.items(records if "+" in kind else FakeRecords(records), 3, "random")


@pytest.mark.parametrize("kind", ["dense", "sparse", "audio", "mel", "audio+timbre", "mel+audio"])
@pytest.mark.parametrize("n_devices", [1, 8])
def test_resident_and_streaming_are_the_same_bytes(n_devices, kind):
    mesh = Mesh(np.array(jax.devices()[:n_devices]), (devices.AXIS,))
    split = split_of(kind)
    assert set(split.cuts) == {"audio", "mel"} & {*kind.split("+")}
    for seed in (0, None):
        resident, streaming = (
            Feed(split, mode, 2, mesh).chunks(schedule(seed, batch_size=8), range(6))
            for mode in ("resident", "streaming")
        )
        for ours, theirs in zip(resident, streaming, strict=True):
            for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                assert mine.sharding.is_equivalent_to(other.sharding, mine.ndim)
                assert mine.dtype == other.dtype
                assert np.asarray(mine).tobytes() == np.asarray(other).tobytes()


def bytes_of(shape: str) -> int:
    dtype, sides = re.fullmatch(r"([a-z]+\d+)\[([\d,]*)\]", shape).groups()
    return (
        math.prod(map(int, filter(None, sides.split(",")))) * {"f16": 2, "u8": 1, "s32": 4, "pred": 1, "f32": 4}[dtype]
    )


@pytest.mark.parametrize("seed", [0, 1, None])
@pytest.mark.parametrize("batch_size", [32, 256])
def test_a_device_holds_and_gets_little_more_than_its_share_of_a_chunk(batch_size, seed):
    """In any order: padding included, it sends and gets at most twice its share, and holds no larger array."""
    mesh, n, (frames, bins) = devices.make_mesh(), 8192, (32, 24)
    split = array_items({"one": np.zeros((n, frames, bins), np.float16)}, np.zeros((n, 50), np.uint8))
    resident, in_order = Resident.load(split, mesh, 2), Schedule(n, batch_size, 32, seed)
    shapes = set()
    for number in range(2 * in_order.epoch_chunks):
        arguments = resident.arguments(in_order.rows(number), in_order.uniforms(number))
        shapes.add(str(jax.tree.map(jnp.shape, arguments)))
    assert len(shapes) <= 2  # as many programs; an unlikely chunk may need a larger one
    compiled = resident.gather.lower(*arguments).compile()
    share = 32 * batch_size * split.item_bytes / mesh.size
    text = compiled.as_text()
    collectives = re.findall(
        r"= (\(.*\)|\S+) (all-to-all|all-gather|all-reduce|reduce-scatter|collective-permute)\(", text
    )
    assert {kind for _, kind in collectives} == {"all-to-all"}
    moved = [bytes_of(shape) for shapes, _ in collectives for shape in re.findall(r"\w+\[[\d,]*\]", shapes)]
    assert share < sum(moved) <= 2 * share
    memory = compiled.memory_analysis()
    assert memory.output_size_in_bytes < 1.05 * share
    assert memory.temp_size_in_bytes <= 2 * sum(moved)  # what is sent and what is received


def test_resident_as_long_as_memory_lasts(monkeypatch, capfd):
    mesh = devices.make_mesh()
    splits = {"train": items(), "val": items()}
    monkeypatch.setattr("mumu_jax.training.feed._memory_bytes", lambda mesh: 3 * items().n_bytes)
    feeds = open_feeds(splits, DataSettings(), mesh)
    assert [feed.mode for feed in feeds.values()] == ["resident", "streaming"]
    assert "train: 23 items, 0.000 GB, resident" in capfd.readouterr().err
    feeds = open_feeds({"train": items()}, DataSettings(mode="streaming"), mesh)
    assert feeds["train"].mode == "streaming"
    with pytest.raises(UserError, match=r"config.data.mode='resident', but val needs 0.000 GB"):
        open_feeds(splits, DataSettings(mode="resident"), mesh)


def test_random_patches_take_the_room_of_whole_records():
    split = split_of("mel+audio")
    assert split.n_bytes == 2 * FakeRecords.n_bytes + 3 * N
    assert split.item_bytes == 2 * 6 * (4 + 5) + 3


@pytest.mark.parametrize("n_frames", [646, 322, 100, 2 * 646])
def test_patches_of_records(n_frames):
    settings = AudioSettings()
    ramp = -np.arange(n_frames, dtype=np.float16)[:, None] % 80 * np.ones(96, np.float16)
    records = FakeRecords([{"album_id": "a", "track_id": "t", "labels": np.array([1]), "cqt": ramp}])

    def patch_at(split: Items, uniform: float):
        inputs, labels = read_rows(split, np.zeros(1, np.int32), np.array([uniform]))
        np.testing.assert_array_equal(labels, [multi_hot([1], 2)])
        return inputs["audio"][0]

    inputs = Inputs.unfitted(Config())
    fixed = inputs.items(records, 2)
    patch = patch_at(fixed, 0.9)
    assert patch.shape == fixed.item["audio"].shape == (322, 96)
    assert patch.dtype == np.float16
    np.testing.assert_array_equal(patch, patch_at(fixed, 0.1))
    randomly = inputs.items(records, 2, patch="random")
    first, last = patch_at(randomly, 0.0), patch_at(randomly, 0.999999)
    assert (first != last).any() == (n_frames > 322)
    if n_frames < 322:
        assert (patch[n_frames:] == settings.floor_db).all()
