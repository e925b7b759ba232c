"""Public data sets: each layout prepares, its traps are read right, and what is not as published is said."""

import os
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from public_fixture import MSD_IDS, N_TRACKS, SAMPLES, SPLITS, N, mtat_paths, write, write_song

from mumu_jax import doctor, evaluate, prepare, train
from mumu_jax.data.manifest import Album
from mumu_jax.data.preparation.diagnosis import Diagnosis
from mumu_jax.data.preparation.job import Job
from mumu_jax.data.preparation.job import prepare as run_job
from mumu_jax.data.preparation.public import diagnose
from mumu_jax.data.sources import SOURCES, read_source
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.dataset import Choice, Dataset
from mumu_jax.data.sources.public.pickles import ForeignObject, load_plain
from mumu_jax.errors import UserError

SUBSETS = {"fma": "medium"}  # that the samples hold, where it is not the first
DATASETS = {name: source.dataset for name, source in SOURCES.items() if source.dataset}
each_dataset = pytest.mark.parametrize("name", SAMPLES)


def read(name: str, root: Path, **request) -> Collection:
    request.setdefault("subset", SUBSETS.get(name))
    return read_source(name, root, Request(root.parent / "data", **request))


def fails(name: str, root: Path, *fragments: str, **request) -> None:
    with pytest.raises(UserError) as caught:
        read(name, root, **request)
    message = str(caught.value)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert "\n" not in message


def by_id(found: Collection) -> dict[str, Album]:
    return {album.album_id: album for album in found.albums}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """`sample(name)`: the folder of a data set's sample."""
    monkeypatch.setattr("mumu_jax.data.sources.public.msd_lastfm.N_TRAIN", N["train"])

    def make(name: str) -> Path:
        SAMPLES[name](tmp_path / name)
        return tmp_path / name

    return make


# --- the grammar --------------------------------------------------------------------------------------------


@each_dataset
def test_what_is_published_agrees_with_itself(name):
    dataset = DATASETS[name]
    assert all((dataset.title, dataset.citation, dataset.licence, dataset.audio))
    assert dataset.home.startswith(("http://", "https://"))
    for subset, about in dataset.subsets.items():
        assert len(about.sizes) in (0, dataset.n_folds)
        totals = {sum(sizes) for sizes in about.sizes} | ({about.n_tracks} if about.n_tracks else set())
        assert len(totals) <= 1  # each fold has the same tracks
        assert all(total <= dataset.n_tracks for total in totals)
        for fold in range(dataset.n_folds):
            assert all(file.names and file.content for file in dataset.files(Choice(subset, fold)).values())


def row_of(name: str, dataset: Dataset) -> str:
    subsets = "; ".join(f"`{key}` {subset}" for key, subset in dataset.subsets.items())
    folds = f"; `--fold=0` to `{dataset.n_folds - 1}`" if dataset.n_folds > 1 else ""
    return (
        f"| `{name}` | {dataset.title} | {dataset.n_tracks:,} | {subsets}{folds} | {dataset.licence} | {dataset.home} |"
    )


def test_the_readme_has_what_the_code_has():
    readme = (REPOSITORY / "mumu_jax" / "data" / "README.md").read_text()
    rows = [row_of(name, dataset) for name, dataset in DATASETS.items()]
    assert [row for row in rows if row not in readme] == []


def test_help_has_what_the_code_has(capsys):
    with pytest.raises(SystemExit):
        prepare.main(["--help"])
    printed = capsys.readouterr().out
    for name, dataset in DATASETS.items():
        about = printed[printed.index(f"  {name:<14} {dataset.title}") :]
        assert dataset.home in about
        assert dataset.licence in about
        assert all(f"{subset}: {one}" in about for subset, one in dataset.subsets.items())


@pytest.mark.parametrize(
    ("name", "request_", "says"),
    [
        (
            "jamendo",
            {"subset": "x"},
            "--subset=x: MTG-Jamendo has no such part; choose one of genre (87 genres), ",
        ),
        ("jamendo", {"fold": 5}, "--fold=5: MTG-Jamendo has folds 0 to 4; choose one of these"),
        ("gtzan", {"fold": 1}, "--fold=1: GTZAN has one division into splits; leave it out"),
        ("folder", {"subset": "x"}, "--subset is for --source=jamendo, magnatagatune, fma, gtzan, music4all, msd_last"),
        ("folder", {"fold": 0}, "; folder has no such parts: leave it out"),
        (
            "gtzan",
            {"folders": {"covers": Path()}},
            "--covers_dir is for --source=mumu, msdi; gtzan names its own files",
        ),
        ("jamendo", {"folders": {"audio": Path("typo")}}, "expected a folder of audio, found none at typo"),
    ],
)
def test_a_part_that_there_is_not(sample, name, request_, says):
    fails(name, sample("jamendo"), says, **request_)


def test_input_is_a_folder(sample):
    fails("gtzan", sample("gtzan") / "train_filtered.txt", "GTZAN, found a file; give the folder above it")


# --- each layout prepares -----------------------------------------------------------------------------------


@each_dataset
def test_each_layout_prepares(name, sample, tmp_path):
    job = Job(name, sample(name), tmp_path / "data", workers=1, modalities=("descriptors",), subset=SUBSETS.get(name))
    summary = run_job(job)
    splits = summary.splits["descriptors"]
    n_tracks = {"music4all": 40, "msdi": N_TRACKS - 1}.get(name, N_TRACKS)  # of MSD-I a row is in conflict
    assert sum(split["records"] + split["missing"] for split in splits.values()) == n_tracks
    assert sum(split["missing"] for split in splits.values()) == 1
    if name not in ("music4all", "msdi"):
        assert {split: counts["records"] + counts["missing"] for split, counts in splits.items()} == N
    assert sum(split["rejected"] for split in splits.values()) == 0
    printed, dataset = str(summary), DATASETS[name]
    assert f"licence: {dataset.licence}; cite {dataset.citation}; {dataset.home}" in printed
    assert f"audio: {n_tracks - 1} of {n_tracks} songs are in " in printed
    assert f"; {dataset.audio}, or name their folder by --audio_dir" in printed


def test_without_any_song_it_is_said_what_is_missing(sample, tmp_path, capsys):
    """The newcomer's path: the lists are there, and no audio."""
    root = sample("jamendo")
    for song in root.rglob("*.wav"):
        song.unlink()
    with pytest.raises(
        UserError, match=r"^none of the 12 audio files exists \(first: .*41/241.mp3\); .* by --audio_dir$"
    ):
        run_job(Job("jamendo", root, tmp_path / "data", workers=1))
    remarks = capsys.readouterr().err
    assert "splits: 6 train, 3 val, 3 test tracks, by the published lists, fold 0" in remarks
    assert "expected 32,572 tracks in train, as published, found 6; nothing to do, if that is meant so" in remarks
    assert f"audio: 0 of 12 songs are in {root}; get them by its scripts/download/download.py" in remarks


def test_trains_and_evaluates(sample, tmp_path, capsys):
    """A clip without a tag, and one without a file, are no obstacle."""
    data, run = tmp_path / "data", tmp_path / "run"
    how = ("--source=magnatagatune", f"--input={sample('magnatagatune')}", "--workers=1", "--modalities=descriptors")
    assert prepare.main([*how, f"--data_dir={data}"]) == 0
    settings = ("--config=descriptors_mlp_logistic", "--config.optim.max_epochs=1", "--config.album_optim.max_epochs=1")
    assert not train.main([*settings, f"--data_dir={data}", f"--workdir={run}"])
    assert not evaluate.main([f"--workdir={run}"])
    capsys.readouterr()
    assert doctor.main([f"--statistics={data}"]) == 0
    assert "3 labels; labels per album: mean 1.42" in capsys.readouterr().out


# --- MTG-Jamendo --------------------------------------------------------------------------------------------


def test_jamendo_s_tags_are_all_cells_from_the_sixth(sample):
    found = read("jamendo", sample("jamendo"))
    albums = by_id(found)
    assert albums["track_0000241"].genres == ("rock", "pop")
    assert albums["track_0000242"].genres == ("pop",)  # without the CR at the line's end
    assert [(label.name, label.parent) for label in found.labels] == [("pop", "genre"), ("rock", "genre")]
    assert albums["track_0000241"].tracks[0].audio.name == "241.wav"
    assert albums["track_0000243"].tracks[0].audio.name == "243.low.wav"
    assert albums["track_0000252"].tracks[0].audio.name == "252.mp3"  # which is missing
    assert found.rejected == []


def test_jamendo_s_tags_of_several_categories_keep_it(sample):
    found = read("jamendo", sample("jamendo"), subset="top50", fold=1)
    labels = [(label.name, label.parent) for label in found.labels]
    assert labels == [("genre---rock", "genre"), ("mood/theme---happy", "mood/theme")]
    assert "splits: 6 train, 3 val, 3 test tracks, by the published lists, fold 1" in found.notes


def test_the_folder_below_is_found_too(sample):
    root = sample("jamendo")
    assert read("jamendo", root).albums == read("jamendo", root / "data", folders={"audio": root}).albums


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "found an empty file"),
        (b"<!DOCTYPE html><html></html>", "found a web page (HTML)"),
        (b"TRACK_ID,ARTIST_ID,PATH,TAGS\n", "expected the columns TRACK_ID, ARTIST_ID, PATH, TAGS, separated by TAB"),
        (None, "expected the list of val tracks, found no file; download it: https://github.com/MTG/mtg-jamendo"),
    ],
)
def test_a_list_that_is_something_else(sample, content, says):
    root = sample("jamendo")
    path = root / "data" / "splits" / "split-0" / "autotagging_genre-validation.tsv"
    path.unlink() if content is None else path.write_bytes(content)
    fails("jamendo", root, "autotagging_genre-validation.tsv", says)


def test_a_packed_release_is_to_be_unpacked(tmp_path):
    write(tmp_path / "fma_metadata.zip", b"PK\x03\x04")
    fails("fma", tmp_path, "tracks.csv: expected the tracks", "unpack fma_metadata.zip, which is there, or download it")


def test_rows_that_cannot_be_and_tracks_that_come_again(sample):
    root = sample("jamendo")
    lists = root / "data" / "splits" / "split-0"
    with (lists / "autotagging_genre-train.tsv").open("a", newline="") as file:
        file.write("track_0000999\tartist_1\r\n\r\n")
        file.write("track_0000241\tartist_000241\talbum_1\t41/241.mp3\t1.0\tgenre---jazz\r\n")
        file.write("track_0000249\tartist_000247\talbum_1\t49/249.mp3\t1.0\tgenre---pop\r\n")
    found = read("jamendo", root)
    (line,) = found.rejected
    assert (line["line"], line["reason"]) == (8, "malformed")
    assert by_id(found)["track_0000241"].genres == ("rock", "pop")
    assert by_id(found)["track_0000249"].split == "train"  # and no longer in val
    notes = "\n".join(found.notes)
    assert "expected each track once, found 1 again: track_0000241; nothing to do: the first row counts" in notes
    assert "expected each track in one split, found 1 again: track_0000249; the first split counts" in notes


# --- MagnaTagATune ------------------------------------------------------------------------------------------


def test_magnatagatune_is_split_by_folder(sample):
    found = read("magnatagatune", sample("magnatagatune"))
    albums = by_id(found)
    assert Counter(album.split for album in found.albums) == N
    assert "35644" not in albums  # broken
    assert albums["2"].genres == ("guitar", "no voice")
    assert albums["3"].genres == ("slow",)
    assert albums["7"].genres == ()  # a clip without tags is one of the published split
    assert albums["2"].tracks[0].audio.name == "artist_0-album-01-song_0-0-29.wav"


def test_magnatagatune_has_the_fifty_most_frequent_tags(tmp_path):
    names = [f"tag {i:02d}" for i in range(51)]
    rows = [[str(i), *("1" if i <= j or j == 50 else "0" for j in range(51)), f"0/a-b-{i}.mp3"] for i in range(51)]
    lines = ["\t".join(cells) for cells in (["clip_id", *names, "mp3_path"], *rows)]
    write(tmp_path / "annotations_final.csv", "\r\n".join(lines))
    kept = {label.name for label in read("magnatagatune", tmp_path).labels}
    assert {*names} - kept == {"tag 00"}  # one clip has it
    assert len(read("magnatagatune", tmp_path, subset="all_tags").labels) == 51


def test_magnatagatune_s_clean_lists(sample):
    root = sample("magnatagatune")
    found = read("magnatagatune", root, subset="clean")
    assert {album.album_id: album.split for album in found.albums} == {
        str(clip): split for clip, split, _ in mtat_paths() if clip != 7
    }
    (root / "mtat").mkdir()
    (root / "valid.npy").rename(root / "mtat" / "valid.npy")
    np.save(root / "test.npy", np.array([b"0\tf/of-another-release.mp3"]))
    notes = "\n".join(read("magnatagatune", root, subset="clean").notes)
    assert "test.npy: expected row<TAB>mp3_path of clips with annotations, found 1 others: f/of-another-rel" in notes
    np.save(root / "test.npy", np.array([{"an": "object"}]), allow_pickle=True)
    fails("magnatagatune", root, "test.npy: expected a NumPy array of numbers or strings", subset="clean")


# --- FMA ----------------------------------------------------------------------------------------------------


def test_fma_s_three_header_rows_and_literals(sample):
    root = sample("fma")
    found = read("fma", root)
    albums = by_id(found)
    assert albums["000002"].genres == ("Pop",)
    assert albums["000003"].genres == ("Punk, etc.", "Rock")
    assert [(label.name, label.parent) for label in found.labels] == [
        ("Pop", None),
        ("Punk, etc.", "Rock"),
        ("Rock", None),
    ]
    assert albums["000002"].tracks[0].audio == root / "fma_medium" / "000" / "000002.wav"
    assert len(read("fma", root, subset="small").albums) == 7
    large = read("fma", root, subset="large")
    assert len(large.albums) == N_TRACKS
    assert any("expected a label for each track, found 1 of 13 without one" in note for note in large.notes)


def test_fma_s_literals_are_not_run(sample, tmp_path):
    root = sample("fma")
    edit(root / "fma_metadata" / "tracks.csv", '"[25, 12]"', f"\"[__import__('os').mkdir('{tmp_path}/ran')]\"")
    edit(root / "fma_metadata" / "tracks.csv", "[10]", "[99]")
    found = read("fma", root)
    assert [line["reason"] for line in found.rejected] == ["malformed"]
    assert not (tmp_path / "ran").exists()
    assert any("expected genres of genres.csv, found others: 99" in note for note in found.notes)


def test_fma_s_files_of_another_kind(sample):
    root = sample("fma")
    tracks, genres = root / "fma_metadata" / "tracks.csv", root / "fma_metadata" / "genres.csv"
    content = tracks.read_text()
    tracks.write_text(content.split("\n", 1)[1])
    fails("fma", root, "tracks.csv:1: expected three header rows")
    tracks.write_text(content)
    edit(genres, "parent", "above")
    fails("fma", root, "genres.csv: expected genre_id, parent and title of each genre")


# --- GTZAN --------------------------------------------------------------------------------------------------


def test_gtzan_s_lists_name_wav_and_songs_may_be_au(sample):
    root = sample("gtzan")
    found = read("gtzan", root)
    albums = by_id(found)
    assert Counter(album.split for album in found.albums) == N
    assert albums["blues.00000"].genres == ("blues",)
    assert albums["blues.00000"].tracks[0].audio.name == "blues.00000.au"
    edit(root / "train_filtered.txt", "rock/rock.00001.wav", "rock/polka.wav")
    assert [line["line"] for line in read("gtzan", root).rejected] == [2]
    (root / "valid_filtered.txt").unlink()
    fails("gtzan", root, "valid_filtered.txt: expected the list of val clips", "or take all clips: --subset=all")


def test_all_of_gtzan_has_no_artists_to_split_by(sample):
    found = read("gtzan", sample("gtzan"), subset="all")
    assert (len(found.albums), len(found.labels)) == (1000, 10)
    assert any("found no artist of 1,000: blues.00000" in note for note in found.notes)
    assert any("songs are in" in note and note.startswith("audio: 11 of 1,000") for note in found.notes)


# --- Music4All ----------------------------------------------------------------------------------------------


def test_music4all_s_csv_is_separated_by_tab(sample):
    root = sample("music4all")
    found = read("music4all", root)
    albums = by_id(found)
    assert albums["0009fFIM1eYThaP1"].genres == ("pop", "indie rock")
    assert albums["0009fFIM1eYThaP1"].text is None  # its file is empty
    assert albums["0009fFIM1eYThaP2"].text == "la la blue song 2"
    edit(root / "id_genres.csv", "id\tgenres", "id,genres")
    fails("music4all", root, "id_genres.csv:1: expected the columns id, genres, separated by TAB")


def test_music4all_is_split_by_artist(sample):
    splits = [album.split for album in read("music4all", sample("music4all")).albums]
    assert splits[::2] == splits[1::2]  # two songs of each artist
    assert {*splits} == {*SPLITS}


def test_music4all_s_english_lyrics(sample):
    ids = {album.album_id for album in read("music4all", sample("music4all"), subset="english").albums}
    assert ids == {f"0009fFIM1eYThaP{i}" for i in range(40) if i % 5 and i != 1}


# --- MSD with tags of Last.fm -------------------------------------------------------------------------------


@pytest.mark.parametrize("subset", ["won", "choi"])
def test_msd_s_two_divisions_have_the_same_rows(sample, subset):
    root = sample("msd_lastfm")
    found = read("msd_lastfm", root, subset=subset)
    expected = [split for split in SPLITS for _ in range(N[split])]
    assert [(album.album_id, album.split) for album in found.albums] == list(zip(MSD_IDS, expected, strict=True))
    assert [album.genres for album in found.albums[:2]] == [("tag 0",), ("tag 1",)]
    assert found.albums[0].tracks[0].audio == root / "audio" / "3" / "6" / "36000000.clip.wav"
    assert found.albums[-1].tracks[0].audio == root / "audio" / "A" / "A" / "A" / f"{MSD_IDS[-1]}.mp3"


def test_msd_s_arrays_and_lists_are_of_one_release(sample):
    root = sample("msd_lastfm")
    edit(root / "choi" / "valid_x_msd_id.txt", f"{MSD_IDS[6]}\n", "")
    fails("msd_lastfm", root, "valid_y.npy: expected 2 rows of 50 tags, as valid_x_msd_id.txt has lines", subset="choi")
    edit(root / "50tagList.txt", "tag 7\n", "")
    fails("msd_lastfm", root, "50tagList.txt: expected 50 tags, found 49", subset="won")


# The same as Python 2 wrote it: text without a mark of its kind, an array of 64-bit floats.
PYTHON_2 = (
    b"(dp1\nS'TRA'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntp5\nS'b'\np6\ntp7\nRp8\n"
    b"(I1\n(I2\nI1\ntp9\ncnumpy\ndtype\np10\n(S'f8'\np11\nI0\nI1\ntp12\nRp13\n(I3\nS'<'\np14\nNNNI-1\nI-1\nI0\ntp15\nb"
    b"I00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\np16\ntp17\nbs."
)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_pickles_are_read(tmp_path, protocol):
    content = {"a": [1, 2.5, "é"], "rows": np.arange(6, dtype=">i4").reshape(2, 3), "bits": np.array([True, False])}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    found = load_plain(tmp_path / "a.pkl")
    assert found["a"] == content["a"]
    for name in ("rows", "bits"):
        np.testing.assert_array_equal(found[name], content[name])
    (tmp_path / "b.pkl").write_bytes(PYTHON_2)
    np.testing.assert_array_equal(load_plain(tmp_path / "b.pkl")["TRA"], [[1.0], [2.0]])


class Evil:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_runs_nothing(sample, tmp_path, protocol):
    ran = tmp_path / "ran"
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil(ran), protocol))
    with pytest.raises(ForeignObject, match=r"(posix|nt)\.mkdir"):
        load_plain(tmp_path / "evil.pkl")
    for content in (np.array([Evil(ran)]), np.array([{1, 2}]), np.array(["text"]), np.zeros(2, "i4,f4"), range(3)):
        (tmp_path / "evil.pkl").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(ForeignObject):
            load_plain(tmp_path / "evil.pkl")
    root = sample("msd_lastfm")
    (root / "filtered_list_test.cP").write_bytes(pickle.dumps([Evil(ran)], protocol))
    fails("msd_lastfm", root, "filtered_list_test.cP: expected a pickled list of plain data, found ForeignObject")
    (root / "filtered_list_test.cP").write_bytes(pickle.dumps({}, protocol))
    fails("msd_lastfm", root, "filtered_list_test.cP: expected a pickled list, found dict")
    (root / "filtered_list_test.cP").write_bytes(b"(lp1\nS'TRA")
    fails("msd_lastfm", root, "filtered_list_test.cP: expected a pickled list of plain data")
    assert not ran.exists()


# --- MSD-I --------------------------------------------------------------------------------------------------


def test_msdi_s_album_is_in_one_set(sample):
    root = sample("msdi")
    found = read("msdi", root)
    albums = by_id(found)
    assert len(albums["album 0"].tracks) == 2
    assert albums["album 4"].split == "val"
    (line,) = found.rejected
    assert (line["reason"], line["detail"]) == (
        "conflict",
        "expected 'Pop' in val as most rows of album 4, found Pop in test",
    )
    assert albums["album 0"].cover is None
    assert albums["album 1"].cover == root / "covers" / f"{MSD_IDS[2]}.png"


# --- doctor -------------------------------------------------------------------------------------------------


def diagnosis_of(name: str, root: Path, **folders: Path) -> Diagnosis:
    source = SOURCES[name]
    dataset = DATASETS[name]
    return diagnose(source, dataset, root, dataset.choose(SUBSETS.get(name), None), folders)


def said(found: Diagnosis, *severities: str) -> str:
    return "\n".join(f"{one.severity} {one}" for one in found.findings if one.severity in (severities or ("error",)))


@each_dataset
def test_doctor_finds_what_is_there(name, sample):
    found = diagnosis_of(name, sample(name))
    assert found.can_start, said(found)
    coverage = {one.modality: (one.n, one.n_all) for one in found.coverage}
    n_tracks = {"music4all": 40, "msdi": N_TRACKS - 1}.get(name, N_TRACKS)
    assert coverage["audio"] == (n_tracks - 1, n_tracks)
    assert f"none for 1 of {n_tracks}" in said(found, "note")
    assert coverage.get("text") == ((39, 40) if name == "music4all" else None)
    assert coverage.get("image") == ((5, 6) if name == "msdi" else None)


@each_dataset
def test_doctor_says_what_is_missing(name, sample, tmp_path):
    found = diagnosis_of(name, tmp_path)
    assert not found.can_start
    assert "found no file; download it: http" in said(found)
    root = sample(name)
    for song in [*root.rglob("*.wav"), *root.rglob("*.au"), *root.rglob("*.txt"), *root.rglob("*.png")]:
        if "filtered" not in song.name and "tagList" not in song.name and song.parent.name != "choi":
            song.unlink()
    found = diagnosis_of(name, root)
    assert not found.can_start
    assert DATASETS[name].audio in said(found)


def test_doctor_looks_into_files_and_names_others(sample, tmp_path):
    root = sample("gtzan")
    write(root / "genres" / "blues" / "blues.00000.au", "<html>sign in</html>")
    write_song(root / "genres" / "rock" / "rock11.au")
    found = said(diagnosis_of("gtzan", root), "warning", "note")
    assert "a web page (HTML) in 1 of 11 files looked into" in found
    assert "expected files that are named as released, found 1 others: rock11.au" in found
    assert "known ones: jazz.00054 (its file is damaged in a widespread copy)" in found


def test_doctor_s_artists_in_several_splits(sample):
    root = sample("jamendo")
    path = root / "data" / "splits" / "split-0" / "autotagging_genre-test.tsv"
    path.write_bytes(re.sub(rb"artist_\d+", b"artist_000241", path.read_bytes()))
    assert "each artist in one split, found 1 of 9 in several: artist_000241" in said(
        diagnosis_of("jamendo", root), "note"
    )


def test_doctor_s_command(sample, capsys, tmp_path):
    root = sample("jamendo")
    arguments = ["--source=jamendo", f"--input={root}", "--fold=1"]
    assert doctor.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "expected 32,746 tracks in train, as published" in printed
    assert "training can start with: audio" in printed
    (root / "audio").mkdir()
    assert doctor.main([*arguments, f"--audio_dir={root / 'audio'}"]) == 1
    for wrong, says in (
        ("--subset=x", "--subset=x: MTG-Jamendo has no such part"),
        ("--covers_dir=.", "--covers_dir is for --source=mumu, msdi; jamendo names"),
        (f"--input={tmp_path / 'typo'}", "expected the folder of MTG-Jamendo with splits/split-0"),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            doctor.main([*arguments, wrong])
    with pytest.raises(UserError, match="--subset is for --source=jamendo"):
        doctor.main([f"--input={root}", "--subset=genre"])
