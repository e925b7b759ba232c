"""Tables of the benchmarks' rows: which columns each has, on the terminal and in Markdown alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.options import IMAGES, JOINT, SIX, TAGGING, experiments
from mumu_jax.experiments import load_experiments

Row = dict[str, Any]
ABSENT, NOT_MEASURED = "–", "not measured"
WANTED = "NVIDIA H200"  # the device that the project is for, measured or not


class Column(NamedTuple):
    """A column's title, its value in a row (by name or function), the value's text, and its width on the terminal."""

    title: str
    value: str | Callable[[Row], Any]
    text: Callable[[Any], str] = str
    width: int = 0  # the title's, if that is wider

    def cell(self, row: Row) -> str:
        """Return the value's text, a dash if there is no value; what is text already stays as it is."""
        value = self.value(row) if callable(self.value) else row.get(self.value)
        if value is None:
            return ABSENT
        return value if isinstance(value, str) else self.text(value)


class Table(NamedTuple):
    """A table of those rows of a benchmark that `shows` selects; `wanted` stand for the H200's if it has none."""

    title: str
    benchmark: str
    columns: tuple[Column, ...]
    shows: Callable[[Row], bool] = lambda row: True
    wanted: tuple[Row, ...] = ()


# --- values and their texts -----------------------------------------------------------------------------------


def digits(value: float) -> str:
    """Write a number with three digits, or with all those before the decimal point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def units(size: float) -> Callable[[float], str]:
    """Return the text of a number in units of that size."""
    return lambda value: digits(value / size)


def quartiles(name: str) -> Callable[[Row], Any]:
    """Return the text of a row's median and, in brackets, its quartiles; its value if it was measured once or not."""

    def value(row: Row) -> Any:
        if row.get(f"{name}_low") is None:
            return row.get(name)
        middle, low, high = (digits(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
        return f"{middle} ({low}–{high})"

    return value


def devices(row: Row) -> str:
    return row["device"] if row.get("n_devices") in (None, 1) else f"{row['n_devices']} × {row['device']}"


def jax_version(row: Row) -> str | None:
    """Return the version of JAX, without its last numbers."""
    version = (row.get("versions") or {}).get("jax")
    return version and ".".join(version.split(".")[:2])


def k40(row: Row) -> int | None:
    """Return the seconds an epoch of the paper's Tesla K40."""
    paper = load_experiments()[row["config"]].paper
    return paper.epoch_s if paper else None


def kernel(values: Row) -> str:
    """Write a kernel's share of a step, and the operation of the compiled program that it computes, or its name."""
    return f"{values['share']:.0%} {values['operation'] or values['name']}"


percent, grouped = "{:.0%}".format, "{:,}".format

# --- columns --------------------------------------------------------------------------------------------------

DEVICE = Column("device", "device", width=16)
DEVICES = Column("device", devices, width=16)
VERSION = Column("JAX", jax_version, width=4)
CONFIG = Column("config", "config", width=24)
MODE = Column("mode", "mode", width=11)
PRECISION = Column("precision", "precision")
BATCH = Column("batch", "batch_size", grouped)
RATE = Column("examples/s", quartiles("examples_per_s"), digits, 26)
EPOCH = Column("s/epoch", "epoch_s", digits)
K40 = Column("K40, 2017", k40, grouped)
PEAK = Column("of the matmul peak", "mfu", percent)
MEMORY = Column("peak MB", "peak_bytes", units(1e6))
COMPILE = Column("compile s", "compile_s", digits)
PEER = Column("peer/s", "peer_examples_per_s", digits)
RATIO = Column("ratio", quartiles("ratio"), digits, 16)
PEER_WAY = Column("peer's way", "peer_way")
DENSE = Column("ours, dense/s", "dense_examples_per_s", digits)
DENSE_RATIO = Column("ratio to it", quartiles("dense_ratio"), digits, 16)
STRONG = Column("of one device, same batch", "strong_efficiency", percent)
WEAK = Column("same batch on each", "weak_efficiency", percent)
WAIT = Column("waiting for input", "input_wait_fraction", "{:.1%}".format)
PROCESSES = Column("processes", "n_devices")
EFFICIENCY = Column("scaling", "scaling_efficiency", percent)
SPEED = Column("MB/s", "bytes_per_s", units(1e6))
FILE = Column("file MB", "file_bytes", units(1e6))
SECONDS = Column("s", quartiles("seconds"), digits, 18)
MINUTES = Column("minutes", "seconds", units(60))
MENTIONS = Column("names a text", "mentions_per_text", digits)
ALBUMS = Column("albums", "albums", grouped)
RUNS = Column("runs", "n_runs")
FAILED = Column("failed", "n_failed")
EPOCHS = Column("epochs in all", "n_epochs")
OTHERWISE = Column("kernel and formulation", "mode")
STEP_TIME = Column("µs in kernels", "seconds", units(1e-6))
KERNELS = Column("kernels a step", "n_kernels")
MOVED = Column("MB an example", "bytes_per_example", units(1e6))
GIANT = Column("giant windows", "n_giant_windows")
COPIES = Column("copies of the batch", "n_copies")
MESSAGE = (Column("all-reduces", "n_all_reduces"), Column("MB each step", "all_reduce_bytes", units(1e6)))
MEMORY_SHARE = Column("of the memory", "memory_share", percent)
COMPILING = (COMPILE, Column("on all cores", "compile_core_s", digits))
ESTIMATE = Column("s/epoch, *estimate from the compiled program*", "estimated_epoch_s", digits)
ALONE = Column("1", "alone_s", digits)
PAPER = tuple(Column(f"{n}, {way}", f"{way}_{n}_s", digits) for way in ("weak", "strong") for n in (4, 8, 64))
HARM = Column("harm", "config", width=13)
COMMAND = Column("command", "mode", width=14)
TRIES = Column("tries", "tries", grouped)
SURVIVORS = Column("survivors", "survivors", grouped)
TRAINED = Column("clips a genre", "mode")
ACCURACY = Column("right", "accuracy", percent)
ROC_AUC = Column("ROC-AUC", "roc_auc", "{:.3f}".format)
RIGHT = Column("matches right", "precision_of_matches", "{:.1%}".format)
FOUND = Column("found", "recall_of_matches", "{:.1%}".format)
SEED = Column("seed", "seed")
JACCARD = Column("Jaccard", "jaccard", "{:.3f}".format)
F1 = Column("F1 samples", "f1_samples", "{:.3f}".format)
GAIN = Column("Jaccard gained", "gain", "{:+.3f}".format)
RECALL = Column("recall@1", "recall_at_1", "{:.3f}".format)
KERNEL = Column("slowest kernels", lambda row: "; ".join(map(kernel, row["kernels"][:3])))
CONVOLUTION = Column("input, kernel, pool", "convolution", width=36)
CANDIDATE = Column("formulation", "mode", width=22)
TIMED = Column("items", "n_items")
FORWARD = Column("forward ms", "forward_ms", digits)
BOTH = Column("and backward ms", "step_ms", digits)
CHOICE = Column("choice", "choice", width=13)
TESTED = Column("clips tested", "n_items", grouped)

BENCHMARK = Column("benchmark", "benchmark")
PEER_NAME = Column("peer", "peer")

SUMMARY = (BENCHMARK, CONFIG, MODE, DEVICE, VERSION, RATE, PEER_NAME, PEER, RATIO)
STEP = (DEVICES, VERSION, CONFIG, PRECISION, BATCH)
TRAINING = (*STEP, RATE, EPOCH, K40, PEAK, MEMORY, COMPILE, PEER, RATIO, PEER_WAY)


# --- tables ---------------------------------------------------------------------------------------------------


def _unmeasured(name: str) -> Row:
    cells = {"device": WANTED, "config": name, "precision": "bfloat16", "batch_size": 32}
    return cells | {"examples_per_s": NOT_MEASURED}


def _sees(modality: str) -> Callable[[Row], bool]:
    """Return the choice of the rows of one device whose network sees a modality."""
    return lambda row: row["n_devices"] == 1 and row["config"] in experiments(modality)


TABLES = (
    Table(
        title="Training step beside PyTorch's, data on the device",
        benchmark="train_step",
        columns=TRAINING,
        shows=_sees("audio"),
        wanted=tuple(map(_unmeasured, SIX)),
    ),
    Table(
        title="Training step of tagging networks beside PyTorch's, which is spared the logarithm of its input",
        benchmark="train_step",
        columns=TRAINING,
        shows=_sees("mel"),
        wanted=tuple(map(_unmeasured, TAGGING)),
    ),
    Table(
        title="Training step of networks of songs of 30 s with their lyrics, beside PyTorch's, spared the logarithm",
        benchmark="train_step",
        columns=TRAINING,
        shows=_sees("mel+lyrics"),
        wanted=tuple(map(_unmeasured, JOINT)),
    ),
    Table(
        title="Training step of the text network, beside dense first layers of ours and PyTorch's",
        benchmark="text_step",
        columns=(*STEP, RATE, EPOCH, K40, DENSE, DENSE_RATIO, PEER, RATIO, PEER_WAY),
        wanted=(_unmeasured("text_vsm"),),
    ),
    Table(
        title="Training step on texts of 128 tokens, with BERT's encoder trained or frozen",
        benchmark="encoder_step",
        columns=(*STEP, MODE, RATE, EPOCH, PEAK, MEMORY, COMPILE, PEER, RATIO, PEER_WAY),
        wanted=(_unmeasured("bert_base"),),
    ),
    Table(
        title="Training step of image networks beside PyTorch's, which is spared the augmentation",
        benchmark="train_step",
        columns=TRAINING,
        shows=_sees("image"),
        wanted=tuple(map(_unmeasured, IMAGES)),
    ),
    Table(
        title="Epochs of patches that are made up and held on the device",
        benchmark="resident_epoch",
        columns=(*STEP, RATE, EPOCH, K40),
    ),
    Table(
        title="Training step with one convolution computed otherwise",
        benchmark="other_formulations",
        columns=(*STEP, OTHERWISE, RATE, EPOCH, PEAK, MEMORY),
    ),
    Table("Kernels of a training step", "kernel_times", (*STEP, KERNELS, STEP_TIME, KERNEL)),
    Table(
        title="Formulations of the convolutions, and whole steps if the choice is not the fixed table's",
        benchmark="formulations",
        columns=(*STEP, CONVOLUTION, CANDIDATE, TIMED, FORWARD, BOTH, CHOICE, RATIO),
    ),
    Table("Several devices", "train_step", (*STEP, RATE, STRONG, WEAK), lambda row: row["n_devices"] > 1),
    Table("Training from shards, beside that ceiling", "end_to_end", (*STEP, MODE, RATE, RATIO, WAIT)),
    Table("Loading patches", "loader", (DEVICE, CONFIG, MODE, BATCH, RATE, SPEED)),
    Table("Metrics of albums × labels, beside scikit-learn", "metrics", (*STEP, MODE, RATE, PEER, RATIO, PEER_WAY)),
    Table(
        title="Preparing tracks, beside librosa",
        benchmark="prepare",
        columns=(DEVICE, CONFIG, MODE, PROCESSES, RATE, PEER, RATIO, EFFICIENCY),
    ),
    Table("Reading covers, one process, beside Pillow alone", "covers", (DEVICE, CONFIG, MODE, RATE, PEER, RATIO)),
    Table(
        title="Reading MuMu's rows and reviews, one process",
        benchmark="reviews",
        columns=(DEVICE, CONFIG, MODE, FILE, RATE, SECONDS, MEMORY),
    ),
    Table(
        title="A gazetteer: lines built, names loaded, texts linked, one process",
        benchmark="linking",
        columns=(DEVICE, CONFIG, MODE, RATE, SECONDS, SPEED, MENTIONS, MEMORY),
    ),
    Table(
        title="How MuMu was made: releases indexed, albums matched, one process",
        benchmark="matching",
        columns=(DEVICE, CONFIG, MODE, RATE, SECONDS, FILE, MEMORY, RIGHT, FOUND),
    ),
    Table(
        title="All of Table 2, on noise of MuMu's size",
        benchmark="whole_table",
        columns=(DEVICE, CONFIG, MODE, ALBUMS, RUNS, FAILED, EPOCHS, MINUTES),
        wanted=({"device": WANTED, "albums": 31_471, "mode": "paper", "seconds": NOT_MEASURED},),
    ),
    Table("Genres from few songs", "few_songs", (DEVICE, CONFIG, TRAINED, ACCURACY, ROC_AUC, TESTED, SECONDS)),
    Table(
        title="Songs and their lyrics: either alone, late fusion, and a joint network, on the mini dataset",
        benchmark="joint",
        columns=(DEVICE, CONFIG, SEED, JACCARD, GAIN, F1, ROC_AUC, RECALL, TESTED, SECONDS),
    ),
    Table("Harm done to commands", "promises", (DEVICE, HARM, COMMAND, TRIES, SURVIVORS, MINUTES)),
    Table(
        title="Programs compiled for devices that are not here, and not run",
        benchmark="compiled",
        columns=(*STEP, MODE, KERNELS, MOVED, *MESSAGE, MEMORY, MEMORY_SHARE, GIANT, COPIES, *COMPILING, ESTIMATE),
    ),
    Table(
        title="Seconds an epoch, *estimate from the compiled program*: its batch on each (weak) or shared (strong)",
        benchmark="scaling",
        columns=(*STEP, ALONE, *PAPER),
    ),
)
