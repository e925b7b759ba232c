"""`python -m benchmarks.prepare`: turn mp3s into log-CQTs and descriptors, beside plain librosa, and on several cores.

`mel` makes musicnn's mel spectrograms of files, `mel_wav` those of the same songs as WAV: mp3 is decoded by the same
library on both sides.  `descriptors` are the 97 numbers of `modalities/descriptors` of decoded songs, `described` those
of files.
Without --input it makes 30 s previews itself: a few of the synthetic dataset's songs as 44.1 kHz stereo mp3.
"""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import results, timing
from benchmarks.benchmark import Benchmark
from benchmarks.columns import Row
from benchmarks.options import numbers
from mumu_jax.config import AudioSettings, DescriptorsSettings, MelSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode
from mumu_jax.data.modalities.base import Content, read_item
from mumu_jax.data.modalities.descriptors import describe_track, descriptors_of
from mumu_jax.data.modalities.mel import Mel
from mumu_jax.data.store import shards
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import run_command

N_SONGS = 8
PREVIEW_S = 30
TRACKS_A_WORKER = (40, 120)  # the rate is that of the tracks which the second number has more
SETTINGS, AUDIO = AudioSettings(), MODALITIES["audio"]
DESCRIPTORS = DescriptorsSettings()  # of the same rate and excerpts
MEL = MelSettings()  # musicnn's
PARTS = ("decode", "cqt", "track", "mel", "mel_wav", "descriptors", "described")


def main(argv: Sequence[str]) -> None:
    """Measure one core, then several, and add a row of each."""
    cores = len(os.sched_getaffinity(0))
    powers = [2**i for i in range(cores.bit_length()) if 2**i < cores]
    workers_help = "numbers of processes, the first the one to compare with; default up to all cores"
    benchmark = Benchmark("prepare", __doc__, repeats=5)
    benchmark.option("--input", type=Path, metavar="FOLDER", help="audio files to measure with; default made here")
    benchmark.option("--workers", type=numbers, default=[*powers, cores], metavar="1,2,…", help=workers_help)
    options = benchmark.start(argv, **results.one_core(), precision="float16")
    with tempfile.TemporaryDirectory() as folder:
        paths, config = _inputs(options.input, Path(folder))
        one_core = timing.alone(rows_of_one_core, paths, options.repeats)
        for row in itertools.chain(one_core, _rows_of_many(paths, options.workers, options.repeats)):
            benchmark.add({"config": config, **row})


def rows_of_one_core(paths: list[Path], repeats: int) -> list[Row]:
    """Return a row of each of PARTS: tracks a second, ours and librosa's taking turns."""
    import librosa

    from benchmarks.librosa_descriptors import plain_descriptors

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

    def mel(path: Path) -> np.ndarray:
        y = librosa.load(path, sr=MEL.sr_hz, mono=True)[0]
        return librosa.feature.melspectrogram(
            y=y, sr=MEL.sr_hz, n_fft=MEL.n_fft, hop_length=MEL.hop_length, n_mels=MEL.n_bins, fmax=MEL.fmax_hz
        )

    def describe(y: np.ndarray) -> np.ndarray:
        return plain_descriptors(y, DESCRIPTORS.sr_hz)

    def rate(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
        return timing.rate(lambda: [work(item) for item in items], len(items))

    sides = {
        "decode": partial(rate, lambda path: list(decode.excerpts(path, SETTINGS)), paths),
        "librosa decode": partial(rate, load, paths),
        "cqt": partial(rate, lambda y: decode.log_cqt(y, SETTINGS), signals),
        "librosa cqt": partial(rate, log_cqt, signals),
        "track": partial(rate, lambda path: decode.track_cqt(path, SETTINGS), paths),
        "librosa track": partial(rate, lambda path: log_cqt(load(path)).T.astype(np.float16), paths),
        "mel": partial(rate, lambda path: Mel().frames_of(path, MEL), paths),
        "librosa mel": partial(rate, mel, paths),
        "descriptors": partial(rate, lambda y: descriptors_of(y, DESCRIPTORS.sr_hz), signals),
        "librosa descriptors": partial(rate, describe, signals),
        "described": partial(rate, lambda path: describe_track(path, DESCRIPTORS), paths),
        "librosa described": partial(rate, lambda path: describe(load(path)), paths),
    }
    with tempfile.TemporaryDirectory() as folder:
        songs = [_as_wav(path, Path(folder) / f"{number}.wav") for number, path in enumerate(paths)]
        sides["mel_wav"] = partial(rate, lambda path: Mel().frames_of(path, MEL), songs)
        sides["librosa mel_wav"] = partial(rate, mel, songs)
        timing.take_turns(sides, 1)
        rates = timing.take_turns(sides, repeats)
    return [
        {"mode": part, "peer": "librosa", **timing.figures(rates[part], rates[f"librosa {part}"])} for part in PARTS
    ]


def _as_wav(path: Path, wav: Path) -> Path:
    samples, sr_hz = soundfile.read(path, dtype="float32")
    soundfile.write(wav, samples, sr_hz, subtype="PCM_16")
    return wav


def _rows_of_many(paths: list[Path], counts: list[int], repeats: int) -> Iterator[Row]:
    """Yield rows of shards written by 1, 2, … workers: tracks a second in all, and their share of perfect scaling."""
    rates = timing.take_turns({n: partial(_shard_rate, paths, n) for n in counts}, repeats)
    for n in counts:
        shares = [ratio * counts[0] / n for ratio in timing.ratios(rates[n], rates[counts[0]])]
        efficiency = timing.columns("scaling_efficiency", shares)
        yield {"mode": "shards", "n_devices": n, **timing.figures(rates[n]), **efficiency}


def _shard_rate(paths: list[Path], n_workers: int) -> float:
    """Return tracks a second once the processes have started: more tracks, divided by the time that they add."""
    few, many = (n_workers * n for n in TRACKS_A_WORKER)
    return (many - few) / (_seconds_of(paths, many, n_workers) - _seconds_of(paths, few, n_workers))


def _seconds_of(paths: list[Path], n_tracks: int, n_workers: int) -> float:
    songs = itertools.cycle(paths)
    rows = [shards.Row(f"A{i}", f"T{i}", next(songs), (0,)) for i in range(n_tracks)]
    runs = [tuple(rows[i : i + AUDIO.shard_records]) for i in range(0, n_tracks, AUDIO.shard_records)]
    planned = [shards.Shard("train", i, len(runs), run) for i, run in enumerate(runs)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        shards.Store(Path(folder), AUDIO, SETTINGS).write(planned, n_workers)
        return time.perf_counter() - start


def _inputs(folder: Path | None, made: Path) -> tuple[list[Path], str]:
    if folder is None:
        return timing.alone(make_previews, made), "prepare_mp3_30s"
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    good = [path for path in paths if isinstance(read_item(MODALITIES["audio"], path, SETTINGS), Content)]
    if not good:
        raise UserError(f"--input={folder}: found no audio file that can be prepared; name a folder of songs")
    return good, f"prepare_{folder.name}"


def make_previews(folder: Path) -> list[Path]:
    return [make_preview(folder, number) for number in range(N_SONGS)]


def make_preview(folder: Path, number: int) -> Path:
    """Write a synthetic song like a shop's preview: 30 s of 44.1 kHz stereo, at LAME's default quality."""
    from scipy.signal import resample_poly

    from mumu_jax.data.sources.synthetic.sound import SR_HZ, STYLES, render_track

    branch = list(STYLES)[number % len(STYLES)]
    song = np.tile(render_track((branch,), np.random.default_rng(number)), 3)[: PREVIEW_S * SR_HZ]
    wide = resample_poly(song, 44_100 // SR_HZ, 1)
    path = folder / f"{number}.mp3"
    soundfile.write(path, np.stack([wide, 0.8 * np.roll(wide, 20)], axis=1), 44_100)
    return path


if __name__ == "__main__":
    run_command(main)
