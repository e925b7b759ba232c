"""`python -m benchmarks.prepare`: from an mp3 to its log-CQT on one core, beside plain librosa, and on several.

Without --input it makes 30 s previews itself: a few of the synthetic dataset's songs as 44.1 kHz stereo mp3.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import results, timing
from mumu_jax.config import AudioSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode
from mumu_jax.data.rejected import Rejected
from mumu_jax.data.store import shards
from mumu_jax.errors import UserError
from mumu_jax.system import workers
from mumu_jax.system.terminal import positive, run_command

N_SONGS = 8
PREVIEW_S = 30
MUMU_TRACKS = 147_295
TRACKS_A_WORKER = (40, 120)  # the rate is that of the tracks which the second number has more
SETTINGS, AUDIO = AudioSettings(), MODALITIES["audio"]
Times = dict[str, list[float]]


def main(argv: Sequence[str]) -> None:
    """Measure one core, then several, and print and keep a row of each."""
    options = _parse(argv)
    keep = results.make_row if options.no_save else results.append
    with tempfile.TemporaryDirectory() as folder:
        paths, config = _inputs(options.input, Path(folder))
        common = {"config": config, "precision": "float16", "batch_size": 1, "device": results.cpu_device()}
        print(f"prepare on {common['device']}: {len(paths)} files, {_describe(paths)}", flush=True)
        for row in itertools.chain(
            _rows_of_one_core(paths, options.repeats), _rows_of_many(paths, options.workers, options.repeats)
        ):
            _print(keep("prepare", {**common, "repeats": options.repeats, **row}))


def _rows_of_one_core(paths: list[Path], repeats: int) -> list[dict[str, Any]]:
    """Decoding, the log-CQT, and both: tracks a second, and how many times librosa's."""
    # In a worker, because NumPy and SciPy run one thread there.
    (rates,) = workers.map_in_order(partial(measure_one_core, repeats=repeats), [paths], 1, _died)
    return [
        {
            "mode": part,
            "n_devices": 1,
            **timing.columns("examples_per_s", rates[part]),
            "peer": "librosa",
            "peer_examples_per_s": timing.spread(rates[f"librosa {part}"]).median,
            **timing.columns("ratio", timing.ratios(rates[part], rates[f"librosa {part}"])),
        }
        for part in ("decode", "cqt", "track")
    ]


def measure_one_core(paths: list[Path], repeats: int) -> Times:
    """Tracks a second of each part, ours and librosa's taking turns."""
    import librosa

    signals = [next(decode.excerpts(path, SETTINGS)) for path in paths]

    def load(path: Path) -> np.ndarray:
        return librosa.load(path, sr=SETTINGS.sr_hz, mono=True)[0]

    def log_cqt(y: np.ndarray) -> np.ndarray:
        transform = librosa.cqt(
            y,
            sr=SETTINGS.sr_hz,
            hop_length=SETTINGS.hop_length,
            fmin=SETTINGS.fmin_hz,
            n_bins=SETTINGS.n_bins,
            bins_per_octave=SETTINGS.bins_per_octave,
        )
        return librosa.power_to_db(np.abs(transform) ** 2, ref=np.max)

    def rate(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
        return timing.rate(lambda: [work(item) for item in items], len(items), 1)

    sides = {
        "decode": partial(rate, lambda path: list(decode.excerpts(path, SETTINGS)), paths),
        "librosa decode": partial(rate, load, paths),
        "cqt": partial(rate, lambda y: decode.log_cqt(y, SETTINGS), signals),
        "librosa cqt": partial(rate, log_cqt, signals),
        "track": partial(rate, lambda path: decode.track_cqt(path, SETTINGS), paths),
        "librosa track": partial(rate, lambda path: log_cqt(load(path)).T.astype(np.float16), paths),
    }
    timing.take_turns(sides, 1)
    return timing.take_turns(sides, repeats)


def _rows_of_many(paths: list[Path], counts: list[int], repeats: int) -> list[dict[str, Any]]:
    """Shards written by 1, 2, … workers: tracks a second in all, and the share of as many times one worker's."""
    sides = {str(n): partial(_shard_rate, paths, n) for n in counts}
    rates = timing.take_turns(sides, repeats)
    rows = []
    for n in counts:
        shares = [each / n for each in timing.ratios(rates[str(n)], rates[str(counts[0])])]
        efficiency = timing.columns("scaling_efficiency", [share * counts[0] for share in shares])
        rows.append({"mode": "shards", "n_devices": n, **timing.columns("examples_per_s", rates[str(n)]), **efficiency})
    return rows


def _shard_rate(paths: list[Path], n_workers: int) -> float:
    """Tracks a second once the processes have started: what is added, by the time that it adds."""
    few, many = (n_workers * n for n in TRACKS_A_WORKER)
    return (many - few) / (_seconds_of(paths, many, n_workers) - _seconds_of(paths, few, n_workers))


def _seconds_of(paths: list[Path], n_tracks: int, n_workers: int) -> float:
    songs = itertools.cycle(paths)
    rows = [shards.Row(f"A{i}", f"T{i}", next(songs), (0,)) for i in range(n_tracks)]
    runs = [tuple(rows[i : i + AUDIO.shard_records]) for i in range(0, n_tracks, AUDIO.shard_records)]
    planned = [shards.Shard("train", i, len(runs), run) for i, run in enumerate(runs)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        shards.write(Path(folder), planned, AUDIO, SETTINGS, n_workers)
        return time.perf_counter() - start


def _inputs(folder: Path | None, made: Path) -> tuple[list[Path], str]:
    if folder is None:
        return list(workers.map_in_order(partial(make_preview, made), range(N_SONGS), 1, _died)), "prepare_mp3_30s"
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    good = [path for path in paths if not isinstance(decode.read_track(path, SETTINGS), Rejected)]
    if not good:
        raise UserError(f"--input={folder}: no audio file that can be prepared is in it")
    return good, f"prepare_{folder.name}"


def make_preview(folder: Path, number: int) -> Path:
    """A synthetic song as shops sell previews: 30 s of 44.1 kHz stereo, at LAME's default quality."""
    from scipy.signal import resample_poly

    from mumu_jax.data.sources.synthetic.sound import SR_HZ, STYLES, render_track

    branch = list(STYLES)[number % len(STYLES)]
    song = np.tile(render_track((branch,), np.random.default_rng(number)), 3)[: PREVIEW_S * SR_HZ]
    wide = resample_poly(song, 44_100 // SR_HZ, 1)
    path = folder / f"{number}.mp3"
    soundfile.write(path, np.stack([wide, 0.8 * np.roll(wide, 20)], axis=1), 44_100)
    return path


def _died(item: Any) -> Any:
    raise UserError("a worker process died; free some memory, then call again")


def _describe(paths: list[Path]) -> str:
    infos = [soundfile.info(path) for path in paths]
    seconds, size = sum(info.duration for info in infos), sum(path.stat().st_size for path in paths)
    kinds = sorted({f"{info.format} {info.samplerate} Hz × {info.channels}" for info in infos})
    return f"{seconds / len(paths):.1f} s on average, {size * 8 / seconds / 1000:.0f} kbit/s, {', '.join(kinds)}"


def _print(row: dict[str, Any]) -> None:
    rate, low, high = (row[f"examples_per_s{end}"] for end in ("", "_low", "_high"))
    line = f"{row['mode']:<7} {row['n_devices']} workers  {rate:6.1f} tracks/s ({low:.1f}–{high:.1f})"
    if row["ratio"] is not None:
        line += f"  {1000 / rate:5.1f} ms against librosa's {1000 / row['peer_examples_per_s']:5.1f} ms"
        line += f"  {row['ratio']:.2f}× ({row['ratio_low']:.2f}–{row['ratio_high']:.2f})"
    else:
        line += f"  MuMu in {MUMU_TRACKS / rate / 3600:.2f} h  scaling {row['scaling_efficiency']:.2f}"
    print(line, flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument("--input", type=Path, metavar="FOLDER", help="audio files to measure with; default made here")
    parser.add_argument("--repeats", type=positive, default=5, help="measurements of each; default 5")
    cores = len(os.sched_getaffinity(0))
    powers = [2**i for i in range(cores.bit_length()) if 2**i < cores]
    parser.add_argument(
        "--workers",
        type=lambda text: [positive(n) for n in text.split(",")],
        default=[*powers, cores],
        metavar="1,2,…",
        help="how many processes, the first the one to compare with; default up to all cores",
    )
    parser.add_argument("--no_save", action="store_true", help="print the rows without adding them to results/")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
