"""Checkpoints: what is read of them, what is refused, and the room that they take."""

import contextlib
import gc
import os
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from mumu_jax.compute.state import TrainState
from mumu_jax.errors import UserError
from mumu_jax.system.seals import seal
from mumu_jax.training.checkpoint import Checkpoints, Progress

TX = optax.adam(1e-3)


def state_of(step: int, width: int = 8) -> TrainState:
    """A state of random numbers, which no compression makes smaller."""
    params = {"dense": {"kernel": jax.random.normal(jax.random.key(step), (width, 100))}}
    moments = jax.tree.map(lambda leaf: leaf if leaf.ndim == 0 else leaf + params["dense"]["kernel"], TX.init(params))
    statistics = {"norm": {"mean": jnp.full(3, step, jnp.float32)}}
    return TrainState(jnp.int32(step), params, moments, jax.random.key(1), statistics)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The last two checkpoints of a finished training, 2 and 3; the best step was 1."""
    checkpoints = Checkpoints(tmp_path / "album")
    for step, progress in ((1, Progress(0.5, 1)), (2, Progress(0.5, 1, 1)), (3, Progress(0.5, 1, 2, finished=True))):
        checkpoints.save(state_of(step), state_of(1).variables, progress, {"next_chunk": step})
    checkpoints.close()
    assert sorted(path.name for path in (tmp_path / "album").iterdir() if path.is_dir()) == ["2", "3"]
    return tmp_path / "album"


def check_equal(found, expected) -> None:
    found, expected = map(jax.tree_util.tree_leaves_with_path, (found, expected))
    for (path, leaf), (expected_path, expected_leaf) in zip(found, expected, strict=True):
        assert path == expected_path
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf, expected_leaf = map(jax.random.key_data, (leaf, expected_leaf))
        np.testing.assert_array_equal(leaf, expected_leaf)


def test_the_last_one_is_restored_whole_and_of_the_best_only_variables(folder):
    last = Checkpoints(folder, read_only=True).restore_last(state_of(0))
    assert last is not None
    state, best, progress, data = last
    check_equal(state, state_of(3))
    check_equal(best, state_of(1).variables)
    assert (progress, data) == (Progress(0.5, 1, 2, finished=True), {"next_chunk": 3})
    variables = Checkpoints(folder, read_only=True).restore_best(state_of(0).variables)
    check_equal(variables, state_of(1).variables)


def test_the_best_one_of_an_earlier_version_is_a_checkpoint_of_its_own(tmp_path):
    folder, checkpoints = tmp_path / "album", Checkpoints(tmp_path / "album")
    checkpoints.save(state_of(1), state_of(1).variables, Progress(0.5, 1), {})
    checkpoints.save(state_of(3), state_of(1).variables, Progress(0.5, 1, 2, finished=True), {})
    checkpoints.close()
    shutil.rmtree(folder / "3" / "best")
    seal(folder, "3")
    variables = Checkpoints(folder, read_only=True).restore_best(state_of(0).variables)
    check_equal(variables, state_of(1).variables)
    going_on = Checkpoints(folder)
    last = going_on.restore_last(state_of(0))
    assert last is not None
    check_equal(last[1], state_of(1).variables)
    for step in (4, 5):
        going_on.save(state_of(step), last[1], Progress(0.5, 1, 2, finished=True), {})
    going_on.close()
    check_equal(Checkpoints(folder, read_only=True).restore_best(state_of(0).variables), state_of(1).variables)


def test_the_best_variables_outlive_the_state_that_is_given_away(tmp_path):
    """Training gives its state's memory to the next step."""
    checkpoints = Checkpoints(tmp_path / "album")
    checkpoints.save(state_of(2), None, Progress(0.5, 2), {})
    last = checkpoints.restore_last(state_of(0))
    checkpoints.close()
    assert last is not None
    jax.tree.map(lambda leaf: leaf.delete(), last[0].params)
    check_equal(last[1], state_of(2).variables)


def test_networks_without_statistics(tmp_path):
    state = state_of(1).replace(batch_stats={})
    checkpoints = Checkpoints(tmp_path / "album")
    checkpoints.save(state, state.variables, Progress(0.5, 1, finished=True), {})
    checkpoints.close()
    found = Checkpoints(tmp_path / "album", read_only=True).restore_best(state.variables)
    assert found["batch_stats"] == {}
    check_equal(found, state.variables)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # TensorStore's, of reads that are left
@pytest.mark.parametrize(
    ("like", "says"),
    [
        (state_of(0, width=4).variables, r"Requested shape: \(4, 100\)"),
        ({**state_of(0).variables, "params": {"other": jnp.zeros(3)}}, r"it has no \['params'\]\['other'\]"),
    ],
)
def test_other_variables_are_refused(folder, like, says):
    with pytest.raises(UserError, match=rf"album/3 cannot be read \(ValueError: .*{says}.*\); remove .*album/3 to go"):
        Checkpoints(folder, read_only=True).restore_best(like)
    gc.collect()  # what Orbax was still reading ends with an exception that nobody can catch; not in another test


def test_unfinished_training_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path / "album")
    with pytest.raises(UserError, match=r"the album network in .* is not trained to its end"):
        checkpoints.restore_best(state_of(0).variables)
    checkpoints.save(state_of(1), None, Progress(0.5, 1), {})
    with pytest.raises(UserError, match="is not trained to its end; its own command resumes it"):
        checkpoints.restore_best(state_of(0).variables)
    checkpoints.close()


def frozen_state(step: int) -> TrainState:
    """A state with a layer that stays the same, and the statistics of two layers, of which one's scale trains."""
    state, rng = state_of(step), np.random.default_rng(0)
    trunk = {"kernel": jnp.asarray(rng.normal(size=(300, 100)), jnp.float32)}
    norms = {name: {"scale": jnp.ones(3)} for name in ("bn1", "bn2")}
    statistics = {"bn1": {"mean": jnp.arange(3.0)}, "bn2": {"mean": jnp.full(3, step, jnp.float32)}}
    return state.replace(params={**state.params, **norms, "trunk": trunk}, batch_stats=statistics)


TRAINABLE = "dense|bn2"


@pytest.fixture
def part(tmp_path) -> Path:
    """Checkpoints 2 and 3 of what trains; the best step was 1."""
    checkpoints = Checkpoints(tmp_path / "track")
    checkpoints.frozen.keep(frozen_state(1).variables, TRAINABLE)
    for step, progress in ((1, Progress(0.5, 1)), (2, Progress(0.5, 1, 1)), (3, Progress(0.5, 1, 2, finished=True))):
        checkpoints.save(frozen_state(step), frozen_state(1).variables, progress, {"next_chunk": step})
    checkpoints.close()
    return tmp_path / "track"


def nothing(step: int = 0) -> TrainState:
    """The shapes of a state, with zeros for its variables."""
    state = frozen_state(step)
    zeros = jax.tree.map(jnp.zeros_like, state.variables)
    return state.replace(**zeros)


def test_what_does_not_train_is_kept_once_beside_the_checkpoints(part):
    names = load_file(part / "frozen.safetensors").keys()
    assert names == {"params/trunk/kernel", "params/bn1/scale", "batch_stats/bn1/mean"}
    assert 120_000 < (part / "frozen.safetensors").stat().st_size < 125_000
    assert size_of(part) < 2 * 120_000 + 125_000  # else each of the two would have the layer twice, 240 kB
    moved = part.rename(part.with_name("moved"))
    last = Checkpoints(moved, read_only=True).restore_last(nothing())
    assert last is not None
    check_equal(last[0], frozen_state(3))
    check_equal(last[1], frozen_state(1).variables)
    check_equal(Checkpoints(moved, read_only=True).restore_best(nothing().variables), frozen_state(1).variables)


def test_going_on_leaves_out_the_same(part):
    checkpoints = Checkpoints(part)
    for step in (4, 5):
        checkpoints.save(frozen_state(step), frozen_state(1).variables, Progress(0.5, 1, 2, finished=True), {})
    checkpoints.close()
    assert size_of(part) < 2 * 120_000 + 125_000
    last = Checkpoints(part, read_only=True).restore_last(nothing())
    assert last is not None
    check_equal(last[0], frozen_state(5))


def test_the_state_and_the_best_variables_do_not_share_memory(part):
    last = Checkpoints(part, read_only=True).restore_last(nothing())
    assert last is not None
    jax.tree.map(lambda leaf: leaf.delete(), last[0].params)
    check_equal(last[1], frozen_state(1).variables)


def test_earlier_checkpoints_have_what_does_not_train(tmp_path):
    checkpoints = Checkpoints(tmp_path / "track")
    checkpoints.save(frozen_state(2), frozen_state(1).variables, Progress(0.5, 1, 1, finished=True), {})
    checkpoints.close()
    last = Checkpoints(tmp_path / "track", read_only=True).restore_last(nothing())
    assert last is not None
    check_equal(last[0], frozen_state(2))
    check_equal(last[1], frozen_state(1).variables)
    going_on = Checkpoints(tmp_path / "track")
    for step in (3, 4):
        going_on.save(frozen_state(step), last[1], Progress(0.5, 1, 2, finished=True), {})
    going_on.close()
    best = Checkpoints(tmp_path / "track", read_only=True).restore_best(nothing().variables)
    check_equal(best, frozen_state(1).variables)


def test_all_of_it_trains(part):
    """In a folder in which another network was begun."""
    checkpoints = Checkpoints(part)
    checkpoints.frozen.keep(frozen_state(1).variables, "")
    assert not (part / "frozen.safetensors").exists()
    assert not checkpoints.frozen
    checkpoints.close()


def test_what_does_not_train_is_there_before_the_first_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "track")
    checkpoints.frozen.keep(frozen_state(1).variables, TRAINABLE)
    checkpoints.close()
    found = Checkpoints(tmp_path / "track").frozen.put_back({}, nothing().variables)
    check_equal(found["params"]["trunk"], frozen_state(1).params["trunk"])
    check_equal(found["params"]["dense"], nothing().params["dense"])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "frozen.safetensors is missing, the parameters that do not train; restore it"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "frozen.safetensors is damaged.*restore it"),
        (lambda path: path.write_bytes(b"some bytes"), "frozen.safetensors is damaged.*restore it"),
    ],
)
def test_harm_to_what_does_not_train_is_told(part, harm, says):
    harm(part / "frozen.safetensors")
    with pytest.raises(UserError, match=says) as caught:
        Checkpoints(part, read_only=True).restore_best(nothing().variables)
    assert "\n" not in str(caught.value)


def test_what_does_not_train_is_of_another_network(part):
    like = nothing().variables
    like["params"]["trunk"]["kernel"] = jnp.zeros((300, 101))
    with pytest.raises(UserError, match=r"has params/trunk/kernel \(300, 100\), which the network has not; restore it"):
        Checkpoints(part, read_only=True).restore_best(like)


def test_checkpoints_take_the_room_of_three_states_at_most(tmp_path):  # 54
    """The one before, and the one that is being written, each with the best variables."""
    states = [state_of(step, width=2000) for step in range(1, 7)]
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(states[0]) if hasattr(leaf, "nbytes"))
    sizes, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            sizes.append(size_of(tmp_path))

    thread = threading.Thread(target=watch)
    thread.start()
    checkpoints = Checkpoints(tmp_path / "album")
    for state in states:
        checkpoints.save(state, states[0].variables, Progress(0.5, best_step=1), {})
    checkpoints.close()
    done.set()
    thread.join()
    assert 1.5 * n_bytes < max(sizes) < 3.1 * n_bytes
    assert size_of(tmp_path) < 2.8 * n_bytes


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder, some of which may just be renamed or removed."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(os.path.join(parent, name)).st_size
    return size
