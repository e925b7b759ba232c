"""Tests of genre words as entities: a gazetteer of a small tree, and what it finds in texts."""

import gzip
import json

import pytest
from conftest import REPOSITORY, run_python

from mumu_jax.data.modalities.text.entities import Gazetteer, categories_of
from mumu_jax.data.modalities.text.entities.genre_words import build_of_genres
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.sources.genre_tree import ancestors, read_tree
from mumu_jax.errors import UserError

SCRIPT = REPOSITORY / "scripts" / "build_gazetteer.py"
TREE = """\
- jazz:
    - bebop:
        - hard bop
- electronic:
    - trip-hop
- hip hop:
    - trip-hop
- jit hop
"""


@pytest.fixture
def gazetteer(tmp_path):
    (tmp_path / "tree.yaml").write_text(TREE)
    parents = read_tree(tmp_path / "tree.yaml").parents
    header = build_of_genres(tmp_path / "g.gz", {g: ancestors(g, parents) for g in parents}, tmp_path / "tree.yaml")
    assert (header["entities"], header["categories"]) == (7, 7)
    return tmp_path / "g.gz"


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("pure jazz", ("jazz",)),
        ("Hard Bop and bebop", ("hard_bop", "bebop", "jazz", "bebop", "jazz")),
        ("a hard-bop record", ("hard_bop", "bebop", "jazz")),
        ("Trip Hop, HIP-HOP", ("trip-hop", "electronic", "hip_hop", "hip_hop")),
        ("jazzy, a bop", ()),
    ],
)
def test_genre_words_in_a_text(gazetteer, text, categories):
    assert categories_of(text, None, gazetteer) == categories


def test_surfaces_of_genres(gazetteer):
    found = Gazetteer.load(gazetteer)
    assert {text for text in ("hip hop", "hip-hop", "trip-hop", "trip hop", "hop") if found.link(text)} == {
        "hip hop", "hip-hop", "trip-hop", "trip hop"
    }  # fmt: skip
    assert found.categories["trip-hop"] == ("trip-hop", "electronic", "hip_hop")


def test_a_folder_is_no_gazetteer(tmp_path, gazetteer):
    with pytest.raises(UserError, match="is a folder; name the gazetteer's file"):
        build_of_genres(tmp_path, {}, gazetteer)


def test_command_of_genres(tmp_path, gazetteer):
    """The command writes the bytes of the function, and `prepare` takes them."""
    done = run_python(SCRIPT, f"--genres={tmp_path / 'tree.yaml'}", f"--out={tmp_path / 'h.gz'}")
    assert done.returncode == 0, done.stderr
    assert "h.gz: 7 entities, 11 surfaces, 7 categories, 0.0 MB" in done.stdout
    assert (tmp_path / "h.gz").read_bytes() == gazetteer.read_bytes()
    assert json.loads(gzip.decompress(gazetteer.read_bytes()).splitlines()[0])["sources"][0]["name"] == "tree.yaml"
    rows = "".join(f"a{i},{'Jazz' if i % 2 else 'Pop'},{'so hard bop' if i % 2 else 'so plain'}\n" for i in range(12))
    (tmp_path / "t.csv").write_text(f"album,genres,text\n{rows}")
    job = Job("csv", tmp_path / "t.csv", tmp_path / "data", workers=1, modalities=("text",), gazetteer=gazetteer)
    assert sum(split["linked"] for split in prepare(job).splits["text"].values()) == 6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--genres=tree.yaml", "--redirects=r.nt"], "--redirects is for DBpedia's files, not for --genres"),
        ([], "expected --labels and --categories, or --genres alone; give the ones or the other"),
        (["--genres=none.yaml"], "cannot read none.yaml: No such file or directory; give the path"),
    ],
)
def test_command_of_genres_complains_in_one_line(tmp_path, options, says):
    done = run_python(SCRIPT, *options, f"--out={tmp_path / 'g.gz'}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
