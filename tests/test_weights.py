"""Files of weights: the formats that others publish, damaged ones, and ones that would run something."""

import json
import pickle
import sys
from unittest import mock

import numpy as np
import pytest

from mumu_jax.errors import UserError
from mumu_jax.training import safetensors
from mumu_jax.training.weights import Pretrained, load_pretrained, read_weights, write_pretrained

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([0.5, -2])}


def safetensors_file(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_safetensors_of_all_dtypes():
    body = np.float32([1.5, -2]).tobytes()[2:4] + np.float32([1.5, -2]).tobytes()[6:8]
    body += np.float16([0.25, 3]).tobytes() + np.float32([7, 8]).tobytes() + np.int64(9).tobytes()
    header = {
        "bf16": entry("BF16", offsets=(0, 4)),
        "f16": entry("F16", offsets=(4, 8)),
        "f32": entry("F32", (1, 2), (8, 16)),
        "n": entry("I64", (), (16, 24)),
        "__metadata__": {"format": "pt"},
    }
    tensors, metadata = safetensors.from_bytes(safetensors_file(header, body))
    assert metadata == {"format": "pt"}
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        **{"bf16": [1.5, -2], "f16": [0.25, 3], "f32": [[7, 8]], "n": 9}
    }


def test_safetensors_of_the_package():
    package = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    ours = package.load(safetensors.to_bytes(TENSORS, {"model": "x"}))
    theirs, _ = safetensors.from_bytes(package.save(TENSORS))
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(ours[name], tensor)
        np.testing.assert_array_equal(theirs[name], tensor)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "header should have"),
        (b"\xff" * 40, "header should have"),
        (b"<!DOCTYPE html><html>not found</html>", "header should have"),
        (safetensors_file(b"{" * 40), "header is not the format's"),
        (safetensors_file(b"[" * 100_000), "header is not the format's"),
        (safetensors_file([1]), "header is not the format's"),
        (safetensors_file({"a": 1}), "header is not the format's"),
        (safetensors_file({"a": {"dtype": "F32"}}), "header is not the format's"),
        (safetensors_file({"__metadata__": [1]}), "header is not the format's"),
        (safetensors_file({"a": entry("F8_E4M3")}, bytes(8)), "tensor 'a' is F8_E4M3"),
        (safetensors_file({"a": entry(shape=(-1, -2))}, bytes(8)), "has the shape"),
        (safetensors_file({"a": entry(shape=(2**62, 4))}, bytes(8)), "should have .* bytes and has 8"),
        (safetensors_file({"a": entry(shape=(3,))}, bytes(8)), "should have 12 bytes and has 8"),
        (safetensors_file({"a": entry()}, bytes(7)), "bytes 0 to 8 of 7"),
        (safetensors_file({"a": entry()}, bytes(9)), "fill 8 bytes of 9"),
        (safetensors_file({"a": entry(), "b": entry()}, bytes(8)), "tensor 'b' should be"),
        (safetensors_file({"a": entry(offsets=(-8, 0))}, bytes(8)), "tensor 'a' should be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_safetensors(tmp_path, data, says):
    file = tmp_path / "a.safetensors"
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"a.safetensors cannot be read: .*{says}.*; load it anew"):
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
        with pytest.raises(UserError, match=r"a\.npz cannot be read: it is damaged; load it anew"):
            read_weights(file)
    file.write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="it is no"):
        read_weights(file)
    np.savez(file, a=np.array([{}], object))
    with pytest.raises(UserError, match="Python objects, of which none was loaded"):
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
        with pytest.raises(UserError, match=r"a\.pth cannot be read: it is damaged, or no file of PyTorch's; load it"):
            read_weights(file)
    for state, says in (
        ({"epoch": 3, "state_dict": tensors}, "no state dict, but a dict of epoch, state_dict; save"),
        ([1, 2], "no state dict, but list; save its state dict alone"),
        ({"a": Trap(trap)}, r"Python objects \(\S*open\), of which none was loaded; save"),
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
            pytest.raises(UserError, match=r"a\.pth is read by PyTorch, 2\.6 or newer.*pip install torch"),
        ):
            read_weights(file)


def test_names_and_places_of_files(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*a\.npz"):
        read_weights(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.h5 should end in one of \.safetensors, \.npz, \.pth"):
        read_weights(tmp_path / "a.h5")
    (tmp_path / "resnet101-63fe2227.pth").write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"SHA-256 that begins with 63fe2227, as its name says, and has [0-9a-f]{64};"):
        read_weights(tmp_path / "resnet101-63fe2227.pth")


def test_network_without_running_statistics(tmp_path):
    write_pretrained(tmp_path / "v.safetensors", Pretrained("vit_b16", {"ln": {"bias": TENSORS["b"]}}, {}, {}))
    loaded = load_pretrained(tmp_path / "v.safetensors")
    assert loaded.batch_stats == {}
    np.testing.assert_array_equal(loaded.params["ln"]["bias"], TENSORS["b"])
