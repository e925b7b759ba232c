"""Names that nobody should choose, in every command: printed literally, opened raw, refused in a line at the worst."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import run_python

from mumu_jax import doctor, evaluate, export, prepare, report, reproduce, tag, train
from mumu_jax.data.manifest import read_labels
from mumu_jax.system.terminal import run_command

RED, SHOWN = "\x1b[31mred\nname", r"\x1b[31mred\x0aname"
LATIN = os.fsdecode(b"caf\xe9")
GENRES = ("[bold]Rock[/bold]", "$x$ :cat:", "Caf\udce9", "Pop")
TERMS = ("--config=text_vsm_logistic", "--config.tfidf.n_terms=20", "--config.optim.max_epochs=1")


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """A manifest of texts: ids with escape codes, genres with markup, dollars, a byte that is not UTF-8."""
    folder = tmp_path_factory.mktemp("names")
    lines = [
        {
            "album_id": f"{RED}{i}",
            "split": (*["train"] * 4, "val", "test")[i // 4],
            "genres": [GENRES[i % 4]],
            "tracks": [],
            "text": f"a text of number {i} about &quot;word{i % 4}&quot; and music",
        }
        for i in range(24)
    ]
    (folder / "collection.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in (LATIN, RED, "plain"):
        (folder / f"{name}.txt").write_text("a text about word1 and music")
    return folder


@pytest.fixture(scope="module")
def call():
    """`call(command, arguments…)`: its exit status, in this process, as from the command line."""

    def run(command, *arguments) -> int:
        with pytest.raises(SystemExit) as stop:
            run_command(command.main, list(map(str, arguments)))
        return int(stop.value.code or 0)

    return run


def said(capsys) -> str:
    """What was printed since, which a terminal would only show."""
    printed = "".join(capsys.readouterr())
    assert [char for char in printed if not (char.isprintable() or char == "\n")] == []
    printed.encode("utf-8")
    return printed


def test_every_command_prints_names_as_text(collection, call, capsys, tmp_path, monkeypatch):  # 17, 20
    monkeypatch.chdir(tmp_path)
    data, run = Path("data \x1b[31mred"), Path("run \x1b[31mred")
    shown = r"data \x1b[31mred"
    source = ("--source=manifest", f"--input={collection / 'collection.jsonl'}")
    assert call(prepare, *source, f"--data_dir={data}", "--modalities=text") == 0
    printed = said(capsys)
    assert r"$x$ :cat: 6; Caf\xe9 6; Pop 6; [bold]Rock[/bold] 6" in printed
    assert f"the data is in {shown}" in printed
    assert [label.name for label in read_labels(data / "labels.json")] == sorted((*GENRES[:2], r"Caf\xe9", "Pop"))

    assert call(doctor, data) == 0
    printed = said(capsys)
    assert "[bold]Rock[/bold]" in printed
    assert "$x$ :cat:" in printed
    assert f"{shown} is not MuMu as it was released but prepared data" in printed
    assert f"next: python -m mumu_jax.train --data_dir={shown} --config=NAME with an experiment of text" in printed

    assert call(train, *TERMS, f"--data_dir={data}", f"--workdir={run}") == 0
    assert r"run: run \x1b[31mred" in said(capsys)
    assert call(evaluate, f"--workdir={run}") == 0
    assert r"written: run \x1b[31mred/eval_test.json" in said(capsys)
    assert call(report, "words", f"--data_dir={data}") == 0
    printed = said(capsys)
    assert "[bold]Rock[/bold]" in printed
    assert "quot" not in printed  # 56
    assert call(report, f"--workdir={run}") == 0
    assert r"written: run \x1b[31mred/report.html" in said(capsys)
    page = (run / "report.html").read_text()
    assert "\x1b" not in page
    assert r"run \x1b[31mred" in page
    assert "[bold]Rock[/bold]" in page
    assert call(report, "figures", f"--workdir={run}") in (0, 2)
    said(capsys)
    assert call(export, f"--workdir={run}", f"--out=model {RED}") == 0
    assert f"model {SHOWN}" in said(capsys)
    assert call(tag, f"--workdir={run}", collection) == 0
    rows = [line for line in said(capsys).splitlines() if ".txt: " in line]
    names = [Path(line.partition(".txt: ")[0]).name for line in rows]
    assert sorted(names) == sorted((SHOWN, r"caf\xe9", "plain"))
    assert len({line.partition(".txt: ")[2] for line in rows}) == 1  # the same text, whatever its name


@pytest.mark.parametrize("command", [prepare, doctor, train, evaluate, tag, report, export, reproduce])
def test_a_folder_of_other_bytes_is_used_or_refused_in_a_line(collection, call, capsys, tmp_path, command):  # 17
    folder = tmp_path / LATIN
    source = ("--source=manifest", f"--input={collection / 'collection.jsonl'}", "--modalities=text")
    arguments = {
        prepare: (*source, f"--data_dir={folder}"),
        doctor: ("--statistics", folder),
        train: (*TERMS, f"--data_dir={folder}", f"--workdir={tmp_path / 'run'}"),
        evaluate: (f"--workdir={folder}",),
        tag: (f"--workdir={folder}", collection),
        report: ("words", f"--data_dir={folder}"),
        export: (f"--workdir={folder}", "--out=model"),
        reproduce: (f"--data_dir={folder}", f"--workdir={tmp_path / 'table'}"),
    }[command]
    for exists in (False, True):
        if exists:
            (folder / "text").mkdir(parents=True, exist_ok=True)
        assert call(command, *arguments) == 2
        last = said(capsys).splitlines()[-1]
        assert last.startswith("error: ")
        assert r"/caf\xe9" in last


@pytest.mark.parametrize("name", [LATIN, "line\nbreak"])
def test_records_and_checkpoints_need_a_line_of_utf8(collection, call, capsys, tmp_path, name):  # 17
    """The data and the run exist: they were made elsewhere, and moved."""
    data, run = tmp_path / "data", tmp_path / "run"
    source = ("--source=manifest", f"--input={collection / 'collection.jsonl'}", "--modalities=text")
    assert call(prepare, *source, f"--data_dir={data}") == 0
    assert call(train, *TERMS, f"--data_dir={data}", f"--workdir={run}") == 0
    out = tmp_path / f"{name}.csv"
    assert call(tag, f"--workdir={run}", collection, f"--out={out}") == 0
    assert len(out.read_bytes().splitlines()) == 4
    model = tmp_path / f"model {name}"
    assert call(export, f"--workdir={run}", f"--out={model}") == 0
    assert call(tag, f"--model={model}", collection, f"--out={out}") == 0
    vectors = tmp_path / f"{name}.npz"
    assert call(evaluate, f"--workdir={run}", f"--features={vectors}") == 0
    assert vectors.exists()
    for folder in (data, run):
        shutil.copytree(folder, tmp_path / f"{folder.name} {name}")
    said(capsys)
    good, data = f"--data_dir={data}", f"--data_dir={tmp_path / f'data {name}'}"
    run = f"--workdir={tmp_path / f'run {name}'}"
    for arguments in (
        (prepare, *source, data),
        (train, *TERMS, data, f"--workdir={tmp_path / 'new'}"),
        (train, *TERMS, good, run),
        (evaluate, run),
        (tag, run, collection),
        (export, run, f"--out={tmp_path / 'other'}"),
        (report, "words", data),
        (doctor, "--statistics", data.partition("=")[2]),
    ):
        assert call(*arguments) == 2, arguments
        assert "expected a folder whose path is a line of UTF-8" in said(capsys).splitlines()[-1], arguments
    assert call(report, run) == 0


def test_a_terminal_of_another_encoding_gets_escapes(collection, tmp_path):  # 17
    script = (
        "import sys; from mumu_jax import prepare; from mumu_jax.system.terminal import run_command; "
        "run_command(prepare.main, sys.argv[1:])"
    )
    source = ("--source=manifest", f"--input={collection / 'collection.jsonl'}", "--modalities=text")
    done = run_python("-c", script, *source, f"--data_dir={tmp_path / 'Düsseldorf 日本'}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"the data is in" in done.stdout
    assert r"D\xfcsseldorf \u65e5\u672c" in done.stdout
