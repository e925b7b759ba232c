"""Tests of published networks that tag without training, and of a new output layer on one's vectors."""

import csv
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from mumu_jax import prepare, tag, train
from mumu_jax.config import Config, DataSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import read_own
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.musicnn import PONS, SIZES, Musicnn
from mumu_jax.runs.folder import load_run
from mumu_jax.runs.published import check_front_end, plain
from mumu_jax.training.weights import Pretrained, load_pretrained, write_pretrained

TAGS = ("rock", "Mellow", "jazz", "Hip-Hop", "80s", "pop")
OTHER_TAGS = ("classical", "hip hop", "no vocals")


def write_weights(path: Path, tags: tuple[str, ...], seed: int) -> Path:
    """A musicnn of random weights, whose frequent tags have large biases."""
    model: Any = Musicnn(PONS, *SIZES["low"], n_outputs=len(tags), unit_output=False)
    variables = jax.jit(model.init)(jax.random.key(seed), np.zeros((1, 187, 96), np.float32))
    variables = jax.tree.map(np.asarray, variables)
    variables["params"]["output"]["dense"]["bias"] = np.linspace(-4, 1, len(tags), dtype=np.float32)
    variables["batch_stats"]["input_bn"] = {"mean": np.full(1, 2.2, np.float32), "var": np.full(1, 1.6, np.float32)}
    about = {"source": f"seed {seed}", "sha256": f"{seed:064}"}
    pretrained = Pretrained("musicnn", variables["params"], variables["batch_stats"], about, tags, "musicnn", "ISC")
    write_pretrained(path, pretrained)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "first.safetensors", TAGS, 1)


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "other.safetensors", OTHER_TAGS, 2)


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """Two songs, and a file that is none."""
    folder, rng = tmp_path_factory.mktemp("songs"), np.random.default_rng(0)
    t = np.arange(16_000 * 8) / 16_000
    for i, f in enumerate((110, 700)):
        y = 0.2 * np.sin(2 * np.pi * f * t * (1 + 0.1 * t)) + 0.02 * rng.standard_normal(len(t))
        soundfile.write(folder / f"{i}.wav", y, 16_000)
    (folder / "x.mp3").write_bytes(b"not a song")
    return folder


def probabilities(weights: Path, song: Path) -> np.ndarray:
    """The mean of the sigmoids over the song's patches, by the network alone."""
    config = Config(modality="mel", data=DataSettings(patches=16))
    records = read_own(MODALITIES["mel"], song, config, None).records
    mel = np.stack([record["patch"] for record in records]).astype(np.float32)
    pretrained = load_pretrained(weights)
    n = len(pretrained.vocabulary)
    model = Musicnn(PONS, *SIZES["low"], n_outputs=n, unit_output=False)
    logits, _ = model.apply(jax.tree.map(jnp.asarray, pretrained.variables), jnp.log10(10_000 * jnp.asarray(mel) + 1))
    return np.asarray(jax.nn.sigmoid(logits)).mean(axis=0)


def tags_of(path: Path) -> dict[str, dict[str, float]]:
    """The file's genres with their scores by song, in order."""
    found = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            genres, scores = (row[name].split(";") if row[name] else [] for name in ("genres", "scores"))
            found[Path(row["path"]).name] = dict(zip(genres, map(float, scores), strict=True))
    return found


def test_genres_are_ranked_by_how_far_they_are_above_their_priors(weights, songs, tmp_path, capsys):
    assert tag.main([f"--model={weights}", str(songs), f"--out={tmp_path / 'tags.csv'}", "--workers=1"]) == 0
    tags = tags_of(tmp_path / "tags.csv")
    bias = np.linspace(-4, 1, len(TAGS))
    for song in ("0.wav", "1.wav"):
        p = probabilities(weights, songs / song)
        ranks = np.log(p / (1 - p)) - bias
        order = [i for i in np.argsort(-ranks) if TAGS[i] not in ("Mellow", "80s")]
        assert [*tags[song]] == [TAGS[i] for i in order]
        np.testing.assert_allclose([*tags[song].values()], p[order], atol=2e-6)
    assert tags["x.mp3"] == {}
    said = capsys.readouterr().err
    assert "first: 4 genres (not among them: blues, classical, country, disco, electronic, folk, gospel, latin," in said


def test_all_tags(weights, songs, tmp_path):
    out = tmp_path / "tags.csv"
    tag.main([f"--model={weights}", str(songs / "0.wav"), f"--out={out}", "--all_tags", "--top_k=9", "--workers=1"])
    assert {*tags_of(out)["0.wav"]} == {*TAGS}


def test_two_networks_know_more(weights, other_weights, songs, tmp_path, capsys):
    """Of the tag that both know, in two spellings, the mean of the probabilities counts."""
    out = tmp_path / "tags.csv"
    models = (f"--model={weights}", f"--model={other_weights}")
    tag.main([*models, str(songs / "1.wav"), f"--out={out}", "--top_k=9", "--workers=1"])
    found = tags_of(out)["1.wav"]
    first, other = (probabilities(path, songs / "1.wav") for path in (weights, other_weights))
    expected = {"rock": first[0], "jazz": first[2], "Hip-Hop": (first[3] + other[1]) / 2, "pop": first[5]}
    expected["classical"] = other[0]
    assert {*found} == {*expected}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-6)
    assert "first + other: 5 genres" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds tags of another run"):
        tag.main([f"--model={weights}", str(songs), f"--out={out}"])


def test_genres_over_time(weights, songs, tmp_path, capsys):
    """Of each three seconds from the first to the last; the song's scores are the mean of theirs."""
    out = tmp_path / "tags.jsonl"
    arguments = (f"--model={weights}", str(songs / "0.wav"), "--patches", "--workers=1", "--top_k=4")
    assert tag.main([*arguments, f"--out={out}"]) == 0
    [row] = map(json.loads, out.read_text().splitlines())
    assert [patch["start_s"] for patch in row["patches"]] == pytest.approx([0, 2.5, 5], abs=0.02)
    of_patches = [{one["genre"]: one["score"] for one in patch["genres"]} for patch in row["patches"]]
    for one in row["genres"]:
        assert one["score"] == pytest.approx(np.mean([patch[one["genre"]] for patch in of_patches]), abs=2e-6)
    assert tag.main([*arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" s: ")[0] for line in lines[-3:]] == ["  0.0", "  2.5", "  5.0"]
    with pytest.raises(UserError, match="holds tags of another run"):  # without patches, a row has other scores
        tag.main([f"--model={weights}", str(songs), f"--out={out}"])


def test_patches_that_have_no_place_are_refused(weights, other_weights, songs, tmp_path):
    arguments = [f"--model={weights}", str(songs), "--patches"]
    for more, reason in ((f"--out={tmp_path / 'x.csv'}", "give --out=FILE.jsonl"), ("--threshold", "for whole songs")):
        with pytest.raises(UserError, match=reason):
            tag.main([*arguments, more])
    with pytest.raises(UserError, match="--patches is for one model"):
        tag.main([*arguments, f"--model={other_weights}"])


def test_vectors(weights, other_weights, songs, tmp_path):
    """A row for each song that could be read, in a file that a later call goes on with, also beside finished rows."""
    file, out = tmp_path / "new" / "vectors.npz", tmp_path / "tags.csv"
    model, more = [f"--model={weights}", "--workers=1"], [f"--vectors={file}", f"--out={out}"]
    assert tag.main([*model, str(songs), f"--out={out}"]) == 0
    rows = out.read_bytes()
    assert tag.main([*model, str(songs / "0.wav"), *more]) == 0
    assert tag.main([*model, str(songs), *more]) == 0
    assert out.read_bytes() == rows
    with np.load(file) as arrays:
        assert [Path(path).name for path in arrays["paths"]] == ["0.wav", "1.wav"]
        assert [*arrays["labels"]] == [*TAGS]
        assert arrays["vectors"].shape == (2, 200)
        for name, scores in zip(("0.wav", "1.wav"), arrays["scores"], strict=True):
            np.testing.assert_allclose(scores, probabilities(weights, songs / name), atol=2e-6)
        vector, output = arrays["vectors"][0], load_pretrained(weights).params["output"]["dense"]
    logits = vector @ output["kernel"] + output["bias"]  # of the mean, where the score is the mean of probabilities
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probabilities(weights, songs / "0.wav"), atol=0.01)

    before = file.read_bytes()
    assert tag.main([*model, str(songs), *more]) == 0
    assert file.read_bytes() == before
    with pytest.raises(UserError, match="holds vectors of another model"):
        tag.main([f"--model={other_weights}", str(songs), f"--vectors={file}"])
    two = tmp_path / "two.npz"
    assert tag.main([*model, f"--model={other_weights}", str(songs / "1.wav"), f"--vectors={two}"]) == 0
    with np.load(two) as arrays:
        assert arrays["vectors"].shape == (1, 400)
    with pytest.raises(UserError, match=r"ends in '\.csv'"):
        tag.main([*model, str(songs), f"--vectors={out}"])


def test_what_knows_no_tags_is_refused(weights, songs, tmp_path):
    pretrained = load_pretrained(weights)._replace(vocabulary=())
    write_pretrained(tmp_path / "x.safetensors", pretrained)
    with pytest.raises(UserError, match=r"which knows no genres; train with --config\.model\.weights="):
        tag.main([f"--model={tmp_path / 'x.safetensors'}", str(songs)])
    with pytest.raises(UserError, match=r"given 2 times, and one is not a \.safetensors file"):
        tag.main([f"--model={weights}", f"--model={tmp_path}", str(songs)])


def test_weights_are_for_the_mel_spectrograms_that_they_learned_from(weights):
    config = load_config("audio_musicnn")
    config.model.weights = str(weights)
    check_front_end(config)
    config.mel.patch_frames = 300
    check_front_end(config)
    config.mel.scale = "htk"
    with pytest.raises(
        UserError, match=r"of the preset 'musicnn', and this .*: mel\.scale is htk, not slaney; leave out"
    ):
        check_front_end(config)


@pytest.mark.parametrize("tag", ["Hip-Hop", "hip hop", "HIPHOP"])
def test_spellings_of_a_tag_are_one(tag):
    assert plain(tag) == "hiphop"


@pytest.fixture(scope="module")
def mel_data(small_data, tmp_path_factory) -> Path:
    """A few of the mini dataset's albums."""
    folder = tmp_path_factory.mktemp("mel")
    lines = (small_data / "manifest.jsonl").read_text().splitlines()
    by_split = {split: [line for line in lines if json.loads(line)["split"] == split] for split in ("train", "val")}
    source = folder / "albums.jsonl"
    source.write_text("\n".join([*by_split["train"][:6], *by_split["val"][:3]]) + "\n")
    arguments = ["--source=manifest", f"--input={source}", f"--data_dir={folder / 'data'}", "--modalities=mel"]
    assert prepare.main([*arguments, "--workers=1"]) == 0
    return folder / "data"


@pytest.mark.full
def test_a_new_output_layer_on_a_published_networks_vectors(weights, mel_data, songs, tmp_path, capsys):
    run = tmp_path / "run"
    settings = ("--config.optim.max_epochs=3", "--config.optim.batch_size=8", "--config.data.patches=2")
    command = ["--config=audio_musicnn", f"--data_dir={mel_data}", f"--workdir={run}", *settings]
    assert train.main([*command, f"--config.model.weights={weights}"]) == 0
    capsys.readouterr()
    trained, published = load_run(run), load_pretrained(weights)
    assert trained.track is not None
    params = dict(trained.track.variables["params"])
    output = params.pop("output")
    frozen = {name: leaf for name, leaf in published.params.items() if name != "output"}
    jax.tree.map(np.testing.assert_array_equal, params, frozen)
    jax.tree.map(np.testing.assert_array_equal, dict(trained.track.variables["batch_stats"]), published.batch_stats)
    assert output["dense"]["kernel"].shape == (200, len(trained.labels))
    jax.tree.map(np.testing.assert_array_equal, output, {"dense": trained.album.variables["params"]["dense"]})
    losses = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in losses if "val/loss" in row] == ["output"] * 3
    assert losses[-1]["val/loss"] < losses[1]["val/loss"] * 1.2
    result = json.loads((run / "eval_val.json").read_text())
    assert result["patch"]["n_items"] == 2 * result["track"]["n_items"] == 2 * result["track_votes"]["n_items"]
    assert result["track_shares"]["roc_auc_macro"] is not None
    assert tag.main([f"--workdir={run}", str(songs / "0.wav"), "--workers=1"]) == 0
    assert train.main([*command, f"--config.model.weights={weights}"]) == 0  # nothing is left to do
    assert "is finished" in capsys.readouterr().out
