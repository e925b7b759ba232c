"""Runs of joint networks: all that users do with one, and what an item's two inputs tell each other."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lyrics_runs import own_songs, prepare_lyrics, scores, tags_of, use_run
from test_bert import SIZES as OF_BERT
from test_bert import made_up

from mumu_jax.config import BertSettings
from mumu_jax.data.modalities.lyrics.wordpiece import SPECIAL, read_wordpiece
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.bert import build_encoder
from mumu_jax.models.pretrained import convert
from mumu_jax.objectives.label_graph import FEATURES
from mumu_jax.runs.label_names import vectors_of_names
from mumu_jax.runs.retrieval import recall_at_1
from mumu_jax.runs.settings import check_settings
from mumu_jax.training.weights import Pretrained, load_pretrained, write_pretrained

SIZES = OF_BERT | {"n_tokens": 100}
SMALL = (
    *("--config.mel.patch_frames=64", "--config.tokens.max_tokens=16"),
    *(f"--config.model.bert.{name}={size}" for name, size in SIZES.items()),
    *("--config.model.bert.heads=4", f"--config.tokens.n_terms={SIZES['n_tokens']}", "--config.model.width_divisor=32"),
    *("--config.optim.batch_size=16", "--config.optim.max_epochs=6", "--config.loop.chunk_steps=4"),
    *("--config.optim.learning_rate=3e-3", "--config.model.joint.width=16", "--config.model.joint.heads=2"),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Path, Path]:
    """A converted BERT of made-up weights, and its vocabulary: letters and a few words."""
    folder = tmp_path_factory.mktemp("published")
    params = convert("bert", made_up(SIZES), "here")
    about = {"source": "model.safetensors", "sha256": "0" * 64}
    write_pretrained(
        folder / "bert.safetensors", Pretrained("bert", params["params"], {}, about, sizes=SIZES | {"heads": 4})
    )
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*SPECIAL, *letters, "##a", "##e", "##o", "rock", "pop", "the", "jazz", "metal", "##ro"]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    return folder / "bert.safetensors", folder / "vocab.txt"


@pytest.fixture(scope="module")
def data(small_data, tmp_path_factory) -> Path:
    return prepare_lyrics(
        small_data, tmp_path_factory.mktemp("joint"), "mel,lyrics", "--mel.preset=ru", "--mel.patch_frames=64"
    )


@pytest.mark.full
@pytest.mark.parametrize("name", ["joint_cross_attention", "joint_coattention"])
def test_a_run(name, small_data, data, tmp_path, published):
    """Songs with their text files are one; the published BERT is frozen, and describes the genres by their names."""
    weights, vocabulary = published
    own = own_songs(small_data, tmp_path / "own")
    files = (f"--config.model.weights={weights}", f"--config.tokens.vocabulary={vocabulary}")
    run, rows = use_run((f"--config={name}", *SMALL, *files), data, tmp_path, [own])
    assert {song: row["error"] is None for song, row in rows.items()} == {"a": True, "b": True, "c": True, "d": False}
    result = json.loads((run / "eval_test.json").read_text())
    assert np.isfinite(result["album"]["roc_auc_macro"])
    assert np.isfinite(result["baseline"]["roc_auc_macro"])
    ways = set() if name == "joint_coattention" else {"lyrics_to_mel", "mel_to_lyrics", "chance"}
    assert set(result.get("retrieval", ())) == ways
    (own / "a.txt").write_text("other words")
    other = scores(tags_of(tmp_path, f"--workdir={run}", own))
    assert other["a"] != scores(rows)["a"]
    assert other["b"] == scores(rows)["b"]
    with np.load(run / "constants.npz") as constants:
        described = FEATURES in constants and constants[FEATURES].shape[1]
    assert described == (SIZES["width"] if name == "joint_cross_attention" else False)


def test_a_genre_is_described_by_the_states_of_its_name(published):
    """The mean over its pieces alone, of the last layer, whatever other names it is encoded with."""
    weights, vocabulary = published
    config = load_config("joint_cross_attention")
    config.model.weights, config.tokens.vocabulary = str(weights), str(vocabulary)
    config.model.bert = BertSettings(**SIZES, heads=4, frozen=True)
    config.tokens.n_terms = SIZES["n_tokens"]
    names = ["Rock", "Pop Rock/the Jazz", "Métal"]
    vectors = vectors_of_names(names, config)
    encoder, params = build_encoder(config.model), load_pretrained(weights).params["encoder"]
    for name, vector in zip(names, vectors, strict=True):
        ids = read_wordpiece(vocabulary, config.tokens).encode([name], 20)
        ids = ids[:, : np.count_nonzero(ids)]
        states = jax.jit(encoder.apply)({"params": params}, jnp.asarray(ids))
        np.testing.assert_allclose(vector, np.asarray(states)[0, 1:-1].mean(axis=0), rtol=1e-4, atol=1e-5)
    assert vectors.shape == (3, SIZES["width"])


def test_settings_of_the_graph():
    config = load_config("joint_cross_attention")
    assert config.names_labels
    check_settings(config)
    config.target.head = "dense"  # the ablation, by a flag
    check_settings(config)
    config = load_config("joint_small")
    assert not config.names_labels
    config.target.label_features = "names"
    with pytest.raises(UserError, match=r"needs a network of lyrics with a published BERT: give config.model.weights"):
        check_settings(config)
    config = load_config("joint_concatenated")
    config.model.joint.heads = 2
    with pytest.raises(UserError, match=r"only config.model.joint.attention=True reads it"):
        check_settings(config)
    config = load_config("joint_graph")
    config.model.joint.projection = 128
    with pytest.raises(UserError, match=r"only config.model.joint.contrast above 0 reads it"):
        check_settings(config)


def test_recall_at_1():
    """Of its own counterpart: all, by chance where nothing is told apart, and one of three."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert recall_at_1(rows, rows) == 1
    assert recall_at_1(np.ones((8, 4), np.float32), np.ones((8, 4), np.float32)) == pytest.approx(1 / 8)
    assert recall_at_1(np.eye(3), np.eye(3)[[0, 2, 1]]) == pytest.approx(1 / 3)
