"""Published weights of music taggers: the original package's outputs, and files that are none, told in one line."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import REPOSITORY, SHARED, run_python

from mumu_jax.config import ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.pretrained import NETWORKS, adopt, convert
from mumu_jax.models.registry import FAMILIES, Output
from mumu_jax.training.musicnn_wheel import CHECKPOINTS, read_wheel
from mumu_jax.training.tensor_bundle import read_bundle
from mumu_jax.training.vocabularies import VOCABULARIES
from mumu_jax.training.weights import load_for, load_pretrained, read_weights

SCRIPT = REPOSITORY / "scripts" / "convert_weights.py"
REFERENCE = SHARED / "musicnn" / "reference.npz"


@pytest.fixture(scope="session")
def wheel(pytestconfig) -> Path:
    """The published wheel of musicnn: named by an environment variable, or downloaded once."""
    if named := os.environ.get("MUMU_JAX_MUSICNN_WHEEL"):
        return Path(named)
    cache = getattr(pytestconfig, "cache", None)
    if cache is None:
        pytest.skip("the wheel of musicnn needs pytest's cache, or MUMU_JAX_MUSICNN_WHEEL=FILE")
    folder = cache.mkdir("musicnn")
    if not (wheels := list(folder.glob("musicnn-0.1.0-*.whl"))):
        command = (*("-m", "pip", "download", "--no-deps", "--quiet"), "musicnn==0.1.0", f"--dest={folder}")
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"the wheel of musicnn cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}")
        wheels = list(folder.glob("musicnn-0.1.0-*.whl"))
    return wheels[0]


@pytest.fixture(scope="session")
def converted(wheel, tmp_path_factory) -> dict[str, Path]:
    """The four networks, converted by the command."""
    folder = tmp_path_factory.mktemp("converted")
    for model in CHECKPOINTS:
        out = folder / f"{model}.safetensors"
        done = run_python(SCRIPT, f"--from={wheel}", f"--model={model}", f"--out={out}")
        assert done.returncode == 0, done.stderr
    return {model: folder / f"{model}.safetensors" for model in CHECKPOINTS}


@pytest.mark.full
@pytest.mark.skipif(not REFERENCE.exists(), reason="the original package's outputs are not beside the clone")
@pytest.mark.parametrize("model", CHECKPOINTS)
def test_probabilities_are_the_original_packages(converted, model):
    pretrained, name = load_pretrained(converted[model]), CHECKPOINTS[model].folder
    network = NETWORKS[pretrained.model].build(n_outputs=len(pretrained.vocabulary), unit_output=False)
    with np.load(REFERENCE) as reference:
        output, embedding = jax.jit(network.apply)(pretrained.variables, reference["patches"])
        np.testing.assert_allclose(jax.nn.sigmoid(output), reference[f"{name}/probabilities"], atol=1e-5, rtol=0)
        if pretrained.model == "musicnn":
            np.testing.assert_allclose(embedding[:1], reference[f"{name}/penultimate_of_patch_0"], atol=1e-5)


@pytest.mark.full
def test_what_a_converted_file_says(converted, wheel):
    for model, path in converted.items():
        pretrained = load_pretrained(path)
        assert pretrained.vocabulary == VOCABULARIES["msd" if model.endswith("msd") else "mtat"]
        assert pretrained.front_end == "musicnn"
        assert pretrained.licence.startswith("Copyright (c) Music Technology Group, Universitat Pompeu Fabra 2019.")
        assert pretrained.licence.endswith("PERFORMANCE OF THIS SOFTWARE.")
        assert pretrained.about["source"] == f"{wheel.name}: {CHECKPOINTS[model].folder}"
        assert pretrained.about["sha256"].startswith("f38a4890c648c1dd")
    with zipfile.ZipFile(wheel) as file:
        configuration = file.read("musicnn/configuration.py").decode()
    for name, label in (("msd", "MSD_LABELS"), ("mtat", "MTT_LABELS")):
        text = re.search(rf"{label} = \[(.*?)\]", configuration)
        assert text is not None
        assert tuple(re.findall(r"'([^']*)'", text[1])) == VOCABULARIES[name]


@pytest.mark.full
def test_training_starts_from_a_converted_file(converted):
    settings = ModelSettings(family="musicnn", width="low", weights=str(converted["musicnn_mtt"]), precision="float32")
    pretrained = load_for(settings)
    for n_outputs in (50, 7):
        model = FAMILIES["musicnn"].build(settings, Output(n_outputs, unit=False))
        fresh = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 187, 96), np.float32))
        assert adopt(fresh, pretrained.variables)[1] == (n_outputs == 50)
    settings.family = "vgg"
    with pytest.raises(UserError, match="is for musicnn, and the network is vgg"):
        load_for(settings)


@pytest.mark.full
def test_every_changed_byte_of_a_checkpoint_is_found(wheel):
    with zipfile.ZipFile(wheel) as file:
        index, data = (file.read(f"musicnn/MTT_vgg/{name}") for name in (".index", ".data-00000-of-00001"))
    wanted = {"batch_normalization/gamma", "dense/bias"}
    expected = read_bundle(index, data, wanted.__contains__)
    assert set(expected) == wanted
    rng, silent = np.random.default_rng(0), 0
    for _ in range(300):
        place, bit = int(rng.integers(len(index))), 1 << int(rng.integers(8))
        changed = bytearray(index)
        changed[place] ^= bit
        try:
            found = read_bundle(bytes(changed), data, wanted.__contains__)
        except ValueError:
            continue
        silent += any((found.get(name) != tensor).any() for name, tensor in expected.items())
    assert silent == 0
    for n_bytes in (0, 47, 48, len(index) // 2, len(index) - 1):
        with pytest.raises(ValueError, match="index"):
            read_bundle(index[:n_bytes], data, wanted.__contains__)
    with pytest.raises(ValueError, match=r"should have .* bytes, and has"):
        read_bundle(index, data[:100], wanted.__contains__)
    with pytest.raises(ValueError, match="the checksum of tensor"):
        read_bundle(index, bytes(len(data)), wanted.__contains__)


def wheel_of(path, files):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def test_wheels_that_are_not_musicnns(tmp_path):
    parts = ("musicnn/MSD_vgg/.index", "musicnn/MSD_vgg/.data-00000-of-00001", "musicnn-0.1.0.dist-info/LICENSE.md")
    other = wheel_of(tmp_path / "other.whl", {"other/__init__.py": b""})
    with pytest.raises(UserError, match=r"other\.whl cannot be read: it should have one file .*is it the wheel"):
        read_weights(other, "MSD_vgg")
    (tmp_path / "none.whl").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"none\.whl cannot be read: it is not a wheel, or damaged"):
        read_weights(tmp_path / "none.whl", "MSD_vgg")
    large = wheel_of(tmp_path / "large.whl", dict.fromkeys(parts, bytes(2**20 + 1)))
    with pytest.raises(ValueError, match=r"\.index has 1,048,577 bytes, more than 1,048,576"):
        read_wheel(large, "MSD_vgg")
    empty = wheel_of(tmp_path / "empty.whl", dict.fromkeys(parts, b"nothing"))
    with pytest.raises(ValueError, match="its index is not a TensorFlow checkpoint's"):
        read_wheel(empty, "MSD_vgg")
    content = bytearray(empty.read_bytes())
    content[content.index(b"nothing")] ^= 1
    empty.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read: it is not a wheel, or damaged \(Bad CRC-32"):
        read_weights(empty, "MSD_vgg")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from=a.npz", "--model=musicnn_msd"), "a.npz does not hold --model=musicnn_msd; choose one of resnet18"),
        (("--from=a.whl", "--model=musicnn"), "choose one of musicnn_msd, musicnn_mtt, vgg_msd, vgg_mtt"),
        (("--from=a.whl", "--model=vgg_msd", "--tags=msd"), "has tags of its own; leave it out"),
        (("--from=a.whl", "--model=vgg_msd"), "a.whl does not exist"),
    ],
)
def test_script_complains_in_one_line(tmp_path, arguments, says):
    done = run_python(SCRIPT, *arguments, f"--out={tmp_path / 'o.safetensors'}")
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


# --- Won's files -------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_files_of_won(tmp_path):
    """Old PyTorch files, with the filter bank that says how many bins the network sees, converted without PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch, which writes such files, is not installed")
    from benchmarks.torch_tagging import NETWORKS as PEERS

    peer = PEERS["crnn"](n_outputs=50)
    state = {**peer.state_dict(), "spec.spectrogram.window": torch.ones(512), "spec.mel_scale.fb": torch.ones(257, 96)}
    source, out, licence = (tmp_path / name for name in ("best_model.pth", "crnn.safetensors", "LICENSE"))
    torch.save(state, source, _use_new_zipfile_serialization=False)
    licence.write_text("MIT License")
    options = ("--model=crnn", f"--out={out}", "--tags=jamendo", f"--licence={licence}")
    done = run_python(SCRIPT, f"--from={source}", *options)
    assert done.returncode == 0, done.stderr
    assert "crnn, 394,100 parameters, 898 running statistics, 50 outputs; from best_model.pth" in done.stdout
    assert out.stat().st_mode == source.stat().st_mode  # as the umask allows
    pretrained = load_pretrained(out)
    assert (pretrained.front_end, pretrained.licence) == ("won", "MIT License")
    assert pretrained.vocabulary == VOCABULARIES["jamendo"]
    expected = convert("crnn", {name: tensor.numpy() for name, tensor in state.items()}, "here")
    assert jax.tree.all(jax.tree.map(np.array_equal, pretrained.variables, expected))
    state["spec.mel_scale.fb"] = torch.ones(257, 128)
    torch.save({**state, "dense.weight": torch.ones(20, 32), "dense.bias": torch.ones(20)}, source)
    done = run_python(SCRIPT, f"--from={source}", *options)
    assert "--tags=jamendo names 50 tags, and the network has 20 outputs" in done.stderr
    torch.save(state, source)
    assert run_python(SCRIPT, f"--from={source}", *options[:2]).returncode == 0
    pretrained = load_pretrained(out)
    assert (pretrained.front_end, pretrained.vocabulary, pretrained.licence) == ("won128", (), "")


def test_vocabularies():
    assert [len(set(tags)) for tags in VOCABULARIES.values()] == [50, 50, 50]
    jamendo = VOCABULARIES["jamendo"]
    assert jamendo[:31] == tuple(sorted(jamendo[:31]))  # the genres
