"""`python -m benchmarks.promises`: do harm to real commands, seeded, and count the tries that they survive.

* kills: SIGKILL at any moment from a command's first write to its end.  It survives if the same command then ends with
  the bytes of an undisturbed one.
* full disks: nothing, 4 KB, 100 KB, half or nearly all of the space that it takes.  It survives if it ends in one line
  that names the path and the remedy and, with room again, with the right bytes.
* flipped bytes: one in a folder that it wrote.  It survives if a check before reading refuses the folder.
* odd files: damaged, empty or mislabelled, with names that nobody should choose.  It survives one that costs no more
  than its own row, with a reason, or that gives finite numbers.

A full disk needs root: a small file system in memory is mounted.  A disk on which the command had room enough is not
counted.
"""

import errno
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import harm
from benchmarks.benchmark import Benchmark
from benchmarks.undisturbed import ALBUMS, Commands, run_python
from mumu_jax.system.disk import REMEDIES
from mumu_jax.system.processor import processor
from mumu_jax.system.terminal import positive, run_command

N_FLIPS, N_ODD = 500, 40  # of a folder, of a kind of file, for each of the slower tries
ODD = {"prepare": {".flac": "folder", ".jpg": "covers"}, "tag": {".flac": "audio", ".txt": "text", ".h5": "run"}}


def main(argv: Sequence[str]) -> int:
    """Call each command undisturbed, then do it harm; 1 if a try was not survived."""
    benchmark = Benchmark("promises", __doc__)
    benchmark.option("--tries", type=positive, default=3, help="kills of a command; others grow with it; default 3")
    benchmark.option("--seed", type=int, default=0, help="default %(default)s")
    benchmark.option("--harm", nargs="+", choices=HARM, default=[*HARM], help="default all")
    options = benchmark.start(argv, device=processor())
    n_lost = 0
    with tempfile.TemporaryDirectory(prefix="mumu_jax_promises_") as folder:
        commands = Commands(Path(folder), options.seed)
        for kind in options.harm:
            do, *names = HARM[kind]
            for name in names:
                start, survived = time.monotonic(), do(commands, name, options.tries, options.seed)
                n_lost += survived.count(False)
                row = {"config": kind, "mode": name, "tries": len(survived), "survivors": sum(survived)}
                benchmark.add({**row, "seed": options.seed, "seconds": time.monotonic() - start})
    return int(n_lost > 0)


# --- kills and full disks -------------------------------------------------------------------------------------


def kills(commands: Commands, name: str, n: int, seed: int) -> list[bool]:
    """Kill the command at `n` moments; return which of the kills it survived."""
    seconds = commands.undisturbed(name).seconds
    return [_kill(commands, name, share * seconds) for share in np.random.default_rng(seed).uniform(0, 1, n)]


def _kill(commands: Commands, name: str, seconds: float) -> bool:
    """Kill the command so long after its first write; after half of that, if it has ended before."""
    commands.start_over(name)
    process = commands.start(name)
    harm.wait_for_work(process, commands.made)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return commands.ends_whole(name)
    return _kill(commands, name, seconds / 2)


def full_disks(commands: Commands, name: str, n: int, seed: int) -> list[bool]:
    """Call the command with too little room, of up to `2n - 1` sizes; return which of these it survived."""
    n_bytes = commands.undisturbed(name).n_bytes
    sizes = [n_bytes // 2, 0, int(0.95 * n_bytes), 4096, 100 * 1024][: 2 * n - 1]
    commands.made.mkdir(exist_ok=True)
    disk = harm.Disk(commands.made)
    try:
        tries = [_fill(commands, name, disk, n_free) for n_free in sizes if n_free < n_bytes]
    finally:
        disk.close()
    return [one for one in tries if one is not None]


def _fill(commands: Commands, name: str, disk: harm.Disk, n_free: int) -> bool | None:
    commands.start_over(name)
    with disk.filled(n_free):
        full = commands.run(name)
    if full.returncode == 0:
        return None
    lines = [line for line in full.stderr.splitlines() if "error" in line or "Exception" in line]
    parts = ("error: ", str(commands.made), REMEDIES[errno.ENOSPC])
    is_line = len(lines) == 1 and all(part in lines[0] for part in parts)
    return commands.ends_whole(name) and (is_line and _is_tidy(full, statuses=(2,)))


# --- flipped bytes and odd files ------------------------------------------------------------------------------


def flipped_bytes(commands: Commands, name: str, n: int, seed: int) -> list[bool]:
    """Flip bytes in what the command wrote; return which of the flips a check before reading refused."""
    from mumu_jax.config import TimbreSettings  # here, because the processes that make the data must not load jax
    from mumu_jax.data.store.records import open_prepared
    from mumu_jax.runs.exported import open_export

    checks: dict[str, tuple[str, Callable[[Path], object]]] = {
        "prepare": ("data/timbre", lambda path: open_prepared(path.parent, TimbreSettings(), verify=True)),
        "train": ("run", harm.check_run),
        "train a fusion": ("fusion", harm.check_run),
        "export": ("model", open_export),
    }
    commands.undisturbed(name)
    path, check = commands.folder / checks[name][0], checks[name][1]
    check(path)
    return [harm.is_refused(lambda: check(path)) for _ in harm.flips(path, N_FLIPS * n, seed)]


def odd_files(commands: Commands, name: str, n: int, seed: int) -> list[bool]:
    """Prepare or tag odd files; return a True for each that became a good record or row, or has a reason."""
    source, odd, made = (commands.folder / name for name in ("source", "odd", "made of odd"))
    for line in (source / "manifest.jsonl").read_text().splitlines():
        album = json.loads(line)
        (source / f"{album['album_id']}.txt").write_text(album["text"] or "no text")
    wholes = sorted(path for path in source.rglob("*") if path.suffix in (".flac", ".jpg", ".h5", ".txt"))
    for need in () if name == "prepare" else ("audio", "text", "train"):
        commands.undisturbed(need)
    count, survived = {"prepare": _prepare, "tag": _tag}[name], []
    for suffix, how in ODD[name].items():
        for folder in (odd / "Rock", made):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        harm.write_odd_files(odd / "Rock", wholes, suffix, N_ODD * n, np.random.default_rng(seed))
        n_good = count(commands.folder, odd, made, how)
        survived += [i < n_good for i in range(N_ODD * n)]
        if n_good < N_ODD * n:
            print(f"{name}, {suffix}: {n_good} of {N_ODD * n} files", flush=True)
    return survived


def _prepare(folder: Path, odd: Path, data: Path, source: str) -> int:
    """Return the number of files that became a record of finite numbers, or are listed with a reason."""
    from mumu_jax.config import AudioSettings, ImageSettings
    from mumu_jax.data.store.records import open_prepared

    settings = AudioSettings() if source == "folder" else ImageSettings()
    call = ("prepare", f"--source={source}", f"--input={odd}", f"--data_dir={data}", "--max_bad=1")
    if not _is_tidy(run_python(call, folder), statuses=(0,)):
        return 0
    splits = [open_prepared(data, settings).split(name) for name in ALBUMS]
    records = [record for split in splits for record in split.read(range(len(split)))]
    arrays = [[value for value in record.values() if isinstance(value, np.ndarray)] for record in records]
    rejected = [json.loads(line) for line in (data / "rejected.jsonl").read_text().splitlines()]
    n_finite = sum(all(np.isfinite(array).all() for array in one) for one in arrays)
    return n_finite + len({line["file"] for line in rejected if line["reason"] != "crashed"})


def _tag(folder: Path, odd: Path, made: Path, run: str) -> int:
    """Return the number of files whose row has genres with scores, or a reason."""
    out = made / "tags.jsonl"
    done = run_python(("tag", f"--workdir={folder / run}", odd, f"--out={out}"), folder)
    if not _is_tidy(done, statuses=(0, 3)):
        return 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    tagged = {row["path"] for row in rows if row["genres"] and all(0 <= one["score"] <= 1 for one in row["genres"])}
    return len(tagged | {row["path"] for row in rows if row["error"] and not row["error"].startswith("crashed")})


def _is_tidy(done: subprocess.CompletedProcess[str], statuses: Iterable[int]) -> bool:
    """Return True if a command ended with one of these statuses, and printed no traceback and no control character."""
    said = done.stdout + done.stderr
    is_text = all(char.isprintable() or char == "\n" for char in said)
    is_tidy = done.returncode in statuses and "Traceback" not in said and is_text
    if not is_tidy:
        print(f"status {done.returncode}: {said!r}", flush=True)
    return is_tidy


HARM = {
    "flipped bytes": (flipped_bytes, "prepare", "train", "train a fusion", "export"),
    "odd files": (odd_files, "prepare", "tag"),
    "kills": (kills, "prepare", "train", "evaluate", "train a fusion", "export", "tag"),
    "full disks": (full_disks, "prepare", "train", "evaluate", "train a fusion", "export", "tag", "report"),
}

if __name__ == "__main__":
    run_command(main)
