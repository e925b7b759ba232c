"""The mini dataset's modalities, each read by a simple classifier: alone they tell something, together more."""

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import read_manifest
from mumu_jax.data.store.records import open_prepared


def audio_features(data, split: str) -> dict[str, np.ndarray]:
    """Mean, spread and flux of each bin, by album."""
    found: dict[str, list[np.ndarray]] = {}
    for record in open_prepared(data, AudioSettings()).split(split):
        cqt = record["cqt"].astype(np.float32)
        statistics = (cqt.mean(0), cqt.std(0), np.abs(np.diff(cqt, axis=0)).mean(0))
        found.setdefault(record["album_id"], []).append(np.concatenate(statistics))
    return {album: np.mean(tracks, axis=0) for album, tracks in found.items()}


def cover_features(path) -> np.ndarray:
    """An 8 × 8 thumbnail and a colour histogram."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        thumbnail = np.asarray(rgb.resize((8, 8), Image.Resampling.BOX), np.float32).ravel() / 255
        histogram = np.array(rgb.convert("HSV").resize((64, 64)).histogram(), np.float32).reshape(-1, 16).sum(1) / 4096
    return np.concatenate([thumbnail, histogram])


@pytest.fixture(scope="module")
def auc(small_data) -> dict[str, float]:
    albums = {s: [a for a in read_manifest(small_data / "manifest.jsonl") if a.split == s] for s in ("train", "test")}
    names = sorted({genre for album in albums["train"] for genre in album.genres})
    labels = {s: np.array([[name in a.genres for name in names] for a in of]) for s, of in albums.items()}
    words = TfidfVectorizer(sublinear_tf=True, max_df=0.5).fit([a.text for a in albums["train"]])
    lyrics = {s: ["\n".join(t.lyrics.read_text() for t in a.tracks) for a in of] for s, of in albums.items()}
    sung = TfidfVectorizer(sublinear_tf=True, max_df=0.5).fit(lyrics["train"])
    heard = {s: audio_features(small_data, s) for s in albums}
    features = {
        "audio": {s: np.stack([heard[s][a.album_id] for a in of]) for s, of in albums.items()},
        "text": {s: words.transform([a.text for a in of]).toarray() for s, of in albums.items()},
        "lyrics": {s: sung.transform(of).toarray() for s, of in lyrics.items()},
        "image": {s: np.stack([cover_features(a.cover) for a in of]) for s, of in albums.items()},
    }
    scores = {}
    for modality, x in features.items():
        model = make_pipeline(StandardScaler(), PCA(30, random_state=0), Ridge(30.0))
        scores[modality] = model.fit(x["train"], labels["train"]).predict(x["test"])
    weights = {"audio": 3, "text": 1, "image": 0.5}
    scores["all"] = sum(weight * scores[m] / scores[m].std() for m, weight in weights.items())
    scores["song"] = sum(weight * scores[m] / scores[m].std() for m, weight in {"audio": 3, "lyrics": 1}.items())
    scored = labels["test"].any(0) & ~labels["test"].all(0)
    return {m: roc_auc_score(labels["test"][:, scored], s[:, scored], average="macro") for m, s in scores.items()}


@pytest.mark.parametrize("modality", ["audio", "text", "lyrics", "image"])
def test_each_modality_alone_tells_something_but_not_all(auc, modality):
    assert 0.6 < auc[modality] < 0.98, auc


def test_together_they_tell_more(auc):
    assert auc["all"] > max(auc["audio"], auc["text"], auc["image"]), auc


def test_a_song_s_sound_and_words_tell_more_than_either(auc):
    assert auc["song"] > max(auc["audio"], auc["lyrics"]) + 0.005, auc
