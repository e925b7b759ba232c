"""Published weights on prepared data: the whole way from a data set's files and a .pth file to the metrics."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, complain, run_python
from public_fixture import SAMPLES
from sklearn.metrics import average_precision_score, roc_auc_score

from mumu_jax import evaluate, prepare
from mumu_jax.compression import PRESETS
from mumu_jax.data.manifest import Label
from mumu_jax.data.modalities.audio.patches import cut, spread_starts
from mumu_jax.data.sources.origin import Origin, read_origin
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.runs.published_scores import N_PATCHES, match
from mumu_jax.training.vocabularies import VOCABULARIES

TAGS = VOCABULARIES["mtat"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Made-up clips of MagnaTagATune, with three of its tags, prepared for networks of 96 bins."""
    folder = tmp_path_factory.mktemp("mtat")
    SAMPLES["magnatagatune"](folder / "released")
    source = ("--source=magnatagatune", "--subset=clean", f"--input={folder / 'released'}")
    how = ("--modalities=mel", "--mel.preset=won", "--workers=1")
    assert prepare.main([*source, f"--data_dir={folder / 'data'}", *how]) == 0
    return folder / "data"


def published_file(folder: Path, name: str, n_bins: int = 96):
    """Write made-up weights as Won's files are, before PyTorch 1.6; return the network of PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch, which writes such files, is not installed")
    from benchmarks.torch_tagging import NETWORKS

    torch.manual_seed(0)
    peer = NETWORKS[name](n_outputs=len(TAGS)).eval()
    with torch.no_grad():
        peer.spec_bn.running_mean.fill_(-20.0)
        peer.spec_bn.running_var.fill_(100.0)
    state = {**peer.state_dict(), "spec.mel_scale.fb": torch.ones(257, n_bins)}
    torch.save(state, folder / f"{name}.pth", _use_new_zipfile_serialization=False)
    return peer


def convert(folder: Path, name: str, tags: str = "mtat") -> Path:
    """Convert a published file by the command."""
    out = folder / f"{name}.safetensors"
    script = REPOSITORY / "scripts" / "convert_weights.py"
    done = run_python(script, f"--from={folder / name}.pth", f"--model={name}", f"--out={out}", f"--tags={tags}")
    assert done.returncode == 0, done.stderr
    return out


def by_torch(peer, data_dir: Path, split: str, patch_frames: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The mean of the sigmoids over 16 patches of each track by PyTorch, the labels, and their names."""
    import torch

    settings = dataclasses.replace(PRESETS["won"], patch_frames=patch_frames)
    prepared = open_prepared(data_dir, settings)
    scores, labels = [], []
    for record in prepared.split(split).read(range(len(prepared.split(split)))):
        frames = record["mel"]
        starts = (spread_starts(len(frames), N_PATCHES, settings) * N_PATCHES)[:N_PATCHES]  # short: the same patch
        stored = np.stack([cut(frames, start, settings) for start in starts]).astype(np.float32)
        level_db = 20 * np.log10(np.maximum(stored, 1e-5))
        with torch.no_grad():
            scores.append(torch.sigmoid(peer(torch.from_numpy(level_db))).mean(0).numpy())
        labels.append(np.isin(np.arange(len(prepared.labels)), record["labels"]))
    return np.array(scores), np.array(labels), [label.name for label in prepared.labels]


@pytest.mark.full
def test_metrics_are_those_of_the_published_network(data, tmp_path, capsys):
    peer = published_file(tmp_path, "musicnn_won")
    model = convert(tmp_path, "musicnn_won")
    where = (f"--data_dir={data}", f"--workdir={tmp_path / 'scores'}")
    evaluate.main([f"--model={model}", *where])
    result = json.loads((tmp_path / "scores" / "eval_test.json").read_text())
    scores, labels, names = by_torch(peer, data, "test", 188)
    columns = [TAGS.index(name) for name in names]
    with np.load(tmp_path / "scores" / "predictions_test.npz") as arrays:
        assert arrays["label_names"].tolist() == names
        np.testing.assert_allclose(1 / (1 + np.exp(-arrays["track_scores"])), scores[:, columns], atol=1e-5)
    scored = [i for i in range(len(names)) if 0 < labels[:, i].sum() < len(labels)]
    assert len(scored) >= 2
    truth, given = labels[:, scored], scores[:, [columns[i] for i in scored]]
    assert result["track"]["roc_auc_macro"] == pytest.approx(roc_auc_score(truth, given, average="macro"), abs=1e-5)
    expected = average_precision_score(truth, given, average="macro")
    assert result["track"]["pr_auc_macro"] == pytest.approx(expected, abs=1e-5)
    assert result["weights"]["tags"] == list(TAGS)
    assert result["weights"]["source"] == "musicnn_won.pth"
    assert "47 of the network's 50 tags are no labels of the data: classical" in capsys.readouterr().err


def test_labels_are_matched_by_plain_names():
    labels = [Label("mood/theme---happy"), Label("Hip Hop"), Label("polka")]
    matching = match(labels, ("hiphop", "jazz", "happy"))
    assert matching.outputs == [2, 0, None]
    assert (matching.unknown, matching.unused) == (["polka"], ["jazz"])
    assert [remark.partition(":")[0] for remark in matching.remarks] == [
        "1 of the data's 3 labels are no tags of the network, and count in no ROC-AUC and PR-AUC",
        "1 of the network's 3 tags are no labels of the data",
    ]


@pytest.mark.full
def test_a_label_that_the_network_does_not_know_counts_in_no_auc(data, tmp_path):
    published_file(tmp_path, "musicnn_won")
    model = convert(tmp_path, "musicnn_won", "jamendo")  # knows guitar, not slow and "no voice"
    evaluate.main([f"--model={model}", f"--data_dir={data}", f"--workdir={tmp_path / 'scores'}", "--split=val"])
    result = json.loads((tmp_path / "scores" / "eval_val.json").read_text())
    assert (result["unknown"], result["album"]["n_labels_unseen"]) == (["no voice", "slow"], 2)


@pytest.mark.full
def test_another_front_end_is_refused(data, tmp_path):
    published_file(tmp_path, "fcn", n_bins=128)
    model = convert(tmp_path, "fcn")
    where = [f"--data_dir={data}", f"--workdir={tmp_path / 'scores'}"]
    with pytest.raises(UserError, match=r"preset 'won128', and .*mel has others: mel\.n_bins is 96, not 128; prepare"):
        evaluate.main([f"--model={model}", *where])
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model=a.safetensors",), "--model=a.safetensors has no data of its own; name prepared data"),
        (("--model=models/mine", "--data_dir=d"), "--model=models/mine should be converted weights"),
        (("--model=a.safetensors", "--data_dir=d", "--calibrate"), "--features and --calibrate are for runs"),
        (("--model=a.safetensors", "--data_dir=d"), "the file of weights a.safetensors does not exist"),
    ],
)
def test_complaints(tmp_path, arguments, says):
    complain("mumu_jax.evaluate", *arguments, f"--workdir={tmp_path / 'w'}", says=[says])


def test_the_folder_of_a_run_is_not_written_to(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds config\.json, which is another model's"):
        evaluate.main(["--model=a.safetensors", "--data_dir=d", f"--workdir={tmp_path}"])


def test_prepared_data_knows_its_origin(data, tmp_path):
    assert read_origin(data) == Origin("magnatagatune", "clean")
    assert read_origin(tmp_path) is None
    (tmp_path / "source.json").write_text('{"subset": 3}')
    with pytest.raises(UserError, match=r"source\.json is not what prepare writes .*call the same prepare again"):
        read_origin(tmp_path)
