"""Building a data set from Amazon, MusicBrainz and the MSD: names, hand-labelled matches, files, restarts."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sqlite3
import sys
import tarfile
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import complain, succeed
from matching_pairs import CATALOGUE, SOLD

from mumu_jax import build as command
from mumu_jax.data.manifest import INTERVALS
from mumu_jax.data.matching import dumps, job, musicbrainz
from mumu_jax.data.matching.amazon import read_products
from mumu_jax.data.matching.funnel import rows_of
from mumu_jax.data.matching.index import COMPARED, Entry, Index, build_index
from mumu_jax.data.matching.job import Job, build
from mumu_jax.data.matching.match import GROUPS, Candidate, Match, Matcher
from mumu_jax.data.matching.msd import read_mapping, read_songs
from mumu_jax.data.matching.musicbrainz import KINDS, Release
from mumu_jax.data.matching.names import artists_in, name_of, title_of
from mumu_jax.data.matching.release import choose_editions, find_tracks
from mumu_jax.data.matching.scoring import OF_OTHER_NUMBERS, THRESHOLD, Scorer, named
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Request
from mumu_jax.errors import UserError

pytest.importorskip("rapidfuzz", reason="RapidFuzz, the extra `build`, is not installed")

GENRES = (("Rock", "Blues Rock"), ("Pop", "Vocal Pop"), ("Jazz", "Vocal Jazz"))


def mbid(*name) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, name))))


def msd_id(kind: str, number: int) -> str:
    return f"{kind}ABCDE{number:011d}"


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Rumours [Deluxe Edition] (4CD+DVD+LP)", "rumours"),
        ("Houses Of The Holy - Remastered Original Vinyl", "houses of holy"),
        ("Nevermind: 20th Anniversary Deluxe Edition", "nevermind"),
        ("(What’s the Story) Morning Glory?", "whats story morning glory"),
        ("Led Zeppelin II", "led zeppelin 2"),
        ("Past Masters, Vol. 1", "past masters volume 1"),
        ("Past Masters, Volume One", "past masters volume 1"),
        ("Titanic: Music From the Motion Picture", "titanic"),
        ("Garden State (Original Motion Picture Soundtrack)", "garden state"),
        ("Ágætis byrjun", "agaetis byrjun"),
        ("Symphonies Nos. 5 &amp; 7", "symphonies number 5 and 7"),
        ("Deluxe Edition", "deluxe edition"),
        ("The Platinum Edition", "platinum edition"),
        ("1989 (Taylor's Version)", "1989 taylors version"),
        ("+", "and"),
        ("!!!", "!!!"),
        ("無罪モラトリアム", "無罪モラトリアム"),
    ],
)
def test_titles(text, words):
    assert title_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Beatles", "beatles"),
        ("The The", "the the"),
        ("R.E.M.", "rem"),
        ("AC/DC", "ac dc"),
        ("Little Feat", "little feat"),
        ("Dr. Dre feat. Snoop Dogg", "dr dre"),
        ("Various", "various artists"),
        ("Sigur Rós", "sigur ros"),
        ("", ""),
    ],
)
def test_names(text, words):
    assert name_of(text) == words


def test_artists_of_a_credit():
    assert artists_in("Bob Marley & The Wailers") == ("bob marley", "wailers")
    assert artists_in("Johann Sebastian Bach; Glenn Gould") == ("johann sebastian bach", "glenn gould")
    assert artists_in("Sandra") == ()  # no `and` inside a word


def test_scores():
    queen = Scorer(named("Greatest Hits", ("Queen",)))
    assert queen(named("Greatest Hits [Import]", ("Queen",))) == (1, 1, 1)
    other = queen(named("Greatest Hits II", ("Queen",)))
    assert other.title == pytest.approx(OF_OTHER_NUMBERS * 2 * 13 / (13 + 15), abs=0.02)
    assert other.score == pytest.approx(other.title * other.artist)
    assert queen(named("Greatest Hits", ("Abba",))).score < 0.6
    forward, back = (
        Scorer(a)(b) for a, b in _both_ways("Bach: Cello Suites", "Yo-Yo Ma", "Cello Suites", "Bach; Yo-Yo Ma")
    )
    assert forward == back
    assert THRESHOLD < forward.score < 1


def _both_ways(title, artist, other_title, other_artist):
    a, b = named(title, (artist,)), named(other_title, (other_artist, *other_artist.split("; ")))
    return (a, b), (b, a)


# --- the labelled pairs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matcher(tmp_path_factory) -> Matcher:
    folder = tmp_path_factory.mktemp("index")
    entries = (Entry(i, named(one.title, one.names), (one.title, one.names[0])) for i, one in enumerate(CATALOGUE))
    assert build_index(folder, entries) == len(CATALOGUE)
    kinds = np.array([KINDS.index(one.kind) for one in CATALOGUE], np.uint8)
    np.savez(folder / GROUPS, mbids=np.array([one.key for one in CATALOGUE], "S36"), kinds=kinds)
    return Matcher(folder)


def match_all(matcher: Matcher) -> list[tuple[str | None, Match]]:
    return [
        (one.key, Match("", one.title, one.artist, *matcher.match(named(one.title, (one.artist,))))) for one in SOLD
    ]


def test_precision_and_recall_of_the_labelled_pairs(matcher):
    found = [(key, match.best.album_mbid) for key, match in match_all(matcher) if match.decide(THRESHOLD) == "matched"]
    n_right = sum(key == own for key, own in found)
    n_there = sum(one.key is not None for one in SOLD)
    precision, recall = n_right / len(found), n_right / n_there
    assert (len(SOLD), n_there) == (106, 82)
    assert precision == 1
    assert recall == pytest.approx(0.927, abs=0.001)


def test_a_lower_threshold_finds_more_and_errs_more(matcher):
    found = [(key, match.best.album_mbid) for key, match in match_all(matcher) if match.decide(0.75) == "matched"]
    wrong = [one for one in found if one[0] != one[1]]
    assert len(found) - len(wrong) > 76
    assert wrong


def test_the_runner_up_is_another_album(matcher):
    best, other = matcher.match(named("Led Zeppelin II", ("Led Zeppelin",)))
    assert (best.album_mbid, best.title, best.artist, best.score) == (
        "zeppelin 2",
        "Led Zeppelin II",
        "Led Zeppelin",
        1,
    )
    assert other.album_mbid in ("zeppelin 1", "zeppelin 3", "zeppelin 4")
    assert other.score < THRESHOLD
    assert matcher.match(named("", ("Queen",))) == matcher.match(named("zzz", ("yyy",))) == []


def test_an_album_comes_before_its_single_and_twins_tell_nothing(matcher):
    best, other = matcher.match(named("Thriller", ("Michael Jackson",)))
    assert (best.album_mbid, other.album_mbid) == ("thriller", "thriller single")
    assert best.score == other.score
    assert Match("", "t", "a", best, other).decide(THRESHOLD) == "matched"
    assert Match("", "t", "a", *matcher.match(named("Weezer", ("Weezer",)))).decide(THRESHOLD) == "ambiguous"
    assert Match("", "t", "a", best, other).decide(1.01) == "below threshold"
    assert [Match("", *names).decide(0.5) for names in (("t", "a"), ("t", ""), ("", "a"))] == [
        *("nothing like it", "no artist", "no title"),
    ]


# --- blocks -------------------------------------------------------------------------------------------------


def test_few_are_compared_and_the_same_names_always(tmp_path):
    many = [(f"Greatest Hits {i}", f"Band {i}") for i in range(3_000)]
    several = [("Live", "Live"), ("Greatest Hits", "The Band")] * 20
    albums = many + several
    entries = [Entry(i, named(title, (artist,)), (title, artist)) for i, (title, artist) in enumerate(albums)]
    assert build_index(tmp_path, entries) == len(albums)
    index = Index(tmp_path)
    for title, artist in (("Greatest Hits 77", "Band 77"), ("Live", "Live"), ("Greatest Hits", "Band")):
        rows = index.candidates(named(title, (artist,)))
        assert len(rows) <= COMPARED
        assert named(title, (artist,)) in [one for _, one in rows]
        assert all(index.shown(row) == albums[index.album(row)] for row, _ in rows)
    assert index.candidates(named("zzz", ("yyy",))) == []


def test_editions_of_one_album_are_one_row(tmp_path):
    entries = [Entry(0, named(title, ("Queen",)), (title, "Queen")) for title in ("News", "News [Import]", "Jazz")]
    assert build_index(tmp_path, entries) == 2


def test_names_are_shown_as_one_line(tmp_path):
    build_index(tmp_path, [Entry(0, named("A\tB", ("C\nD",)), ("A\tB", "C\nD"))])
    index = Index(tmp_path)
    ((row, _),) = index.candidates(named("A B", ("C D",)))
    assert index.shown(row) == ("A B", "C D")


# --- a small world --------------------------------------------------------------------------------------------


def releases() -> list[dict]:
    """The catalogue as MusicBrainz' JSON: two recordings an album, one that two collections share."""
    lines = []
    for entry in CATALOGUE:
        recordings = [mbid("recording", entry.key, i) for i in range(2)]
        if entry.key in ("queen hits 1", "abba gold"):
            recordings.append(mbid("recording", "on both"))
        printed, *others = entry.names
        artist = {"id": mbid("artist", printed), "name": printed, "sort-name": others[-1] if others else printed}
        credit = [{"name": printed, "joinphrase": "", "artist": artist}]
        credit += [{"name": name, "joinphrase": "", "artist": artist | {"name": name}} for name in others[:0]]
        lines.append(
            {
                "id": mbid("release", entry.key),
                "title": entry.title,
                "artist-credit": credit,
                "release-group": {"id": mbid("group", entry.key), "primary-type": entry.kind},
                "asin": "B00RUMOURS" if entry.key == "rumours" else None,
                "media": [{"tracks": [{"title": "t", "recording": {"id": one}} for one in recordings]}, {"title": ""}],
            }
        )
    return lines


def mapped() -> dict[str, str]:
    """The MSD's track of each recording, and of what two collections share."""
    keys = [entry.key for entry in CATALOGUE]
    pairs = {mbid("recording", key, i): msd_id("TR", 10 * n + i) for n, key in enumerate(keys) for i in range(2)}
    return {**pairs, mbid("recording", "on both"): msd_id("TR", 99_999)}


def products() -> list[dict]:
    lines = []
    for n, one in enumerate(SOLD):
        top, below = GENRES[n % 3]
        paths = [["CDs & Vinyl", top, below], ["Digital Music", "Albums", "Nothing"]]
        asin = "B00RUMOURS" if n == 0 else f"B{n:09d}"
        lines.append({"asin": asin, "title": one.title, "brand": one.artist, "categories": paths, "price": 9.5})
    lines.append({"asin": "B00NOARTIS", "title": "Nobody's", "categories": [["CDs & Vinyl", "Rock"]]})
    lines.append({"asin": "B000000BOOK", "title": "A book", "brand": "Queen", "categories": [["Books"]]})
    return lines


def write_world(folder: Path) -> dict[str, Path]:
    with gzip.open(folder / "meta.json.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{product!r}\n" for product in products())
    with gzip.open(folder / "reviews.json.gz", "wt", encoding="utf-8") as file:
        for product in products():
            review = {
                "asin": product["asin"],
                "reviewText": f"a fine {product['categories'][0][-1]} record",
                "overall": 5.0,
            }
            file.write(json.dumps(review) + "\n")
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in releases()).encode()
    with tarfile.open(folder / "release.tar.xz", "w:xz") as archive:
        for name, data in (("TIMESTAMP", b"2020"), ("mbdump/release", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with bz2.open(folder / "mapping.csv.bz2", "wt", newline="") as file:
        csv.writer(file).writerows([track, one, 'A "title", with commas', "artist"] for one, track in mapped().items())
    return {
        "amazon": folder / "meta.json.gz",
        "musicbrainz": folder / "release.tar.xz",
        "mapping": folder / "mapping.csv.bz2",
        "reviews": folder / "reviews.json.gz",
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"))


def here(call, items):
    for item in items:
        call(item)


def run(world: dict[str, Path], out: Path, **how):
    settings = {"minimum": 5, "albums_a_part": 20, "releases_a_part": 30, "for_each": here}
    return build(Job(**{**world, "out": out, **settings, **how}))


def written(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "inputs.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.suffix != ".npz"}


@pytest.fixture(scope="module")
def built(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "mumu"
    return out, run(world, out)


def test_the_funnel_and_the_files(built):
    out, funnel = built
    lines = [json.loads(line) for line in (out / "matches.jsonl").read_text().splitlines()]
    assert len(lines) == len(SOLD) + 1
    assert {line["threshold"] for line in lines} == {THRESHOLD}
    labelled = {f"B{n:09d}": one.key for n, one in enumerate(SOLD)} | {"B00RUMOURS": "rumours"}
    matched = [line for line in lines if line["decision"] == "matched"]
    for line in matched:
        assert line["best"]["album_mbid"] == mbid("group", labelled[line["amazon_id"]])
        assert line["best"]["score"] >= THRESHOLD
    groups = {line["best"]["album_mbid"] for line in matched}
    assert funnel.decisions["matched"] == len(matched) == 76
    assert funnel.decisions["no artist"] == 1
    assert (funnel.groups, funnel.albums_with_tracks) == (len(groups), len(groups))
    assert (funnel.tracks, funnel.tracks_of_one_album) == (2 * len(groups) + 1, 2 * len(groups))  # one is on two
    assert (funnel.genres, funnel.labels, funnel.albums) == (6, 6, len(groups))
    assert funnel.songs == 2 * len(groups)
    assert funnel.labels_a_song == 2
    assert (funnel.releases, funnel.lines) == (len(CATALOGUE), len(CATALOGUE))
    assert funnel.reviews == funnel.albums
    assert sum(funnel.splits.values()) == funnel.albums
    assert (funnel.asins.known, funnel.asins.matched, funnel.asins.right) == (1, 1, 1)
    table = {row.name: row for row in rows_of(funnel)}
    assert table["songs"].paper == "147,295"
    assert table["matched with an album of MusicBrainz"].count == "76 (71%)"
    assert json.loads((out / "funnel.json").read_text())["songs"] == funnel.songs


def test_prepare_takes_what_was_built(built, world, tmp_path):
    out, funnel = built
    found = read_source("mumu", out, Request(tmp_path))
    assert len(found.albums) == funnel.albums
    assert [label.name for label in found.labels] == sorted(name for pair in GENRES for name in pair)
    assert {label.name: label.parent for label in found.labels}["Vocal Jazz"] == "Jazz"
    assert found.rejected == []
    assert {split: sum(album.split == split for album in found.albums) for split in INTERVALS} == funnel.splits
    rumours = next(album for album in found.albums if album.album_id == "B00RUMOURS")
    assert [track.track_id for track in rumours.tracks] == [msd_id("TR", 0), msd_id("TR", 1)]
    assert rumours.text == "a fine Blues Rock record"


def test_the_tables_give_the_same_as_the_json(world, built, tmp_path):
    write_tables(tmp_path / "mbdump")
    out, _ = built
    run({**world, "musicbrainz": tmp_path / "mbdump"}, tmp_path / "out")
    of_tables, of_json = written(tmp_path / "out"), written(out)
    assert {name for name in of_json if of_tables.get(name) != of_json[name]} == set()


def write_tables(folder: Path) -> None:
    tables: dict[str, list[tuple]] = {
        name: [] for name in (*musicbrainz.TABLES, "release_meta", "recording_gid_redirect")
    }
    numbers: dict[str, int] = {}
    for n, line in enumerate(releases(), 1):
        artist = line["artist-credit"][0]["artist"]
        tables["artist"].append((n, artist["id"], artist["name"], artist["sort-name"], 1960))
        tables["artist_credit_name"].append((n, 0, n, line["artist-credit"][0]["name"], ""))
        kind = 1 + KINDS.index(line["release-group"]["primary-type"]) // 2
        tables["release_group"].append((n, line["release-group"]["id"], line["title"], n, kind))
        tables["release"].append((n, line["id"], line["title"].replace("\\", "\\\\"), n, n, 1))
        tables["release_meta"].append((n, "2000-01-01", r"\N", line["asin"] or r"\N"))
        tables["medium"].append((n, n, 1))
        for track in line["media"][0]["tracks"]:
            one = track["recording"]["id"]
            if one not in numbers:
                numbers[one] = len(numbers) + 1
                merged = numbers[one] % 7 == 0
                tables["recording"].append((numbers[one], mbid("now", one) if merged else one, "a\\tb", 1))
                if merged:
                    tables["recording_gid_redirect"].append((one, numbers[one]))
            tables["track"].append((len(tables["track"]), mbid("track", one, n), numbers[one], n, 1))
    folder.mkdir()
    for name, rows in tables.items():
        (folder / name).write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def test_fields_of_tables(tmp_path):
    (tmp_path / "release").write_text("1\ta\\tb\\\\n\\nc\t\\N\n")
    assert list(musicbrainz.rows_of(tmp_path, "release", 0, 1, 2)) == [("1", "a\tb\\n\nc", "")]
    with pytest.raises(UserError, match=r"release:1: expected 5 columns, found 3; unpack it again"):
        list(musicbrainz.rows_of(tmp_path, "release", 4))
    with pytest.raises(UserError, match=r"found no track; unpack mbdump.tar.bz2 there, or give release.tar.xz"):
        list(musicbrainz.rows_of(tmp_path, "track", 1))


# --- restarts -----------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def dying_after(n: int):
    """A function of items that stops after `n` of them."""

    def for_each(call, items):
        here(call, items[:n])
        if len(items) > n:
            raise Killed

    return for_each


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(world, built, tmp_path, monkeypatch):
    out, funnel = built
    write, n_written = job.write_parts, []

    def killed_while_reading(folder, read, n_a_part, description):
        write(folder, lambda skip: _dying(read(skip), 2 * n_a_part - skip), n_a_part, description)

    monkeypatch.setattr(job, "write_parts", killed_while_reading)
    with pytest.raises(Killed):
        run(world, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "work" / "amazon").iterdir()] == ["00000.jsonl"]
    for n in (1, 2):
        with pytest.raises(Killed):
            run(world, tmp_path, for_each=dying_after(n))
        n_written.append(len(list((tmp_path / "work" / "matches").iterdir())))
    assert n_written == [1, 3]
    assert run(world, tmp_path) == funnel
    assert written(tmp_path) == written(out)


def _dying(records, n):
    for i, record in enumerate(records):
        if i == n - 1:
            raise Killed
        yield record


def test_another_threshold_matches_nothing_again(world, tmp_path):
    lenient = run(world, tmp_path, threshold=0.7)
    strict = run(world, tmp_path, threshold=1.0, for_each=dying_after(0))
    assert strict.decisions["matched"] < lenient.decisions["matched"]
    assert strict.albums < lenient.albums


def test_other_inputs_are_refused(world, built, tmp_path):
    out, _ = built
    with pytest.raises(UserError, match=r"was begun with another --mapping than .*; give another --out, or remove"):
        run({**world, "mapping": world["reviews"]}, out)
    with pytest.raises(UserError, match=r"cannot read .*nothing: No such file or directory; give the path"):
        run({**world, "amazon": tmp_path / "nothing"}, tmp_path / "out")


def test_workers_and_pieces_on_other_machines_give_the_same(world, built, tmp_path):
    out, _ = built
    run(world, tmp_path, for_each=None, workers=2)
    assert written(tmp_path) == written(out)
    with pytest.raises(UserError, match=r"expected 6 parts in .*, but 6 are missing"):
        run(world, tmp_path / "elsewhere", for_each=lambda call, items: None)


# --- what may be wrong with the inputs ---------------------------------------------------------------------------


def test_a_track_is_on_an_album_by_any_of_its_recordings():
    tracks = {"r1": ("T1", "T2"), "r2": ("T1",), "r3": ("T3",)}
    listed = [
        Release("A", "a", ("x",), "X", recordings=("r1",)),
        Release("A", "a [Import]", ("x",), "X", recordings=("r1", "r3")),
        Release("B", "b", ("x",), "X", asin="AB", recordings=("r2",)),
        Release("C", "c", ("x",), "X", recordings=("r3",)),
    ]
    found = find_tracks(listed, {"A": "amazon A", "B": "amazon B"}, tracks)
    assert {name: one.tracks for name, one in found.albums.items()} == {"amazon A": {"T2": "r1", "T3": "r3"}}
    assert (found.n_recordings, found.n_tracks, found.n_of_one_album) == (3, 3, 2)
    assert found.asins == {"AB": {"B"}}


def test_of_several_editions_the_likest_stands_for_the_album():
    def match(amazon_id, score):
        return Match(amazon_id, "t", "a", Candidate("G", "t", "a", "Album", score, score, 1.0))

    assert choose_editions([match("1", 0.9), match("2", 1.0), match("3", 1.0), match("4", 0.5)], 0.85) == {"G": "2"}
    assert choose_editions([match("4", 0.5)], 0.85) == {}


def test_echo_nest_s_answers(tmp_path):
    track, song, one = msd_id("TR", 1), msd_id("SO", 1), mbid("r")
    answer = {
        "response": {
            "songs": [
                {
                    "artist_foreign_ids": [{"catalog": "musicbrainz", "foreign_id": f"musicbrainz:artist:{mbid('a')}"}],
                    "tracks": [
                        {"catalog": "musicbrainz", "foreign_id": f"musicbrainz:track:{one}"},
                        {"catalog": "spotify", "foreign_id": "spotify:track:4uLU6hMCjMI75M1A2tKUQC"},
                    ],
                }
            ]
        }
    }
    folder = tmp_path / "answers" / "AB"
    folder.mkdir(parents=True)
    (folder / f"{song}.json").write_text(json.dumps(answer))
    (folder / f"{msd_id('SO', 2)}.json").write_text(json.dumps(answer))  # not a song of the MSD
    with tarfile.open(tmp_path / "answers.tar.bz2", "w:bz2") as archive:
        archive.add(tmp_path / "answers", "answers")
    (tmp_path / "unique_tracks.txt").write_text(f"{track}<SEP>{song}<SEP>An artist<SEP>A title\n")
    with sqlite3.connect(tmp_path / "track_metadata.db") as database:
        database.execute("CREATE TABLE songs (track_id text PRIMARY KEY, title text, song_id text)")
        database.execute("INSERT INTO songs VALUES (?, 't', ?)", (track, song))
    database.close()
    for name in ("unique_tracks.txt", "track_metadata.db"):
        songs = read_songs(tmp_path / name)
        assert songs == {song: (track,)}
        for mapping in ("answers", "answers.tar.bz2"):
            assert read_mapping(tmp_path / mapping, songs) == {one: (track,)}
    with pytest.raises(UserError, match=r"maps the MSD's songs, not its tracks; add --msd=unique_tracks.txt"):
        read_mapping(tmp_path / "answers", None)


def test_tracks_that_the_msd_does_not_have_do_not_count(world, tmp_path):
    first = msd_id("TR", 0)
    found = read_mapping(world["mapping"], {msd_id("SO", 0): (first,)})
    assert found == {mbid("recording", "rumours", 0): (first,)}
    with pytest.raises(UserError, match="maps no track of the MSD to MusicBrainz"):
        read_mapping(world["mapping"], {msd_id("SO", 0): (msd_id("TR", 5),)})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mapping.csv", b"msdid,mbid\nTRABC,none\n", r"mapping.csv:2: expected an MSD track id and a recording's MBID"),
        ("mapping.csv", b"", "maps no track of the MSD"),
        ("mapping.csv", gzip.compress(b"x" * 999)[:-9], "is damaged or incomplete"),
        ("unique_tracks.txt", b"TR,SO,artist,title\n", r"unique_tracks.txt:1: expected track, song, artist and title"),
        (
            "track_metadata.db",
            b"no database at all, but long enough to be looked at" * 9,
            "is not the MSD's track_metadata",
        ),
    ],
)
def test_other_files_of_the_msd_are_refused(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_mapping(tmp_path / name, None) if name == "mapping.csv" else read_songs(tmp_path / name)


def test_releases_that_cannot_be_read(tmp_path):
    valid, (artist, *_) = releases()[0], CATALOGUE[0].names
    lines = [json.dumps(valid), "{", json.dumps({**valid, "artist-credit": []}), '{"title": "no credit"}']
    (tmp_path / "release.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    found = list(musicbrainz.read_releases(tmp_path / "release.xz", {}))
    assert [one and one.names for one in found] == [(artist,), None, None, None]
    assert list(musicbrainz.read_releases(tmp_path / "release.xz", {}, skip=3)) == [None]
    (tmp_path / "other").write_text('{"a": 1}\n' * 200)
    with pytest.raises(UserError, match="expected a release of MusicBrainz in each line"):
        list(musicbrainz.read_releases(tmp_path / "other", {}))
    with tarfile.open(tmp_path / "artist.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "other", "mbdump/artist")
    with pytest.raises(UserError, match=r"expected a file 'release' in .*artist.tar.xz, found none"):
        list(dumps.lines_of(tmp_path / "artist.tar.xz", "release"))


def test_products_of_every_dump(tmp_path):
    lines = [
        {"asin": 12345, "title": "A &amp; B", "artist": "X", "categories": [["CDs & Vinyl", "R&amp;B"]]},
        {"asin": "B2", "title": ["no text"], "brand": "Y", "category": ["CDs & Vinyl", "Pop"]},
        {"parent_asin": "B3", "title": "T\ud83d", "store": "Z", "categories": ["CDs & Vinyl", "Jazz"], "x": "\ud83d"},
        {"asin": "B2", "title": "again", "categories": [["CDs & Vinyl"]]},
        {"asin": "B4", "categories": {"not": "paths"}},
        {"asin": "B5", "title": "a book", "categories": [["Books"]]},
    ]
    (tmp_path / "meta.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    findings = []
    found = list(read_products(tmp_path / "meta.json", findings.append))
    assert [one and (one.amazon_id, one.title, one.artist) for one in found] == [
        *(("0000012345", "A & B", "X"), ("B2", "", "Y"), ("B3", "T?", "Z"), None),
    ]
    assert [one.paths[0][1] for one in found[:3]] == ["R&B", "Pop", "Jazz"]
    record = msgspec.json.decode(found[1].record)
    assert record == {"amazon_id": "B2", "title": ["no text"], "brand": "Y", "categories": [["CDs & Vinyl", "Pop"]]}
    assert [(one.line, one.reason) for one in findings] == [(4, "conflict"), (5, "malformed")]


def test_reviews_that_cannot_be_read_are_counted(world, tmp_path, capsys):
    text = gzip.decompress(world["reviews"].read_bytes()).decode()
    (tmp_path / "reviews.json").write_text(text.replace('"overall": 5.0}', '"overall": }', 2))
    funnel = run({**world, "reviews": tmp_path / "reviews.json"}, tmp_path / "out")
    assert funnel.reviews == funnel.albums - 1  # the other one is of an edition that is not taken
    assert "warning: 2 reviews cannot be read and are left out, the first: " in capsys.readouterr().err


def test_rejected_records_are_listed(world, tmp_path):
    text = gzip.decompress(world["amazon"].read_bytes()).decode()
    (tmp_path / "meta.json").write_text("{'asin': broken\n" + text)
    run({**world, "amazon": tmp_path / "meta.json"}, tmp_path / "out")
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert (json.loads(line)["line"], json.loads(line)["reason"]) == (1, "malformed")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda world, folder: (folder / "meta.json").write_text('{"asin": "B1", "categories": [["Books"]]}\n'),
            "amazon",
        ),
        (lambda world, folder: (folder / "release").write_text("{\n"), "musicbrainz"),
    ],
)
def test_inputs_without_albums(world, tmp_path, change, says):
    change(world, tmp_path)
    name = {"amazon": "meta.json", "musicbrainz": "release"}[says]
    expected = {"amazon": "whose categories begin with 'CDs & Vinyl', found none", "musicbrainz": "no release of Music"}
    with pytest.raises(UserError, match=expected[says]):
        run({**world, says: tmp_path / name}, tmp_path / "out")


def test_nothing_left_is_said_with_the_counts(world, tmp_path):
    with pytest.raises(UserError, match="no album is left: of 107 of Amazon 76 are matched, and 66 different ones"):
        run(world, tmp_path, minimum=1000)


def test_without_rapidfuzz(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(
        UserError, match=r"matching needs the package rapidfuzz; install the extra: pip install -e '.\[build\]'"
    ):
        run(world, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the command --------------------------------------------------------------------------------------------


def test_the_command(world, tmp_path):
    files = [f"--{name}={path}" for name, path in world.items()]
    done = succeed("mumu_jax.build", *files, f"--out={tmp_path / 'mumu'}", "--min_albums=5", "--workers=1")
    assert "147,295" in done.stdout
    assert "prepare --source=mumu" in done.stdout
    data = tmp_path / "data"
    succeed(
        "mumu_jax.prepare", "--source=mumu", f"--input={tmp_path / 'mumu'}", f"--data_dir={data}", "--modalities=text"
    )
    assert (data / "text").is_dir()
    options = (*files, f"--out={tmp_path / 'mumu'}", "--beam_options=--x")
    complain("mumu_jax.build", *options, says=["--beam_options=--x without --beam_runner"])


def test_the_command_s_defaults():
    with pytest.raises(SystemExit):
        command.main(["--help"])


@pytest.mark.filterwarnings("ignore")  # Beam's own are many
def test_beam_makes_the_same(world, built, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam, the extra `beam`, is not installed")
    from mumu_jax.data.store.beam import for_each_under

    out, _ = built
    run(world, tmp_path, for_each=for_each_under("DirectRunner"))
    assert written(tmp_path) == written(out)


def test_the_benchmark():
    done = succeed("benchmarks.matching", "--releases=2000", "--albums=100", "--repeats=1", "--no_save")
    _, index, match = done.stdout.splitlines()
    assert re.search(r"2,000 releases +index +[\d,.]+ ", index)
    right, found = (float(share) for share in re.findall(r"([\d.]+)%", match))
    assert right > 90
    assert found > 80
