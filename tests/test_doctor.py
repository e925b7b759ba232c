"""Faults planted in a small MuMu: each is found, and none where there is none."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import complain, run_module, succeed
from mumu_fixture import write_mumu

from mumu_jax.data.manifest import Album
from mumu_jax.data.preparation.diagnosis import Diagnosis, diagnose
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Request
from mumu_jax.data.sources.mumu.release import GENRE_LABELS as LABELS
from mumu_jax.data.sources.mumu.release import METADATA, REVIEWS, SINGLE_LABEL_CSV
from mumu_jax.data.sources.mumu.release import MULTI_LABEL_CSV as CSV
from mumu_jax.errors import UserError

TRAIN, VAL = ("splits/items_index_train_MuMu-albums.tsv", "splits/items_index_val_MuMu-albums.tsv")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 438000000\n"
HTML = b"<!DOCTYPE html>\n<html><body>Sign in to download</body></html>\n"

Plant = Callable[[Path], object]


def write(name: str, data: bytes) -> Plant:
    return lambda folder: (folder / name).write_bytes(data)


def edit(name: str, change: Callable[[bytes], bytes]) -> Plant:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def edit_lines(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Plant:
    return edit(name, lambda data: b"".join(change(data.splitlines(keepends=True))))


def remove(*names: str) -> Plant:
    def plant(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return plant


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def overwrite_two(name: str, data: bytes) -> Plant:
    return lambda folder: [path.write_bytes(data) for path in files(folder / name)[:2]]


def rename(name: str, change: Callable[[Path], str]) -> Plant:
    return lambda folder: [path.rename(path.with_name(change(path))) for path in files(folder / name)]


def copy_to_end(source: str, target: str, line: int) -> Plant:
    def plant(folder: Path) -> None:
        lines = (folder / source).read_bytes().splitlines(keepends=True)
        with (folder / target).open("ab") as file:
            file.write(lines[line])

    return plant


def other_album(lines: list[bytes]) -> list[bytes]:
    """The last album's first track is listed on the first album too."""
    return [*lines, lines[1].split(b",")[0] + b"," + lines[-1].split(b",", 1)[1]]


def without_timbre(folder: Path) -> None:
    for path in files(folder / "msd")[:2]:
        with h5py.File(path, "w") as file:
            file["analysis/segments_pitches"] = np.zeros((3, 12))


def write_rows(shape: tuple[int, int]) -> Plant:
    def plant(folder: Path) -> None:
        shutil.copy(folder / LABELS, folder / "splits" / "genre_labels_MuMu-albums.tsv")
        np.save(folder / "splits" / "y_val_class_8_MuMu-albums.npy", np.zeros(shape))

    return plant


def pack(folder: Path) -> None:
    remove(CSV, SINGLE_LABEL_CSV, METADATA)(folder)
    (folder / "MuMu_dataset.zip").write_bytes(b"PK\x03\x04")


def gzip_in_place(folder: Path) -> None:
    (folder / REVIEWS).write_bytes(gzip.compress((folder / REVIEWS).read_bytes()))


def clear(name: str) -> Plant:
    def plant(folder: Path) -> None:
        remove(name)(folder)
        (folder / name).mkdir()

    return plant


# What is planted; severity, path and words of what must be found.
FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "no_tables": (remove(CSV, SINGLE_LABEL_CSV, METADATA), "error", ".", "none of them"),
    "not_unpacked": (pack, "note", ".", "MuMu_dataset.zip"),
    "half_downloaded": (
        lambda folder: (folder / REVIEWS).rename(folder / f"{REVIEWS}.part"),
        *("warning", ".", f"{REVIEWS}.part"),
    ),
    # the CSV file
    "csv_empty": (write(CSV, b""), "error", CSV, "an empty file"),
    "csv_web_page": (write(CSV, HTML), "error", CSV, "a web page"),
    "csv_pointer": (write(CSV, LFS), "error", CSV, "Git LFS pointer"),
    "csv_header": (edit(CSV, lambda data: data.replace(b"genres", b"tags", 1)), "error", CSV, "artist_mbid,genres"),
    "csv_no_rows": (edit_lines(CSV, lambda lines: lines[:1]), "error", CSV, "no row that can be read"),
    "csv_cells": (
        edit_lines(CSV, lambda lines: [*lines, b"B000000000,,TR\n"]),
        "warning",
        CSV,
        "line 82: 3 in",
    ),
    "csv_quote": (edit(CSV, lambda data: data.replace(b',"', b',"x"', 1)), "warning", CSV, "1 malformed"),
    "csv_latin1": (edit(CSV, lambda data: data.replace(b"Jazz", b"J\xe4zz", 1)), "warning", CSV, "1 not in UTF-8"),
    "csv_track_id": (
        edit(CSV, lambda data: data.replace(b",TR", b",XX", 1)),
        "warning",
        CSV,
        "in line 2: 'XX",
    ),
    "csv_two_albums": (edit_lines(CSV, other_album), "warning", CSV, "1 in conflict"),
    "csv_fewer": (edit_lines(CSV, lambda lines: lines[:41]), "note", CSV, "147,295 tracks, as published"),
    "csv_only_single": (remove(CSV), "note", SINGLE_LABEL_CSV, "2,321 albums"),
    "csv_none": (remove(CSV, SINGLE_LABEL_CSV), "warning", ".", "a CSV file, only the metadata"),
    # the labels
    "labels_missing": (remove(LABELS), "note", LABELS, "no file"),
    "labels_empty": (write(LABELS, b""), "error", LABELS, "an empty file"),
    "labels_pointer": (write(LABELS, LFS), "error", LABELS, "Git LFS pointer"),
    "labels_web_page": (write(LABELS, HTML), "error", LABELS, "a web page"),
    "labels_unsorted": (edit_lines(LABELS, lambda lines: lines[::-1]), "warning", LABELS, "'Vocal Jazz' in line 1"),
    "labels_twice": (edit_lines(LABELS, lambda lines: [*lines, lines[0]]), "error", LABELS, "already in line 1"),
    "labels_lacking": (
        edit_lines(LABELS, lambda lines: lines[1:]),
        "warning",
        LABELS,
        "as labels: Classical",
    ),
    "labels_unused": (edit_lines(LABELS, lambda lines: [*lines, b"Zydeco\n"]), "note", LABELS, "on none: Zydeco"),
    # the metadata
    "metadata_missing": (remove(METADATA), "note", METADATA, "no file"),
    "metadata_web_page": (write(METADATA, HTML), "error", METADATA, "a web page"),
    "metadata_cut": (edit(METADATA, lambda data: data[:5000]), "warning", METADATA, "1 truncated"),
    "metadata_no_json": (write(METADATA, b"title;price\n"), "error", METADATA, "'title;price'"),
    "metadata_of_others": (
        edit(METADATA, lambda data: data.replace(b'"B000', b'"B999')),
        *("warning", METADATA, "none for 40 of 40"),
    ),
    "metadata_other_genres": (
        edit(METADATA, lambda data: data.replace(b"Jazz", b"Swing")),
        *("note", METADATA, "for 14 of 40 albums"),
    ),
    # the reviews
    "reviews_missing": (remove(REVIEWS), "warning", REVIEWS, "no file"),
    "reviews_empty": (write(REVIEWS, b""), "error", REVIEWS, "an empty file"),
    "reviews_packed": (gzip_in_place, "error", REVIEWS, "a gzip archive"),
    "reviews_cut": (edit(REVIEWS, lambda data: data[: len(data) // 2]), "warning", REVIEWS, "1 truncated"),
    "reviews_malformed": (
        edit(REVIEWS, lambda data: data.replace(b'"overall":', b'"overall"', 1)),
        *("warning", REVIEWS, "1 malformed"),
    ),
    "reviews_latin1": (
        edit(REVIEWS, lambda data: data.replace(b"album", b"\xe4lbum", 1)),
        *("warning", REVIEWS, "1 not in UTF-8"),
    ),
    "reviews_of_others": (
        edit(REVIEWS, lambda data: data.replace(b'"B000', b'"B999')),
        *("warning", REVIEWS, "none for 40 of 40"),
    ),
    # the splits
    "splits_missing": (remove("splits"), "note", "splits", "split by their hash"),
    "splits_without_one": (remove(VAL), "warning", VAL, "a list for each split"),
    "splits_overlap": (copy_to_end(TRAIN, VAL, 3), "warning", VAL, "each album in one split"),
    "splits_twice": (copy_to_end(VAL, VAL, 0), "error", VAL, "is already in line 1"),
    "splits_of_others": (edit(VAL, lambda data: data + b"B00NOTMUMU\n"), "warning", VAL, "1 of others: B00NOTMUMU"),
    "splits_lacking": (edit_lines(VAL, lambda lines: lines[1:]), "warning", "splits", "none for 1 of 40 albums"),
    "splits_pointer": (write(VAL, LFS), "warning", VAL, "Git LFS pointer"),
    "splits_shape": (write_rows((4, 8)), "warning", "splits/y_val_class_8_MuMu-albums.npy", "5 × 8 numbers"),
    "splits_no_array": (
        write("splits/y_val_class_8_MuMu-albums.npy", b"\x93NUMPY\x01\0\x08\0{'descr'\0"),
        *("warning", "splits/y_val_class_8_MuMu-albums.npy", "a NumPy array, none"),
    ),
    "splits_labels": (write_rows((5, 8)), "warning", "splits/y_val_class_8_MuMu-albums.npy", "others for 5 of 5"),
    # the owner's folders
    "audio_missing": (remove("audio"), "warning", "audio", "a folder with audio of the tracks, none"),
    "audio_empty": (clear("audio"), "warning", "audio", "an empty folder"),
    "audio_zero": (overwrite_two("audio", b""), "warning", "audio", "an empty file in 2 of 75"),
    "audio_web_page": (overwrite_two("audio", HTML), "warning", "audio", "a web page (HTML) in 2 of 75"),
    "audio_plain_text": (overwrite_two("audio", b'{"error": 403}'), "warning", "audio", "plain text in 2 of 75"),
    "audio_pointer": (overwrite_two("audio", LFS), "warning", "audio", "Git LFS pointer"),
    "audio_unfinished": (write("audio/TRAAAAA128F0000000.mp3.part", b"ID3"), "warning", "audio", "1 unfinished"),
    "audio_other_names": (
        rename("audio", lambda path: f"song {path.stem[-3:]}{path.suffix}"),
        *("warning", "audio", "named by MSD track id"),
    ),
    "audio_misnamed": (
        rename("audio", lambda path: f"{path.stem.lower()}.clip{path.suffix}"),
        *("warning", "audio", "75 with other or more letters"),
    ),
    "audio_of_others": (write("audio/TRZZZZZ128F0000000.mp3", b"ID3"), "note", "audio", "1 of other names: TRZZZZZ"),
    "covers_missing": (remove("covers"), "warning", "covers", "a folder with an image of the albums, none"),
    "covers_zero": (overwrite_two("covers", b""), "warning", "covers", "an empty file in 2 of 36"),
    "covers_no_image": (overwrite_two("covers", b"\0\1\2\3"), "warning", "covers", "a file that begins with"),
    "covers_other_names": (rename("covers", lambda path: f"x{path.name}"), "warning", "covers", "named by amazon_id"),
    "msd_missing": (remove("msd"), "warning", "msd", "a folder with timbre in HDF5 of the tracks, none"),
    "msd_zero": (overwrite_two("msd", b""), "warning", "msd", "an empty file in 2 of 69"),
    "msd_no_hdf5": (overwrite_two("msd", b"\0\1\2\3"), "warning", "msd", "a file that begins with"),
    "msd_cut": (overwrite_two("msd", b"\x89HDF\r\n\x1a\n"), "warning", "msd", "is unreadable in 2 of 69"),
    "msd_no_timbre": (without_timbre, "warning", "msd", "segments_timbre is unreadable in 2 of 69"),
    "nothing_to_train_on": (remove("audio", "covers", "msd", REVIEWS), "error", ".", "audio, text, timbre or covers"),
}


SEVERITIES = ("error", "warning", "note")


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "MuMu"
    write_mumu(folder)
    for path in files(folder / "audio"):
        path.write_bytes(path.read_bytes()[:2000])  # only their beginnings are looked at, and copies cost less
    return folder


@pytest.fixture(scope="session")
def clean_faults(clean: Path) -> list[tuple[str, str, str]]:
    return faults_of(clean, diagnose(clean, {}))


@pytest.fixture
def mumu(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "MuMu"))


def faults_of(folder: Path, found: Diagnosis, *severities: str) -> list[tuple[str, str, str]]:
    """(severity, path in the folder, all that is said) of the faults."""
    return [
        (fault.severity, os.path.relpath(fault.path, folder), f"{fault.expected}, {fault.found}; {fault.remedy}")
        for fault in found.findings
        if fault.severity in (severities or SEVERITIES)
    ]


def can_start_after_preparing(folder: Path) -> bool:
    """Whether `prepare` reads the folder, and finds of some kind of data albums to train on and to stop by."""
    try:
        albums = read_source("mumu", folder, Request(folder)).albums
    except UserError:
        return False

    def has(album: Album, kind: str) -> bool:
        if kind == "text":
            return bool(album.text)
        if kind == "image":
            return album.cover is not None and album.cover.exists()
        return any(path and path.exists() for path in (getattr(track, kind) for track in album.tracks))

    return any(
        {"train", "val"} <= {album.split for album in albums if has(album, kind)}
        for kind in ("text", "audio", "timbre", "image")
    )


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(name: str, mumu: Path, clean_faults: list[tuple[str, str, str]]):
    plant, *where, words = FAULTS[name]
    plant(mumu)
    found = diagnose(mumu, {})
    new = [fault for fault in faults_of(mumu, found) if fault not in clean_faults]
    assert any([severity, path] == where and words in said for severity, path, said in new), new
    assert found.can_start == can_start_after_preparing(mumu)
    assert found.can_start == (not faults_of(mumu, found, "error"))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"reviews": "python", "nested": True, "splits": "tracks", "seed": 3},
        {"reviews": "lines", "gzipped": True, "splits": None, "n_albums": 50},
    ],
)
def test_nothing_is_invented(tmp_path: Path, how: dict):
    made = write_mumu(tmp_path / "MuMu", **how)
    found = diagnose(tmp_path / "MuMu", {})
    assert faults_of(tmp_path, found, "error", "warning") == []
    tracks = [track for album in made.values() for track in album.tracks.values()]
    expected = {
        "text": (sum(bool(album.reviews) for album in made.values()), len(made), True),
        "audio": (sum(audio for audio, _ in tracks), len(tracks), True),
        "image": (sum(album.has_cover for album in made.values()), len(made), True),
        "timbre": (sum(timbre for _, timbre in tracks), len(tracks), True),
    }
    assert {one.modality: (one.n, one.n_all, one.can_start) for one in found.coverage} == expected


def test_many_files_are_sampled(mumu: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mumu_jax.data.preparation.diagnosis.N_OPENED", 30)
    looked = {one.modality: one.remark for one in diagnose(mumu, {}).coverage}
    assert looked["audio"] == "25 files looked into"  # every third of 75


def test_folders_elsewhere(mumu: Path, tmp_path: Path):
    (mumu / "audio").rename(tmp_path / "elsewhere")
    assert faults_of(mumu, diagnose(mumu, {"audio": tmp_path / "elsewhere"}), "error", "warning") == []


def test_command(mumu: Path):
    done = run_module("mumu_jax.doctor", mumu)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 errors, 0 warnings" in done.stdout
    assert "training can start with: text, audio, image, timbre" in done.stdout
    remove(REVIEWS, "audio", "covers", "msd")(mumu)
    done = run_module("mumu_jax.doctor", mumu)
    assert done.returncode == 1
    assert done.stdout.startswith(f"error    {mumu}\n  expected audio, text, timbre or covers")
    assert "training cannot start" in done.stdout


def test_prepared_data_is_known(small_data: Path):  # (d) of a newcomer
    done = succeed("mumu_jax.doctor", small_data)
    assert done.stdout.startswith(f"{small_data} is not MuMu as it was released but prepared data:\n")
    statistics = succeed("mumu_jax.doctor", f"--statistics={small_data}").stdout
    assert statistics in done.stdout
    assert done.stdout.splitlines()[-1] == (
        f"next: python -m mumu_jax.train --data_dir={small_data} --config=NAME with an experiment of "
        "audio, text, timbre, image; --list shows them"
    )


def test_command_wants_paths_that_are_there(mumu: Path, tmp_path: Path):
    complain("mumu_jax.doctor", tmp_path / "typo", says=["MuMu's folder", "typo"])
    complain("mumu_jax.doctor", mumu, f"--audio_dir={tmp_path / 'typo'}", says=["audio", "typo"])
