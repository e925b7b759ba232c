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
QUICK = ("--config.optim.max_epochs=3", "--config.loop.chunk_steps=1")
AUDIO = ("--config=audio_low_4x96", "--config.model.width_divisor=8", "--config.optim.max_epochs=1")
ALBUM = "--config.album_optim.max_epochs=2"
TEXT = ("--config=text_vsm", "--config.tfidf.n_terms=20", "--config.optim.max_epochs=1")
# The commands whose files each command reads.
NEEDS = {
    **{"train": ("prepare",), "audio": ("prepare audio",), "text": ("prepare",), "train a fusion": ("audio", "text")},
    **dict.fromkeys(("evaluate", "export", "tag", "report"), ("train",)),
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
    """Commands by name, each of which writes into the folder `made`; what they read lies beside that."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.made = folder, folder / "made"
        source, data, run = (folder / name for name in ("source", "data", "run"))
        write_manifest(source / "manifest.jsonl", make(source, seed, 2, ALBUMS))
        prepare = ("prepare", "--source=manifest", f"--input={source / 'manifest.jsonl'}")
        made_data, runs = f"--data_dir={self.made / 'data'}", f"--runs=audio={folder / 'audio'},text={folder / 'text'}"

        def train(name: str, *settings: str) -> tuple[str, ...]:
            return ("train", *settings, f"--workdir={self.made / name}")

        self.arguments: dict[str, tuple[str | Path, ...]] = {
            "prepare": (*prepare, made_data, "--modalities=timbre,text"),
            "prepare audio": (*prepare, made_data, "--modalities=audio"),
            "train": train("run", "--config=timbre_mlp", *QUICK, ALBUM, f"--data_dir={data}"),
            "audio": train("audio", *AUDIO, ALBUM, f"--data_dir={data}"),
            "text": train("text", *TEXT, f"--data_dir={data}"),
            "train a fusion": train("fusion", "--config=fusion_at", *QUICK, runs),
            "evaluate": ("evaluate", f"--workdir={self.made / 'run'}"),
            "export": ("export", f"--workdir={run}", f"--out={self.made / 'model'}"),
            "tag": ("tag", f"--workdir={run}", source / "msd", f"--out={self.made / 'tags.csv'}"),
            "report": ("report", f"--workdir={run}", f"--out={self.made / 'report.html'}"),
        }
        self._undisturbed: dict[str, Undisturbed] = {}

    def undisturbed(self, name: str) -> Undisturbed:
        """Return what the command writes; it and those before it are called once, and what they make is kept."""
        if name not in self._undisturbed:
            for need in NEEDS.get(name, ()):
                self.undisturbed(need)
            self._undisturbed[name] = self._call_undisturbed(name)
            shutil.copytree(self.made, self.folder, dirs_exist_ok=True)
        return self._undisturbed[name]

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
        done, whole = self.run(name), self.undisturbed(name).contents
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


def run_python(arguments: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    process = start_python(arguments, folder)
    printed, said = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def _contents(folder: Path) -> dict[str, bytes]:
    """Return files' bytes by name, but those that differ from call to call."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not re.search(PASSING, name)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
