"""A run that was killed, however often, ends byte for byte where an uninterrupted one ends."""

import json
import re
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import REPOSITORY, complain, run_python, succeed

from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import create_state
from mumu_jax.runs.folder import load_run
from mumu_jax.system.files import only_one
from mumu_jax.system.signals import EXIT_INTERRUPTED
from mumu_jax.training.checkpoint import Checkpoints
from mumu_jax.training.log import MetricsLog, read_lines

pytestmark = pytest.mark.full

# With about 120 training tracks: 8 steps an epoch, in chunks of 3, 3 and 2; the album network takes 4 an epoch.
SETTINGS = (
    "--config=audio_low_4x96",
    "--config.optim.batch_size=16",
    "--config.optim.max_epochs=3",
    "--config.optim.later=sgd:0.01@50%",
    "--config.album_optim.batch_size=16",
    "--config.album_optim.max_epochs=3",
    "--config.loop.chunk_steps=3",
    "--config.model.dropout=0.3",
    "--config.data.patch=random",
)


def kill(moment: str, *arguments: str, **environment: str) -> None:
    """Train until `moment`; the process must end by that signal, or exit as documented after SIGTERM.

    It saves after each chunk.
    """
    arguments = (*arguments, "--config.loop.checkpoint_minutes=0")
    done = run_python(REPOSITORY / "tests" / "killed_train.py", moment, *arguments, **environment)
    expected = EXIT_INTERRUPTED if moment.startswith("term") else -signal.SIGKILL
    assert done.returncode == expected, done.stdout + done.stderr
    if expected == EXIT_INTERRUPTED:
        assert "the same command goes on" in done.stderr


def contents(workdir: Path) -> dict[str, bytes]:
    """Everything that training carries or writes, as bytes, by name."""
    found = {"metrics.jsonl": (workdir / "metrics.jsonl").read_bytes()}
    run = load_run(workdir)
    phases = (("track", run.track, run.config.optim), ("album", run.album, run.config.album_optim))
    for phase, trained, optim in phases:
        like = create_state(
            trained.network,
            make_optimizer(optim),
            {n: jax.ShapeDtypeStruct(one.mean.shape, np.float32) for n, one in trained.constants.inputs.items()},
            seed=123,
        )
        checkpoints = Checkpoints(workdir / phase, read_only=True)
        state, _, progress, data = checkpoints.restore_last(like)
        best = checkpoints.restore_best(like.variables)
        checkpoints.close()
        for which, tree in (("last", state), ("best", best)):
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                leaf = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
                found[f"{phase}/{which}/{jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
        found[f"{phase}/progress"] = repr(progress).encode()
        found[f"{phase}/data"] = json.dumps(data).encode()
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, small_data):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    succeed("mumu_jax.train", *SETTINGS, f"--data_dir={small_data}", f"--workdir={workdir}")
    return workdir


def test_killed_again_and_again(tmp_path, small_data, uninterrupted):
    """In one run: first, middle and last chunks of an epoch, during a save, and SIGTERM; then the album network."""
    arguments = (*SETTINGS, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
    kill("chunk:1", *arguments)  # before any checkpoint
    kill("chunk:5", *arguments)  # second epoch, middle chunk, on top of a checkpoint in mid-epoch
    kill("save:2", *arguments)  # while the second epoch's end is saved, with the best variables
    kill("term:1", *arguments)  # in the middle of an epoch
    kill("chunk:2", *arguments)  # an epoch's last chunk
    kill("save:4", *arguments)  # in the album network's training
    succeed("mumu_jax.train", *arguments)
    ours, expected = contents(tmp_path / "run"), contents(uninterrupted)
    assert ours.keys() == expected.keys()
    assert [name for name in ours if ours[name] != expected[name]] == []


def test_a_stage_begins_with_the_best_weights(tmp_path, small_data):
    """The stage before spoils them, and the last one's steps are too short to move them."""
    workdir = tmp_path / "run"
    settings = ("--config.optim.max_epochs=4", "--config.optim.later=sgd:100@50%,sgd:1e-12@75%")
    succeed("mumu_jax.train", *SETTINGS, *settings, f"--data_dir={small_data}", f"--workdir={workdir}")
    loss = [line["val/loss"] for line in read_lines(workdir / "metrics.jsonl") if "val/loss" in line][:4]
    assert min(loss[:3]) < loss[2]
    params = {name: np.frombuffer(part, np.float32) for name, part in contents(workdir).items() if "params" in name}
    best = "track/best/['params']"
    of_track = [name for name in params if name.startswith(best)]
    assert of_track
    for name in of_track:
        np.testing.assert_allclose(params[name.replace(best, "track/last/.params")], params[name], atol=1e-6)


def test_metrics_hold_each_step_once(uninterrupted):
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    train = [(line["phase"], line["step"]) for line in lines if "train/loss" in line]
    assert len(train) == len(set(train))
    assert {phase for phase, _ in train} == {"track", "album"}
    val = [line for line in lines if "val/loss" in line]
    assert [line["epoch"] for line in val if line["phase"] == "track"] == [0, 1, 2]


def test_finished_run_says_so(uninterrupted, small_data):
    done = succeed("mumu_jax.train", *SETTINGS, f"--data_dir={small_data}", f"--workdir={uninterrupted}")
    assert "is finished" in done.stdout


def test_resume_with_another_config_or_other_data_is_refused(uninterrupted, small_data, tmp_path):
    before = contents(uninterrupted)
    same = ("mumu_jax.train", *SETTINGS, f"--workdir={uninterrupted}")
    complain(
        *same,
        f"--data_dir={small_data}",
        "--config.seed=1",
        says=["config.seed=0", "not 1", "--workdir", str(uninterrupted)],
    )
    assert contents(uninterrupted) == before


def test_settings_of_speed_alone_may_change(uninterrupted, small_data):
    succeed(
        "mumu_jax.train",
        *SETTINGS,
        "--config.data.read_threads=1",
        f"--data_dir={small_data}",
        f"--workdir={uninterrupted}",
    )


@pytest.mark.parametrize("patch", ["fixed", "random"])
def test_resident_and_streaming_end_with_the_same_bytes(tmp_path, small_data, patch):
    """The second run changes its mode on the way."""
    settings = (*SETTINGS, f"--config.data.patch={patch}", f"--data_dir={small_data}")
    runs = [tmp_path / "resident", tmp_path / "streaming"]
    done = succeed("mumu_jax.train", *settings, "--config.data.mode=resident", f"--workdir={runs[0]}")
    assert re.search(r"train: \d+ items, 0\.\d+ GB, resident", done.stderr)
    kill("chunk:5", *settings, "--config.data.mode=streaming", f"--workdir={runs[1]}")
    succeed("mumu_jax.train", *settings, f"--workdir={runs[1]}")
    ours, expected = map(contents, runs)
    assert [name for name in expected if ours[name] != expected[name]] == []


def test_perf_says_how_long_devices_waited_for_input_and_the_compiler(uninterrupted):  # 9
    lines = [json.loads(line) for line in (uninterrupted / "perf.jsonl").read_text().splitlines()]
    chunks = [line for line in lines if "perf/input_wait_fraction" in line]
    metrics = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["phase"], line["step"]) for line in metrics if "train/loss" in line]
    assert [(line["phase"], line["step"]) for line in chunks] == steps
    assert all(0 <= line["perf/input_wait_fraction"] <= 1 < line["perf/examples_per_s"] for line in chunks)
    assert [line["phase"] for line in lines if "perf/compile_s" in line] == ["track", "album"]
    ends = [(line["phase"], line["step"]) for line in metrics if "val/loss" in line]
    epochs = [line for line in lines if "perf/epoch_s" in line]
    assert [(line["phase"], line["step"]) for line in epochs] == ends  # of each epoch, validation in it
    assert all(line["perf/epoch_s"] > 0 for line in epochs)


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("nan:4", "training loss is nan at step 12"),  # in the second epoch's first chunk
        pytest.param("nan:3", "validation loss is nan at step 8", marks=pytest.mark.slow),  # in the first's last one
    ],
)
def test_nan_stops_the_run_before_it_is_saved(moment, says, tmp_path, small_data, uninterrupted):
    arguments = (*SETTINGS, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
    done = run_python(REPOSITORY / "tests" / "killed_train.py", moment, *arguments)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    for fragment in (says, "nothing was saved", "learning rate", str(tmp_path)):
        assert fragment in last
    succeed("mumu_jax.train", *arguments)  # it goes on to the same end
    assert contents(tmp_path / "run") == contents(uninterrupted)


def test_parameters_that_are_not_finite_are_not_saved(tmp_path, small_data):
    """After an update that no loss has seen yet, a save that is due in mid-epoch must not replace a good one."""
    arguments = (*SETTINGS, "--config.loop.checkpoint_minutes=0", f"--data_dir={small_data}")
    done = run_python(REPOSITORY / "tests" / "killed_train.py", "nan:2", *arguments, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2, done.stderr
    assert "a parameter is not finite after step 6; the last good checkpoint, of step 3," in done.stderr


def test_a_folder_is_trained_in_by_one_process(tmp_path, small_data):
    with only_one(tmp_path / "run", "training"):
        arguments = (*SETTINGS, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
        complain("mumu_jax.train", *arguments, says=["another process is training", str(tmp_path / "run")])


def losses(workdir: Path, n_epochs: int) -> list[tuple[int, float]]:
    """(step, loss) of the track network's first epochs."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    of_track = [line for line in lines if line["phase"] == "track" and line["epoch"] < n_epochs]
    return [(line["step"], line.get("train/loss", line.get("val/loss"))) for line in of_track]


EIGHT_DEVICES = {"JAX_NUM_CPU_DEVICES": "8"}


def test_eight_devices_train_like_one(uninterrupted, small_data, tmp_path):
    """The whole loop on a mesh of eight: the first epoch's losses are those of one device."""
    arguments = (*SETTINGS, "--config.optim.max_epochs=1", f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
    succeed("mumu_jax.train", *arguments, **EIGHT_DEVICES)
    np.testing.assert_allclose(losses(tmp_path / "run", 1), losses(uninterrupted, 1), atol=1e-5)


@pytest.mark.parametrize(("first", "then"), [(EIGHT_DEVICES, {}), ({}, EIGHT_DEVICES)], ids=["8 to 1", "1 to 8"])
def test_a_run_moves_between_one_device_and_eight(first, then, uninterrupted, small_data, tmp_path):
    """Rounding differs, and nothing else."""
    arguments = (*SETTINGS, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
    kill("chunk:5", *arguments, **first)
    succeed("mumu_jax.train", *arguments, **then)
    np.testing.assert_allclose(losses(tmp_path / "run", 3), losses(uninterrupted, 3), atol=1e-3)


@pytest.mark.parametrize("left", [b"", b'{"phase": "track", "epoch": 0, "step": 1, "train/loss": 1.0}\n{"phase'])
def test_lost_lines_of_the_log_are_said_and_not_filled_with_zeros(tmp_path, capsys, left):  # 13
    with MetricsLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.metrics("track", 0, step, {"train/loss": 1.0})
        position = log.position
    (tmp_path / "metrics.jsonl").write_bytes(left)
    with MetricsLog(tmp_path) as log:
        log.go_on_from(position)
        log.metrics("track", 0, 4, {"train/loss": 0.5})
        assert log.position == (tmp_path / "metrics.jsonl").stat().st_size
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == ([1, 4] if left else [4])
    assert f"warning: {tmp_path / 'metrics.jsonl'} has lost lines" in capsys.readouterr().err


@pytest.mark.full
def test_a_run_without_its_log_goes_on(tmp_path, small_data, uninterrupted):  # 13
    workdir = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    (workdir / "metrics.jsonl").unlink()
    for result in ("eval_test.json", "predictions_test.npz"):
        (workdir / result).unlink()
    shutil.rmtree(workdir / "album")
    done = succeed("mumu_jax.train", *SETTINGS, f"--data_dir={small_data}", f"--workdir={workdir}")
    assert "has lost lines" in done.stderr
    assert {line["phase"] for line in read_lines(workdir / "metrics.jsonl")} == {"album"}
    assert (workdir / "predictions_test.npz").read_bytes() == (uninterrupted / "predictions_test.npz").read_bytes()
