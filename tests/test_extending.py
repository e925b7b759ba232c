"""Extensions from outside the package, with no edit of it: each trains, evaluates and tags on real commands."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mumu_jax import evaluate, prepare, report, tag, train
from mumu_jax.config import ModelSettings
from mumu_jax.data.manifest import read_manifest
from mumu_jax.data.modalities.audio.front_ends import FRONT_ENDS, FrontEnd
from mumu_jax.data.store import shards
from mumu_jax.models import cnn, registry
from mumu_jax.models.cnn import Variant, build_cnn
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.sparse import sparse_dense
from mumu_jax.models.registry import Output, register
from mumu_jax.objectives import OBJECTIVES
from mumu_jax.objectives.logits import Logistic
from mumu_jax.objectives.metrics import METRICS, MULTI_LABEL, Evidence, Metric
from mumu_jax.runs import own_files

AUDIO = ("--config=audio_low_4x96", "--config.model.width_divisor=32")
TIMBRE = ("--config=timbre_mlp",)
QUICK = ("--config.optim.max_epochs=1", "--config.album_optim.max_epochs=2")


@pytest.fixture
def use(monkeypatch):
    """Add an entry to a registry for the time of a test."""
    return lambda table, name, entry: monkeypatch.setitem(table, name, entry)


def use_run(data: Path, workdir: Path, paths: list[Path], *settings: str) -> dict:
    """Train, evaluate and tag; return the evaluation, in which every file has its tags."""
    assert train.main([*settings, *QUICK, f"--data_dir={data}", f"--workdir={workdir}"]) == 0
    result = json.loads((workdir / "eval_test.json").read_text())
    (workdir / "eval_test.json").unlink()
    evaluate.main([f"--workdir={workdir}"])
    assert json.loads((workdir / "eval_test.json").read_text()) == result
    tag.main([f"--workdir={workdir}", *map(str, paths), f"--out={workdir / 'tags.jsonl'}", "--workers=1"])
    rows = [json.loads(line) for line in (workdir / "tags.jsonl").read_text().splitlines()]
    assert len(rows) == len(paths)
    assert all(len(row["genres"]) == 5 for row in rows)
    assert np.isfinite([genre["score"] for row in rows for genre in row["genres"]]).all()
    return result


def songs_of(data: Path) -> list[Path]:
    """Two songs of the small data."""
    return [album.tracks[0].audio for album in read_manifest(data / "manifest.jsonl")[:2]]


def msd_files_of(data: Path) -> list[Path]:
    """Two `.h5` files of the small data."""
    return [album.tracks[0].timbre for album in read_manifest(data / "manifest.jsonl")[:2]]


@pytest.mark.full
def test_a_front_end(small_data, tmp_path, use, monkeypatch):
    """The energy of equal parts of a frame's hop, computed in this process, which alone knows it."""
    for module in (shards, own_files):
        monkeypatch.setattr(module, "map_in_order", lambda call, items, *rest: (call(item) for item in items))

    def power(y, settings):
        n_frames, hop = 1 + len(y) // settings.hop_length, settings.hop_length
        frames = np.pad(y, (0, n_frames * hop - len(y))).reshape(n_frames, settings.n_bins, -1)
        return np.square(frames).mean(axis=-1)

    use(FRONT_ENDS, "energy", FrontEnd(power, lambda settings: None, lambda settings: "the energy of parts"))
    source = tmp_path / "albums.jsonl"
    lines = (small_data / "manifest.jsonl").read_text().splitlines()
    chosen = [line for i, line in enumerate(lines) if i % 4 == 0]
    source.write_text("\n".join(chosen) + "\n")
    data = tmp_path / "data"
    audio = ("--audio.front_end=energy", "--audio.n_bins=64", "--modalities=audio", "--workers=1")
    assert prepare.main(["--source=manifest", f"--input={source}", f"--data_dir={data}", *audio]) == 0
    assert json.loads((data / "audio" / "features.json").read_text())["featuresDict"]["features"].keys() >= {"energy"}
    settings = ("--config.audio.front_end=energy", "--config.audio.n_bins=64", "--config.model.kernel=3x3")
    use_run(data, tmp_path / "run", songs_of(small_data), *AUDIO, *settings)


@pytest.mark.full
def test_a_variant_of_the_cnn(small_data, tmp_path, use):
    """Two blocks instead of four."""
    use(cnn.VARIANTS, "low_8x96", Variant(((8, 96), (4, 1)), ((8, 1), (4, 1)), (64, 32), "valid"))
    use_run(small_data, tmp_path / "run", songs_of(small_data), *AUDIO, "--config.model.kernel=8x96")


def test_a_family(small_data, tmp_path, use):
    def build(settings: ModelSettings, output: Output) -> nn.Module:
        return Squares(output.size, output.unit)

    use(registry.FAMILIES, "squares", registry.Family(build, frozenset({"timbre"}), frozenset()))
    use_run(small_data, tmp_path / "run", msd_files_of(small_data), *TIMBRE, "--config.model.family=squares")


class Squares(nn.Module):
    """A network of values and their squares."""

    n_outputs: int
    unit_output: bool

    @nn.compact
    def __call__(self, x, dropout_keys=None):
        embedding = jnp.concatenate([x, jnp.square(x)], axis=-1)
        return Shallow(self.n_outputs, self.unit_output, name="output")(embedding)


@dataclass(frozen=True)
class Focal(Logistic):
    """Binary cross-entropy that counts easy items less."""

    def loss(self, output, labels, fitted):
        loss, weight = super().loss(output, labels, fitted)
        return loss * (1 - jnp.exp(-loss)) ** 2, weight


def test_an_objective(small_data, tmp_path, use):
    use(OBJECTIVES, "focal", Focal)
    use_run(small_data, tmp_path / "run", msd_files_of(small_data), *TIMBRE, "--config.target.kind=focal")


def test_a_metric(small_data, tmp_path, use, capsys):
    def hit_rate(evidence: Evidence):
        best = jnp.argmax(evidence.scores, axis=1)
        hits = jnp.take_along_axis(evidence.labels, best[:, None], axis=1)[:, 0] != 0
        return jnp.sum(hits & evidence.mask) / jnp.sum(evidence.mask)

    metric = Metric(
        "rate of hits", hit_rate, lambda n_labels, n_items: 0.1, frozenset({MULTI_LABEL}), short_name="hits"
    )
    use(METRICS, "hit_rate", metric)
    result = use_run(small_data, tmp_path / "run", msd_files_of(small_data), *TIMBRE)
    assert result["album"]["hit_rate"] == pytest.approx(result["album"]["precision_at_1"], abs=1e-6)
    assert result["chance"]["hit_rate"] == 0.1
    assert "hits" in capsys.readouterr().out
    report.main([f"--workdir={tmp_path / 'run'}"])
    assert "rate of hits" in (tmp_path / "run" / "report.html").read_text()


class SongAndReview(nn.Module):
    """The audio CNN and one dense layer of the text, joined."""

    audio: nn.Module
    n_outputs: int
    unit_output: bool

    @nn.compact
    def __call__(self, inputs, dropout_keys=None):
        _, of_audio = self.audio(inputs["audio"], dropout_keys)
        kernel = self.param("text", nn.initializers.glorot_uniform(), (inputs["text"].n_columns, 16))
        embedding = jnp.concatenate([of_audio, sparse_dense(inputs["text"], kernel)], axis=-1)
        return Shallow(self.n_outputs, self.unit_output, name="output")(embedding)


@pytest.mark.full
def test_a_network_of_two_inputs(small_data, tmp_path):
    """Songs with the reviews of their albums: a.mp3 and a.txt are one."""

    @register("song_and_review", sees=("audio+text",), settings=("kernel", "width", "width_divisor", "precision"))
    def build(settings: ModelSettings, output: Output) -> nn.Module:
        return SongAndReview(build_cnn(settings, Output(1, unit=False)), output.size, output.unit)

    try:
        own = tmp_path / "own"
        own.mkdir()
        for i, song in enumerate(songs_of(small_data)):
            (own / f"{i}{song.suffix}").symlink_to(song)
            (own / f"{i}.txt").write_text("loud guitars and a slow beat")
        stems = [own / f"{i}.txt" for i in range(2)]
        settings = ("--config.modality=audio+text", "--config.model.family=song_and_review")
        run = tmp_path / "run"
        use_run(small_data, run, stems, *AUDIO, *settings, "--config.tfidf.n_terms=50")
        (own / "0.txt").unlink()
        (run / "tags.jsonl").unlink()
        tag.main([f"--workdir={run}", str(own), f"--out={run / 'tags.jsonl'}", "--workers=1"])
        errors = [json.loads(line)["error"] for line in (run / "tags.jsonl").read_text().splitlines()]
        assert errors == ["missing: text (no file)", None]
    finally:
        del registry.FAMILIES["song_and_review"]
