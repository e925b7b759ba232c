"""Text: tf-idf rows, prepared records, and a run that is trained, evaluated and used from the command line."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import complain, succeed
from msgspec import structs
from sklearn.feature_extraction.text import TfidfVectorizer

from mumu_jax.config import Config, TextSettings, TfidfSettings
from mumu_jax.data.manifest import Album, read_manifest, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.text import Document, FittedText
from mumu_jax.data.modalities.text.entities import write_gazetteer
from mumu_jax.data.modalities.text.tfidf import NNZ_STEP, fit_tfidf, load_tfidf
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError

TEXTS = ["The band rocks, the band ROLLS.", "A quiet quartet; a quiet night", "", "rocks and quartet", "band night"]
CATEGORIES = [("Rock groups", "Rock groups"), ("Jazz ensembles",), (), (), ("Rock groups",)]
RECORDS = [{"text": text, "categories": names} for text, names in zip(TEXTS, CATEGORIES, strict=True)]


def dense(sparse, n_terms: int) -> np.ndarray:
    rows = np.zeros((len(sparse.values), n_terms), np.float32)
    np.add.at(rows, (np.arange(len(rows))[:, None], sparse.columns), sparse.values)
    return rows


# --- tf-idf -------------------------------------------------------------------------------------------------


def test_weights_are_scikit_learns():
    ours = fit_tfidf(RECORDS, TfidfSettings(n_terms=5))
    theirs = TfidfVectorizer(sublinear_tf=True, max_df=0.5, max_features=5)
    expected = theirs.fit_transform(TEXTS).toarray()
    assert list(ours.terms) == list(theirs.get_feature_names_out())
    found = ours.transform(RECORDS)
    assert found.columns.shape == found.values.shape == (5, NNZ_STEP)
    np.testing.assert_allclose(dense(found, 5), expected, rtol=1e-6)
    assert not found.values[2].any()  # an empty text


def test_each_category_is_one_word():
    tfidf = fit_tfidf(RECORDS, TfidfSettings(categories=True))
    assert {"category:Rock groups", "category:Jazz ensembles"} <= set(tfidf.terms)
    assert "groups" not in tfidf.terms
    row = dense(tfidf.transform(RECORDS[:1]), len(tfidf.terms))[0]
    twice, once = (row[tfidf.terms.index(term)] for term in ("category:Rock groups", "rolls"))
    idf = {term: tfidf.idf[tfidf.terms.index(term)] for term in ("category:Rock groups", "rolls")}
    assert twice / once == pytest.approx((1 + np.log(2)) * idf["category:Rock groups"] / idf["rolls"], rel=1e-5)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    tfidf = fit_tfidf(RECORDS, TfidfSettings(categories=True))
    tfidf.save(tmp_path / "vocabulary.json")
    again = load_tfidf(tmp_path / "vocabulary.json")
    assert (again.terms, again.categories) == (tfidf.terms, True)
    for ours, theirs in ((tfidf.transform(RECORDS).values, again.transform(RECORDS).values), (tfidf.idf, again.idf)):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "vocabulary.json").write_text('{"terms": ["a"], "idf": []}')
    with pytest.raises(UserError, match=r"vocabulary\.json is not what a training run writes"):
        load_tfidf(tmp_path / "vocabulary.json")


def test_texts_without_a_word():
    with pytest.raises(UserError, match=r"no word that is in at most 50% of them.*config\.tfidf\.max_df"):
        fit_tfidf([{"text": "...", "categories": ()}], TfidfSettings())


# --- prepared -----------------------------------------------------------------------------------------------


def test_records_hold_the_beginning_and_its_categories(tmp_path):
    linked = tmp_path / "entities" / "b.json"
    linked.parent.mkdir()
    queen = {"startChar": 2, "endChar": 7, "uri": "http://dbpedia.org/resource/Queen", "confidence": 1.0}
    queen |= {"label": "Queen", "categories": ["Rock_groups"]}
    linked.write_text(json.dumps([{"text": "a Queen song", "index": 0, "entities": [queen]}]))
    (tmp_path / "entities" / "c.json").write_text("{")
    albums = [
        Album("a", ("Rock",), (), "train", "ä" * 1500, n_reviews=2),
        Album("b", ("Rock",), (), "train", "a Queen song"),
        Album("c", ("Pop",), (), "train", "damaged entities"),
        Album("d", ("Pop",), (), "val", ""),
        Album("e", ("Pop",), (), "test", None),
    ]
    write_manifest(tmp_path / "m.jsonl", albums)
    out = tmp_path / "out"
    command = ("mumu_jax.prepare", "--source=manifest", f"--input={tmp_path / 'm.jsonl'}", f"--data_dir={out}")
    done = succeed(*command, f"--entities_dir={tmp_path / 'entities'}", "--workers=1")
    assert [line.split() for line in done.stdout.splitlines()[:4]] == [
        ["text", "albums", "missing", "rejected", "empty", "linked"],
        ["train", "3", "0", "1", "0", "1"],
        ["val", "1", "0", "0", "1", "0"],
        ["test", "0", "1", "0", "0", "0"],
    ]
    (rejected,) = map(json.loads, (out / "rejected.jsonl").read_text().splitlines())
    damaged = str(tmp_path / "entities" / "c.json")
    assert (rejected["album_id"], rejected["reason"], rejected["file"]) == ("c", "malformed", damaged)
    records = {r["album_id"]: r for r in open_prepared(out, TextSettings()).split("train")}
    assert (records["c"]["text"], records["c"]["categories"]) == ("damaged entities", ())
    assert records["a"]["text"] == "ä" * 1000
    assert records["b"]["categories"] == ("Rock_groups",)
    assert not (out / "audio").exists()
    says = ["text.max_chars=1000, not 500", "another --data_dir"]
    complain(*command, "--text.max_chars=500", says=says)


# --- a run --------------------------------------------------------------------------------------------------


QUICK = ("--config=text_vsm_sem", "--config.optim.max_epochs=3", "--config.tfidf.n_terms=200")


@pytest.fixture(scope="module")
def text_data(tmp_path_factory, small_data) -> Path:
    """The reduced mini dataset's text alone; one album in six has an empty one."""
    folder = tmp_path_factory.mktemp("text_data")
    albums = [
        structs.replace(album, text="") if i % 6 == 0 else album
        for i, album in enumerate(read_manifest(small_data / "manifest.jsonl"))
    ]
    write_manifest(folder / "m.jsonl", albums)
    gazetteer = small_data / "text" / "gazetteer"
    out = folder / "data"
    how = (f"--input={folder / 'm.jsonl'}", f"--data_dir={out}", f"--gazetteer={gazetteer}", "--modalities=text")
    succeed("mumu_jax.prepare", "--source=manifest", *how)
    assert not (out / "audio").exists()
    return out


@pytest.fixture(scope="module")
def text_run(tmp_path_factory, text_data) -> Path:
    run = tmp_path_factory.mktemp("text") / "run"
    succeed("mumu_jax.train", *QUICK, f"--data_dir={text_data}", f"--workdir={run}")
    return run


def test_a_run_keeps_what_it_needs(text_run, text_data, tmp_path):
    result = json.loads((text_run / "eval_test.json").read_text())
    assert "track" not in result
    assert result["album"]["n_items"] == 24
    assert result["album"]["roc_auc_macro"] > 0.6
    losses = [json.loads(line) for line in (text_run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for line in losses for value in line.values() if isinstance(value, float))
    terms = json.loads((text_run / "vocabulary.json").read_text())["terms"]
    assert len(terms) == 200
    assert any(term.startswith("category:") for term in terms)
    alone = Path(shutil.copytree(text_run, tmp_path / "alone"))
    again = succeed("mumu_jax.evaluate", f"--workdir={alone}", "--split=val")
    assert "albums" in again.stdout
    assert "tracks" not in again.stdout
    before = (text_run / "metrics.jsonl").read_bytes()
    done = succeed("mumu_jax.train", *QUICK, f"--data_dir={text_data}", f"--workdir={text_run}")
    assert "is finished" in done.stdout
    assert (text_run / "metrics.jsonl").read_bytes() == before


def test_tags_of_texts(text_run, tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "a.txt").write_text("A heavy riff, brutal growls and blast beats: pure metal. " * 40)
    (folder / "empty.txt").write_text("")
    (folder / "latin.TXT").write_bytes("Jamaica, señor: dub and reggae".encode("latin-1"))
    (folder / "song.mp3").write_bytes(b"no text")
    binary = tmp_path / "binary.dat"
    binary.write_bytes(b"\0\1\2")
    out = tmp_path / "tags.csv"
    arguments = (f"--workdir={text_run}", folder, binary, tmp_path / "gone.txt", f"--out={out}")
    succeed("mumu_jax.tag", *arguments)
    with out.open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert set(rows) == {"a.txt", "empty.txt", "latin.TXT", "binary.dat", "gone.txt"}
    for name in ("a.txt", "empty.txt", "latin.TXT"):
        scores = [float(score) for score in rows[name]["scores"].split(";")]
        assert len(scores) == 5
        assert np.isfinite(scores).all()
    assert rows["binary.dat"]["error"].startswith("not_text: ")
    assert rows["gone.txt"]["error"].startswith("missing: ")


def test_a_run_without_its_gazetteer_says_so(text_run, tmp_path):
    alone = Path(shutil.copytree(text_run, tmp_path / "alone"))
    (alone / "gazetteer").unlink()
    (tmp_path / "a.txt").write_text("a band")
    done = succeed("mumu_jax.tag", f"--workdir={alone}", tmp_path / "a.txt")
    assert "has no gazetteer: entities are not looked up; add --gazetteer" in done.stderr


def test_the_gazetteer_stays_until_another_is_named(text_data, tmp_path):
    data = Path(shutil.copytree(text_data, tmp_path / "data"))
    again = ("mumu_jax.prepare", "--source=manifest", f"--input={text_data.parent / 'm.jsonl'}", f"--data_dir={data}")
    assert "nothing to do" in succeed(*again, "--modalities=text").stdout
    assert (data / "text" / "gazetteer").read_bytes() == (text_data / "text" / "gazetteer").read_bytes()
    write_gazetteer(tmp_path / "other", {"Nobody": "Nobody"}, {"Nobody": ["People"]})
    succeed(*again, "--modalities=text", f"--gazetteer={tmp_path / 'other'}")
    arguments = (*QUICK, f"--data_dir={data}", f"--workdir={tmp_path / 'run'}")
    complain("mumu_jax.train", *arguments, says=["no training text", "has a category", "--gazetteer", "text_vsm"])


def test_other_settings_than_prepared(small_data, tmp_path):
    wrong = ("--config=text_vsm", f"--data_dir={small_data}", f"--workdir={tmp_path}", "--config.text.max_chars=50")
    complain("mumu_jax.train", *wrong, says=["max_chars is 1000 there and 50 here"])


def test_entities_of_html_are_read_as_characters_everywhere(tmp_path):  # 56
    """`prepare` and `tag` see the same text; only texts that have entities are read again in older data."""
    text, raw, same = MODALITIES["text"], "&quot;Caf&eacute;&quot; &amp; bar", '"Café" & bar'
    settings = TextSettings(max_chars=len(raw))
    assert text.read(Document(raw), settings).fields["text"] == same
    assert text.state(Document(raw)) == text.state(Document(same)) != text.state(Document("bar"))
    (tmp_path / "a.txt").write_text(raw)
    (tmp_path / "b.txt").write_text(same)
    config = Config(text=settings)
    records = [
        text.read_file(tmp_path / name, config, FittedText(cast(Any, None), None)).records
        for name in ("a.txt", "b.txt")
    ]
    assert records[0] == records[1] == [{"text": same, "categories": ()}]
