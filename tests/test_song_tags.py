"""Tests of genres in songs' own tags: read back by mutagen, the sound unchanged, and undone byte for byte."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import run_python

from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode
from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.errors import UserError
from mumu_jax.runs import journal, song_options, song_writer
from mumu_jax.runs.delta import difference, restored
from mumu_jax.runs.song_writer import SongWriter, Writing

mutagen = pytest.importorskip("mutagen")
pytest.importorskip("av")
from encoded import encode  # noqa: E402  needs av
from mutagen.id3 import ID3, TCON, TIT2  # noqa: E402  comes with the extra
from mutagen.mp4 import MP4  # noqa: E402

SR_HZ = 22_050
NAMES = ["x.mp3", "x.aiff", "x.wav", "x.flac", "x.ogg", "x.opus", "x.m4a", "x.wma", "x.wv"]
FOUND = ["Jazz", "Bebop", "Größe"]


def make(path: Path) -> Path:
    y = np.random.default_rng(0).uniform(-0.3, 0.3, (2 * SR_HZ, 1)).astype(np.float32)
    if path.suffix in (".m4a", ".wma", ".wv"):
        codec = {".m4a": "aac", ".wma": "wmav2", ".wv": "wavpack"}[path.suffix]
        return encode(path, y, SR_HZ, codec, container="asf" if path.suffix == ".wma" else None)
    how = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, y, 24_000, **how)
    return path


def give(path: Path, *genres: str) -> Path:
    """Let a song have genres, and a title, by mutagen alone."""
    song = mutagen.File(path)
    if song.tags is None:
        song.add_tags()
    if isinstance(song.tags, ID3):
        song.tags.setall("TCON", [TCON(encoding=3, text=list(genres))])
        song.tags.setall("TIT2", [TIT2(encoding=3, text=["Song"])])
    else:
        key = {".m4a": "\xa9gen", ".wma": "WM/Genre", ".wv": "Genre"}.get(path.suffix, "genre")
        song[key] = list(genres)
    song.save()
    return path


def genres_of(path: Path) -> list[str]:
    """Return what another program finds."""
    song = mutagen.File(path)
    if isinstance(song.tags, ID3):
        return [genre for frame in song.tags.getall("TCON") for genre in frame.genres]
    key = {".m4a": "\xa9gen", ".wma": "WM/Genre", ".wv": "Genre"}.get(path.suffix, "genre")
    return [str(value) for value in (song.tags or {}).get(key, [])]


def samples(path: Path) -> np.ndarray:
    return np.concatenate(list(decode.decode(path, SR_HZ)))


def write(path: Path, mode: str = "empty", n: int = 3, separator: str | None = None, dry: bool = False) -> str:
    """Write FOUND into a song; return the error."""
    with SongWriter(Writing(mode, n, separator, dry), path.parent / "journal.jsonl") as writer:
        return writer.write(path, FOUND)


def undo(path: Path) -> list[str]:
    return [outcome for _, outcome, _ in journal.undo(path.parent / "journal.jsonl")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [(), ("Rock", "Pop")])
def test_genres_are_written_and_undone_in_every_format(tmp_path, name, given):
    path = make(tmp_path / name)
    if given:
        give(path, *given)
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    path.chmod(0o640)
    old, sound, status = path.read_bytes(), samples(path), path.stat()
    assert write(path, "append" if given else "empty") == ""
    assert genres_of(path) == [*given, *FOUND]
    np.testing.assert_array_equal(samples(path), sound)
    after = path.stat()
    assert (after.st_mtime_ns, after.st_mode) == (status.st_mtime_ns, status.st_mode)
    assert undo(path) == [journal.RESTORED]
    assert path.read_bytes() == old
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert undo(path) == [journal.AS_BEFORE]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["x.mp3", "x.flac", "x.m4a"])
def test_modes(tmp_path, name):
    path = give(make(tmp_path / name), "Jazz", "Rock")
    before = path.read_bytes()
    assert write(path) == ""
    assert path.read_bytes() == before  # it has genres
    assert write(path, "append", n=2) == ""
    assert genres_of(path) == ["Jazz", "Rock", "Bebop"]
    assert write(path, "append", separator="; ") == ""
    assert genres_of(path) == ["Jazz; Rock; Bebop; Größe"]
    changed = path.read_bytes()
    assert write(path, "append", separator="; ") == ""
    assert path.read_bytes() == changed  # all are there
    assert write(path, "replace", n=1) == ""
    assert genres_of(path) == ["Jazz"]
    assert undo(path) == 3 * [journal.RESTORED]
    assert path.read_bytes() == before


def test_a_blank_genre_is_none(tmp_path):
    path = give(make(tmp_path / "x.flac"), " ")
    assert write(path, n=1) == ""
    assert genres_of(path) == ["Jazz"]


def test_id3_of_an_earlier_version_and_at_both_ends(tmp_path):
    path = make(tmp_path / "x.mp3")
    tags = ID3()
    tags.add(TIT2(encoding=1, text=["Song"]))
    tags.save(path, v1=2, v2_version=3)
    old, sound = path.read_bytes(), samples(path)
    assert old[-128:-125] == b"TAG"
    assert write(path, n=1) == ""
    assert ID3(path).version == (2, 4, 0)
    assert str(ID3(path)["TIT2"]) == "Song"
    np.testing.assert_array_equal(samples(path), sound)
    assert (tmp_path / "journal.jsonl").stat().st_size < 6_000  # not the sound
    assert undo(path) == [journal.RESTORED]
    assert path.read_bytes() == old


def test_ogg_whose_pages_are_numbered_again(tmp_path):
    path = make(tmp_path / "x.ogg")
    song = mutagen.File(path)
    song["metadata_block_picture"] = ["A" * 64_950]
    song.save(padding=lambda info: 0)
    old, sound = path.read_bytes(), samples(path)
    with SongWriter(Writing("empty", 1, None, False), tmp_path / "journal.jsonl") as writer:
        assert writer.write(path, ["long " * 60]) == ""
    np.testing.assert_array_equal(samples(path), sound)
    assert undo(path) == [journal.RESTORED]
    assert path.read_bytes() == old


def test_a_dry_run_changes_nothing(tmp_path, capsys):
    path = make(tmp_path / "x.mp3")
    before = path.read_bytes()
    assert write(path, n=2, dry=True) == ""
    assert path.read_bytes() == before
    assert capsys.readouterr().out == f"{path}: would write Jazz | Bebop (has no genre)\n"
    assert not (tmp_path / "journal.jsonl").exists()


def test_names_of_any_bytes_and_links(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\\xe9\n" + b"x" * 235 + b".wav"))
    path.write_bytes(make(tmp_path / "x.wav").read_bytes())
    link = tmp_path / "link.wav"
    link.symlink_to(path)
    old = path.read_bytes()
    assert write(link, n=1) == ""
    assert link.is_symlink()
    assert genres_of(path) == ["Jazz"]
    assert undo(link) == [journal.RESTORED]
    assert path.read_bytes() == old


def test_a_song_that_was_changed_since_is_left(tmp_path):
    first, second = make(tmp_path / "a.flac"), make(tmp_path / "b.flac")
    old = second.read_bytes()
    assert write(first) == write(second) == ""
    give(first, "Mine")
    changed = first.read_bytes()
    outcomes = {song.name: (outcome, is_well) for song, outcome, is_well in journal.undo(tmp_path / "journal.jsonl")}
    assert outcomes["b.flac"] == (journal.RESTORED, True)
    assert outcomes["a.flac"][0].startswith("was changed since and is left as it is")
    assert not outcomes["a.flac"][1]
    assert (first.read_bytes(), second.read_bytes()) == (changed, old)


def test_read_only_files_and_missing_ones(tmp_path):
    path = make(tmp_path / "x.mp3")
    old = path.read_bytes()
    path.chmod(0o444)
    assert write(path).startswith(f"not written: cannot use {path}: Permission denied")
    assert path.read_bytes() == old
    assert "No such file" in write(tmp_path / "gone.mp3")
    assert not (tmp_path / "journal.jsonl").exists()
    path.chmod(0o644)
    assert write(path) == ""
    path.chmod(0o444)
    assert "Permission denied" in undo(path)[0]


@pytest.mark.parametrize("name", ["x.aac", "x.mka", "x.au", "x.mp3", "x.flac"])
def test_what_mutagen_cannot_write_is_an_error(tmp_path, name):
    path = tmp_path / name
    if name in ("x.aac", "x.mka"):
        encode(path, np.zeros((SR_HZ, 1), np.float32), SR_HZ, "aac")
    elif name == "x.au":
        make(path)
    else:
        path.write_bytes(b"fLaC" + b"\xff\0" * 500)
    old = path.read_bytes()
    assert write(path).startswith("not written: mutagen ")
    assert path.read_bytes() == old


@pytest.mark.parametrize("where", ["copyfile", "fsync"])
def test_a_full_disk_is_the_song_s_error(tmp_path, where, monkeypatch):
    path = make(tmp_path / "x.flac")
    old = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(song_writer.shutil if where == "copyfile" else journal.os, where, fail)
    assert "No space left on device" in write(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["x.flac"]
    monkeypatch.undo()
    assert write(path) == ""


KILLED = """
import os, sys
from pathlib import Path
from mumu_jax.runs.song_writer import SongWriter, Writing
path, moment = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def die(event, _):
    global calls
    if event in ("open", "os.rename", "os.chmod", "os.utime", "os.truncate", "shutil.copyfile", "shutil.copystat"):
        calls += 1
        if calls == moment:
            os._exit(9)
with SongWriter(Writing("empty", 1, None, False), path.parent / "journal.jsonl") as writer:
    writer.write(path.parent / "first.flac", ["Jazz"])  # imports are done
    sys.addaudithook(die)
    writer.write(path, ["Jazz"])
"""


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file(tmp_path):
    path = make(tmp_path / "x.flac")
    old = path.read_bytes()
    first = make(tmp_path / "first.flac").read_bytes()
    for moment in range(1, 100, 2):
        (tmp_path / "first.flac").write_bytes(first)
        done = run_python("-c", KILLED, path, str(moment))
        lines = (tmp_path / "journal.jsonl").read_text().splitlines()
        changed = path.read_bytes() != old
        assert not changed or (genres_of(path) == ["Jazz"] and json.loads(lines[-1])["path"] == str(path))
        undo(path)
        assert path.read_bytes() == old
        if done.returncode == 0:
            break
        assert done.returncode == 9
    assert 5 < moment < 99
    assert changed


def test_a_line_that_a_kill_cut_off_is_none(tmp_path):
    path = make(tmp_path / "x.flac")
    old = path.read_bytes()
    assert write(path, n=1) == ""
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"path": "/some/song", "mtime')
    assert write(path, "replace", n=2) == ""
    assert undo(path) == [journal.RESTORED, journal.RESTORED]
    assert path.read_bytes() == old


@pytest.mark.parametrize("content", [b"a song", b'{"path": 1}\n', b"path,genres\r\n"])
def test_another_file_is_no_journal(tmp_path, content):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a journal"):
        journal.Journal(path)
    with pytest.raises(UserError, match="is not a journal"):
        list(journal.undo(path))
    assert path.read_bytes() == content


def test_a_damaged_line_restores_nothing(tmp_path):
    path = make(tmp_path / "x.flac")
    assert write(path) == ""
    new = path.read_bytes()
    line = json.loads((tmp_path / "journal.jsonl").read_text())
    line["steps"] = line["steps"][:-1]
    (tmp_path / "journal.jsonl").write_text(json.dumps(line) + "\n")
    assert undo(path) == ["cannot be restored: its line of the journal is damaged"]
    assert path.read_bytes() == new


def test_differences_restore_any_bytes():
    rng = np.random.default_rng(0)
    for _ in range(200):
        old = rng.bytes(rng.integers(0, 3000)) + bytes(rng.integers(0, 200))
        a, b = sorted(rng.integers(0, len(old) + 1, 2))
        new = old[:a] + rng.bytes(rng.integers(0, 100)) + old[b:] if rng.integers(4) else rng.bytes(50)
        steps = json.loads(json.dumps(difference(new, old)))
        assert b"".join(restored(new, steps)) == old
        if len(new) > 50 and len(old) - b > 100:
            assert len(re.sub(r"\W", "", json.dumps(steps))) < 8 * (b - a) + 600


def test_options_go_together(capsys):
    parser = song_options.argparse.ArgumentParser()
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--top_k", type=int, default=5)
    parser.add_argument("--all_tags", action="store_true")
    song_options.add_writing_options(parser)
    for given, expected in [
        ([], "found none"),
        (["a.mp3", "--append"], "need --write"),
        (["a.mp3", "--write", "--max_genres=9"], "give --top_k"),
        (["a.mp3", "--write", "--all_tags"], "leave one of them out"),
    ]:
        with pytest.raises(SystemExit):
            song_options.check_options(parser, parser.parse_args(given))
        assert expected in capsys.readouterr().err
    arguments = parser.parse_args(["a.mp3", "--write", "--out=x.csv"])
    song_options.check_options(parser, arguments)
    with pytest.raises(UserError, match="is for runs that see songs, and this one sees text alone"):
        song_options.open_writer(
            arguments,
            {"text": Reader(".txt", MODALITIES["text"].is_one, lambda path: Read(path, []), True, lambda path: False)},
        )


def test_mp4_keeps_its_other_tags(tmp_path):
    path = make(tmp_path / "x.m4a")
    song = MP4(path)
    song["\xa9nam"] = ["Name"]
    song.save()
    assert write(path, "replace", n=1) == ""
    assert (MP4(path)["\xa9nam"], MP4(path)["\xa9gen"]) == (["Name"], ["Jazz"])
