"""Tables of the benchmarks' rows: which columns each has, on the terminal and in Markdown alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.options import IMAGES, SIX, experiments
from mumu_jax.experiments import load_experiments

Row = dict[str, Any]
Text = Callable[[Row], Any]
ABSENT, NOT_MEASURED = "–", "not measured"
WANTED = "NVIDIA H200"  # the device that the project is for, measured or not


class Column(NamedTuple):
    """A column's title, the text of a row below it, and its width on the terminal if that exceeds the title's."""

    title: str
    text: Text
    width: int = 0

    def cell(self, row: Row) -> str:
        """Return the row's text; a dash if the row has no such value."""
        try:
            text = self.text(row)
        except (KeyError, TypeError):  # None cannot be formatted
            text = None
        return ABSENT if text is None else str(text)


class Table(NamedTuple):
    """A table of those rows of a benchmark that `shows` selects; `wanted` stand for the H200's if it has none."""

    title: str
    benchmark: str
    columns: tuple[Column, ...]
    shows: Callable[[Row], bool] = lambda row: True
    wanted: tuple[Row, ...] = ()


# --- the texts of values --------------------------------------------------------------------------------------


def digits(value: float | str) -> str:
    """Write a number with three digits, or with all those before the decimal point; a text stays as it is."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _plain(name: str) -> Text:
    return lambda row: row[name]


def _percent(name: str, decimals: int = 0) -> Text:
    return lambda row: f"{row[name]:.{decimals}%}"


def _number(name: str, divisor: float = 1.0) -> Text:
    return lambda row: digits(row[name] if isinstance(row[name], str) else row[name] / divisor)


def quartiles(name: str) -> Text:
    """Return the text of a median and, in brackets, its quartiles."""

    def text(row: Row) -> str:
        if row.get(f"{name}_low") is None:  # not measured, or only once
            return digits(row[name])
        return f"{digits(row[name])} ({digits(row[f'{name}_low'])}–{digits(row[f'{name}_high'])})"

    return text


def _devices(row: Row) -> str:
    return row["device"] if row.get("n_devices") in (None, 1) else f"{row['n_devices']} × {row['device']}"


def _k40(row: Row) -> str | None:
    """Return the seconds an epoch of the paper's Tesla K40."""
    paper = load_experiments()[row["config"]].paper
    return f"{paper.epoch_s:,}" if paper else None


# --- columns --------------------------------------------------------------------------------------------------

DEVICE = Column("device", _plain("device"), 16)
DEVICES = Column("device", _devices, 16)
CONFIG = Column("config", _plain("config"), 24)
MODE = Column("mode", _plain("mode"), 10)
PRECISION = Column("precision", _plain("precision"))
BATCH = Column("batch", lambda row: f"{row['batch_size']:,}")
RATE = Column("examples/s", quartiles("examples_per_s"), 26)
EPOCH = Column("s/epoch", _number("epoch_s"))
K40 = Column("K40, 2017", _k40)
PEAK = Column("of the matmul peak", _percent("mfu"))
MEMORY = Column("peak MB", _number("peak_bytes", 1e6))
COMPILE = Column("compile s", _number("compile_s"))
PEER = Column("peer/s", _number("peer_examples_per_s"))
RATIO = Column("ratio", quartiles("ratio"), 16)
PEER_WAY = Column("peer's way", _plain("peer_way"))
DENSE = Column("ours, dense/s", _number("dense_examples_per_s"))
DENSE_RATIO = Column("ratio to it", quartiles("dense_ratio"), 16)
STRONG = Column("of one device, same batch", _percent("strong_efficiency"))
WEAK = Column("same batch on each", _percent("weak_efficiency"))
WAIT = Column("waiting for input", _percent("input_wait_fraction", 1))
PROCESSES = Column("processes", _plain("n_devices"))
EFFICIENCY = Column("scaling", _percent("scaling_efficiency"))
SPEED = Column("MB/s", _number("bytes_per_s", 1e6))
FILE = Column("file MB", _number("file_bytes", 1e6))
SECONDS = Column("s", quartiles("seconds"), 18)
MINUTES = Column("minutes", _number("seconds", 60))
MENTIONS = Column("names a text", _number("mentions_per_text"))
ALBUMS = Column("albums", lambda row: f"{row['albums']:,}")
RUNS = Column("runs", _plain("n_runs"))
FAILED = Column("failed", _plain("n_failed"))
EPOCHS = Column("epochs in all", _plain("n_epochs"))
KERNELS = Column("kernels a step", _plain("n_kernels"))
MOVED = Column("MB an example", _number("bytes_per_example", 1e6))
GIANT = Column("giant windows", _plain("n_giant_windows"))

BENCHMARK = Column("benchmark", _plain("benchmark"))
PEER_NAME = Column("peer", _plain("peer"))

SUMMARY = (BENCHMARK, CONFIG, MODE, DEVICE, RATE, PEER_NAME, PEER, RATIO)
STEP = (DEVICES, CONFIG, PRECISION, BATCH)
TRAINING = (*STEP, RATE, EPOCH, K40, PEAK, MEMORY, COMPILE, PEER, RATIO, PEER_WAY)


# --- tables ---------------------------------------------------------------------------------------------------


def _unmeasured(name: str) -> Row:
    cells = {"device": WANTED, "config": name, "precision": "bfloat16", "batch_size": 32}
    return cells | {"examples_per_s": NOT_MEASURED}


def _is_of_images(row: Row) -> bool:
    return row["n_devices"] == 1 and row["config"] in experiments("image")


TABLES = (
    Table(
        title="Training step beside PyTorch's, data on the device",
        benchmark="train_step",
        columns=TRAINING,
        shows=lambda row: row["n_devices"] == 1 and not _is_of_images(row),
        wanted=tuple(map(_unmeasured, SIX)),
    ),
    Table(
        title="Training step of the text network, beside dense first layers of ours and PyTorch's",
        benchmark="text_step",
        columns=(*STEP, RATE, EPOCH, K40, DENSE, DENSE_RATIO, PEER, RATIO, PEER_WAY),
        wanted=(_unmeasured("text_vsm"),),
    ),
    Table(
        title="Training step of image networks beside PyTorch's, which is spared the augmentation",
        benchmark="train_step",
        columns=TRAINING,
        shows=_is_of_images,
        wanted=tuple(map(_unmeasured, IMAGES)),
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
        title="All of Table 2, on noise of MuMu's size",
        benchmark="whole_table",
        columns=(DEVICE, CONFIG, MODE, ALBUMS, RUNS, FAILED, EPOCHS, MINUTES),
        wanted=({"device": WANTED, "albums": 31_471, "mode": "paper", "seconds": NOT_MEASURED},),
    ),
    Table("Programs compiled for an H200, not run", "h200_module", (*STEP, KERNELS, MOVED, GIANT)),
)
