"""Real commands on a small made-up data set, and what each of them writes when nothing disturbs it."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import harm
from mumu_jax.data.manifest import write_manifest
from mumu_jax.data.sources.synthetic import make

ALBUMS = {"train": 24, "val": 6, "test": 6}
EPOCH = ("--config.optim.max_epochs=1", "--config.album_optim.max_epochs=1")
EPOCHS = ("--config.optim.max_epochs=3", "--config.album_optim.max_epochs=2", "--config.loop.chunk_steps=1")
SMALL = {
    "audio": ("--config=audio_low_4x96", "--config.model.width_divisor=8"),
    "text": ("--config=text_vsm", "--config.tfidf.n_terms=20"),
}
RESULTS = ("eval_test.json", "predictions_test.npz")
# Times, and checkpoints: their files have dates and random names, and their weights show in the predictions.
PASSING = r"\.lock$|/perf\.jsonl$|/events/|^(run|fusion)/(track/|album/|sha256\.json)|\.mumu_jax\.part$"


class Undisturbed(NamedTuple):
    """Files' bytes by name, the disk space of all of them, and the seconds from a call's first write to its end."""

    contents: dict[str, bytes]
    n_bytes: int
    seconds: float


class Commands:
    """Commands by name, each writing into the folder `made`; what they read lies beside that.

    `undisturbed` has what each writes, made by calling them one after the other, the later ones on the earlier ones'.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.made = folder, folder / "made"
        source, data, run = (folder / name for name in ("source", "data", "run"))
        write_manifest(source / "manifest.jsonl", make(source, seed, 2, ALBUMS))
        joined = f"--runs=audio={folder / 'audio'},text={folder / 'text'}"
        prepare = ("prepare", "--source=manifest", f"--input={source / 'manifest.jsonl'}")
        self.arguments: dict[str, tuple[str | Path, ...]] = {
            "prepare": (*prepare, f"--data_dir={self.made / 'data'}", "--modalities=timbre,text"),
            "train": ("train", "--config=timbre_mlp", *EPOCHS, f"--data_dir={data}", f"--workdir={self.made / 'run'}"),
            "evaluate": ("evaluate", f"--workdir={self.made / 'run'}"),
            "train a fusion": ("train", "--config=fusion_at", *EPOCHS, joined, f"--workdir={self.made / 'fusion'}"),
            "export": ("export", f"--workdir={run}", f"--out={self.made / 'model'}"),
            "tag": ("tag", f"--workdir={run}", source / "msd", f"--out={self.made / 'tags.csv'}"),
            "report": ("report", f"--workdir={run}", f"--out={self.made / 'report.html'}"),
        }
        self.undisturbed: dict[str, Undisturbed] = {}
        for name in self.arguments:
            self.undisturbed[name] = self._call_undisturbed(name)
            shutil.copytree(self.made, folder, dirs_exist_ok=True)
            if name == "train":
                run_python((*prepare, f"--data_dir={data}", "--modalities=audio"), folder, check=True)
                for joined_run, config in SMALL.items():
                    workdir = f"--workdir={folder / joined_run}"
                    run_python(("train", *config, *EPOCH, f"--data_dir={data}", workdir), folder, check=True)

    def _call_undisturbed(self, name: str) -> Undisturbed:
        self.start_over(name)
        before, process = _size(self.made), self.start(name)
        start = harm.wait_for_work(process, self.made)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return Undisturbed(_contents(self.made), _size(self.made) - before, time.monotonic() - start)

    def start_over(self, name: str) -> None:
        """Leave in `made` what the command finds there: nothing, or a run that is not evaluated yet."""
        self.made.mkdir(exist_ok=True)
        harm.empty(self.made)
        if name == "evaluate":
            shutil.copytree(self.folder / "run", self.made / "run", ignore=shutil.ignore_patterns(*RESULTS))

    def start(self, name: str) -> subprocess.Popen[str]:
        return start_python(self.arguments[name], self.folder)

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        return run_python(self.arguments[name], self.folder)

    def ends_whole(self, name: str) -> bool:
        """Return True if the command now ends with the bytes of an undisturbed call; else say what differs."""
        done, whole = self.run(name), self.undisturbed[name].contents
        contents = _contents(self.made)
        different = sorted(file for file in {*contents, *whole} if contents.get(file) != whole.get(file))
        if done.returncode or different:
            print(f"{name}: status {done.returncode}, other bytes in {different}\n{done.stderr}", flush=True)
        return done.returncode == 0 and not different


def start_python(arguments: Sequence[str | Path], folder: Path) -> subprocess.Popen[str]:
    """Start `python -m mumu_jax.COMMAND …` on the CPU; its compiled programs are kept in `folder`."""
    own = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    command, *others = map(str, arguments)
    return subprocess.Popen(
        [sys.executable, "-m", f"mumu_jax.{command}", *others],
        env={**os.environ, **own, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(arguments: Sequence[str | Path], folder: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
    process = start_python(arguments, folder)
    printed, said = process.communicate()
    assert not check or process.returncode == 0, said
    return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def _contents(folder: Path) -> dict[str, bytes]:
    """Return files' bytes by name, but those that differ from call to call."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not re.search(PASSING, name)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
