"""Progress on a terminal and in a log, beside results on standard output."""

import contextlib
import fcntl
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
import time

import pytest
from conftest import REPOSITORY

from mumu_jax.system import terminal
from mumu_jax.system.lines import print_line, print_remark, printable, read_name, write_name
from mumu_jax.system.terminal import progress_bar

NOTE = "epoch 12, loss 0.0312, best val 0.0299, 10450 examples/s"


def test_a_terminal_shows_bar_and_time_left_beside_a_long_note(screen, monkeypatch):  # 43
    monkeypatch.setattr(sys, "stderr", screen.file)
    with progress_bar(400_000, "track network", done=100_000) as bar:
        bar.advance(100_000, NOTE)
    last = screen.drawn().rstrip().split("\r")[-1]
    assert re.fullmatch(r"track network: 50\.0% █▌  \[00:00<00:00\], epoch 12, loss 0\.0312, best val 0\.0299", last)
    assert len(last) < 80


def test_a_terminal_shows_the_rate_beside_a_short_note(screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen.file)
    with progress_bar(40, "preparing audio", done=10) as bar:
        bar.advance(10, "song.mp3")
    last = screen.drawn().rstrip().split("\r")[-1]
    assert re.match(r"preparing audio: 20/40 █{5} {5} \[00:00<00:00, .*it/s\], song\.mp3", last)


def test_a_narrow_terminal_shows_whole_notes(screen, monkeypatch):
    fcntl.ioctl(screen.file, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 45, 0, 0))
    monkeypatch.setattr(sys, "stderr", screen.file)
    with progress_bar(1000, "track network") as bar:
        bar.advance(996, NOTE)
    assert screen.drawn().rstrip().split("\r")[-1] == "track network: 99.6% ██▉ [00:00<00:00]"


def test_work_goes_on_when_its_terminal_is_closed(monkeypatch):
    """An SSH connection may end while a command runs."""
    reader, writer = pty.openpty()
    file = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", file)
    with progress_bar(40, "tagging") as bar:
        os.close(reader)
        time.sleep(0.2)  # after which a bar is drawn again
        bar.advance(10)
    assert bar.n == 10
    with contextlib.suppress(OSError):  # what could not be written
        file.close()


def test_a_terminal_that_has_no_size_shows_a_bar(screen, monkeypatch):
    fcntl.ioctl(screen.file, termios.TIOCSWINSZ, bytes(8))
    monkeypatch.setattr(sys, "stderr", screen.file)
    with progress_bar(40, "tagging", done=10) as bar:
        bar.advance(10)
    assert "tagging: 20/40 █████" in screen.drawn()


def test_results_reach_a_file_while_the_bar_is_on_the_terminal(screen, tmp_path, monkeypatch):  # 2
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


def test_the_end_is_printed_once(capsys):  # (e) of a newcomer
    with progress_bar(3, "track network") as bar:
        bar.advance(3, "epoch 3")
        bar.finish()
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", r"caf\xe9"),
        (b"\x1b[31mred\x07", r"\x1b[31mred\x07"),
        (b"two\r\nlines\t", r"two\x0d\x0alines\x09"),
        ("\u2028\x9b".encode(), r"\xe2\x80\xa8\xc2\x9b"),
        (b"caf\\xe9 C:\\new", "caf\\xe9 C:\\new"),
        ("Café [bold]日本 $x$".encode(), "Café [bold]日本 $x$"),
    ],
)
def test_names_are_printed_literally(name, shown, capsys):  # 17
    print_line(os.fsdecode(name))
    print_remark(os.fsdecode(name))
    assert capsys.readouterr() == (shown + "\n", shown + "\n")


def test_any_name_can_be_read_back():  # 51
    rng = random.Random(0)
    alphabet = [b"\\", b"x", b"e", b"9", b"5c", b"\xe9", b"\x1b", b"\n", "é".encode(), "\u2028".encode()]
    for _ in range(2000):
        name = os.fsdecode(b"".join(rng.choices(alphabet, k=rng.randrange(1, 12))))
        line = write_name(name)
        assert read_name(line) == name
        assert line.encode("utf-8").decode("utf-8").splitlines() == [line]


def test_lone_surrogates_of_json_are_printed():  # 17
    assert printable("\ud800 \U0001f3b5") == r"\xed\xa0\x80 🎵"


def test_a_table_shows_names_as_they_are(capsys):  # 17
    terminal.print_table("[t] :cat:", ("", "n"), [("[bold]so[/bold] :cat:", "1"), ("a\x1b[31mb\nc", "2")], width=80)
    printed = capsys.readouterr().out
    assert "[t] :cat:" in printed
    assert "[bold]so[/bold] :cat:" in printed
    assert r"a\x1b[31mb\x0ac" in printed


def test_a_bar_shows_names_as_they_are(screen, monkeypatch):  # 17
    monkeypatch.setattr(sys, "stderr", screen.file)
    with progress_bar(2, "tagging") as bar:
        bar.advance(1, "a\x1b[31m\nb")
    assert r"a\x1b[31m\x0ab" in screen.drawn()


COMMAND = """
import sys
from mumu_jax.errors import UserError
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import print_table, progress_bar, run_command
def main(argv):
    print_line("Café 日本 \\udce9 …")
    print_table("Genres", ("", "n"), [("Café", "1")], width=40)
    with progress_bar(1, "tagging") as bar:
        bar.advance(1, "Café 日本")
    raise UserError("no Café 日本 \\udce9")
run_command(main)
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_are_printed_in_any_encoding(encoding):  # 17
    names = {"ascii": r"Caf\xe9 \u65e5\u672c", "latin-1": r"Café \u65e5\u672c", "utf-8": "Café 日本"}
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, env=environment, timeout=60)
    assert done.returncode == 2
    printed, remarks = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert printed.startswith(rf"{names[encoding]} \xe9 ")
    assert "Genres" in printed
    assert remarks.splitlines()[-1] == rf"error: no {names[encoding]} \xe9"
    assert "Traceback" not in remarks
