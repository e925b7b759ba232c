"""Files of weights: the formats that others publish, damaged ones, and ones that would run something."""

import json
import pickle
import sys
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mumu_jax.errors import UserError
from mumu_jax.training.weights import METADATA_KEY, Pretrained, load_pretrained, read_weights, write_pretrained

ABOUT = {"source": "vit_b_16-c867db91.pth", "sha256": "c867db91"}
TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([0.5, -2])}
PARAMS = {"ln": {"bias": TENSORS["b"]}}


def safetensors_file(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def twice(*entries):
    """Return a header with two entries for the tensor `a`."""
    return ("{" + ", ".join(f'"a": {json.dumps(one)}' for one in entries) + "}").encode()


def test_safetensors_of_all_dtypes(tmp_path):
    body = np.float32([1.5, -2]).tobytes()[2:4] + np.float32([1.5, -2]).tobytes()[6:8]
    body += np.float16([0.25, 3]).tobytes() + np.float32([7, 8]).tobytes() + np.int64(9).tobytes()
    header = {
        "bf16": entry("BF16", offsets=(0, 4)),
        "f16": entry("F16", offsets=(4, 8)),
        "f32": entry("F32", (1, 2), (8, 16)),
        "n": entry("I64", (), (16, 24)),
        "__metadata__": {"format": "pt"},
    }
    (tmp_path / "a.safetensors").write_bytes(safetensors_file(header, body))
    tensors = read_weights(tmp_path / "a.safetensors").tensors
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        **{"bf16": [1.5, -2], "f16": [0.25, 3], "f32": [[7, 8]], "n": 9}
    }


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "header too small"),
        (b"\xff" * 40, "header too large"),
        (b"<!DOCTYPE html><html>not found</html>", "header too large"),
        (safetensors_file(b"{" * 40), "invalid JSON in header"),
        (safetensors_file(b"[" * 100_000), "invalid JSON in header"),
        (safetensors_file([1]), "invalid JSON in header"),
        (safetensors_file({"a": 1}), "invalid JSON in header"),
        (safetensors_file({"a": {"dtype": "F32"}}), "invalid JSON in header"),
        (safetensors_file({"__metadata__": [1]}), "invalid JSON in header"),
        (safetensors_file({"a": entry("F8_E4M3", (8,))}, bytes(8)), "tensor 'a' is F8_E4M3"),
        (safetensors_file({"a": entry(shape=(-1, -2))}, bytes(8)), "invalid JSON in header"),
        (safetensors_file({"a": entry(shape=(2**62, 4))}, bytes(8)), "overflow computing buffer size"),
        (safetensors_file({"a": entry(shape=(3,))}, bytes(8)), "invalid shape, data type, or offset"),
        (safetensors_file({"a": entry()}, bytes(7)), "file not fully covered"),
        (safetensors_file({"a": entry()}, bytes(9)), "file not fully covered"),
        (safetensors_file({"a": entry(), "b": entry()}, bytes(8)), "invalid offset for tensor"),
        (safetensors_file({"a": entry(offsets=(-8, 0))}, bytes(8)), "invalid JSON in header"),
        (safetensors_file(twice(entry(), entry(shape=(1, 2))), bytes(8)), "has a key twice"),
        (safetensors_file(twice(entry(), entry(offsets=(8, 16))), bytes(16)), "invalid offset for tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_safetensors(tmp_path, data, says):
    file = tmp_path / "a.safetensors"
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"a.safetensors cannot be read: .*{says}.*; download it again"):
        read_weights(file)


def test_reading_npz(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, **TENSORS)
    weights = read_weights(file)
    assert weights.file == "a.npz"
    assert {name: tensor.tolist() for name, tensor in weights.tensors.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    whole = file.read_bytes()
    for n_bytes in (10, len(whole) // 2, len(whole) - 10):
        file.write_bytes(whole[:n_bytes])
        with pytest.raises(UserError, match=r"a\.npz cannot be read: it is damaged \(\w+: .+\); download it"):
            read_weights(file)
    file.write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="it is not an"):
        read_weights(file)
    np.savez(file, a=np.array([{}], object))
    with pytest.raises(UserError, match="Python objects, none of which was loaded"):
        read_weights(file)


class Trap:
    """What an unsafe reader would run."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_reading_pth(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, which reads .pth files, is not installed")
    file, trap = tmp_path / "a.pth", tmp_path / "sprung"
    tensors = {name: torch.tensor(tensor) for name, tensor in TENSORS.items()}
    for state in (tensors, {name: torch.nn.Parameter(t.bfloat16()) for name, t in tensors.items()}):
        for zipped in (True, False):
            torch.save(state, file, _use_new_zipfile_serialization=zipped)
            read = read_weights(file).tensors
            assert {n: t.tolist() for n, t in read.items()} == {n: t.tolist() for n, t in TENSORS.items()}
    whole = file.read_bytes()
    for n_bytes in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:n_bytes])
        with pytest.raises(
            UserError, match=r"a\.pth cannot be read: it is damaged, or not a file of PyTorch's \(\w+.*\); download"
        ):
            read_weights(file)
    for state, says in (
        ({"epoch": 3, "state_dict": tensors}, "a state dict, and holds a dict of epoch, state_dict; save"),
        ([1, 2], "a state dict, and holds list; save its state dict alone"),
        ({"a": Trap(trap)}, r"Python objects \(\S*open\), none of which was loaded; save"),
    ):
        torch.save(state, file)
        with pytest.raises(UserError, match=says) as caught:
            read_weights(file)
        assert "\n" not in str(caught.value)
    file.write_bytes(pickle.dumps({"a": Trap(trap)}))
    with pytest.raises(UserError, match=r"a\.pth cannot be read"):
        read_weights(file)
    assert not trap.exists()


def test_pth_without_pytorch(tmp_path):
    file = tmp_path / "a.pth"
    file.write_bytes(b"some bytes")
    for absent in (None, mock.Mock(__version__="2.5.1")):
        with (
            mock.patch.dict(sys.modules, torch=absent),
            pytest.raises(UserError, match=r"a\.pth needs PyTorch 2\.6 or newer.*pip install torch"),
        ):
            read_weights(file)


def test_names_and_places_of_files(tmp_path):
    with pytest.raises(UserError, match=r"a\.npz does not exist; correct the path"):
        read_weights(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.h5 should end in one of \.safetensors, \.npz, \.pth"):
        read_weights(tmp_path / "a.h5")
    (tmp_path / "resnet101-63fe2227.pth").write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"SHA-256 that begins with 63fe2227, as its name says, and has [0-9a-f]{64};"):
        read_weights(tmp_path / "resnet101-63fe2227.pth")


def test_network_without_running_statistics(tmp_path):
    write_pretrained(tmp_path / "v.safetensors", Pretrained("vit_b16", PARAMS, {}, ABOUT))
    loaded = load_pretrained(tmp_path / "v.safetensors")
    assert loaded.batch_stats == {}
    assert loaded.about == ABOUT
    np.testing.assert_array_equal(loaded.params["ln"]["bias"], TENSORS["b"])


def test_written_bytes_depend_on_the_weights_alone(tmp_path):
    """Not on the order of the trees, nor of memory; other programs read them."""
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name, params in (("a", {"x": kernel, **PARAMS}), ("b", {**PARAMS, "x": np.asfortranarray(kernel)})):
        write_pretrained(tmp_path / f"{name}.safetensors", Pretrained("vit_b16", params, {}, ABOUT))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    np.testing.assert_array_equal(load_file(tmp_path / "b.safetensors")["params/x"], kernel)


def converted(tmp_path, metadata, name="params/ln/bias"):
    """Write a converted file with this metadata."""
    path = tmp_path / "v.safetensors"
    save_file({name: TENSORS["b"]}, path, metadata)
    return path


def test_files_of_the_first_version_are_read(tmp_path):
    before = {"format": "mumu_jax weights 1", "model": "vit_b16", **ABOUT}
    loaded = load_pretrained(converted(tmp_path, before))
    assert (loaded.model, loaded.about) == ("vit_b16", ABOUT)
    np.testing.assert_array_equal(loaded.params["ln"]["bias"], TENSORS["b"])
    with pytest.raises(UserError, match="it is converted already"):
        read_weights(tmp_path / "v.safetensors")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({}, "missing required field `format`"),
        ({"format": "mumu_jax weights 1", "source": "a", "sha256": "b"}, "missing required field `model`"),
        ({"format": "pt", "model": "vit_b16", **ABOUT}, "its format is 'pt', not"),
        ({METADATA_KEY: '{"format": "mumu_jax weights 1", "model": "vit'}, "holds no converted weights"),
        ({METADATA_KEY: "[]"}, "Expected `object`, got `array`"),
    ],
)
def test_metadata_of_converted_files_is_checked(tmp_path, metadata, says):  # 30f
    with pytest.raises(UserError, match=says) as caught:
        load_pretrained(converted(tmp_path, metadata))
    assert "scripts/convert_weights.py --from=" in str(caught.value)


def test_converted_file_without_parameters(tmp_path):
    before = {"format": "mumu_jax weights 1", "model": "vit_b16", **ABOUT}
    with pytest.raises(UserError, match="it holds no parameters"):
        load_pretrained(converted(tmp_path, before, name="Params/ln/bias"))


def test_a_key_twice_in_a_converted_file(tmp_path):  # 44
    path = converted(tmp_path, {"format": "mumu_jax weights 1", "model": "vit_b16", **ABOUT})
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, body = content[8 : 8 + size].decode(), content[8 + size :]
    one = json.dumps(json.loads(header)["params/ln/bias"])
    path.write_bytes(safetensors_file(header.strip().replace("{", f'{{"params/ln/bias": {one}, ', 1).encode(), body))
    with pytest.raises(UserError, match="holds no converted weights: its header has a key twice"):
        load_pretrained(path)


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (np.float32([0.5, -2]), "'batch_stats/bn1/var' is a variance and has negative values"),
        (np.float32([0.5, np.nan]), r"'batch_stats/bn1/var' \(float32\) has values that are not finite"),
    ],
)
def test_values_of_a_converted_file_are_checked(tmp_path, tensor, says):  # 44
    path = tmp_path / "r.safetensors"
    write_pretrained(path, Pretrained("resnet18", PARAMS, {"bn1": {"var": tensor}}, ABOUT))
    with pytest.raises(UserError, match=f"holds no converted weights: tensor {says}"):
        load_pretrained(path)
