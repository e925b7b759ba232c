"""A user's map and taxonomy of genres: what albums and labels become, what is said, and what is refused in one line."""

from pathlib import Path

import pytest

from mumu_jax.data.manifest import Album, Label, read_labels, read_manifest, write_manifest
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.genre_map import map_genres
from mumu_jax.data.sources.genre_tree import find_tree, read_tree
from mumu_jax.data.store.records import read_description
from mumu_jax.errors import UserError

TREE = """\
- electronic:
    - house:
        - acid house
    - drum and bass
- rock:
    - post-rock
    - heavy metal:
        - industrial metal
- industrial:
    - industrial metal
- hip hop
"""
ALIASES = """\
drum and bass:
    - d(rum)?[ &n/]*b(ass)?
\\1-\\2:
    - (post)[- ]*(\\w+)
\\1 \\2:
    - (hip)[- ]*(hop)
"""


@pytest.fixture
def tree(tmp_path) -> str:
    (tmp_path / "genres-tree.yaml").write_text(TREE)
    (tmp_path / "aliases.yaml").write_text(ALIASES)
    return str(tmp_path / "genres-tree.yaml")


def collection(*genres: tuple[str, ...], labels: tuple[Label, ...] = ()) -> Collection:
    return Collection([Album(f"a{i}", one, ()) for i, one in enumerate(genres)], list(labels))


def mapped(tmp_path: Path, text: str, *genres: tuple[str, ...], taxonomy: str | None = None) -> Collection:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    return map_genres(collection(*genres), path, taxonomy)


def genres_of(found: Collection) -> list[tuple[str, ...]]:
    return [album.genres for album in found.albums]


def test_map(tmp_path):
    found = mapped(
        tmp_path,
        """
rename:
  hip hop: Hip-Hop
  Rap/Rock: [Rap, Rock]
  1980: Eighties    # all names are text
merge:
  Electronic: [Techno, House]
drop: [Other, no]
parents:
  Rap: Hip-Hop
  Hip-Hop: [Urban, Pop]
""",
        *[("hip hop",), ("Rap/Rock",), ("1980",), ("Techno", "House"), ("Other", "Rock"), ("no",), ()],
    )
    assert genres_of(found) == [
        *[("Hip-Hop", "Urban", "Pop"), ("Rap", "Rock", "Hip-Hop", "Urban", "Pop"), ("Eighties",)],
        *[("Electronic",), ("Rock",), ()],
    ]
    assert [album.album_id for album in found.albums] == ["a0", "a1", "a2", "a3", "a4", "a6"]
    assert found.labels == [
        *[Label("Eighties"), Label("Electronic"), Label("Hip-Hop", "Urban"), Label("Pop"), Label("Rap", "Hip-Hop")],
        *[Label("Rock"), Label("Urban")],
    ]
    assert found.notes == [
        "genres: 5 renamed, 2 dropped, 3 added above others to 5 places on albums; "
        "1 albums have no genre left and are left out"
    ]


def test_renamed_in_turn_and_dropped(tmp_path):
    text = "rename: {a: b, b: c, c: c}\ndrop: [d]\nparents: {a: d, d: e}"
    found = mapped(tmp_path, text, ("a",), ("b", "c"), ("d",))
    assert genres_of(found) == [("c", "e"), ("c", "e")]
    assert found.labels == [Label("c", "e"), Label("e")]


def test_a_source_s_parents_stay(tmp_path):
    (tmp_path / "map.yaml").write_text("rename: {Bop: Bebop}\ndrop: [Rock]")
    labels = (Label("Bop", "Jazz"), Label("Jazz"), Label("Punk", "Rock"), Label("Rock"))
    found = map_genres(collection(("Bop",), ("Jazz",), ("Punk", "Rock"), labels=labels), tmp_path / "map.yaml", None)
    assert found.labels == [Label("Bebop", "Jazz"), Label("Jazz"), Label("Punk")]
    assert genres_of(found) == [("Bebop",), ("Jazz",), ("Punk",)]  # a parent is not added where the source has none


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rename: {Jaz: Blues}", "rename: expected genres that albums have, found 'Jaz' (did you mean 'Jazz'?)"),
        ("merge: {X: [Jazz, Polka]}", "merge: expected genres that albums have, found 'Polka'; correct it"),
        ("drop: [jazz]", "drop: expected genres that albums have, found 'jazz' (did you mean 'Jazz'?)"),
        ("parents: {Rok: Pop}", "parents: expected genres that albums have, found 'Rok' (did you mean 'Rock'?)"),
        ("parents: {Jazz: Rock, Rock: Jazz}", "that leads back to itself, found 'Jazz' → 'Rock' → 'Jazz'"),
        ("rename: {Jazz: Rock, Rock: Jazz}", "that leads back to itself, found 'Jazz' → 'Rock' → 'Jazz'"),
        ("renam: {Jazz: Rock}", "unknown field `renam` (did you mean 'rename'?); write sections rename, merge, drop"),
        ("drop: Jazz", "Expected `array`, got `str` - at `$.drop`; write sections"),
        ("rename: [Jazz]", "Expected `object`, got `array` - at `$.rename`"),
        ("rename: {Jazz: ''}", "text that is not blank"),
        ("rename: {Jazz: []}", "length >= 1"),
        ("", "Expected `object`, got `str`"),
        ("- Jazz", "Expected `object`, got `array`"),
        ("rename: {Jazz: A}\nmerge: {B: [Jazz]}", "one line that renames or merges 'Jazz', found 2; keep one"),
        ("rename: {Jazz: A, Jazz: B}", "'Jazz' occurs twice"),
        ("drop: [Jazz, Rock]", "expected genres that are not dropped, found none"),
        ("drop: [", "expected YAML in UTF-8, found: while parsing"),
        ("rename: &a [*a]", "expected YAML in UTF-8, found:"),
    ],
)
def test_a_wrong_map_gets_one_line(tmp_path, text, says):
    with pytest.raises(UserError) as caught:
        mapped(tmp_path, text, ("Jazz",), ("Rock",))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "map.yaml"))
    assert "\n" not in str(caught.value)


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.yaml: No such file"):
        map_genres(collection(("Jazz",)), tmp_path / "none.yaml", None)


def test_an_empty_section_changes_nothing(tmp_path):
    found = mapped(tmp_path, "rename:\ndrop:\n", ("b", "a"))
    assert (genres_of(found), found.labels) == ([("b", "a")], [Label("a"), Label("b")])


# --- the tree -----------------------------------------------------------------------------------------------


def test_taxonomy_folds_spellings_and_adds_parents(tree):
    given = collection(("Acid House",), ("Drum & Bass", "D'n'B"), ("DnB",), ("Postrock",), ("Industrial Metal",))
    found = map_genres(given, None, tree)
    assert genres_of(found) == [
        ("acid house", "house", "electronic"),
        ("drum and bass", "D'n'B", "electronic"),
        ("drum and bass", "electronic"),
        ("post-rock", "rock"),
        ("industrial metal", "heavy metal", "industrial", "rock"),
    ]
    assert Label("acid house", "house") in found.labels
    assert Label("industrial metal", "heavy metal") in found.labels
    assert found.notes == [
        "genres: 5 renamed, 0 dropped, 5 added above others to 8 places on albums",
        "--taxonomy: 1 genres are not in it, and stay as they are: D'n'B",
    ]


def test_an_alias_counts_only_if_the_tree_has_its_genre(tree):
    assert [read_tree(Path(tree)).name_of(name) for name in ("Postal", "hip-hop", "HIP HOP", "")] == [
        None, "hip hop", "hip hop", None
    ]  # fmt: skip


def test_the_map_comes_before_the_tree(tmp_path, tree):
    """The map's spelling replaces the tree's, also as a parent, and what it drops is not added."""
    found = mapped(
        tmp_path,
        "merge: {Hip-Hop: [rap]}\nparents: {Crunk: Hip-Hop, Acid House: House}\ndrop: [electronic]",
        *[("rap",), ("hip hop",), ("Crunk",), ("Acid House",), ("dnb",)],
        taxonomy=tree,
    )
    assert genres_of(found) == [
        ("Hip-Hop",), ("Hip-Hop",), ("Crunk", "Hip-Hop"), ("acid house", "House"), ("drum and bass",)
    ]  # fmt: skip
    assert Label("Crunk", "Hip-Hop") in found.labels


def test_a_genre_joined_to_one_above_it(tmp_path, tree):
    found = mapped(tmp_path, "merge: {electronic: [acid house]}", ("acid house",), ("house",), taxonomy=tree)
    assert genres_of(found) == [("electronic",), ("house", "electronic")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a:\n    - b:\n        - a\n", "expected no genre that leads back to itself, found 'a' → 'b' → 'a'"),
        ("", "expected a tree of genres as nested lists, found none"),
        ("- [", "expected YAML in UTF-8"),
    ],
)
def test_a_file_that_is_no_tree(tmp_path, text, says):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        find_tree(str(tmp_path / "t.yaml"))
    assert says in str(caught.value)


@pytest.mark.parametrize("aliases", ["a: [(]", "a: b", "[a]", "\\2: [(a)]"])
def test_aliases_that_are_none(tmp_path, tree, aliases):
    (tmp_path / "aliases.yaml").write_text(aliases)
    with pytest.raises(UserError, match=r"aliases\.yaml: .*; correct it"):
        find_tree(tree)


def test_beets_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("mumu_jax.data.sources.genre_tree.BEETS", "no-such-package")
    with pytest.raises(UserError, match="--taxonomy=beets needs beets; pip install beets, or give the path of its"):
        find_tree("no-such-package")


def test_beets_is_read_where_it_is_installed(tmp_path, monkeypatch):
    """The files are found by the package's metadata; nothing of it is imported."""
    package = tmp_path / "beetsplug" / "lastgenre"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError")
    (package / "genres-tree.yaml").write_text(TREE)
    (tmp_path / "beets-1.0.dist-info").mkdir()
    (tmp_path / "beets-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: beets\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_tree("beets").parents["acid house"] == ("house",)


# --- in prepare ---------------------------------------------------------------------------------------------


def test_prepared_data_depends_on_the_map(tmp_path, tree):
    """Another map changes labels and the data's checksum; no record is read again."""
    albums = [Album(f"a{i}", (("Dnb", "Rock", "junk")[i % 3],), (), text=f"text {i}") for i in range(30)]
    write_manifest(tmp_path / "m.jsonl", albums)
    data, maps = tmp_path / "data", tmp_path / "map.yaml"
    job = Job("manifest", tmp_path / "m.jsonl", data, workers=1, modalities=("text",))
    prepare(job)
    before = read_description(data / "text").albums_sha256
    maps.write_text("rename: {junk: Junk}")
    summary = prepare(Job(**{**vars(job), "genre_map": maps, "taxonomy": tree}))
    assert summary.n_new == 0
    assert "genres: 3 renamed, 0 dropped, 1 added above others to 10 places on albums" in str(summary)
    assert "--taxonomy: 1 genres are not in it, and stay as they are: Junk" in str(summary)
    assert summary.genres == {"drum and bass": 10, "electronic": 10, "rock": 10, "Junk": 10}
    described = read_description(data / "text")
    assert described.albums_sha256 != before
    labels = [Label("Junk"), Label("drum and bass", "electronic"), Label("electronic"), Label("rock")]
    assert read_labels(data / "labels.json") == described.labels == labels
    assert read_manifest(data / "manifest.jsonl")[0].genres == ("drum and bass", "electronic")


def test_any_source_takes_a_map(tmp_path):
    (tmp_path / "t.csv").write_text("album,genres,text\na,Jazz;Bop,x\nb,Rock,y\n")
    (tmp_path / "map.yaml").write_text("rename: {Bop: Be  Bop}")
    found = read_source("csv", tmp_path / "t.csv", Request(Path("nowhere"), genre_map=tmp_path / "map.yaml"))
    assert [(album.genres, album.split is not None) for album in found.albums] == [
        (("Jazz", "Be Bop"), True), (("Rock",), True)
    ]  # fmt: skip
