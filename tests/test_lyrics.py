"""Lyrics from files, tables and songs' tags to ids of word pieces, and runs that see them, alone and with the sound."""

import json
import sys
from collections import Counter
from pathlib import Path

import lyrics_model
import numpy as np
import pytest
import soundfile
from conftest import run_python
from lyrics_runs import own_songs, prepare_lyrics, scores, tags_of, use_run

from mumu_jax import prepare, tag, train
from mumu_jax.config import Config, TokenSettings
from mumu_jax.data.manifest import SPLITS, Album, Rejected, Track, read_manifest, write_manifest
from mumu_jax.data.modalities import BY_DEFAULT, MODALITIES
from mumu_jax.data.modalities.base import read_item
from mumu_jax.data.modalities.lyrics.files import read_lyrics, unstamped
from mumu_jax.data.modalities.lyrics.wordpiece import (
    PAD,
    SPECIAL,
    WordPiece,
    bags_of,
    fit_wordpiece,
    read_wordpiece,
)
from mumu_jax.data.modalities.song_tags import lyrics_in
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Request
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.models.registry import FAMILIES
from mumu_jax.runs.baseline import summarize_albums

WORDS = "Ain't no *sunshine*, déjà-vu & 愛してる: İstanbul straße 🎸🎸 sun-sun-sunshine?!\tZoë’s\n\n[Chorus] yeah"
TEXTS = [WORDS, "sunshine in the morning, sunshine in the rain", "the rain, the rain and the morning after", ""]


@pytest.fixture(autouse=True)
def network():
    lyrics_model.add()
    yield
    del FAMILIES["mean_of_pieces"]


# --- files and tags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_files(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("Olé, &quot;señor&quot;".encode(encoding))
    assert read_lyrics(tmp_path / "a.txt", max_chars=100) == 'Olé, "señor"'
    assert read_lyrics(tmp_path / "a.txt", max_chars=3) == "Olé"


STAMPED = "[ar: Some One]\r\n[length: 02:30]\r\n\r\n[00:01.50]First [Verse 1] line\r\n[00:03][01:03.250] <00:03.1>twice <00:04.00>sung\r\n"  # noqa: E501


def test_time_stamps_are_no_words(tmp_path):
    words = "First [Verse 1] line\ntwice sung"
    for name in ("a.lrc", "a.txt"):
        (tmp_path / name).write_bytes(STAMPED.encode())
        assert read_lyrics(tmp_path / name, max_chars=100).replace("\r", "") == words
        assert read_lyrics(tmp_path / name, max_chars=5) == "First"
    plain = "[ti: what] a [12] day\n[Chorus: both]\n at 10:45"
    assert unstamped(plain) == plain


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "missing"), (b"\x00\x01\x02", "not_text"), (b"", None), (b" \n", None)]
)
def test_damaged_and_empty_files(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    item = read_item(MODALITIES["lyrics"], tmp_path / "a.txt", Config().lyrics)
    if reason:
        assert isinstance(item, Rejected)
        assert item.reason == reason
    else:
        assert item.counts == {"empty": 1}


def song(path: Path, **tags: list[str]) -> Path:
    """Write two seconds of noise; of an .mp3 the tags are USLT frames by language, else Vorbis comments."""
    from mutagen.flac import FLAC
    from mutagen.id3 import ID3, USLT

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(len(path.name)).normal(size=44_100), 22_050)
    if path.suffix == ".mp3":
        id3 = ID3()
        for language, [text] in tags.items():
            id3.add(USLT(encoding=3, lang=language, desc="", text=text))
        id3.save(path)
    else:
        flac = FLAC(path)
        flac.update(tags)
        flac.save()
    return path


def test_songs_own_tags(tmp_path):
    assert read_lyrics(song(tmp_path / "a.mp3", eng=["  "], spa=["[00:01.00]ay &amp; amor"]), 100) == "ay & amor"
    assert read_lyrics(song(tmp_path / "a.flac", LYRICS=["one\ntwo"]), 5) == "one\nt"
    assert read_lyrics(song(tmp_path / "b.flac", unsyncedlyrics=["three"]), 100) == "three"
    for name in ("c.flac", "c.mp3"):
        with pytest.raises(Rejected, match="missing: its tags hold no lyrics"):
            read_lyrics(song(tmp_path / name), 100)
    (tmp_path / "d.mp3").write_bytes(b"no song")
    with pytest.raises(Rejected, match=r"not_audio|unreadable"):
        read_lyrics(tmp_path / "d.mp3", 100)


def test_tags_of_other_formats():
    from mutagen.apev2 import APEv2
    from mutagen.asf import ASFTags
    from mutagen.mp4 import MP4Tags

    mp4, asf, ape, other = MP4Tags(), ASFTags(), APEv2(), APEv2()
    mp4["\xa9lyr"], asf["WM/Lyrics"], ape["LYRICS"], other["UNSYNCEDLYRICS"] = ["one"], ["two"], "three", "four"
    assert [*map(lyrics_in, (mp4, asf, ape, other, MP4Tags(), None))] == ["one", "two", "three", "four", "", ""]


def test_reading_tags_without_mutagen_is_an_error_and_texts_need_none(tmp_path, monkeypatch):
    path = song(tmp_path / "a.mp3", eng=["words"])
    (tmp_path / "a.txt").write_text("others")
    monkeypatch.setitem(sys.modules, "mutagen", None)
    with pytest.raises(UserError, match=r"songs' tags needs mutagen; pip install 'mumu_jax\[write\]'"):
        read_item(MODALITIES["lyrics"], path, Config().lyrics)
    assert read_lyrics(tmp_path / "a.txt", 100) == "others"


# --- word pieces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("max_tokens", [3, 9, 128])
def test_ids_are_those_of_berts_tokenizer(tmp_path, lower_case, max_tokens):
    from tokenizers.implementations import BertWordPieceTokenizer

    settings = TokenSettings(n_terms=100, lower_case=lower_case)
    fitted = fit_wordpiece(TEXTS, settings)
    fitted.save(tmp_path / "vocab.txt")
    theirs = BertWordPieceTokenizer(str(tmp_path / "vocab.txt"), lowercase=lower_case)
    theirs.enable_truncation(max_tokens)
    theirs.enable_padding(length=max_tokens)
    texts = [*TEXTS, "unheard " * 200, "x" * 101, "\x00\x07\ufffd", *TEXTS]
    ids = read_wordpiece(tmp_path / "vocab.txt", settings).encode(texts, max_tokens)
    assert ids.dtype == np.int32
    assert ids.tolist() == [encoding.ids for encoding in theirs.encode_batch(texts)]


def test_ids_begin_with_cls_end_with_sep_and_zeros(monkeypatch):
    monkeypatch.setattr("mumu_jax.data.modalities.lyrics.wordpiece._BATCH", 2)
    fitted = fit_wordpiece(TEXTS, TokenSettings(n_terms=100))
    start, end, unknown = (fitted.pieces.index(piece) for piece in ("[CLS]", "[SEP]", "[UNK]"))
    ids = fitted.encode([*TEXTS, "rain " * 99, "[PAD] [SEP]", "東"], 12)
    assert (ids[:, 0] == start).all()
    for row in ids:
        n = np.count_nonzero(row)
        assert row[n - 1] == end
        assert not row[n:].any()
        assert (row[1 : n - 1] != end).all()
    assert [np.count_nonzero(row) for row in ids][3:5] == [2, 12]
    assert ids[-1, 1] == unknown


def test_a_fitted_vocabulary_is_the_same_in_every_process_and_no_larger_than_asked(tmp_path):
    """The package's own trainer numbers its alphabet in an order that differs from process to process."""
    rng = np.random.default_rng(0)
    letters = np.array([*"abcdefghijéßж"])
    texts = [" ".join("".join(rng.choice(letters, rng.integers(1, 7))) for _ in range(50)) for _ in range(60)]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    script = (
        "import json, sys; from mumu_jax.config import TokenSettings\n"
        "from mumu_jax.data.modalities.lyrics.wordpiece import fit_wordpiece\n"
        f"texts = json.load(open({str(tmp_path / 'texts.json')!r}))\n"
        "print(json.dumps(fit_wordpiece(texts, TokenSettings(n_terms=int(sys.argv[1]))).pieces))"
    )
    for n_terms in (100, 300):
        here = fit_wordpiece(iter(texts), TokenSettings(n_terms=n_terms)).pieces
        assert here[: len(SPECIAL)] == SPECIAL
        assert len(here) == n_terms
        assert len({*here}) == n_terms
        done = run_python("-c", script, str(n_terms), PYTHONHASHSEED="7")
        assert json.loads(done.stdout) == [*here], done.stderr
    many = [chr(code) for code in range(0x400, 0x4FF)]
    assert len(fit_wordpiece([" ".join(many)] * 3, TokenSettings(n_terms=100)).pieces) <= 100


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["[CLS]", "[PAD]", "[UNK]", "[SEP]"], r"expected \[PAD\] in its first line, found '\[CLS\]'"),
        ([], r"expected \[PAD\] in its first line, found ''"),
        ([PAD, "[UNK]", "[CLS]", "a"], r"expected a line \[SEP\], found none"),
        ([*SPECIAL, *map(str, range(97))], r"at most 100 lines, found 101; set config.tokens.n_terms=101"),
        ([*SPECIAL, "a", "b", "a"], r"expected each piece once, found 'a' 2 times"),
        (None, r"cannot read the vocabulary .*vocab.txt: FileNotFoundError"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line(tmp_path, lines, says):
    path = tmp_path / "vocab.txt"
    if lines is not None:
        path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=says) as caught:
        read_wordpiece(path, TokenSettings(n_terms=100))
    assert "\n" not in str(caught.value)


def test_a_vocabulary_comes_back(tmp_path):
    odd = WordPiece((*SPECIAL, "\u2028", "\x85", "##\u00a0", "愛"), True)
    odd.save(tmp_path / "vocabulary.txt")
    assert read_wordpiece(tmp_path / "vocabulary.txt", TokenSettings()) == odd
    windows = tmp_path / "windows.txt"
    windows.write_bytes("\r\n".join(SPECIAL).encode() + b"\r\n")
    assert read_wordpiece(windows, TokenSettings()).pieces == SPECIAL


def test_tokenizers_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for vocabulary in ("", "any.txt"):
        config = Config(modality="lyrics", tokens=TokenSettings(vocabulary=vocabulary))
        with pytest.raises(UserError, match=r"needs? the package tokenizers; .*pip install -e '.\[lyrics\]'"):
            MODALITIES["lyrics"].fit([{"lyrics": "words"}], Path(), config)


def test_bags_count_pieces():
    ids = np.array([[2, 5, 5, 7, 3, 0], [2, 3, 0, 0, 0, 0], [2, 5, 5, 5, 5, 3]], np.int32)
    bags = bags_of(ids, 9)
    assert bags.n_columns == 9
    for row, columns, values in zip(ids, bags.columns, bags.values, strict=True):
        weights = {piece: 1 + np.log(n) for piece, n in Counter(row[row > 0].tolist()).items()}
        length = np.sqrt(sum(weight**2 for weight in weights.values()))
        found = {int(column): value for column, value in zip(columns, values, strict=True) if value}
        assert found == pytest.approx({piece: weight / length for piece, weight in weights.items()}, rel=1e-6)


# --- sources ------------------------------------------------------------------------------------------------


def tracks_of(source: str, path: Path) -> dict[str, Path | None]:
    albums = read_source(source, path, Request(Path("nowhere"))).albums
    return {track.track_id: track.lyrics for album in albums for track in album.tracks}


def test_folder(tmp_path):
    files = ["Rock/a.mp3", "Rock/a.txt", "Rock/b.mp3", "Rock/b.lrc", "Rock/b.txt", "Rock/c.mp3", "Rock/x.txt"]
    files += ["Pop/album/1.mp3", "Pop/album/1.flac", "Pop/album/1.TXT", "Pop/album/2.mp3", "Pop/album/review.txt"]
    files += ["Pop/album/cd2/2.mp3", "Pop/album/cd2/2.txt"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    expected = {
        "Rock/a.mp3": "Rock/a.txt",
        "Rock/b.mp3": "Rock/b.lrc",
        "Rock/c.mp3": None,
        "Pop/album/1.mp3": "Pop/album/1.TXT",
        "Pop/album/1.flac": "Pop/album/1.TXT",
        "Pop/album/2.mp3": None,
        "Pop/album/cd2/2.mp3": "Pop/album/cd2/2.txt",
    }
    assert tracks_of("folder", tmp_path) == {name: lyrics and tmp_path / lyrics for name, lyrics in expected.items()}
    collection = read_source("folder", tmp_path, Request(tmp_path))
    assert collection.notes == []
    texts = {album.album_id: album.text for album in collection.albums}
    assert texts["Rock/a"] == "text of Rock/a.txt"
    assert texts["Pop/album"] == "text of Pop/album/review.txt"


def test_spreadsheet(tmp_path):
    (tmp_path / "words.txt").touch()
    rows = ["path,genres,lyrics", "a.mp3,Pop,words.txt", "b.mp3,Pop,", "c.mp3,Pop,missing.lrc", "d.mp3,Pop,d.mp3"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    expected = {"a.mp3": "words.txt", "b.mp3": None, "c.mp3": "missing.lrc", "d.mp3": "d.mp3"}
    assert tracks_of("csv", tmp_path / "t.csv") == {name: file and tmp_path / file for name, file in expected.items()}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["path,genres,lyrics", 'a.mp3,Pop,"Oh, and\nwords, words, words, words, words, words"'], "or of a song whose"),
        (["album,genres,lyrics", "a,Pop,a.txt"], "expected lyrics of a song, found a row without"),
        (["path,genres,lyric", "a.mp3,Pop,a.txt"], "did you mean 'lyrics'"),
    ],
)
def test_rows_whose_lyrics_are_wrong_are_named(tmp_path, rows, says):
    (tmp_path / "t.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match=says) as caught:
        tracks_of("csv", tmp_path / "t.csv")
    assert f"{tmp_path / 't.csv'}:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tags_and_manifest(tmp_path):
    songs = tmp_path / "songs"
    with_words = song(songs / "a.flac", genre=["Pop"], lyrics=["words"])
    song(songs / "b.flac", genre=["Rock"], lyrics=[" "])
    assert tracks_of("tags", songs) == {"a.flac": with_words, "b.flac": None}

    path = tmp_path / "m.jsonl"
    tracks = (Track("1", songs / "a.flac", lyrics=tmp_path / "1.txt"), Track("2", songs / "b.flac"))
    write_manifest(path, [Album("a", ("Pop",), tracks)])
    [line] = map(json.loads, path.read_text().splitlines())
    first = {"track_id": "1", "audio": "songs/a.flac", "lyrics": "1.txt"}
    assert line["tracks"] == [first, {"track_id": "2", "audio": "songs/b.flac"}]
    assert read_manifest(path)[0].tracks == tracks
    path.write_text(path.read_text().replace("1.txt", " "))
    assert tracks_of("manifest", path) == {"1": None, "2": None}
    path.write_text(path.read_text().replace('"lyrics": " "', r'"lyrics": "C:\\words.txt"'))
    with pytest.raises(UserError, match="expected paths of this machine, found a path of Windows"):
        tracks_of("manifest", path)


def test_lyrics_are_prepared_if_they_are_asked_for(tmp_path):
    assert "lyrics" not in BY_DEFAULT
    rng = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "songs" / ("Rock", "Pop")[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=22_050), 22_050)
        path.with_suffix(".lrc" if i else ".txt").write_text(f"[00:01.0]song number {i}")
    arguments = ["--source=folder", f"--input={tmp_path / 'songs'}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
    prepare.main([*arguments, "--modalities=lyrics", "--lyrics.max_chars=13"])
    settings = MODALITIES["lyrics"].settings(max_chars=13)
    dataset = open_prepared(tmp_path / "data", settings)
    found = {record["track_id"]: record["lyrics"] for split in SPLITS for record in dataset.split(split)}
    assert found == {f"{('Rock', 'Pop')[i % 2]}/{i}.wav": "song number " + str(i) for i in range(6)}


# --- runs ---------------------------------------------------------------------------------------------------

SETTINGS = (*lyrics_model.SETTINGS, "--config.optim.max_epochs=6", "--config.loop.chunk_steps=4")


@pytest.mark.full
def test_a_run_of_lyrics(small_data, tmp_path):
    data, own = prepare_lyrics(small_data, tmp_path, "lyrics"), own_songs(small_data, tmp_path / "own")
    songs = [own, own / "c.flac", own / "d.flac"]
    run, rows = use_run((*SETTINGS, "--config.modality=lyrics"), data, tmp_path, songs, "lyrics_model.py")
    assert {name: row["error"] for name, row in rows.items()} == {
        **dict.fromkeys(("a.txt", "b.lrc", "c.flac")),
        "d.flac": "missing: its tags hold no lyrics",
    }
    result = json.loads((run / "eval_test.json").read_text())
    assert result["album"]["roc_auc_macro"] > 0.6
    assert result["baseline"]["roc_auc_macro"] > 0.6
    words = (own / "a.txt").read_text()
    (own / "e.txt").write_text(words.upper())
    again = scores(tags_of(tmp_path, f"--workdir={run}", own / "a.txt", own / "e.txt"))
    assert again["a.txt"] == again["e.txt"]


@pytest.mark.full
def test_a_run_of_songs_with_their_lyrics(small_data, tmp_path):
    """A song and its text file are one; a song without takes the lyrics in its tags, if there are any."""
    data, own = prepare_lyrics(small_data, tmp_path, "mel,lyrics"), own_songs(small_data, tmp_path / "own")
    run, rows = use_run((*SETTINGS, "--config.modality=mel+lyrics"), data, tmp_path, [own], "lyrics_model.py")
    assert {name: row["error"] for name, row in rows.items()} == {
        **dict.fromkeys("abc"),
        "d": "missing: lyrics (missing: its tags hold no lyrics)",
    }
    result = json.loads((run / "eval_test.json").read_text())
    assert result["album"]["roc_auc_macro"] > 0.6
    before = scores(rows)
    from mutagen.flac import FLAC

    flac = FLAC(own / "b.flac")
    flac["lyrics"] = "other words"  # its text file counts
    flac.save()
    (own / "d.txt").write_text("words at last")
    after = scores(tags_of(tmp_path, f"--workdir={run}", own))
    assert {name: after[name] for name in "ab"} == {name: before[name] for name in "ab"}
    assert after["d"]


def test_a_named_vocabulary_is_kept_in_the_run(small_data, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join([PAD, "[unused0]", *SPECIAL[1:], *"abcdefghijklmnopqrstuvwxyz", "fire", "the"]))
    data = prepare_lyrics(small_data, tmp_path, "lyrics")
    settings = [*lyrics_model.SETTINGS, "--config.optim.max_epochs=1", "--config.modality=lyrics"]
    run = tmp_path / "run"
    named = f"--config.tokens.vocabulary={vocabulary}"
    (tmp_path / "large.txt").write_text("\n".join([*SPECIAL, *map(str, range(500))]))
    large = f"--config.tokens.vocabulary={tmp_path / 'large.txt'}"
    with pytest.raises(UserError, match=r"expected at most 400 lines"):
        train.main([*settings, large, f"--data_dir={data}", f"--workdir={run}"])
    assert train.main([*settings, named, f"--data_dir={data}", f"--workdir={run}"]) == 0
    assert (run / "vocabulary.txt").read_text() == vocabulary.read_text() + "\n"
    vocabulary.unlink()
    (tmp_path / "a.txt").write_text("the fire")
    assert tags_of(tmp_path, f"--workdir={run}", tmp_path / "a.txt")["a.txt"]["error"] is None
    (run / "vocabulary.txt").write_text("\n".join(SPECIAL))
    with pytest.raises(UserError, match=r"vocabulary.txt"):
        tag.main([f"--workdir={run}", str(tmp_path / "a.txt")])


def test_the_baselines_view_of_an_album_is_the_mean_of_its_songs(small_data, tmp_path):
    from mumu_jax.data.modalities.inputs import Inputs

    data = prepare_lyrics(small_data, tmp_path, "lyrics")
    config = Config(modality="lyrics", tokens=TokenSettings(n_terms=200, max_tokens=64))
    dataset = open_prepared(data, config.lyrics)
    records = dataset.split("train")
    inputs = Inputs.fit(config, records, {"lyrics": dataset.folder})
    summaries = summarize_albums(inputs, records, len(dataset.labels))
    of_track: dict[str, list[np.ndarray]] = {}
    for record in records:
        bag = bags_of(inputs.fitted["lyrics"].encode([record["lyrics"]], 64), 200)
        row = np.zeros(200)
        np.add.at(row, bag.columns[0], bag.values[0])
        of_track.setdefault(record["album_id"], []).append(row)
    assert max(map(len, of_track.values())) > 1
    dense = np.zeros((len(of_track), 200))
    bags = summaries.inputs["lyrics"]
    for row, columns, values in zip(dense, bags.columns, bags.values, strict=True):
        np.add.at(row, columns, values)
    np.testing.assert_allclose(dense, [np.mean(rows, axis=0) for rows in of_track.values()], atol=1e-6)


def test_a_cards_example_is_an_input(small_data):
    config = Config(modality="lyrics", tokens=TokenSettings(n_terms=100, max_tokens=7))
    words, example = MODALITIES["lyrics"].describe(config, fit_wordpiece(TEXTS, config.tokens))
    namespace: dict = {"np": np}
    exec(example, namespace)
    shape = MODALITIES["lyrics"].shape(config, None)
    assert (namespace["lyrics"].shape[1:], namespace["lyrics"].dtype) == (shape.shape, shape.dtype)
    assert "5 at most, between 2 ([CLS]) and 3 ([SEP])" in words
