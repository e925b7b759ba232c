"""`tag`: whatever lies on a user's disk gets its row, and a file of tags is only ever added to."""

import csv
import dataclasses
import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from conftest import SHARED, succeed
from jax.sharding import Mesh

from mumu_jax import tag
from mumu_jax.compute import devices
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode
from mumu_jax.data.modalities.base import Read
from mumu_jax.data.sources import table
from mumu_jax.data.sources.base import Request
from mumu_jax.errors import UserError
from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.logits import Logistic
from mumu_jax.runs import own_files, scorer
from mumu_jax.runs.folder import TrainedRun, load_run
from mumu_jax.runs.own_files import find_items, score_items
from mumu_jax.runs.scorer import scorer_of
from mumu_jax.runs.tags import FIELDS, open_tags
from mumu_jax.system.lines import read_name

SR_HZ = 22_050
N_LABELS = 24
HEADER = ",".join(FIELDS).encode() + b"\r\n"


def tone(path: Path, seconds: float, seed: int = 0, sr_hz: int = SR_HZ, channels: int = 1) -> Path:
    """A chord that slowly changes, in noise; in the format that the name says."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sr_hz)) / sr_hz
    chord = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(80, 2000, 4)) * (1 + np.sin(t / 3 + seed)) / 10
    y = chord + 0.02 * rng.standard_normal(len(t))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(y[:, None], channels, axis=1).astype(np.float32), sr_hz)
    return path


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a file of tags by the name of the song."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert all(tuple(row) == FIELDS for row in rows)
    assert len({row["path"] for row in rows}) == len(rows)
    return {Path(row["path"]).name: row for row in rows}


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """Songs of several formats, sample rates and lengths, in folders within folders, beside other things."""
    folder = tmp_path_factory.mktemp("songs")
    tone(folder / "a_4s.wav", 4)
    tone(folder / "inner" / "b_stereo.flac", 3, 1, 44_100, 2)
    tone(folder / "inner" / "deep est" / 'c, "ö".OGG', 3, 2, 16_000)
    tone(folder / "inner" / "d.mp3", 3, 3, 48_000, 2)
    tone(folder / "e.aiff", 3, 4, 8_000)
    (folder / "inner" / "notes.txt").write_text("not a song")
    (folder / ".hidden.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "page.mp3").write_text("<!DOCTYPE html><html><body>404</body></html>\n" * 40)
    (folder / "nothing.wav").write_bytes(b"")
    whole = tone(folder / "whole.flac", 5)
    (folder / "cut.flac").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    soundfile.write(folder / "silent.wav", np.zeros(3 * SR_HZ, np.float32), SR_HZ)
    (folder / "link.ogg").symlink_to(folder / "gone.ogg")
    return folder


@pytest.fixture
def serial(monkeypatch):
    """Decode in this process: starting others takes seconds, and has its own tests."""
    monkeypatch.setattr(own_files, "map_in_order", lambda call, items, workers, on_death: map(call, items))


@pytest.fixture(scope="module")
def run(small_run) -> TrainedRun:
    """Loaded once: networks that were loaded anew are compiled anew."""
    return load_run(small_run)


@pytest.fixture
def call(small_run, run, serial, monkeypatch):
    """`python -m mumu_jax.tag --workdir=… arguments`, in this process."""
    monkeypatch.setattr(scorer, "load_run", lambda workdir: run)
    return lambda *arguments, workdir=small_run: tag.main([f"--workdir={workdir}", *map(str, arguments)])


# --- what is tagged -----------------------------------------------------------------------------------------


def test_a_call_that_tags_nothing_fails(tmp_path, call, songs):  # 42
    out = tmp_path / "tags.csv"
    assert call(tmp_path / "absent.wav", f"--out={out}") == tag.EXIT_NOTHING
    assert call(tmp_path / "absent.wav", f"--out={out}") == tag.EXIT_NOTHING  # tried again
    assert call(tmp_path / "absent.wav", tmp_path / "gone.wav", songs / "a_4s.wav") == 0


def test_command_tags_folders_and_damaged_files_and_goes_on(tmp_path, songs, damaged, small_run, run, call, capsys):
    """The whole command: every audio file below the folders has a row.  A second call adds the file that is new."""
    out = tmp_path / "new" / "tags.csv"
    arguments = (songs, damaged, tmp_path / "absent.wav", f"--out={out}")
    done = succeed("mumu_jax.tag", f"--workdir={small_run}", *arguments)
    rows = rows_of(out)
    good = {"a_4s.wav", "b_stereo.flac", 'c, "ö".OGG', "d.mp3", "e.aiff", "whole.flac"}
    assert {name for name, row in rows.items() if not row["error"]} == good
    reasons = {name: row["error"].partition(":")[0] for name, row in rows.items() if row["error"]}
    assert reasons == {
        "page.mp3": "not_audio",
        "nothing.wav": "empty",
        "cut.flac": "truncated",
        "silent.wav": "silent",
        "link.ogg": "missing",
        "absent.wav": "missing",
    }
    assert all(row["genres"] == row["scores"] == "" for name, row in rows.items() if name not in good)
    assert "6 of 12 files could not be tagged" in done.stderr
    assert done.stdout == ""
    assert "tagging: 12/12" in done.stderr
    names = {label.name for label in run.labels}
    for name in good:
        scores = [float(score) for score in rows[name]["scores"].split(";")]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert set(rows[name]["genres"].split(";")) < names
    assert float(rows["a_4s.wav"]["seconds"]) == pytest.approx(4, abs=0.01)
    assert float(rows["b_stereo.flac"]["seconds"]) == pytest.approx(3, abs=0.01)

    before = out.read_bytes()
    call(*arguments, tone(tmp_path / "late.wav", 2))
    printed = capsys.readouterr()
    assert "6 of 13 files are in" in printed.out
    assert "6 files have an error in" in printed.err
    assert out.read_bytes().startswith(before)
    assert len(rows_of(out)) == 13


def test_second_call_leaves_every_byte(call, songs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tags.jsonl"
    assert call(songs, f"--out={out}") == 0
    before = out.read_bytes()
    monkeypatch.chdir(songs)  # the same files by other names
    assert call("inner", songs / "e.aiff", "a_4s.wav", f"--out={out}") == 0
    assert out.read_bytes() == before
    assert "5 of 5 files are in" in capsys.readouterr().out


def test_file_named_twice_is_tagged_once(call, songs, tmp_path, monkeypatch):
    monkeypatch.chdir(songs)
    call("a_4s.wav", songs / "a_4s.wav", "inner/../a_4s.wav", f"--out={tmp_path / 'tags.csv'}")
    assert list(rows_of(tmp_path / "tags.csv")) == ["a_4s.wav"]


def test_csv_lines_and_terminal_agree(call, songs, tmp_path, capsys):
    song = songs / "inner" / "deep est" / 'c, "ö".OGG'
    call(song, f"--out={tmp_path / 'tags.csv'}", "--top_k=3")
    call(song, f"--out={tmp_path / 'tags.jsonl'}", "--top_k=3")
    capsys.readouterr()
    call(song, "--top_k=3")
    row = rows_of(tmp_path / "tags.csv")[song.name]
    line = json.loads((tmp_path / "tags.jsonl").read_text())
    assert line["path"] == row["path"] == str(song)
    assert line["error"] is None
    assert line["run"] == row["run"]
    assert [found["genre"] for found in line["genres"]] == row["genres"].split(";")
    assert [f"{found['score']:.6f}" for found in line["genres"]] == row["scores"].split(";")
    said = ", ".join(f"{found['genre']} {found['score']:.3f}" for found in line["genres"])
    assert capsys.readouterr().out == f"{song}: {said}\n"
    with pytest.raises(UserError, match="are a model's guesses, the best of them right or not"):  # a newcomer's
        table.read(tmp_path / "tags.csv", Request(tmp_path))
    header, line = (tmp_path / "tags.csv").read_text().splitlines()
    (tmp_path / "checked.csv").write_text(f"{header}\n{line}\n".replace(",scores,", ",was_scores,"))
    albums = table.read(tmp_path / "checked.csv", Request(tmp_path)).albums  # what `prepare --source=csv` reads
    assert albums[0].genres == tuple(row["genres"].split(";"))


def test_rows_reach_a_file_while_the_bar_is_on_a_terminal(call, songs, screen, tmp_path, monkeypatch):
    with (tmp_path / "tags.txt").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", screen.file)
        call(songs)
    rows = (tmp_path / "tags.txt").read_text().splitlines()
    assert {Path(row.partition(": ")[0]).name for row in rows} == {
        "a_4s.wav",
        "b_stereo.flac",
        'c, "ö".OGG',
        "d.mp3",
        "e.aiff",
    }
    assert len(rows) == 5
    assert "tagging: 5/5 " in screen.drawn()


def test_top_k_beyond_the_labels_gives_all(call, songs, tmp_path):
    call(songs / "a_4s.wav", f"--out={tmp_path / 'tags.csv'}", "--top_k=1000")
    assert len(set(rows_of(tmp_path / "tags.csv")["a_4s.wav"]["genres"].split(";"))) == N_LABELS


@pytest.mark.parametrize("argument", ["--top_k=0", "--batch_size=0", "--workers=0", "--batch_size=many"])
def test_numbers_that_make_no_sense_are_refused(call, songs, argument, capsys):
    with pytest.raises(SystemExit) as stop:
        call(songs, argument)
    assert stop.value.code == 2
    assert argument.partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


def test_real_recordings(call, tmp_path):
    if not (SHARED / "recordings").is_dir():
        pytest.skip(f"{SHARED / 'recordings'} is not here")
    call(SHARED / "recordings", f"--out={tmp_path / 'tags.csv'}")
    rows = rows_of(tmp_path / "tags.csv")
    assert set(rows) == {path.name for path in (SHARED / "recordings").glob("*.ogg")}
    assert [row["error"] for row in rows.values()] == [""] * len(rows)
    assert all(np.isfinite([float(score) for score in row["scores"].split(";")]).all() for row in rows.values())


# --- scores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "starts_s"), [(0.5, [0]), (4, [0]), (20, [0]), (70, [0, 30, 40])])
def test_patches_cover_the_whole_song(tmp_path, run, seconds, starts_s):
    """Each 30 s excerpt, the last one ending with the song, is referenced to its own maximum and cut into two."""
    path, settings = tone(tmp_path / "song.wav", seconds), run.config.audio
    y, _ = soundfile.read(path, dtype="float32")
    expected = []
    for start in starts_s:
        cqt = decode.log_cqt(y[start * SR_HZ : (start + 30) * SR_HZ], settings)
        padded = np.pad(cqt, ((0, max(0, 322 - len(cqt))), (0, 0)), constant_values=-80)
        expected += [padded[:322]] if seconds < 15 else [padded[:322], padded[-322:]]
    song = MODALITIES["audio"].read_file(path, run.config, None)
    assert song.seconds == pytest.approx(seconds)
    assert len(song.records) == len(expected)
    times_s = [
        time_s for start in starts_s for time_s in ([0] if seconds < 15 else [start, min(start + 30, seconds) - 15])
    ]
    assert [record["start_s"] for record in song.records] == pytest.approx(times_s, abs=0.1)  # a patch has 14.95 s
    np.testing.assert_allclose(patches_of(song), np.stack(expected), atol=0.04)  # float16 dB


def patches_of(song: Read) -> np.ndarray:
    return np.stack([record["patch"] for record in song.records])


@pytest.mark.full
def test_scores_are_the_album_networks_of_the_mean_vector(tmp_path, run, serial):
    """Recomputed in plain NumPy around the two models: long, short and unreadable songs mixed in one call."""
    paths = [
        tone(tmp_path / "long.wav", 70, 1),
        tmp_path / "missing.wav",
        tone(tmp_path / "short.wav", 4, 2),
        tone(tmp_path / "middle.wav", 33, 3),
    ]
    found = list(score_items(scorer_of(run, {}), paths, batch_size=8, workers=1))
    assert [song.path for song, _ in found] == paths
    assert [len(song.records) for song, _ in found] == [6, 0, 1, 4]
    for song, seen in found:
        if not song.records:
            assert seen is None
            continue
        assert seen is not None
        constants, audio = run.track.constants, run.track.constants.inputs["audio"]
        inputs = jnp.asarray((patches_of(song).astype(np.float32) - audio.mean) / audio.std)
        _, vectors = run.track.network.model.apply(run.track.variables, inputs)
        output, _ = run.album.network.model.apply(run.album.variables, jnp.mean(vectors, axis=0)[None])
        output, factors = np.asarray(output, np.float64)[0], constants.fitted["label_factors"].astype(np.float64)
        lengths = np.linalg.norm(factors, axis=1) * np.linalg.norm(output)
        expected = np.where(lengths > 0, factors @ output / np.where(lengths > 0, lengths, 1), -1)
        np.testing.assert_allclose(seen.scores, expected, atol=1e-5)
        np.testing.assert_allclose(seen.vector, jnp.mean(vectors, axis=0), atol=1e-5)


def test_logits_are_shown_as_probabilities():
    logits = np.array([[-1000, -2, 0, 3, 1000]], np.float32)
    expected = [[0, 1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-3)), 1]]
    np.testing.assert_allclose(Logistic().readable(logits), expected, rtol=1e-6)
    np.testing.assert_array_equal(Cosine(5).readable(logits), logits)


def test_scores_do_not_depend_on_batch_size_or_devices(songs, run, serial, monkeypatch, tmp_path):
    paths = [tone(tmp_path / "long.wav", 33), *find_items([songs], run.inputs.readers())]

    def scores(batch_size: int) -> np.ndarray:
        found = [seen for _, seen in score_items(scorer_of(run, {}), paths, batch_size, workers=1)]
        return np.stack([seen.scores for seen in found if seen is not None])

    by_eight_devices = scores(16)
    assert len(by_eight_devices) == len(paths)
    monkeypatch.setattr(devices, "make_mesh", lambda: Mesh(np.array(jax.devices()[:1]), (devices.AXIS,)))
    for batch_size in (1, 3, 32):
        np.testing.assert_allclose(scores(batch_size), by_eight_devices, atol=1e-5)


def test_any_batch_size_goes_with_any_number_of_devices(call, songs, tmp_path):
    assert len(jax.devices()) == 8
    call(songs / "a_4s.wav", f"--out={tmp_path / 'tags.csv'}", "--batch_size=3")
    assert not rows_of(tmp_path / "tags.csv")["a_4s.wav"]["error"]


# --- the file of tags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_with_errors_are_tried_again_in_their_place(call, songs, tmp_path, suffix):  # (b) of a newcomer
    broken, out, expected = tmp_path / "broken.wav", tmp_path / f"tags{suffix}", tmp_path / f"expected{suffix}"
    files = (songs / "a_4s.wav", broken, songs / "e.aiff")
    broken.write_bytes(b"RIFF")
    call(*files, f"--out={out}")
    before = out.read_bytes()
    assert rows_of(out)["broken.wav"]["error"]
    call(*files, f"--out={out}")
    assert out.read_bytes() == before
    broken.write_bytes((songs / "a_4s.wav").read_bytes())
    call(*files, f"--out={out}")
    call(*files, f"--out={expected}")
    assert out.read_bytes() == expected.read_bytes() != before


NAMES = [b"caf\xe9.wav", b"caf\\xe9.wav", b"line\nbreak.wav", b"\x1b[31mred.wav", "caf\u00e9 [b]\u2028.wav".encode()]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_any_name_has_one_line_of_utf8_that_can_be_read_back(call, songs, tmp_path, suffix, capsys):  # 51, 17
    out = tmp_path / f"tags{suffix}"
    files = [tmp_path / os.fsdecode(name) for name in NAMES]
    for file in files:
        file.write_bytes((songs / "a_4s.wav").read_bytes())
    call(*files, f"--out={out}")
    content = out.read_bytes()
    rows = rows_of(out)
    assert [Path(read_name(row["path"])) for row in rows.values()] == files
    assert len(content.decode("utf-8").splitlines()) == len(files) + (suffix == ".csv")
    call(*files, f"--out={out}")
    assert out.read_bytes() == content
    assert "5 of 5 files are in" in capsys.readouterr().out
    call(*files)
    printed = capsys.readouterr().out
    assert [line.partition(".wav: ")[0].rpartition("/")[2] for line in printed.splitlines()] == [
        *(r"caf\xe9", r"caf\xe9", r"line\x0abreak", r"\x1b[31mred", r"café [b]\xe2\x80\xa8"),
    ]
    table_of_songs = tmp_path / "songs.csv"
    table_of_songs.write_text("path,genres\n" + "".join(f'"{row["path"]}",Rock\n' for row in rows.values()))
    albums = table.read(table_of_songs, Request(tmp_path)).albums
    assert [album.tracks[0].audio for album in albums] == files


def test_paths_of_other_bytes_that_an_earlier_version_wrote_are_known(call, songs, tmp_path, run):  # 51
    out, song = tmp_path / "tags.csv", tmp_path / os.fsdecode(b"caf\xe9.wav")
    song.write_bytes((songs / "a_4s.wav").read_bytes())
    call(song, f"--out={out}")
    expected = out.read_bytes()
    out.write_bytes(expected.replace(rb"caf\xe9", b"caf\xe9"))
    call(song, f"--out={out}")
    assert out.read_bytes() == expected


def test_two_calls_do_not_write_to_one_file(call, songs, tmp_path):
    out = tmp_path / "tags.csv"
    with open_tags(out, ["run"]), pytest.raises(UserError, match="another process is writing tags to"):
        call(songs, f"--out={out}")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_half_written_line_is_written_again(call, songs, tmp_path, suffix):
    """A kill or a full disk may cut the file anywhere, also within its first line."""
    out = tmp_path / f"tags{suffix}"
    files = sorted(songs.glob("*.*"))[-2:]
    call(*files, f"--out={out}")
    whole = out.read_bytes()
    for length in (len(whole) - 1, len(whole) - 20, 20, 1, 0):
        out.write_bytes(whole[:length])
        call(*files, f"--out={out}")
        assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.csv", b"remember the milk"),
        ("notes.csv", b"remember\nthe milk"),
        ("notes.csv", b"path,genres\r\na.mp3,Rock"),
        ("notes.csv", b"prices"),
        ("notes.csv", HEADER + b"remember the milk"),
        ("notes.csv", b"\n"),
        ("notes.csv", b"\xff\xfe\x00binary"),
        ("notes.jsonl", b'{"album_id": "a", "genres": ["Rock"]}'),
        ("notes.jsonl", b'{"path": "/music/a.mp3", "rating": 5}'),
        ("notes.jsonl", b'{"path": "/music/a.mp3", "rating": 5}\n'),
        ("notes.jsonl", b"[1, 2]\n3"),
        ("notes.jsonl", b"not json"),
    ],
)
def test_other_files_are_refused_and_left_as_they_are(call, songs, tmp_path, name, content):
    out = tmp_path / name
    out.write_bytes(content)
    with pytest.raises(UserError, match="is not a file of tags") as error:
        call(songs, f"--out={out}")
    assert str(out) in str(error.value)
    assert out.read_bytes() == content


@pytest.mark.parametrize("name", ["tags.xlsx", "tags"])
def test_unknown_format_is_refused(call, songs, tmp_path, name):
    with pytest.raises(UserError, match=r"\.csv or \.jsonl"):
        call(songs, f"--out={tmp_path / name}")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_tags_of_another_run_are_refused(call, songs, run, tmp_path, monkeypatch, suffix):
    out = tmp_path / f"tags{suffix}"
    call(songs / "a_4s.wav", f"--out={out}")
    before = out.read_bytes()
    other = dataclasses.replace(run, names=("other-1", "other-0"))
    monkeypatch.setattr(scorer, "load_run", lambda workdir: other)
    with pytest.raises(UserError, match=f"another run .{run.fingerprint}"):
        call(songs, f"--out={out}")
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_tags_of_the_run_by_its_former_name_are_gone_on_with(call, songs, run, tmp_path, monkeypatch, suffix):  # 14
    out = tmp_path / f"tags{suffix}"
    monkeypatch.setattr(scorer, "load_run", lambda workdir: dataclasses.replace(run, names=(run.names[1], "")))
    call(songs / "a_4s.wav", f"--out={out}")
    before = out.read_bytes()
    monkeypatch.setattr(scorer, "load_run", lambda workdir: run)
    call(songs / "a_4s.wav", songs / "e.aiff", f"--out={out}")
    assert out.read_bytes().startswith(before)
    assert out.read_bytes().count(run.fingerprint.encode()) == 1
    call(songs / "a_4s.wav", songs / "e.aiff", f"--out={out}")
    assert out.read_bytes().count(run.fingerprint.encode()) == 1


def genres_in(folder: Path) -> dict[str, list[str]]:
    mutagen = pytest.importorskip("mutagen")
    return {path.name: list((mutagen.File(path).tags or {}).get("genre", [])) for path in folder.iterdir()}


def test_genres_are_written_into_songs_and_undone(call, tmp_path, capsys):
    folder, out = tmp_path / "music", tmp_path / "tags.csv"
    for name in ("a.flac", "b.ogg", "c.flac"):
        tone(folder / name, 4, seed=ord(name[0]))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "c.flac").chmod(0o444)
    assert call(folder, f"--out={out}", "--write", "--max_genres=2") == tag.EXIT_NOT_WRITTEN
    rows = rows_of(out)
    expected = {name: row["genres"].split(";")[:2] for name, row in rows.items()}
    assert genres_in(folder) == {**expected, "c.flac": []}
    assert "Permission denied" in rows["c.flac"]["error"]
    assert "genres written into 2 songs; 0 have theirs already, 1 could not be written" in capsys.readouterr().out
    (folder / "c.flac").chmod(0o644)
    assert call(folder, f"--out={out}", "--write", "--max_genres=2") == 0
    assert genres_in(folder) == expected
    assert not any(row["error"] for row in rows_of(out).values())
    assert tag.main([f"--undo={tmp_path / 'tags.journal.jsonl'}"]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert "3 songs restored; 0 are as before already; 0 cannot be restored" in capsys.readouterr().out


def test_genres_of_rows_corrected_by_hand_are_written(call, tmp_path):
    song, out = tone(tmp_path / "music" / "a.flac", 4), tmp_path / "tags.csv"
    assert call(song, f"--out={out}") == 0
    genres = rows_of(out)["a.flac"]["genres"]
    out.write_bytes(out.read_bytes().replace(genres.encode(), b"My Genre"))
    assert call(song, f"--out={out}", "--write", f"--journal={tmp_path / 'j'}") == 0
    assert genres_in(song.parent) == {"a.flac": ["My Genre"]}
    assert (tmp_path / "j").exists()
    (song.parent / "a.flac").write_bytes(b"")
    assert tag.main([f"--undo={tmp_path / 'j'}"]) == tag.EXIT_NOT_WRITTEN


def test_folder_without_songs_is_refused(call, tmp_path):
    (tmp_path / "empty" / "notes.txt").parent.mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"empty holds no audio file"):
        call(tmp_path / "empty", f"--out={tmp_path / 'tags.csv'}")
    assert not (tmp_path / "tags.csv").exists()


@pytest.mark.parametrize("out", ["folder.csv", "file/tags.csv"])
def test_place_that_cannot_be_written_is_refused(call, songs, tmp_path, out):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        call(songs, f"--out={tmp_path / out}")
