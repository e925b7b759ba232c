"""`prepare` as its users meet it: whole collections, damaged files, kills, and what is said about them."""

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, SHARED, complain, succeed
from PIL import Image

from mumu_jax.config import AudioSettings, ImageSettings
from mumu_jax.data.manifest import read_labels, read_manifest
from mumu_jax.data.modalities import audio
from mumu_jax.data.preparation.job import Job
from mumu_jax.data.preparation.job import prepare as prepare_job
from mumu_jax.data.preparation.summary import Summary
from mumu_jax.data.store import records as store
from mumu_jax.data.store import shards
from mumu_jax.errors import UserError

GENRES = ("Jazz", "Pop", "Rock")


def prepare(
    source: str, path: Path, data_dir: Path, workers: int, shard_records: int | None = None, for_each=None
) -> Summary:
    return prepare_job(Job(source, path, data_dir, workers, shard_records=shard_records, for_each=for_each))


def make_collection(folder: Path, n_albums: int = 9, seconds: float = 1.5) -> Path:
    """A manifest of albums of one track each, and their audio beside it; every third album in each split."""
    lines = []
    for a in range(n_albums):
        rng = np.random.default_rng(a)
        soundfile.write(folder / f"{a}.flac", 0.1 * rng.standard_normal(round(seconds * 22_050)), 22_050)
        lines.append(
            {
                "album_id": f"A{a}",
                "split": ("train", "val", "test")[a % 3],
                "genres": [GENRES[a % 3]],
                "tracks": [{"track_id": f"T{a}", "audio": f"{a}.flac"}],
            }
        )
    manifest = folder / "collection.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


def rejected(data_dir: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data_dir / "rejected.jsonl").read_text().splitlines()]


def prepared_bytes(data_dir: Path) -> dict[str, bytes]:
    """All that a network can see of the data, and what describes it."""
    names = ("mumu-*", "prepared.json", "statistics.npz", "features.json", "dataset_info.json")
    return {path.name: path.read_bytes() for name in names for path in (data_dir / "audio").glob(name)}


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(shards, "map_in_order", lambda call, items, workers, on_death: (call(item) for item in items))


# --- the command --------------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.skipif(not SHARED.is_dir(), reason="the nine real songs of ../shared are not here")
def test_the_nine_real_songs(tmp_path):
    command = ("mumu_jax.prepare", "--source=tartarus", f"--input={SHARED / 'super'}", f"--data_dir={tmp_path}")
    first = succeed(*command, "--workers=2")
    assert "18 items read" in first.stdout
    assert "3 genres, by albums: Cumbia 3; Merengue 3; Reggaeton 3" in first.stdout
    assert "preparing audio: 9/9" in first.stderr
    assert rejected(tmp_path) == []
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 9
    labels = read_labels(tmp_path / "labels.json")
    prepared = store.open_prepared(tmp_path, AudioSettings())
    assert prepared.labels == labels
    records = [record for split in ("train", "val", "test") for record in prepared.split(split)]
    assert len(records) == 9
    silent = [record for record in records if (record["cqt"] == -80).all()]
    assert [record["track_id"] for record in silent] == ["S8"]
    (line,) = map(json.loads, (tmp_path / "silent.jsonl").read_text().splitlines())  # 45
    assert (line["modality"], line["track_id"], line["reason"]) == ("audio", "S8", "silent")
    assert line["file"].endswith(".mp3")
    assert f"silent songs are kept, and listed in {tmp_path / 'silent.jsonl'}" in first.stdout
    assert all(len(record["cqt"]) == pytest.approx(646, abs=3) for record in records)
    assert [line.split() for line in first.stdout.splitlines()[1:4]] == [
        ["train", "3", "3", "0", "0", "0", "0.03"],
        ["val", "3", "3", "0", "0", "0", "0.03"],
        ["test", "3", "3", "0", "0", "1", "0.03"],
    ]

    again = succeed(*command)
    assert "nothing to do" in again.stdout

    quick = ("--config=audio_low_4x96", "--config.optim.max_epochs=2", "--config.album_optim.max_epochs=2")
    succeed("mumu_jax.train", *quick, f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}")
    result = json.loads((tmp_path / "run" / "eval_test.json").read_text())
    for level in ("track", "album"):
        assert result[level]["n_items"] == result[level]["n_labels"] == 3
        assert all(value is not None and math.isfinite(value) for value in result[level].values())


def test_damaged_files_are_listed_and_the_rest_is_prepared(tmp_path):
    manifest = make_collection(tmp_path, 12)
    (tmp_path / "0.flac").write_text("<html>404</html>")
    (tmp_path / "1.flac").write_bytes(b"")
    (tmp_path / "2.flac").write_bytes((tmp_path / "2.flac").read_bytes()[:20_000])
    soundfile.write(tmp_path / "3.flac", np.full(30_000, np.nan), 22_050, format="WAV", subtype="FLOAT")
    (tmp_path / "4.flac").unlink()
    soundfile.write(tmp_path / "5.flac", np.zeros(30_000), 22_050)
    command = ("mumu_jax.prepare", "--source=manifest", f"--input={manifest}", f"--data_dir={tmp_path / 'out'}")

    complain(
        *command, says=["4 of 11 files are damaged (audio, 36%, above --max_bad=0.05)", "the rest is prepared"], code=3
    )
    assert {line["track_id"]: line["reason"] for line in rejected(tmp_path / "out")} == {
        **{"T0": "not_audio", "T1": "empty", "T2": "truncated", "T3": "nan"}
    }
    keys = {"modality", "album_id", "track_id", "file", "reason", "detail"}
    assert all(set(line) == keys for line in rejected(tmp_path / "out"))
    prepared = store.open_prepared(tmp_path / "out", AudioSettings())
    assert sum(len(prepared.split(split)) for split in ("train", "val", "test")) == 7

    tolerant = succeed(*command, "--max_bad=0.4")
    assert "rejected: 1 empty, 1 nan, 1 not_audio, 1 truncated" in tolerant.stdout
    assert Counter(tolerant.stdout.split())["1"] >= 6  # one silent and one missing among them
    assert "nothing to do" in tolerant.stdout


@pytest.mark.parametrize(
    ("n_bad", "n_good", "max_bad", "too_many"),
    [(3, 1, 0.05, False), (4, 76, 0.05, False), (4, 75, 0.05, True), (4, 0, 1.0, False), (4, 96, 0.0, True)],
)
def test_too_many_bad(n_bad, n_good, max_bad, too_many):
    audio = {"train": {"records": n_good, "missing": 1000, "rejected": n_bad}}
    text = {"train": {"records": 10_000, "missing": 0, "rejected": 0}}  # does not make audio better
    summary = Summary(Path(), {"audio": audio, "text": text}, {}, {"nan": n_bad}, 0, 0.0, max_bad)
    assert bool(summary.too_bad) == too_many


def test_wrong_use_ends_with_one_line(tmp_path):
    out = f"--data_dir={tmp_path / 'out'}"
    complain("mumu_jax.prepare", "--source=folders", out, says=["no source 'folders'", "'folder'"])
    complain("mumu_jax.prepare", "--source=folder", f"--input={tmp_path / 'no'}", out, says=["no"])
    manifest = make_collection(tmp_path, 3)
    (tmp_path / "file").touch()
    in_file = f"--data_dir={tmp_path / 'file'}"
    complain("mumu_jax.prepare", "--source=manifest", f"--input={manifest}", in_file, says=["cannot use", "file"])


@pytest.fixture
def sigint_not_ignored():
    """Tests that run in the background of a script inherit a SIGINT that is ignored, and hand it on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_quietly(tmp_path, sigint_not_ignored):
    manifest = make_collection(tmp_path, 80, seconds=20)
    command = [*("-m", "mumu_jax.prepare", "--source=manifest", f"--input={manifest}", "--workers=2")]
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, *command, f"--data_dir={out}"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=REPOSITORY,
    )
    wait_for(lambda: list(out.glob("audio/.mumu-*")))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.strip() == "interrupted; give the same command again"  # 30: true of every command
    assert not list(out.glob("audio/.mumu-*"))


# --- kills and changes --------------------------------------------------------------------------------------


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def prepare_in_process(manifest: Path, data_dir: Path) -> subprocess.Popen:
    code = (
        "from pathlib import Path; from mumu_jax.data.preparation.job import Job, prepare\n"
        f"prepare(Job('manifest', Path({str(manifest)!r}), Path({str(data_dir)!r}), 2, shard_records=2))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_killed_and_continued_equals_uninterrupted(tmp_path, in_this_process):
    manifest = make_collection(tmp_path, 24, seconds=4)
    prepare("manifest", manifest, tmp_path / "whole", 1, shard_records=2)

    killed = tmp_path / "killed"
    for n_finished in (2, 6):
        process = prepare_in_process(manifest, killed)
        wait_for(lambda n=n_finished: len(list(killed.glob("audio/sidecars/mumu-*"))) >= n)
        process.kill()
        process.wait()
        assert not (killed / "audio" / "prepared.json").exists()
        with pytest.raises(UserError, match="is not finished"):
            store.open_prepared(killed, AudioSettings())
    n_there = len(list(killed.glob("audio/sidecars/mumu-*")))
    (killed / "audio" / ".mumu-train.array_record-00000-of-00004.part").write_text("half")

    summary = prepare("manifest", manifest, killed, 1, shard_records=2)
    assert 0 < summary.n_new <= 24 - 2 * n_there + 2  # a shard without its sidecar is made again
    assert prepared_bytes(killed) == prepared_bytes(tmp_path / "whole")
    assert not list((killed / "audio").glob(".*"))


def test_another_collection_in_the_same_folder(tmp_path, in_this_process):
    for name, n in (("a", 9), ("b", 5)):
        (tmp_path / name).mkdir()
        make_collection(tmp_path / name, n)
    out = tmp_path / "out"
    assert prepare("manifest", tmp_path / "a" / "collection.jsonl", out, 1, shard_records=2).n_new == 9
    assert prepare("manifest", tmp_path / "b" / "collection.jsonl", out, 1, shard_records=2).n_new == 5
    fresh = tmp_path / "fresh"
    prepare("manifest", tmp_path / "b" / "collection.jsonl", fresh, 1, shard_records=2)
    assert prepared_bytes(out) == prepared_bytes(fresh)


def test_a_file_that_was_missing_is_prepared_when_it_is_there(tmp_path, in_this_process):
    manifest = make_collection(tmp_path)
    (tmp_path / "4.flac").rename(tmp_path / "elsewhere.flac")
    summary = prepare("manifest", manifest, tmp_path / "out", 1)
    assert summary.splits["audio"]["val"]["missing"] == 1
    assert not summary.too_bad
    assert sum(split["records"] for split in summary.splits["audio"].values()) == 8
    (tmp_path / "elsewhere.flac").rename(tmp_path / "4.flac")
    summary = prepare("manifest", manifest, tmp_path / "out", 1)
    assert summary.splits["audio"]["val"]["missing"] == 0
    assert summary.n_new == 1
    assert prepare("manifest", manifest, tmp_path / "out", 1).n_new == 0


def test_a_mistyped_input_does_not_replace_other_data(tmp_path, in_this_process):
    """Nothing in common with what is there: refused before anything is touched."""
    prepare("manifest", make_collection(tmp_path), tmp_path / "out", 1)
    before = prepared_bytes(tmp_path / "out")
    (tmp_path / "other" / "Rock").mkdir(parents=True)
    (tmp_path / "other" / "Rock" / "song.flac").write_bytes((tmp_path / "0.flac").read_bytes())
    with pytest.raises(UserError, match=r"out holds other data: none of its \d+ albums .* give another --data_dir"):
        prepare("folder", tmp_path / "other", tmp_path / "out", 1)
    assert prepared_bytes(tmp_path / "out") == before


def test_albums_that_the_source_no_longer_has_are_counted(tmp_path, in_this_process):
    manifest = make_collection(tmp_path)
    assert "were prepared before" not in str(prepare("manifest", manifest, tmp_path / "out", 1))
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[2:]))
    said = "2 albums that were prepared before are not in this source: they have left the data"
    assert said in str(prepare("manifest", manifest, tmp_path / "out", 1))


def test_a_decoder_that_crashes_or_fails_costs_its_file(tmp_path, monkeypatch):
    manifest = make_collection(tmp_path)
    track_cqt = audio.track_cqt

    def fail_on_3(path: Path, settings: AudioSettings):
        if path.name == "3.flac":
            raise MemoryError("8 EB")
        return track_cqt(path, settings)

    def die_on_4(call, items, workers, on_death):
        return (on_death(path) if path.name == "4.flac" else call(path) for path in items)

    monkeypatch.setattr(audio, "track_cqt", fail_on_3)
    monkeypatch.setattr(shards, "map_in_order", die_on_4)
    assert prepare("manifest", manifest, tmp_path / "out", 1).rejected == {"crashed": 2}
    assert [(line["track_id"], line["detail"]) for line in rejected(tmp_path / "out")] == [
        ("T3", "MemoryError: 8 EB"),
        ("T4", "the process that read it died, or was stopped after 30 minutes, twice"),
    ]


# --- covers -------------------------------------------------------------------------------------------------


def make_covers(folder: Path, n: int = 24) -> Path:
    """A folder of genres with covers of 80 × 80 pixels in each, which share nothing."""
    for i in range(n):
        blocks = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        path = folder / GENRES[i % 3] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks).resize((80, 80)).save(path)
    return folder


@pytest.mark.full
def test_a_folder_of_covers(tmp_path):
    covers = make_covers(tmp_path / "covers")
    (covers / "Jazz" / "html.jpg").write_text("<html>404</html>")
    Image.new("RGB", (1, 1)).save(covers / "Pop" / "none.gif")
    with Image.open(covers / "Jazz" / "00.png") as image:
        image.resize((70, 70)).save(covers / "Rock" / "again.jpg")
    command = ("mumu_jax.prepare", "--source=covers", f"--input={covers}", f"--data_dir={tmp_path / 'out'}")
    said = succeed(*command, "--workers=2", "--image.side_px=64").stdout
    assert "audio   none: the source names no audio" in said
    assert "rejected: 1 duplicate, 1 placeholder, 1 unreadable; each is listed in" in said
    assert "3 genres, by albums: Jazz 9; Pop 9; Rock 8" in said
    assert "look like one of another split" not in said
    assert "26 items read" in said
    assert [Path(line["file"]).name for line in rejected(tmp_path / "out")] == ["again.jpg", "html.jpg", "none.gif"]
    assert not (tmp_path / "out" / "duplicates.jsonl").exists()
    prepared = store.open_prepared(tmp_path / "out", ImageSettings(64))
    records = [record for split in ("train", "val", "test") for record in prepared.split(split)]
    assert {record["image"].shape for record in records} == {(64, 64, 3)}
    assert sorted(record["album_id"] for record in records) == [
        f"{GENRES[i]}/{j:02d}" for i in (0, 1, 2) for j in range(i, 24, 3)
    ]
    assert "nothing to do" in succeed(*command, "--image.side_px=64").stdout
    complain(*command, says=["was prepared with image.side_px=64, not 256"])


def test_pictures_of_more_than_one_split_are_listed(tmp_path, in_this_process):
    """Three of other splits than the first, of which one is small and one is of the same split."""
    covers = make_covers(tmp_path / "covers", 6)
    with Image.open(covers / "Jazz" / "00.png") as image:
        image.resize((60, 60)).save(tmp_path / "small.jpg")
    rows = [("A", "train", "Jazz/00.png"), ("B", "train", "Pop/01.png"), ("C", "val", "Rock/02.png")]
    rows += [("D", "val", "../small.jpg"), ("E", "test", "Jazz/00.png"), ("F", "test", "Rock/02.png")]
    rows += [("G", "train", "Pop/01.png"), ("H", "test", "no.png"), ("I", "val", None)]
    manifest = covers / "collection.jsonl"

    def write(rows: Sequence[tuple[str, str, str | None]]) -> None:
        albums = [{"album_id": a, "split": s, "genres": ["Jazz"], "tracks": [], "cover": c} for a, s, c in rows]
        manifest.write_text("".join(json.dumps(album) + "\n" for album in albums))

    write(rows)
    job = Job("manifest", manifest, tmp_path / "out", 1, shard_records=2)
    said, path = str(prepare_job(job)), tmp_path / "out" / "duplicates.jsonl"
    kinds = "alike: 1 of val in train; same file: 1 of test in train; same file: 1 of test in val; "
    kinds += "same file: 1 of val in test"
    assert f"4 covers of val and test look like one of another split ({kinds}); each is listed in {path}" in said
    wanted = [("C", "val", "F", "test", "same file"), ("D", "val", "A", "train", "alike")]
    wanted += [("E", "test", "A", "train", "same file"), ("F", "test", "C", "val", "same file")]
    keys = ("album_id", "split", "like", "like_split", "kind")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"modality": "image"} | dict(zip(keys, one, strict=True)) for one in wanted
    ]
    assert [line["album_id"] for line in missing(tmp_path / "out")] == ["I", "H"]
    assert str(prepare_job(job)).splitlines()[:-1] == said.splitlines()[:-1]  # from the sidecars
    write(rows[:3])
    assert "of another split" not in str(prepare_job(job))
    assert not path.exists()


# --- what cannot be done ------------------------------------------------------------------------------------


def test_nothing_to_prepare(tmp_path, in_this_process):  # 21
    manifest = make_collection(tmp_path)
    for a in range(9):
        (tmp_path / f"{a}.flac").unlink()
    with pytest.raises(UserError, match=r"^none of the 9 audio files exists \(first: .*0\.flac\); check --input$"):
        prepare("manifest", manifest, tmp_path / "out", 1)
    for a in range(1, 9):
        (tmp_path / f"{a}.flac").write_text("no sound")
    says = r"8 files were rejected and 1 are missing \(first rejected: .*3\.flac, not_audio: .*see .*rejected\.jsonl"
    with pytest.raises(UserError, match=says):
        prepare("manifest", manifest, tmp_path / "out", 1)
    assert len(rejected(tmp_path / "out")) == 8
    with pytest.raises(UserError, match="is not finished"):
        store.open_prepared(tmp_path / "out", AudioSettings())
    (tmp_path / "others").mkdir()  # a call that prepared nothing does not claim the folder
    prepare("manifest", renamed(make_collection(tmp_path / "others")), tmp_path / "out", 1)


def renamed(manifest: Path) -> Path:
    """Give the collection's albums other ids."""
    manifest.write_text(manifest.read_text().replace('"A', '"B'))
    return manifest


def test_two_at_once_are_refused(tmp_path, in_this_process):
    manifest = make_collection(tmp_path, 3)
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is preparing"):
            prepare("manifest", manifest, tmp_path / "out", 1)
    prepare("manifest", manifest, tmp_path / "out", 1)


# --- one modality after the other ---------------------------------------------------------------------------


def with_texts(manifest: Path) -> Path:
    """The same collection, each album with a text."""
    lines = [json.loads(line) | {"text": f"album {i}"} for i, line in enumerate(manifest.read_text().splitlines())]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


def test_modalities_that_are_not_named_stay_with_their_lines(tmp_path, in_this_process):
    manifest = with_texts(make_collection(tmp_path))
    (tmp_path / "4.flac").write_text("no sound")
    (tmp_path / "5.flac").unlink()
    job = Job("manifest", manifest, tmp_path / "out", 1)
    prepare_job(job)
    before, lists = prepared_bytes(tmp_path / "out"), [rejected(tmp_path / "out"), missing(tmp_path / "out")]
    summary = prepare_job(replace(job, modalities=("text",)))
    assert set(summary.splits) == {"text"}
    assert summary.n_new == 0
    assert prepared_bytes(tmp_path / "out") == before
    assert [rejected(tmp_path / "out"), missing(tmp_path / "out")] == lists
    assert [line["modality"] for of in lists for line in of] == ["audio", "audio"]


def missing(data_dir: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data_dir / "missing.jsonl").read_text().splitlines()]


def test_a_modality_left_behind_by_new_splits_is_not_trained_on(tmp_path, in_this_process):
    manifest = with_texts(make_collection(tmp_path))
    job = Job("manifest", manifest, tmp_path / "out", 1)
    prepare_job(job)
    manifest.write_text(
        manifest.read_text().replace('"test"', '"?"').replace('"train"', '"test"').replace('"?"', '"train"')
    )
    prepare_job(replace(job, modalities=("text",)))
    arguments = ("--config=audio_low_4x96", f"--data_dir={tmp_path / 'out'}", f"--workdir={tmp_path / 'run'}")
    says = ["audio was prepared with other albums, splits or genres", "audio among its --modalities"]
    complain("mumu_jax.train", *arguments, says=says)


def test_files_that_are_all_gone_do_not_empty_what_was_prepared(tmp_path, in_this_process):
    manifest = make_collection(tmp_path)
    prepare("manifest", manifest, tmp_path / "out", 1)
    before = prepared_bytes(tmp_path / "out")
    for path in tmp_path.glob("*.flac"):
        path.rename(path.with_suffix(".away"))
    with pytest.raises(
        UserError, match=r"audio has 9 tracks, but all of their files are missing now \(first: .*0\.flac"
    ):
        prepare("manifest", manifest, tmp_path / "out", 1)
    assert prepared_bytes(tmp_path / "out") == before


def test_folders_that_the_source_does_not_use(tmp_path):
    job = Job("manifest", make_collection(tmp_path), tmp_path / "out", folders={"msd": tmp_path})
    says = r"--msd_dir is for --source=mumu, msd_lastfm, msdi; manifest names its own files: leave it out"
    with pytest.raises(UserError, match=says):
        prepare_job(job)
    with pytest.raises(UserError, match=r"--entities_dir=.* has 0 \.json files, but no file is named after an album"):
        prepare_job(replace(job, folders={"entities": tmp_path}))
    with pytest.raises(UserError, match=r"cannot read --gazetteer=.*: Is a directory; give a file"):
        prepare_job(replace(job, folders={}, gazetteer=tmp_path))
    with pytest.raises(UserError, match=r"the source names no timbre; check --input, or choose other --modalities"):
        prepare_job(replace(job, folders={}, modalities=("timbre",)))
