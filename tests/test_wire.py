"""The reader of `tf.train.Example`s, against protobuf's own."""

import numpy as np
import pytest
from tensorflow_datasets.core.example_parser import tf_example_pb2

from mumu_jax.config import AudioSettings
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.store.records import decode, encode
from mumu_jax.data.store.wire import read_example

AUDIO = MODALITIES["audio"]
CQT = np.linspace(-80, 0, 12 * 96).astype(np.float16).reshape(12, 96)


@pytest.mark.parametrize("labels", [[], [0], [3, 127, 128, 249, 2**40]])
def test_reads_what_protobuf_reads(labels):
    record = encode("álbum", "t1", labels, {"cqt": CQT}, AUDIO)
    theirs = vars(tf_example_pb2)["Example"].FromString(record).features.feature
    ours = read_example(memoryview(record))
    assert ours.keys() == theirs.keys()
    assert ours["labels"] == list(theirs["labels"].int64_list.value) == labels
    for name in ("album_id", "track_id", "cqt"):
        assert [bytes(value) for value in ours[name]] == list(theirs[name].bytes_list.value)
    decoded = decode(record, AUDIO, AudioSettings())
    np.testing.assert_array_equal(decoded["cqt"], CQT)
    assert decoded["album_id"] == "álbum"


def test_integers_that_are_not_packed():
    values = b"\x08\x05\x08\x80\x01"  # field 1: 5, field 1: 128
    feature = b"\x1a" + bytes([len(values)]) + values
    entry = b"\x0a\x01n\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    assert read_example(memoryview(b"\x0a" + bytes([len(features)]) + features)) == {"n": [5, 128]}


def test_damage_is_an_error():
    record = encode("a", "t", [1, 2], {"cqt": CQT}, AUDIO)
    for cut in (1, 10, 100, len(record) - 1):
        with pytest.raises((ValueError, KeyError, IndexError)):
            decode(record[:cut], AUDIO, AudioSettings())
    with pytest.raises(ValueError, match="wire type 5"):
        read_example(memoryview(b"\x0d\x00\x00\x00\x00"))
    with pytest.raises(ValueError, match="without an end"):
        read_example(memoryview(b"\x0a" + b"\xff" * 12))
