"""Preparation shared among machines: the same shards, whoever writes them."""

import pickle
import sys

import pytest
from conftest import complain
from test_prepare import make_collection, prepare, prepared_bytes

from mumu_jax.data.store import shards
from mumu_jax.data.store.beam import for_each_under
from mumu_jax.errors import UserError


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A collection of ten files, one of them damaged, and what this machine alone makes of it."""
    manifest = make_collection(tmp_path, 10)
    (tmp_path / "4.flac").write_text("no sound")
    with monkeypatch.context() as patch:
        patch.setattr(shards, "map_in_order", lambda call, items, *_: (call(item) for item in items))
        prepare("manifest", manifest, tmp_path / "local", 1, shard_records=2)
    return manifest, tmp_path / "local"


def test_shards_are_the_same_in_any_order_elsewhere(tmp_path, local):
    def backwards(call, items):
        for item in reversed(items):
            there, sent = pickle.loads(pickle.dumps((call, item)))
            there(sent)

    manifest, expected = local
    summary = prepare("manifest", manifest, tmp_path / "out", 1, shard_records=2, for_each=backwards)
    assert prepared_bytes(tmp_path / "out") == prepared_bytes(expected)
    assert summary.rejected == {"not_audio": 1}
    assert summary.n_new == 10
    assert prepare("manifest", manifest, tmp_path / "out", 1, shard_records=2).n_new == 0


def test_machines_that_write_elsewhere_are_found_out(tmp_path, local):
    with pytest.raises(
        UserError, match=r"expected 6 new shards in .*out.audio, but 6 are missing or differ \(first: mumu-train"
    ):
        prepare("manifest", local[0], tmp_path / "out", 1, shard_records=2, for_each=lambda call, items: None)


def test_without_beam(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"--beam_runner needs Apache Beam; pip install 'mumu_jax\[beam\]'"):
        for_each_under("DirectRunner")


def test_options_without_a_runner(tmp_path):
    options = ("--source=synthetic", f"--data_dir={tmp_path}", "--beam_options=--direct_num_workers=2")
    complain("mumu_jax.prepare", *options, says=["--beam_options=--direct_num_workers=2 without --beam_runner"])


@pytest.fixture
def beam():
    return pytest.importorskip("apache_beam", reason="Apache Beam, the extra `beam`, is not installed")


needs_beam_warnings = pytest.mark.filterwarnings("ignore")  # Beam's own are many


@needs_beam_warnings
def test_beam_makes_the_same_shards(tmp_path, local, beam):
    manifest, expected = local
    prepare("manifest", manifest, tmp_path / "out", 1, shard_records=2, for_each=for_each_under("DirectRunner"))
    assert prepared_bytes(tmp_path / "out") == prepared_bytes(expected)


@needs_beam_warnings
def test_an_unknown_runner(beam):
    with pytest.raises(UserError, match=r"--beam_runner=NoRunner: "):
        for_each_under("NoRunner")
