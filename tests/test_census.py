"""The statistics of prepared data, against numbers counted by hand."""

from pathlib import Path

import pytest
from conftest import complain, succeed

from mumu_jax.data.manifest import Album, Label, Track, write_labels, write_manifest
from mumu_jax.data.preparation.census import ALL, take, warning_of_few

HERE = Path("/nowhere")
LABELS = [Label(name) for name in ("Blues", "Jazz", "Pop", "Rock", "[Unused]")]


def track(name: str, timbre: bool = False) -> Track:
    return Track(name, HERE / f"{name}.mp3", HERE / f"{name}.h5" if timbre else None)


def album(name: str, split: str, genres: str, *tracks: Track, **more) -> Album:
    return Album(name, tuple(genres.split()), tracks, split, **more)


ALBUMS = [
    album("a", "train", "Pop Rock", track("a1", timbre=True), track("a2"), text="two", n_reviews=2),
    album("b", "train", "Pop", track("b1"), cover=HERE / "b.jpg", text="", n_reviews=0),
    album("c", "val", "Blues Pop Rock", entities=HERE / "c.json", text="of unknown number"),
    album("d", "test", "Jazz Pop Rock Blues", track("d1"), text="five", n_reviews=5),
]


def test_labels_come_by_frequency_then_by_name():
    found = take(ALBUMS, LABELS, {})
    assert list(found.albums_by_label.items()) == [("Pop", 4), ("Rock", 3), ("Blues", 2), ("Jazz", 1), ("[Unused]", 0)]
    assert found.labels_mean == 2.5  # 2, 1, 3, 4
    assert found.labels_sd == pytest.approx(1.25**0.5)


def test_contents_by_split():
    found = take(ALBUMS, LABELS, {"audio": {"a", "d"}, "text": {"a", "c", "d"}}).contents
    columns = ("albums", "tracks", "reviews", "audio", "text", "timbre", "cover", "entities")
    counts = {
        "train": (2, 3, 2, 1, 1, None, 1, 0),
        "val": (1, 0, None, 0, 1, None, 0, 1),
        "test": (1, 1, 5, 1, 1, None, 0, 0),
        ALL: (4, 4, 7, 2, 3, None, 1, 1),
    }
    assert found == {split: dict(zip(columns, row, strict=True)) for split, row in counts.items()}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]


def write(folder: Path, albums: list[Album], labels: list[Label]) -> Path:
    write_manifest(folder / "manifest.jsonl", albums)
    write_labels(folder / "labels.json", labels)
    return folder


def test_command_prints_few_labels(tmp_path: Path):
    write(tmp_path, ALBUMS, LABELS)
    printed = succeed("mumu_jax.doctor", f"--statistics={tmp_path}").stdout
    rows = [cells(line) for line in printed.splitlines()]
    assert ["label", "albums", "% of albums"] in rows
    assert ["Pop", "4", "100.00"] in rows
    assert ["[Unused]", "0", "0.00"] in rows
    assert "5 labels; labels per album: mean 2.50, standard deviation 1.12" in printed
    assert ["val", "1", "0", "–", "–", "–", "–", "0", "1"] in rows
    assert ["all", "4", "4", "7", "–", "–", "–", "1", "1"] in rows


def test_command_counts_what_is_prepared(tmp_path: Path):
    source = write(tmp_path / "source", [*ALBUMS, album("e", "test", "Jazz")], LABELS) / "manifest.jsonl"
    data = tmp_path / "data"
    succeed("mumu_jax.prepare", "--source=manifest", f"--input={source}", f"--data_dir={data}", "--modalities=text")
    printed = succeed("mumu_jax.doctor", f"--statistics={data}").stdout
    rows = [cells(line) for line in printed.splitlines()]
    assert ["split", "albums", "tracks", "reviews", "audio", "text", "timbre", "cover", "entities"] in rows
    assert ["test", "2", "1", "5", "–", "1", "–", "0", "0"] in rows
    (data / "text" / "prepared.json").write_text("{}")
    complain("mumu_jax.doctor", f"--statistics={data}", says=["prepared.json is damaged"])


def test_command_prints_the_ten_most_and_the_ten_least_frequent_labels(tmp_path: Path):
    names = [f"genre {n:02d}" for n in range(25)]
    albums = [Album(str(n), tuple(names[: n + 1]), (), "train") for n in range(25)]
    write(tmp_path, albums, [Label(name) for name in names])
    rows = [cells(line) for line in succeed("mumu_jax.doctor", f"--statistics={tmp_path}").stdout.splitlines()]
    assert ["genre 00", "25", "100.00", "genre 15", "10", "40.00"] in rows
    assert ["genre 09", "16", "64.00", "genre 24", "1", "4.00"] in rows
    assert not any("genre 12" in row for row in rows)


def test_labels_between_ten_and_twenty_come_once(tmp_path: Path):
    names = [f"genre {n:02d}" for n in range(12)]
    write(tmp_path, [Album("a", tuple(names), (), "train")], [Label(name) for name in names])
    printed = succeed("mumu_jax.doctor", f"--statistics={tmp_path}").stdout
    assert [printed.count(name) for name in names] == [1] * 12


def test_command_wants_prepared_data(tmp_path: Path):
    complain("mumu_jax.doctor", f"--statistics={tmp_path / 'typo'}", says=["prepared data", "typo"])
    complain("mumu_jax.doctor", f"--statistics={tmp_path}", says=["manifest.jsonl"])


@pytest.mark.parametrize(
    ("of_each", "n_val", "says"),
    [
        (20, 30, []),
        (7, 30, ["7 training albums a genre (20 or more are enough);"]),
        (20, 8, ["few data: 8 validation albums (30 or more);"]),
        (7, 8, ["7 training albums a genre (20 or more are enough) and 8 validation albums", ": label more albums"]),
    ],
)
def test_few_albums_are_warned_of_with_a_remedy(of_each, n_val, says):  # mechanism 9: small data
    train = [album(f"{genre}{i}", "train", genre) for genre in ("Rock", "Jazz") for i in range(of_each)]
    warning = warning_of_few(train, [album(f"v{i}", "val", "Rock") for i in range(n_val)], "label more albums")
    assert bool(warning) == bool(says)
    assert [fragment for fragment in says if fragment not in warning] == []
