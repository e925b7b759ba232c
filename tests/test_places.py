"""Every command with a terminal of 80 columns for its remarks and a pipe for its results: each is where it belongs."""

import csv
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY
from rich.cells import cell_len

from mumu_jax.objectives.decisions import DECISIONS
from mumu_jax.objectives.metrics import METRICS
from mumu_jax.runs.calibration import WAYS
from mumu_jax.runs.evaluation import LEVELS

pytestmark = pytest.mark.full

WIDTH = 80
BAR = "█"


class Printed(NamedTuple):
    """What a command wrote to the pipe, and what it drew on the terminal."""

    results: str
    terminal: str

    @property
    def tables(self) -> list[list[str]]:
        """The rows of all tables among the results, as cells."""
        return [re.split("[│┃]", row[1:-1]) for row in self.results.splitlines() if row[:1] in ("│", "┃")]


def call(module: str, *arguments: str | Path) -> Printed:
    """`python -m module arguments…`, which must succeed and keep results and remarks apart."""
    return call_python("-m", module, *arguments)


def call_python(*arguments: str | Path) -> Printed:
    """`python arguments…`, likewise."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    drawn: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(reader, 65_536):
                drawn.append(part)
        except OSError:  # the last writer has closed the terminal
            return

    thread = threading.Thread(target=read)
    thread.start()
    inherited = {name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "COLUMNS")}
    try:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=REPOSITORY,
            env={**inherited, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"},
            stdin=writer,
            stdout=subprocess.PIPE,
            stderr=writer,
            encoding="utf-8",
            timeout=600,
        )
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
    printed = Printed(done.stdout, b"".join(drawn).decode())
    assert done.returncode == 0, printed
    check_places(printed)
    return printed


def check_places(printed: Printed) -> None:
    """Bars are on the terminal alone and fit there; results have no codes, and tables are whole."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x9b]", printed.results), "codes of a terminal among the results"
    assert BAR not in printed.results
    states = [state for state in re.split(r"[\r\n]", printed.terminal) if BAR in state]
    assert [state for state in states if cell_len(state) > WIDTH] == []
    for table in re.findall("┏[^┘]*┘", printed.results):
        assert "…" not in table
        assert len({cell_len(line) for line in table.splitlines()}) == 1, table
    assert not any(cell == "" for row in printed.tables for cell in row), "a column without width"


def check_bars(printed: Printed, *names: str) -> None:
    """Each bar is drawn, full at its end, and the only ones."""
    full = rf"(\d+)/\2 {BAR}{{10}}|100\.0% {BAR}{{3}}"  # beside a short note, beside a long one
    ends = re.findall(rf"(?:^|[\r\n])([^\r\n:]+): (?:{full}) \[", printed.terminal)
    assert list(dict.fromkeys(name for name, _ in ends)) == list(names), printed.terminal


def cells(row: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in row]


def check_metrics(printed: Printed, workdir: Path) -> None:
    """The tables hold what `eval_test.json` holds."""
    result = json.loads((workdir / "eval_test.json").read_text())
    header, *rows = map(cells, printed.tables)
    titles, *ways = rows[-1 - len(WAYS) :]
    del rows[-1 - len(WAYS) :]
    assert titles == ["", *(metric.title for metric in DECISIONS.values())]
    for (way, name), row in zip(WAYS.items(), ways, strict=True):
        values = [result["decisions"][way][metric] for metric in DECISIONS]
        assert row == [name, *("" if value is None else f"{value:.3f}" for value in values)]
    by_title = {metric.title: name for name, metric in METRICS.items()} | {"items": "n_items"}
    for row in rows:
        level = next(level for level, name in LEVELS.items() if name == row[0])
        for title, cell in zip(header[1 - len(row) :], row[1:], strict=True):
            value = result[level].get(by_title[title])
            assert cell == ("" if value is None else str(value) if title == "items" else f"{value:.3f}"), (level, title)
    assert [row[0] for row in rows] == [name for level, name in LEVELS.items() if level in result]


@pytest.fixture
def songs(tmp_path) -> Path:
    """Six songs each of two genres, and a file that is none."""
    rng = np.random.default_rng(0)
    for genre in ("Noise", "Drone"):
        (tmp_path / "songs" / genre).mkdir(parents=True)
        for i in range(6):
            soundfile.write(tmp_path / "songs" / genre / f"{i}.wav", 0.1 * rng.normal(size=22_050), 22_050)
    (tmp_path / "songs" / "Noise" / "bad.wav").write_text("no sound")
    return tmp_path / "songs"


def test_prepare(songs, tmp_path):
    printed = call("mumu_jax.prepare", "--source=folder", f"--input={songs}", f"--data_dir={tmp_path / 'data'}")
    check_bars(printed, "preparing audio")
    header, *splits = (line.split() for line in printed.results.splitlines()[:4])
    assert header == ["audio", "albums", "tracks", "missing", "rejected", "silent", "hours"]
    assert [split for split, *_ in splits] == ["train", "val", "test"]
    assert np.array([counts for _, *counts in splits], float).sum(axis=0).tolist() == [12, 12, 0, 1, 0, 0]
    assert "the data is in" in printed.results


def test_train(small_data, tmp_path):
    settings = ("--config=timbre_mlp", "--config.optim.max_epochs=1", "--config.album_optim.max_epochs=1")
    printed = call("mumu_jax.train", *settings, f"--data_dir={small_data}", f"--workdir={tmp_path / 'run'}")
    check_bars(printed, "track network", "album network")
    check_metrics(printed, tmp_path / "run")
    assert printed.results.splitlines()[-1] == f"run: {tmp_path / 'run'}"


def test_evaluate(small_runs, tmp_path):
    run = Path(shutil.copytree(small_runs["text"], tmp_path / "run"))
    printed = call("mumu_jax.evaluate", f"--workdir={run}")
    check_bars(printed)
    check_metrics(printed, run)
    assert printed.results.splitlines()[-1] == f"written: {run / 'eval_test.json'}"


def test_tag(small_run, songs):
    printed = call("mumu_jax.tag", f"--workdir={small_run}", songs)
    check_bars(printed, "tagging")
    assert "1 of 13 files could not be tagged; their rows say why" in printed.terminal
    rows = printed.results.splitlines()
    by_path = dict(row.split(": ", 1) for row in rows)
    assert sorted(by_path) == sorted(map(str, songs.rglob("*.wav")))
    assert by_path.pop(str(songs / "Noise" / "bad.wav")).startswith("not_audio: ")
    assert all(re.fullmatch(r"(?:[^,]+ -?\d\.\d{3}(?:, |$)){5}", tags) for tags in by_path.values()), by_path


def test_doctor(small_data):
    printed = call("mumu_jax.doctor", "--statistics", small_data)
    check_bars(printed)
    n_labels = len(json.loads((small_data / "labels.json").read_text()))
    assert f"{n_labels} labels; labels per album: mean " in printed.results
    contents = {row[0]: row[1] for row in map(cells, printed.tables) if len(row) > 6}
    assert {split: contents[split] for split in ("train", "val", "test", "all")} == {
        **{"train": "60", "val": "12", "test": "24", "all": "96"}
    }


@pytest.mark.parametrize("report", ["page", "words"])
def test_report(report, small_runs, small_data, tmp_path):
    if report == "page":
        printed = call("mumu_jax.report", f"--workdir={small_runs['text']}", f"--out={tmp_path / 'a.html'}")
        assert printed.results == f"written: {tmp_path / 'a.html'}\n"
    else:
        printed = call("mumu_jax.report", "words", f"--data_dir={small_data}", f"--out={tmp_path}")
        with (tmp_path / "words.csv").open(newline="") as file:
            words = [(row["genre"], row["word"]) for row in csv.DictReader(file)]
        said = [re.fullmatch(r"(.*?) +[\d,]+  (.*)", line) for line in printed.results.splitlines()[:-1]]
        assert [(line[1], word) for line in said for word in line[2].split(", ") if "(" not in word] == words
    check_bars(printed)


def test_export(small_runs, tmp_path):
    printed = call("mumu_jax.export", f"--workdir={small_runs['text']}", f"--out={tmp_path / 'model'}")
    check_bars(printed)
    assert re.fullmatch(
        rf"written: {tmp_path / 'model'}, [\d.]+ MB; python -m mumu_jax.tag --model=.*\n", printed.results
    )


REPRODUCE = """
import sys
from mumu_jax import reproduce
from mumu_jax.system.terminal import run_command
reproduce.COMMANDS["train"] = (sys.executable, "-I", *sys.argv[1:3])
run_command(reproduce.main, sys.argv[3:])
"""


def test_reproduce(small_data, tmp_path):
    """Its row is trained by a stand-in."""
    (tmp_path / "told.json").write_text(json.dumps({"fails": {}, "auc": {"timbre_mlp_logistic": 0.8125}, "split": {}}))
    stand_in = (Path(__file__).with_name("fake_train.py"), tmp_path)
    how = ("--preset=smoke", "--seeds=1", "--rows=timbre_mlp_logistic")
    workdir = tmp_path / "table"
    printed = call_python("-c", REPRODUCE, *stand_in, f"--data_dir={small_data}", f"--workdir={workdir}", *how)
    check_bars(printed, "Table 2")
    header, row = map(cells, printed.tables)
    assert row[:2] == ["timbre_mlp", "logistic"]
    assert row[header.index("AUC")] == "0.812"
    first, second, *_ = printed.results.splitlines()
    assert first == "1 run on 96 albums (60 train, 12 val, 24 test) with 24 genres"
    assert second.startswith("  1/1  timbre_mlp_logistic, seed 0: album AUC 0.812, 2 s/epoch, ")
