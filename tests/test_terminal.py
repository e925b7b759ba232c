"""Progress on a terminal and in a log, beside results on standard output."""

import contextlib
import re
import sys

from mumu_jax.system import terminal
from mumu_jax.system.terminal import progress_bar

NOTE = "epoch 12, loss 0.0312, 10450 examples/s, best val loss 0.0299"


def test_a_terminal_shows_bar_and_time_left_beside_a_long_note(screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen.file)
    with progress_bar(40, "track network", done=10) as bar:
        bar.advance(10, NOTE)
    last = screen.drawn().rstrip().split("\r")[-1]
    assert re.match(r"track network: 20/40 █{5} {5} \[00:00<00:00, .*it/s\], epoch 12, loss", last)
    assert len(last) <= 80


def test_results_reach_a_file_while_the_bar_is_on_the_terminal(screen, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen.file)
    with (tmp_path / "out").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with progress_bar(3, "tagging") as bar:
            for i in range(3):
                with bar.paused():
                    print(f"row {i}")
                bar.advance()
    assert (tmp_path / "out").read_text() == "row 0\nrow 1\nrow 2\n"
    assert "row" not in screen.drawn()


def test_results_on_the_same_terminal_have_their_own_lines(screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen.file)
    monkeypatch.setattr(sys, "stdout", screen.file)
    with progress_bar(2, "tagging") as bar:
        for i in range(2):
            with bar.paused():
                print(f"row {i}")
            bar.advance()
    lines = [line.split("\r") for line in screen.drawn().replace("\r\n", "\n").split("\n")]
    assert [parts[-1] for parts in lines[:2]] == ["row 0", "row 1"]
    assert lines[2][-1].startswith("tagging: 2/2 ")


def test_a_log_has_whole_lines_and_the_end(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    with progress_bar(3, "preparing audio") as bar:
        for i in range(3):
            bar.advance(1, f"file {i}")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(", ")[2] for line in lines[-3:]] == ["file 0", "file 1", "file 2"]
    assert lines[-1].startswith("preparing audio: 3/3 ")
    assert not any("\r" in line for line in lines)


def test_a_short_log_has_the_end_alone(capsys):
    with progress_bar(100, "track network") as bar:
        bar.advance(10, "epoch 1")
        bar.finish()
    assert re.fullmatch(r"track network: 10/10 █{10} \[.*\], epoch 1\n", capsys.readouterr().err)


def test_nothing_is_shown_of_nothing_or_by_other_processes_or_of_a_failure(capsys):
    with progress_bar(0, "preparing text") as bar:
        bar.finish()
    with progress_bar(2, "track network", shown=False) as bar:
        bar.advance(2)
    with contextlib.suppress(ValueError), progress_bar(2, "tagging") as bar:
        bar.advance()
        raise ValueError
    assert capsys.readouterr().err == ""
