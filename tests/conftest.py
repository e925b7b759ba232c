"""Eight simulated devices, and small prepared data that several test files share."""

import os
from importlib.metadata import version

# before the first import of jax
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# Programs run once, on small inputs, and to compile them as for use takes four times as long.
# Tests that optimisation could break run with TEST_OPTIMIZED=1 as well: scripts/test has the list.
os.environ["XLA_FLAGS"] = ""
if os.environ.get("TEST_OPTIMIZED") != "1":
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    # The emitters of fused kernels set up a compiler of their own for each kernel.  Only this version can do without;
    # a later one ends a process that gives it a flag that it does not know.
    if version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import fcntl
import gc
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest
from jaxtyping import install_import_hook

install_import_hook("mumu_jax", "runtime_types.check")  # before the first import of the package
gc.set_threshold(50_000, 20, 100)  # tracing makes millions of objects, and few cycles: a tenth of its time

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared" / "data"


# Each program is compiled once, by the first session that needs it: `pytest --cache-clear` removes them.
COMPILED = REPOSITORY / ".pytest_cache" / "d" / "compiled"
COMPILED_BYTES = 2e9  # a session needs 0.4 GB; what earlier versions of the code needed is removed with all the rest
if "PYTEST_XDIST_WORKER" not in os.environ and sum(path.stat().st_size for path in COMPILED.glob("*")) > COMPILED_BYTES:
    shutil.rmtree(COMPILED, ignore_errors=True)  # another session may be writing there
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def run_python(*arguments: str | Path, cwd: Path = REPOSITORY, timeout: float = 600, **environment: str):
    """`python arguments…` in a process of its own, on one device; the finished process."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "MUMU_DATA_DIR")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def run_module(module: str, *arguments: str | Path, **how):
    """`python -m module arguments…`, as `run_python`."""
    return run_python("-m", module, *arguments, **how)


def succeed(*arguments, **how):
    """`run_module`, which must exit with 0."""
    done = run_module(*arguments, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def complain(*arguments, says: Sequence[str], code: int = 2, **how) -> None:
    """`run_module`, which must end with one clear line that holds all of `says`, and no traceback."""
    done = run_module(*arguments, **how)
    assert done.returncode == code, done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for fragment in says:
        assert fragment in last
    assert "Traceback" not in done.stderr


@dataclass
class Screen:
    """A terminal of 80 columns: a file to write to, and what was drawn so far."""

    file: TextIO
    _reader: int

    def drawn(self) -> str:
        self.file.flush()
        parts = []
        while select.select([self._reader], [], [], 0.1)[0]:
            parts.append(os.read(self._reader, 100_000))
        return b"".join(parts).decode()


def pytest_make_parametrize_id(config, val: object) -> str | None:
    """Name bytes by their number, as compressed ones hold the time and two workers must collect the same names."""
    return f"{len(val)}_bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True, scope="module")
def programs() -> Iterator[None]:
    """The compiled programs of a file of tests: kept for all of them, they take 5 GB."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def screen() -> Iterator[Screen]:
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(writer, "w") as file:
        yield Screen(file, reader)
    os.close(reader)


def _once(folder: Path, make: Callable[[], None]) -> Path:
    """`folder`, made by the first of the test processes that asks for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            make()
            done.touch()
    return folder


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def small_data(shared_tmp: Path) -> Path:
    """A reduced mini dataset, prepared: 60, 12 and 24 albums."""

    def make() -> None:
        from mumu_jax.data.manifest import write_manifest
        from mumu_jax.data.sources.synthetic import make as make_synthetic
        from mumu_jax.data.sources.synthetic import write_names

        albums = make_synthetic(shared_tmp / "small_source", 0, 2, {"train": 60, "val": 12, "test": 24})
        write_manifest(shared_tmp / "small_source" / "manifest.jsonl", albums)
        write_names(shared_tmp / "small_source" / "gazetteer")
        succeed(
            "mumu_jax.prepare",
            "--source=manifest",
            f"--input={shared_tmp / 'small_source' / 'manifest.jsonl'}",
            f"--gazetteer={shared_tmp / 'small_source' / 'gazetteer'}",
            f"--data_dir={shared_tmp / 'small'}",
        )

    return _once(shared_tmp / "small", make)


@pytest.fixture(scope="session")
def small_run(shared_tmp: Path, small_data: Path) -> Path:
    """A finished run of audio_low_4x96 on the reduced mini dataset."""

    def make() -> None:
        succeed(
            "mumu_jax.train",
            "--config=audio_low_4x96",
            f"--data_dir={small_data}",
            f"--workdir={shared_tmp / 'small_run'}",
            "--config.optim.max_epochs=8",
            "--config.album_optim.max_epochs=20",
        )

    return _once(shared_tmp / "small_run", make)


@pytest.fixture
def run_copy(tmp_path: Path, small_run: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


QUICK = {
    "text": ("--config=text_vsm", "--config.tfidf.n_terms=100", "--config.optim.max_epochs=2"),
    "image": (
        *("--config=image_resnet101", "--config.model.depth=10", "--config.augment.size_px=32"),
        *("--config.model.trainable=^output", "--config.optim.max_epochs=1", "--config.optim.batch_size=20"),
    ),
}


@pytest.fixture(scope="session")
def small_runs(shared_tmp: Path, small_data: Path, small_run: Path) -> dict[str, Path]:
    """Finished runs on the reduced mini dataset by modality; those of text and image have hardly begun to learn."""

    def run(name: str) -> Path:
        folder = shared_tmp / f"small_run_{name}"
        how = (*QUICK[name], f"--data_dir={small_data}", f"--workdir={folder}")
        return _once(folder, lambda: succeed("mumu_jax.train", *how) and None)

    return {"audio": small_run, **{name: run(name) for name in QUICK}}


FUSION_SETTINGS = ("--config=fusion_ati", "--config.optim.max_epochs=6", "--config.loop.chunk_steps=2")


@pytest.fixture(scope="session")
def small_fusion(shared_tmp: Path, small_runs: dict[str, Path]) -> Path:
    """A finished fusion of `small_runs`."""
    folder = shared_tmp / "small_fusion"
    runs = ",".join(f"{name}={path}" for name, path in small_runs.items())
    how = (*FUSION_SETTINGS, f"--runs={runs}", f"--workdir={folder}")
    return _once(folder, lambda: succeed("mumu_jax.train", *how) and None)
