"""MuMu's released files, as they are and as they may go wrong."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from mumu_fixture import FRAMINGS, STYLES, Made, msd_path, write_mumu, write_reviews

from mumu_jax.data.manifest import Album, Label
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.finding import stop_at_errors
from mumu_jax.data.sources.mumu import amazon, taxonomy
from mumu_jax.data.sources.mumu.release import (
    GENRE_LABELS,
    METADATA,
    MULTI_LABEL_CSV,
    REVIEWS,
    SINGLE_LABEL_CSV,
    find_release,
)
from mumu_jax.data.sources.mumu.tables import HEADER, split_genres
from mumu_jax.errors import UserError

TRACK = "TRABCDE128F000000"


def read(path: Path, **request) -> Collection:
    return read_source("mumu", path, Request(path.parent, **request))


def by_id(found: Collection) -> dict[str, Album]:
    return {album.album_id: album for album in found.albums}


def reasons(found: Collection) -> list[tuple[str, int, str]]:
    return [(Path(str(line["file"])).name, int(line["line"]), str(line["reason"])) for line in found.rejected]


def fails(path: Path, *fragments: str, **request) -> None:
    with pytest.raises(UserError) as raised:
        read(path, **request)
    for fragment in (*fragments, ";"):
        assert fragment in str(raised.value)
    assert "\n" not in str(raised.value)


def check_albums(found: Collection, made: dict[str, Made], folder: Path) -> None:
    """Everything that the fixture planned."""
    assert [album.album_id for album in found.albums] == list(made)
    for album in found.albums:
        plan = made[album.album_id]
        assert (album.genres, album.split, album.n_reviews) == (plan.genres, plan.split, len(plan.reviews))
        assert album.text == ("\n".join(plan.reviews)[:1000] or None)
        assert album.cover == (folder / "covers" / f"{album.album_id}.jpg" if plan.has_cover else None)
        assert [track.track_id for track in album.tracks] == list(plan.tracks)
        for track, (has_audio, has_timbre) in zip(album.tracks, plan.tracks.values(), strict=True):
            assert track.audio.exists() == has_audio
            assert track.timbre == (folder / "msd" / msd_path(track.track_id, ".h5") if has_timbre else None)


# --- as released --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_gives_the_same_albums(tmp_path: Path, framing: str) -> None:
    made = write_mumu(tmp_path, reviews=framing, nested=framing == "lines", gzipped=framing in ("dict", "python"))
    found = read(tmp_path)
    check_albums(found, made, tmp_path)
    assert found.rejected == []
    parents = {below: top for top, below, *_ in STYLES} | {top: None for top, *_ in STYLES}
    assert found.labels == [Label(name, parents[name]) for name in sorted(parents)]


def test_a_text_ends_at_max_chars(tmp_path: Path) -> None:
    made = write_mumu(tmp_path)
    for album in read(tmp_path, max_chars=30).albums:
        assert album.text == ("\n".join(made[album.album_id].reviews)[:30] or None)


def test_single_label(tmp_path: Path) -> None:
    made = write_mumu(tmp_path)
    found = read(tmp_path / SINGLE_LABEL_CSV)
    assert 10 < len(found.albums) < len(made)
    assert all(album.genres == made[album.album_id].genres[:1] for album in found.albums)
    assert [label.name for label in found.labels] == sorted(top for top, *_ in STYLES)
    (tmp_path / MULTI_LABEL_CSV).unlink()
    assert read(tmp_path).albums == found.albums
    first = found.albums[0]
    with (tmp_path / SINGLE_LABEL_CSV).open("a") as file:
        file.write(f'{first.album_id},m,{TRACK}0,r,a,Another\nB1,m,{TRACK}1,r,a,"One,Two"\n')
    again = read(tmp_path)
    assert again.albums == found.albums
    assert [reason for *_, reason in reasons(again)] == ["conflict", "conflict"]


@pytest.mark.parametrize("of", ["tracks", None])
def test_splits_by_track_or_by_hash(tmp_path: Path, of: str | None) -> None:
    made = write_mumu(tmp_path, splits=of)
    splits = {album.album_id: album.split for album in read(tmp_path).albums}
    expected = {album_id: plan.split for album_id, plan in made.items()}
    assert (splits == expected) == (of == "tracks")
    assert set(splits.values()) == {"train", "val", "test"}


def test_splits_that_contradict_themselves(tmp_path: Path) -> None:
    made = write_mumu(tmp_path)
    first = next(iter(made))
    path = tmp_path / "splits" / "items_index_test_MuMu-albums.tsv"
    path.write_text(f"B0UNKNOWN0\n{first}\n" + path.read_text())
    found = read(tmp_path)
    assert by_id(found)[first].split == "train"
    assert reasons(found) == [(path.name, 2, "conflict")]
    path.unlink()
    found = read(tmp_path)
    assert reasons(found) == [(path.name, 1, "missing")]
    assert {album.split for album in found.albums} == {"train", "val", "test"}


def test_only_the_csv_is_there(tmp_path: Path) -> None:
    made = write_mumu(tmp_path / "all")
    (tmp_path / "bare").mkdir()
    (tmp_path / "all" / MULTI_LABEL_CSV).rename(tmp_path / "bare" / MULTI_LABEL_CSV)
    found = read(tmp_path / "bare")
    assert [album.genres for album in found.albums] == [plan.genres for plan in made.values()]
    assert found.labels == [Label(genre) for genre in sorted({g for plan in made.values() for g in plan.genres})]
    assert all(a.text is a.cover is a.n_reviews is None for a in found.albums)
    track = found.albums[0].tracks[0]
    assert track.audio == tmp_path / "bare" / "audio" / f"{track.track_id}.mp3"
    named = {kind: tmp_path / "all" / kind for kind in ("audio", "covers", "msd")}
    (tmp_path / "all" / GENRE_LABELS).rename(tmp_path / "bare" / GENRE_LABELS)
    full = by_id(read(tmp_path / "bare", folders=named))
    for album_id, plan in made.items():
        assert [t.audio.exists() for t in full[album_id].tracks] == [there for there, _ in plan.tracks.values()]
        assert (full[album_id].cover is not None) == plan.has_cover
    fails(tmp_path / "bare", "covers", "nowhere", folders={"covers": tmp_path / "nowhere"})


def test_the_taxonomy_gives_the_labels(tmp_path: Path) -> None:
    made = write_mumu(tmp_path)
    (tmp_path / MULTI_LABEL_CSV).unlink()
    (tmp_path / SINGLE_LABEL_CSV).unlink()
    published = by_id(read(tmp_path))
    assert {name: album.genres for name, album in published.items()} == {
        name: plan.genres for name, plan in made.items()
    }
    (tmp_path / GENRE_LABELS).unlink()
    found = read(tmp_path)
    counts = Counter(genre for plan in made.values() for genre in plan.genres)
    assert [label.name for label in found.labels] == sorted(g for g, n in counts.items() if n >= 12)
    assert not any(album.tracks for album in found.albums)
    assert all(album.text for album in found.albums if made[album.album_id].reviews)
    entries = json.loads((tmp_path / METADATA).read_text())
    entries[2]["categories"] = [["CDs & Vinyl", "Rare"], ["Digital Music", "Rock"]]
    entries[3]["categories"] = "Rock"
    (tmp_path / METADATA).write_text(json.dumps(entries, indent=1))
    found = read(tmp_path)
    assert len(found.albums) == len(made) - 2
    assert sorted(reason for *_, reason in reasons(found)) == ["malformed", "no_genre"]


def test_taxonomy() -> None:
    paths = (("CDs & Vinyl", "Jazz", "Vocal Jazz"), ("CDs & Vinyl", "Pop", "Vocal Pop"), ("Digital Music", "Rock"))
    assert taxonomy.genres_of(paths) == ("Jazz", "Vocal Jazz", "Pop", "Vocal Pop")
    assert taxonomy.frequent([["A", "B"]] * 11 + [["B"]]) == ["B"]
    found = taxonomy.parents_of(["Vocal Jazz", "Vocal Pop", "Pop"], [paths])
    assert found == {"Vocal Jazz": None, "Vocal Pop": "Pop", "Pop": None}
    shared = [(("CDs & Vinyl", top, "Live"),) for top in ("Rock", "Jazz", "Jazz")]
    assert taxonomy.parents_of(["Live", "Jazz", "Rock"], shared)["Live"] == "Jazz"
    circle = [(("CDs & Vinyl", "X", "A", "B"), ("CDs & Vinyl", "X", "B", "A"))]
    assert taxonomy.parents_of(["A", "B"], circle * 2) == {"A": None, "B": None}


def test_nothing_of_the_release_is_there(tmp_path: Path) -> None:
    fails(tmp_path, MULTI_LABEL_CSV, METADATA, str(tmp_path), "https://www.upf.edu/web/mtg/mumu")
    (tmp_path / "other.csv").write_text("a,b\n")
    fails(tmp_path / "other.csv", "other.csv", SINGLE_LABEL_CSV)


def test_audio_folders(tmp_path: Path) -> None:
    rows = [f"B1,m,{TRACK}{i},r,a,Rock" for i in range(4)]
    (tmp_path / MULTI_LABEL_CSV).write_text("\n".join([",".join(HEADER), *rows]))
    (tmp_path / "audio" / "B").mkdir(parents=True)
    (tmp_path / "audio" / "B" / "back").symlink_to(tmp_path / "audio")
    for name in (f"{TRACK}0.MP3", f"{TRACK}1.txt", f"._{TRACK}1.mp3", f"{TRACK}2.mp3", f"B/{TRACK}2.flac"):
        (tmp_path / "audio" / name).touch()
    tracks = read(tmp_path).albums[0].tracks
    names = (f"{TRACK}0.MP3", f"{TRACK}1.mp3", f"B/{TRACK}2.flac", f"{TRACK}3.mp3")
    assert [track.audio for track in tracks] == [tmp_path / "audio" / name for name in names]


# --- CSV that is not as it should be ------------------------------------------------------------------------


def test_genres_are_split_on_a_comma_without_a_space() -> None:
    cell = "Theatrical, Incidental & Program Music,Classical,Soundtracks, Scores"
    assert split_genres(cell) == ("Theatrical, Incidental & Program Music", "Classical", "Soundtracks, Scores")
    assert split_genres("Rock,,Rock, ") == ("Rock", "Rock,")


def test_bad_rows_are_rejected(tmp_path: Path) -> None:
    rows: list[tuple[bytes, str | None]] = [
        (b'B1,m,%s0,r,a,"Rock,Pop"', None),
        (b'B1,m,%s1,r,a,"Rock,Pop', "malformed"),
        (b"B1,m,%s2,r,a,Rock,Pop", "malformed"),
        (b"B1,m,%s3,r", "malformed"),
        (b",m,%s4,r,a,Rock", "malformed"),
        (b"B1,m,../../x,r,a,Rock", "malformed"),
        (b"B1,m,%s6,r,a,", "malformed"),
        (b"B1,m,%s7,r,a,Caf\xe9", "not_utf8"),
        (b"", None),
        (b"B2,m,%s0,r,a,Jazz", "conflict"),
        (b"B1,m,%s0,r,a,Pop", None),
        (b"B1,m,%s8,r,a," + "Café".encode(), None),
    ]
    path = tmp_path / MULTI_LABEL_CSV
    lines = [row.replace(b"%s", TRACK.encode()) for row, _ in rows]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([",".join(HEADER).encode(), *lines]))
    found = read(tmp_path)
    expected = [(path.name, line, reason) for line, (_, reason) in enumerate(rows, 2) if reason]
    assert reasons(found) == expected
    album = by_id(found)["B1"]
    assert album.genres == ("Rock", "Pop", "Café")
    assert [track.track_id[-1] for track in album.tracks] == ["0", "8"]
    assert not by_id(found)["B2"].tracks


@pytest.mark.parametrize("content", [b"", b"id,genres\n", b"\xff\xfea\0m\0", b'"amazon_id\n', b"<html>\n"])
def test_a_file_that_is_not_that_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MULTI_LABEL_CSV).write_bytes(content)
    fails(tmp_path, f"{MULTI_LABEL_CSV}:1", "expected the header amazon_id,")


def test_genres_that_the_labels_file_does_not_name(tmp_path: Path) -> None:
    made = write_mumu(tmp_path)
    (tmp_path / GENRE_LABELS).write_text("Zydeco\nRock\n")
    found = read(tmp_path)
    rest = sorted({genre for plan in made.values() for genre in plan.genres} - {"Rock"})
    assert [label.name for label in found.labels] == ["Zydeco", "Rock", *rest]
    assert reasons(found) == [(GENRE_LABELS, 2, "conflict")]


@pytest.mark.parametrize("with_csv", [True, False])
def test_a_labels_file_that_is_something_else(tmp_path: Path, with_csv: bool) -> None:
    write_mumu(tmp_path)
    for name in () if with_csv else (MULTI_LABEL_CSV, SINGLE_LABEL_CSV):
        (tmp_path / name).unlink()
    for content, said in (
        (b"<html>\n<body>Sign in</body>\n</html>\n", "a web page (HTML)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4000\n", "a Git LFS pointer"),
        (b"", "an empty file"),
    ):
        (tmp_path / GENRE_LABELS).write_bytes(content)
        fails(tmp_path, f"{GENRE_LABELS}: expected one genre per line, found {said}")


# --- reviews that are not as they should be -----------------------------------------------------------------


def written(folder: Path, reviews: bytes, name: str = REVIEWS) -> Collection:
    """The albums B1, B2 and B3 with these reviews."""
    folder.mkdir(exist_ok=True)
    rows = [f"B{i},m,{TRACK}{i},r,a,Rock" for i in (1, 2, 3)]
    (folder / MULTI_LABEL_CSV).write_text("\n".join([",".join(HEADER), *rows]))
    (folder / name).write_bytes(reviews)
    return read(folder)


def texts(found: Collection) -> list[str | None]:
    return [album.text for album in found.albums]


def review(album: str, text: object) -> str:
    return json.dumps({"asin": album, "helpful": [0, 1], "reviewText": text, "overall": 5.0})


ONE, TWO, THREE = (review(f"B{i}", f"text {i}") for i in (1, 2, 3))
ALL = ["text 1", "text 2", "text 3"]


@pytest.mark.parametrize(
    "content",
    [
        '{"B1": ["text 1"], "B2": "text 2", "B3": ["text 3"], "B9": []}',
        f'{{"B3": {THREE}, "B1": [{ONE}],\n"B2":[ {TWO} ]}}',
        '{"B1": {"reviewText": "text 1"}}\n{"B2": {"reviewText": "text 2"}}\n{"B3": ["text 3"]}\n',
        f"[{ONE},{TWO},{THREE}]",
        f"[\n{ONE},\n{TWO},\n{THREE}\n]\n",
        f"[\n{ONE}\n,{TWO}\n,{THREE}]",
        f"\ufeff{ONE}\r\n\r\n{TWO}\r\n{THREE}",
        f"{ONE}{TWO}{THREE}",
        '{"note": "x", "asin": "B1", "reviewText": "text 1"}' + f"{TWO}{THREE}",
        "{u'asin': u'B1', 'reviewText': u'text 1'}\n{'asin': 'B2', 'reviewText': \"text 2\"}\n\n"
        "{'overall': 1.0, 'asin': 'B3', 'reviewText': 'text 3'}",
    ],
)
def test_other_framings(tmp_path: Path, content: str) -> None:
    for name, data in ((REVIEWS, content.encode()), (f"{REVIEWS}.gz", gzip.compress(content.encode()))):
        found = written(tmp_path / name, data, name)
        assert texts(found) == ALL
        assert found.rejected == []


# What stands instead of the second of three reviews; its reason; whether `reviewText` comes to nothing instead.
BAD = {
    "cut": (TWO[:-25], "malformed"),
    "quote": (TWO.replace("text 2", 'text "2"'), "malformed"),
    "no end": (TWO[:-1], "malformed"),
    "no value": ('{"asin": "B2", "reviewText": }', "malformed"),
    "words": ("this is no JSON", "malformed"),
    "number": ("17", "malformed"),
    "null": ("null", "malformed"),
    "list text": (review("B2", ["text"]), "malformed"),
    "no id": ('{"reviewText": "text 2"}', "malformed"),
    "id": ('{"asin": ["B2"], "reviewText": "text 2"}', "malformed"),
    "latin-1": (review("B2", "x").replace("x", "caf\udce9"), "not_utf8"),
    "digits": ('{"asin": "B2", "overall": ' + "1" * 5000 + "}", "malformed"),
    "escape": ('{"asin": "B2", "review\\x": 1}', "malformed"),
    "deep": ('{"asin": "B2", "reviewText": ' + "[" * 100_000, "malformed"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_a_bad_record_costs_no_other_line(tmp_path: Path, bad: str, reason: str) -> None:
    framings = {
        "lines": ("{}\n{}\n{}\n", 2),
        "array of lines": ("[\n{},\n{},\n{}\n]", 3),
        "dict of lines": ('{{"B1": [{}],\n"B2": [{}],\n"B3": [{}]}}', 2),
    }
    for name, (framing, line) in framings.items():
        content = framing.format(ONE, bad, THREE)
        found = written(tmp_path, content.encode("utf-8", "surrogateescape"))
        keyed = name == "dict of lines" and bad == BAD["no id"][0]  # the dict says whose it is
        assert texts(found) == ["text 1", "text 2" if keyed else None, "text 3"], (name, found.rejected)
        assert reasons(found) == ([] if keyed else [(REVIEWS, line, reason)]), (name, found.rejected)


# Those of BAD that are valid JSON.
VALID = ("number", "null", "list text", "no id", "id", "latin-1")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_in_a_file_of_one_line(tmp_path: Path, name: str) -> None:
    """Wrong values and bytes cost one record; a syntax error costs the rest, and the reason says what to do."""
    bad, reason = BAD[name]
    for framing in ("[{}, {}, {}]", '{{"B1": [{}], "B2": [{}], "B3": [{}]}}'):
        content = framing.format(ONE, bad, THREE)
        found = written(tmp_path, content.encode("utf-8", "surrogateescape"))
        keyed = framing[0] == "{" and name == "no id"  # the dict says whose it is
        assert texts(found) == ["text 1", "text 2" if keyed else None, "text 3" if name in VALID else None]
        assert reasons(found) == ([] if keyed else [(REVIEWS, 1, reason)])
        said = [str(line["detail"]) for line in found.rejected]
        assert name in VALID or said[0].endswith("the rest is lost: download the file again")


def test_python_literals_hold_what_json_does(tmp_path: Path) -> None:  # 23
    lines = [
        "{'asin': 'B1', 'reviewText': 'text 1', 'overall': nan, 'helpful': [-inf, null]}",
        "{'asin': 'B2', 'reviewText': 'text 2', 'price': NaN, 'verified': true}",
        "{'asin': 'B3', 'reviewText': print}",
    ]
    found = written(tmp_path, "\n".join(lines).encode())
    assert texts(found) == ["text 1", "text 2", None]
    (line,) = found.rejected
    assert (line["line"], line["reason"]) == (3, "malformed")
    assert "a name or an expression where a value should be" in str(line["detail"])
    assert "object at 0x" not in str(line["detail"])


@pytest.mark.parametrize("framing", ['{{"asin": {}, "reviewText": "it"}}\n', "{{'asin': {}, 'reviewText': 'it'}}\n"])
def test_ids_that_are_numbers_have_ten_digits(tmp_path: Path, framing: str) -> None:  # 23
    rows = [f"{name},m,{TRACK}{i},r,a,Rock" for i, name in enumerate(("0000006277", "1234567890"))]
    (tmp_path / MULTI_LABEL_CSV).write_text("\n".join([",".join(HEADER), *rows]))
    (tmp_path / REVIEWS).write_text(framing.format(6277) + framing.format(1234567890) + framing.format("true"))
    metadata = '{{"amazon_id": {}, "categories": [["CDs & Vinyl", "Rock"]]}}\n'
    (tmp_path / METADATA).write_text(metadata.format(6277) + metadata.format(1234567890))
    found = read(tmp_path)
    assert texts(found) == ["it", "it"]
    assert reasons(found) == [(REVIEWS, 3, "malformed")]


def test_a_bad_record_in_a_pretty_file(tmp_path: Path) -> None:
    records = [json.loads(record) for record in (ONE, TWO, THREE)]
    content = json.dumps(records, indent=2).replace('"text 2",', '"text 2"')
    found = written(tmp_path, content.encode())
    assert texts(found) == ["text 1", None, "text 3"]
    assert reasons(found) == [(REVIEWS, 11, "malformed")]


def test_a_lost_key_gives_no_album_the_reviews_of_another(tmp_path: Path) -> None:
    found = written(tmp_path, b'{"B1": ["text 1"], "B2: [{"reviewText": "lost"}, "lost"], "B3": ["text 3"]}')
    assert texts(found) == ["text 1", None, None]
    assert {reason for *_, reason in reasons(found)} == {"malformed"}
    found = written(tmp_path, b'{"B1": ["text 1"],\n"B2: [{"reviewText": "lost"}, "lost"],\n"B3": ["text 3"]}')
    assert texts(found) == ["text 1", None, "text 3"]
    assert {reason for *_, reason in reasons(found)} == {"malformed"}


def test_a_bad_python_literal_costs_no_other(tmp_path: Path) -> None:
    good = [f"{{'asin': 'B{i}', 'reviewText': 'text {i}'}}" for i in (1, 2, 3)]
    for bad in ("{'asin': 'B2', 'reviewText': 'x}", "{'asin': open('x')}", "{'asin': 'B2', 'reviewText': 1}", "x y"):
        found = written(tmp_path, "\n".join([good[0], bad, good[2]]).encode())
        assert texts(found) == ["text 1", None, "text 3"]
        assert reasons(found) == [(REVIEWS, 2, "malformed")]
    found = written(tmp_path, "\n".join(good).encode().replace(b"text 2", b"caf\xe9"))
    assert reasons(found) == [(REVIEWS, 2, "not_utf8")]


def test_texts_that_are_empty_or_strange(tmp_path: Path) -> None:
    lines = [review("B1", ""), review("B1", None), '{"asin": "B1"}', review("B2", " \n"), review("B2", "x\0\ud83c")]
    found = written(tmp_path, "\n".join([*lines, review("B3", "\U0001f3b8")]).encode())
    assert texts(found) == [None, "x\0\ufffd", "\U0001f3b8"]
    assert [album.n_reviews for album in found.albums] == [3, 2, 1]
    assert found.rejected == []
    assert texts(written(tmp_path, b"[]")) == [None] * 3


@pytest.mark.parametrize(
    "framing", ["{}\n{}\n{}\n", "[{}, {}, {}]", '{{"B1": [{}], "B2": [{}], "B3": [{}]}}', "python"]
)
def test_a_huge_review(tmp_path: Path, framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon, "LONGEST", 3 << 20)
    has_lines = framing in ("python", "{}\n{}\n{}\n")
    for size, reason in ((2 << 20, None), (9 << 20, "too_long")):
        three = [ONE, review("B2", "long " * (size // 5)), THREE]
        python = "".join(repr(json.loads(each)) + "\n" for each in three)
        found = written(tmp_path, (python if framing == "python" else framing.format(*three)).encode())
        last = "text 3" if has_lines or not reason else None
        assert texts(found) == ["text 1", None if reason else "long " * 200, last]
        assert [r for *_, r in reasons(found)] == ([reason] if reason else [])


def test_a_small_window_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon, "CHUNK", 7)
    monkeypatch.setattr(amazon, "LOOKAHEAD", 300)
    for framing in FRAMINGS:
        made = write_mumu(tmp_path / framing, reviews=framing, n_albums=12)
        check_albums(read(tmp_path / framing), made, tmp_path / framing)


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    found = written(tmp_path, f"[{ONE}, {TWO}, {THREE[:30]}".encode())
    assert texts(found) == ["text 1", "text 2", None]
    assert reasons(found) == [(REVIEWS, 1, "truncated")]
    found = written(tmp_path, f"{ONE}\n{TWO}\n".encode() + b'{"asin": "B3", "reviewText": "caf\xc3')
    assert texts(found) == ["text 1", "text 2", None]
    assert reasons(found) == [(REVIEWS, 3, "truncated")]
    whole = "".join(review("B1", random.Random(i).randbytes(50).hex()) + "\n" for i in range(1000))
    (tmp_path / REVIEWS).unlink()
    found = written(tmp_path, gzip.compress(whole.encode())[:-20_000], f"{REVIEWS}.gz")
    assert 0 < found.albums[0].n_reviews < 1000
    assert {reason for *_, reason in reasons(found)} == {"truncated"}


@pytest.mark.parametrize("content", [b"", b"<html>{'a'", b"asin,text\nB1,x\n", '[{"asin"'.encode("utf-16")])
def test_a_file_without_records(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=f"{REVIEWS}: expected JSON records.*; "):
        written(tmp_path, content)


def test_a_gz_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{REVIEWS}.gz: expected JSON records.*gzip.*; "):
        written(tmp_path, ONE.encode(), f"{REVIEWS}.gz")


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    """Reviews with bytes changed, added and taken out: an answer, or one line."""
    made = write_mumu(tmp_path, n_albums=12)
    rng = random.Random(0)
    for trial in range(60):
        framing = FRAMINGS[trial % len(FRAMINGS)]
        write_reviews(tmp_path / REVIEWS, made, framing)
        data = bytearray((tmp_path / REVIEWS).read_bytes())
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(100, len(data))
            data[at : at + rng.randrange(3)] = rng.choice([b"", b'"', b"{", b"}", b"\n", b"\\", b"\xe9", b"]", b"\0"])
        (tmp_path / REVIEWS).write_bytes(data)
        found = read(tmp_path)
        is_lost = any("the rest is lost" in str(line["detail"]) for line in found.rejected)
        assert not (is_lost and framing in ("lines", "python"))
        assert is_lost or sum(a.text is not None for a in found.albums) >= 6


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("inner/MuMu_dataset_multi-label.csv", "they are in {folder}/inner: give that"),
        ("MuMu.zip", "MuMu.zip is there: unpack it"),
        ("MuMu_dataset_multi-label.csv.gz", "is there: unpack it as MuMu_dataset_multi-label.csv"),
        ("MuMu_dataset_multi-label (1).csv", "(1).csv is there: rename it MuMu_dataset_multi-label.csv"),
        ("mumu_dataset_multi_label.csv", "label.csv is there: rename it MuMu_dataset_multi-label.csv"),
        ("amazon-metadata-MuMu.json", "MuMu.json is there: rename it amazon_metadata_MuMu.json"),
        ("amazon_metadata_mumu.json.gz", "mumu.json.gz is there: rename it amazon_metadata_MuMu.json.gz"),
    ],
)
def test_files_that_are_near_are_named(tmp_path: Path, name: str, says: str) -> None:  # 56
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        find_release(tmp_path, stop_at_errors)
    assert says.format(folder=tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"amazon_id;album_mbid\n", "amazon_id,album_mbid\n".encode("utf-16")])
def test_a_csv_file_that_a_spreadsheet_saved(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "MuMu_dataset_multi-label.csv").write_bytes(content)
    with pytest.raises(
        UserError, match="a spreadsheet program saved it in another format: use the file as it was released"
    ):
        read_source("mumu", tmp_path, Request(tmp_path))
