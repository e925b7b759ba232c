"""The mini dataset: what is promised of it, at reduced size where files are made."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mumu_jax.data.manifest import SPLITS, Album
from mumu_jax.data.sources.base import Request
from mumu_jax.data.sources.synthetic import AUDIO_FORMATS, COVER_FORMATS, N_ALBUMS, make, plan_albums, read
from mumu_jax.data.sources.synthetic.covers import LOOKS, draw_cover
from mumu_jax.data.sources.synthetic.genres import BRANCHES, LABELS, VOCABULARY, with_parents
from mumu_jax.data.sources.synthetic.lyrics import FAMILIES, THEMES, UNSUNG, theme_of, write_lyrics
from mumu_jax.data.sources.synthetic.reviews import GAZETTEER, NAMES, write_reviews
from mumu_jax.data.sources.synthetic.sound import DURATION_S, SR_HZ, STYLES, render_track
from mumu_jax.errors import UserError

SMALL = {"train": 3, "val": 1, "test": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Album]]:
    folder = tmp_path_factory.mktemp("mini")
    return folder, make(folder, seed=0, workers=1, n_albums=SMALL)


def checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_taxonomy_has_8_top_level_genres_and_24_labels():
    assert len(LABELS) == 24
    assert sum(label.parent is None for label in LABELS) == 8
    assert {label.parent for label in LABELS} - {None} <= {label.name for label in LABELS if label.parent is None}
    for table in (STYLES, LOOKS, VOCABULARY):
        assert set(table) == set(BRANCHES)


@pytest.mark.parametrize("seed", [0, 1])
def test_full_size_plan(seed: int):
    plans = plan_albums(seed)
    assert Counter(plan.split for plan in plans) == N_ALBUMS
    assert len({plan.album_id for plan in plans}) == len(plans)
    parents = {label.name: label.parent for label in LABELS}
    for plan in plans:
        genres = with_parents(plan.branches)
        assert set(plan.branches) <= set(genres)
        assert all(parents[genre] is None or parents[genre] in genres for genre in genres)
        assert plan.n_tracks == 1 if plan.split == "test" else 1 <= plan.n_tracks <= 3
    for split, at_least in (("train", 6), ("val", 1), ("test", 6)):
        count = Counter(genre for plan in plans if plan.split == split for genre in with_parents(plan.branches))
        assert min(count[label.name] for label in LABELS) >= at_least
        assert max(count.values()) > 4 * min(count.values()), "the labels should be long-tailed"


def test_albums_are_complete(made: tuple[Path, list[Album]]):
    folder, albums = made
    assert Counter(album.split for album in albums) == SMALL
    track_ids = [track.track_id for album in albums for track in album.tracks]
    assert len(set(track_ids)) == len(track_ids)
    for album in albums:
        assert album.split in SPLITS
        assert album.text is not None
        assert 150 < len(album.text) < 2500
        words = [track.lyrics.read_text().split() for track in album.tracks if track.lyrics]
        assert len(words) == len(album.tracks)
        assert all(80 <= len(of_song) <= 170 for of_song in words)
        assert album.cover is not None
        with Image.open(album.cover) as image:
            assert image.width == image.height
            assert 300 <= image.width <= 500
            assert np.asarray(image.convert("L")).std() > 3
    assert not list(folder.rglob("*.partial"))


def test_tracks_are_16_to_20_s_neither_silent_nor_clipped(made: tuple[Path, list[Album]]):
    for track in (track for album in made[1] for track in album.tracks):
        samples, sr_hz = soundfile.read(track.audio)
        assert DURATION_S[0] - 0.1 <= len(samples) / sr_hz <= DURATION_S[1] + 0.1
        assert 0.3 < np.abs(samples).max() < 1.0
        assert samples.std() > 0.02


def test_some_files_come_in_other_formats():
    assert sum(share for *_, share in AUDIO_FORMATS) == pytest.approx(1)
    assert sum(share for *_, share in COVER_FORMATS) == pytest.approx(1)
    assert {"flac", "mp3"} <= {suffix for suffix, *_ in AUDIO_FORMATS}


def test_same_bytes_whatever_the_number_of_workers(made: tuple[Path, list[Album]], tmp_path: Path):
    folder, albums = made
    again = make(tmp_path, seed=0, workers=2, n_albums=SMALL)
    assert checksums(tmp_path) == checksums(folder)
    assert [album.text for album in again] == [album.text for album in albums]
    assert [album.genres for album in again] == [album.genres for album in albums]


def test_second_call_makes_only_what_is_missing_and_another_seed_starts_anew(tmp_path: Path):
    few = {"train": 2}
    first = make(tmp_path, seed=0, workers=1, n_albums=few)
    before = checksums(tmp_path)
    lost, kept = first[0].tracks[0].audio, first[1].tracks[0].audio
    lost.unlink()
    age = kept.stat().st_mtime_ns
    assert make(tmp_path, seed=0, workers=1, n_albums=few) == first
    assert checksums(tmp_path) == before
    assert kept.stat().st_mtime_ns == age
    mine = tmp_path / "audio" / "mine.mp3"
    mine.write_bytes(b"not ours")
    make(tmp_path, seed=1, workers=1, n_albums=few)
    assert mine.read_bytes() == b"not ours"
    assert not set(checksums(tmp_path)) & set(before)


@pytest.mark.parametrize("name", ["audio/mine.mp3", "audio/mini0-train-000-1.flac", "gazetteer/names.tsv"])
def test_a_folder_that_holds_other_files_is_refused_and_left_as_it_is(tmp_path: Path, name: str):  # 1
    mine = tmp_path / "source" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"not ours")
    with pytest.raises(UserError, match=r"found other files; nothing was changed; choose another --data_dir"):
        read(None, Request(tmp_path))
    assert [path for path in (tmp_path / "source").rglob("*") if path.is_file()] == [mine]
    assert mine.read_bytes() == b"not ours"


def test_an_input_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="made, not read"):
        read(tmp_path, Request(tmp_path))


def brightness_hz(samples: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float((power * np.fft.rfftfreq(len(samples), 1 / SR_HZ)).sum() / power.sum())


def test_metal_sounds_brighter_than_reggae():
    metal, reggae = (
        [brightness_hz(render_track((genre,), np.random.default_rng((7, i)))) for i in range(5)]
        for genre in ("Metal", "Reggae")
    )
    wins = np.mean([m > r for m in metal for r in reggae])  # the ROC-AUC of this one number
    assert wins > 0.75


def test_reviews_favour_the_words_and_names_of_their_genre():
    texts = {g: "\n".join(write_reviews((g,), np.random.default_rng((3, i))) for i in range(20)) for g in BRANCHES}
    for genre in ("Metal", "Jazz", "Rock"):
        for mentions in (VOCABULARY[genre], NAMES[genre]):
            own = sum(texts[genre].count(mention) for mention in mentions)
            others = [
                sum(text.count(mention) for mention in mentions)
                for other, text in texts.items()
                if genre not in (other, BRANCHES[other][0])
            ]
            assert own > 2 * np.mean(others)
            assert sum(others) > 0, "misleading mentions too"


def test_lyrics_tell_a_sung_genre_by_its_theme_and_its_family_and_say_nothing_of_others():
    def count(genre: str, words: tuple[str, ...]) -> int:
        songs = (write_lyrics((genre,), np.random.default_rng((5, i))) for i in range(20))
        return sum(song.replace(",", "").split().count(word) for song in songs for word in words)

    assert FAMILIES.keys() == {label.name for label in LABELS if label.parent is None}
    siblings = ("Pop", "Vocal Pop", "Dance Pop", "Adult Contemporary")
    assert [theme_of(genre) for genre in siblings] == list(THEMES)
    assert theme_of("Dance Pop") == theme_of("Blues Rock") == theme_of("House")
    for genre in siblings:
        theme, family = (count(genre, words) for words in (theme_of(genre), FAMILIES["Pop"]))
        assert theme > family > 50
        assert theme > 5 * max(count(other, theme_of(genre)) for other in siblings if other != genre)
        assert family > 5 * max(count(genre, words) for other, words in FAMILIES.items() if other != "Pop")
    for genre in UNSUNG:
        assert count(genre, theme_of(genre)) < count("Pop", theme_of("Pop")) / 5


def test_gazetteer_names_are_of_one_genre_and_categories_of_several_names():
    assert sum(len(NAMES[genre]) for genre in BRANCHES) == len(GAZETTEER)
    carried = Counter(category for categories in GAZETTEER.values() for category in categories)
    assert min(carried.values()) >= 3


def test_covers_of_techno_are_darker_than_covers_of_surf_rock():
    techno, surf = (
        [np.asarray(draw_cover((g,), np.random.default_rng((5, i)))).mean() for i in range(20)]
        for g in ("Techno", "Surf Rock")
    )
    assert np.mean([t < s for t in techno for s in surf]) > 0.75
