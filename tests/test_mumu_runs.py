"""MuMu's files, as released and as owned, from `prepare` to tags: every text experiment, and timbre."""

import json
from pathlib import Path

import pytest
from conftest import succeed
from mumu_fixture import write_mumu

from mumu_jax.data.modalities.text.entities import write_gazetteer

pytestmark = pytest.mark.full

NAMES = {"Jamaica": ("Reggae islands",), "Saxophone": ("Jazz instruments",), "Guitar": ("Rock terms",)}


@pytest.fixture(scope="module")
def mumu(tmp_path_factory) -> Path:
    """DATA, prepared from the fixture, with everything but one gazetteer made for it."""
    folder = tmp_path_factory.mktemp("mumu")
    write_mumu(folder / "MUMU")
    write_gazetteer(folder / "gazetteer", {name: name for name in NAMES}, NAMES)
    done = succeed(
        "mumu_jax.prepare",
        "--source=mumu",
        f"--input={folder / 'MUMU'}",
        f"--data_dir={folder / 'data'}",
        f"--gazetteer={folder / 'gazetteer'}",
        "--max_bad=1",
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:16:4]] == ["audio", "text", "timbre", "image"]
    titles, train = lines[4].split(), lines[5].split()
    assert int(train[titles.index("linked")]) > 10
    assert (folder / "data" / "missing.jsonl").read_text()
    return folder


SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("text_vsm", "text_vsm_logistic", "text_vsm_sem_logistic")
]


@pytest.mark.parametrize("name", ["text_vsm_sem", "timbre_mlp", "audio_low_4x96", *SLOW])
def test_every_modality_trains_evaluates_and_tags(mumu, tmp_path, name):
    run, data = tmp_path / "run", mumu / "data"
    own = "--config.tfidf.n_terms=100" if name.startswith("text") else "--config.album_optim.max_epochs=2"
    quick = ("--config.optim.max_epochs=2", own)
    succeed("mumu_jax.train", f"--config={name}", f"--data_dir={data}", f"--workdir={run}", *quick)
    assert "ROC-AUC" in succeed("mumu_jax.evaluate", f"--workdir={run}", "--split=val").stdout
    assert json.loads((run / "eval_test.json").read_text())["album"]["n_items"] > 0
    if name.startswith("text"):
        (tmp_path / "own.txt").write_text("Jamaica, island and bass")
        files = [tmp_path / "own.txt"]
    else:
        suffix = {"timbre_mlp": "*.h5", "audio_low_4x96": "*.flac"}[name]
        files = sorted((mumu / "MUMU").rglob(suffix))[:2]
    succeed("mumu_jax.tag", f"--workdir={run}", *files, f"--out={tmp_path / 'tags.jsonl'}")
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert len(rows) == len(files)
    assert any(row["genres"] for row in rows)
