"""Tests of files that FFmpeg's libraries decode: against the samples they were made of, and against libsndfile."""

import json
import os
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import run_python

from mumu_jax import prepare
from mumu_jax.config import AudioSettings, Config
from mumu_jax.data.manifest import REASONS, Rejected
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode, foreign
from mumu_jax.data.modalities.audio.containers import open_sound
from mumu_jax.data.modalities.audio.foreign import Kind, open_foreign
from mumu_jax.data.modalities.base import read_own

av = pytest.importorskip("av")
from encoded import encode  # noqa: E402  needs av

SR_HZ = 48_000
SETTINGS = AudioSettings()
NEAR_S = 0.03  # the padding of a last frame


def sound(seconds: float, n_channels: int = 2, sr_hz: int = SR_HZ) -> np.ndarray:
    """Return a chord of irregular rhythm with some noise, each channel at another level, as int16 [n, channels]."""
    rng, n = np.random.default_rng(0), round(seconds * sr_hz)
    t = np.arange(n)[:, None] / sr_hz
    level = np.interp(t, 0.05 * np.arange(200), rng.uniform(0.1, 1, 200))
    y = level * sum(np.sin(2 * np.pi * hz * t) for hz in (330, 415.3, 1244.5)) + 0.02 * rng.standard_normal((n, 1))
    return np.round(9_000 * y / np.arange(1, n_channels + 1)).astype(np.int16)


def floats(y: np.ndarray) -> np.ndarray:
    return (y / 32768).astype(np.float32)


def samples(path: Path) -> np.ndarray:
    """Return what is decoded, [n, channels]."""
    with open_sound(path) as opened:
        return np.concatenate([block.copy() for block in opened.blocks])


def decoded(path: Path) -> np.ndarray:
    return np.concatenate(list(decode.decode(path, SETTINGS.sr_hz)))


def rejected(path: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decoded(path)
    assert caught.value.reason in REASONS
    return caught.value


def aac(path: Path, seconds: float = 4, **how) -> Path:
    return encode(path, floats(sound(seconds)), SR_HZ, "aac", **how)


def film(path: Path, codec: str = "aac") -> Path:
    return encode(path, floats(sound(4)), SR_HZ, codec, film=True)


# --- the samples --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"), [("x.m4a", "alac"), ("x.mka", "flac"), ("x.wv", "wavpack"), ("x.tta", "tta")]
)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_lossless_files_are_the_wav_bit_for_bit(tmp_path, name, codec, n_channels):
    y = sound(4, n_channels)
    soundfile.write(tmp_path / "x.wav", y, SR_HZ)
    path = encode(tmp_path / name, y, SR_HZ, codec, sample_format="s16p" if codec in ("alac", "wavpack") else "s16")
    np.testing.assert_array_equal(samples(path), floats(y))
    np.testing.assert_array_equal(decoded(path), decoded(tmp_path / "x.wav"))


def test_24_bits_are_the_wav_bit_for_bit(tmp_path):
    y = np.random.default_rng(0).integers(-(2**23), 2**23, (2 * SR_HZ, 2), np.int32) * 256
    soundfile.write(tmp_path / "x.wav", y, SR_HZ, subtype="PCM_24")
    path = encode(tmp_path / "x.m4a", y, SR_HZ, "alac", sample_format="s32p")
    np.testing.assert_array_equal(samples(path), samples(tmp_path / "x.wav"))
    assert len(np.unique(samples(path))) > 2**16


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_format_is_scaled_as_libsndfile_does(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, (SR_HZ, 2)), SR_HZ, subtype=subtype)
    with open_foreign(path, Kind("WAV", "wav")) as opened:
        found = np.concatenate(list(opened.blocks))
        assert (opened.sr_hz, opened.declared_s) == (SR_HZ, 1)
    np.testing.assert_array_equal(found, samples(path))


@pytest.mark.parametrize("name", ["x.flac", "x.aiff", "x.mp3", "x.ogg"])
def test_what_both_libraries_read_is_the_same(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, sound(3), SR_HZ)
    with open_foreign(path, Kind("", path.suffix[1:])) as opened:
        found = np.concatenate(list(opened.blocks))
    expected = samples(path)
    assert abs(len(found) - len(expected)) / SR_HZ < 0.06
    n = min(len(found), len(expected)) - 4096
    np.testing.assert_allclose(found[:n], expected[:n], rtol=0, atol=0 if name in ("x.flac", "x.aiff") else 1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "delay"),
    [
        ("x.m4a", "aac", 0),  # the edit list
        ("x.mp4", "libopus", 0),
        ("x.webm", "libopus", 0),
        ("x.mka", "aac", 0),
        ("x.aac", "aac", 1024),  # nothing says how long the encoder's delay is
        ("x.wma", "wmav2", -2048),  # its first block, which the encoder does not repeat
        ("x.ac3", "ac3", 256),
    ],
)
def test_lossy_files_are_near_what_they_were_made_of(tmp_path, name, codec, delay):
    y = floats(sound(4))
    how = {"container": "asf"} if name == "x.wma" else {}
    found = samples(encode(tmp_path / name, y, SR_HZ, codec, **how))
    assert len(found) == pytest.approx(len(y) + delay, abs=0.05 * SR_HZ)
    part = slice(SR_HZ, 2 * SR_HZ)
    errors = {
        lag: float(np.square(found[part.start + lag : part.stop + lag, 0] - y[part, 0]).mean())
        for lag in range(-2100, 1100, 4)
    }
    assert min(errors, key=lambda lag: errors[lag]) == delay
    assert errors[delay] < 0.01 * np.square(y[part, 0]).mean()


def test_six_channels_are_mixed(tmp_path):
    y = floats(sound(2, 6))
    path = encode(tmp_path / "x.m4a", y, SR_HZ, "aac")
    found, full = samples(path)[: len(y)], [0, 1, 2, 4, 5]  # the other one is for basses
    assert found.shape[1] == 6
    assert np.corrcoef(found[:, full].sum(axis=1), y[:, full].sum(axis=1))[0, 1] > 0.95


def test_more_channels_than_pyav_can_read(tmp_path, monkeypatch):
    path = encode(tmp_path / "x.m4a", floats(sound(1, 6)), SR_HZ, "aac")
    monkeypatch.setattr(foreign, "_MOST_PLANES", 5)
    assert str(rejected(path)) == "unreadable: it has 6 channels, of which PyAV can read 5"


def test_memory_is_bounded(tmp_path):
    path = encode(tmp_path / "x.m4a", np.zeros((600 * 8_000, 1), np.int16), 8_000, "alac")
    decoded(encode(tmp_path / "warm.m4a", sound(1), SR_HZ, "alac"))
    tracemalloc.start()
    assert sum(1 for _ in decode.excerpts(path, SETTINGS)) == 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000


# --- streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "aac"), ("x.mkv", "aac"), ("x.webm", "libopus")])
def test_of_a_film_the_sound_is_decoded(tmp_path, name, codec):
    found = samples(film(tmp_path / name, codec))
    assert len(found) / SR_HZ == pytest.approx(4, abs=NEAR_S)
    assert np.corrcoef(found[: 4 * SR_HZ, 0], floats(sound(4))[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("name", ["x.m4a", "x.mka"])
def test_of_several_audio_streams_the_first_is_decoded(tmp_path, name):
    found = samples(aac(tmp_path / name, languages=3))
    assert found.std() == pytest.approx(floats(sound(4)).std(), rel=0.05)


def test_cover_art_is_passed_over(tmp_path):
    mp4 = pytest.importorskip("mutagen.mp4")
    path = aac(tmp_path / "x.m4a")
    expected = samples(path)
    tagged = mp4.MP4(path)
    tagged["covr"] = [mp4.MP4Cover(b"\xff\xd8\xff\xe0" + bytes(50_000))]
    tagged["\xa9nam"] = ["x"]
    tagged.save()
    np.testing.assert_array_equal(samples(path), expected)


def test_a_video_without_sound(tmp_path):
    with av.open(str(tmp_path / "x.mp4"), "w") as file:
        video = file.add_stream("mpeg4", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        file.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        file.mux(video.encode(None))
    assert str(rejected(tmp_path / "x.mp4")) == "not_audio: expected an audio stream, found video"


def test_a_codec_that_nobody_knows(tmp_path):
    path = encode(tmp_path / "x.webm", floats(sound(1)), SR_HZ, "libopus")
    path.write_bytes(path.read_bytes().replace(b"A_OPUS", b"A_WHAT", 1))
    assert "has no decoder" in rejected(path).detail


@pytest.mark.parametrize("name", ["x.m4a", "x.aac"])
def test_names_and_tags_of_any_bytes(tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9" + name.encode()))
    data = aac(tmp_path / name).read_bytes()
    path.write_bytes(data.replace(b"Lavf", b"\xe9\xff\xe8\xfe"))
    np.testing.assert_array_equal(decoded(path), decoded(tmp_path / name))


def test_aac_behind_an_id3_tag(tmp_path):
    path = aac(tmp_path / "x.aac")
    expected = decoded(path)
    path.write_bytes(b"ID3\x04\0\0\0\0\x4e\x10" + bytes(10_000) + path.read_bytes() + b"TAG" + bytes(125))
    np.testing.assert_array_equal(decoded(path), expected)


# --- what is rejected ---------------------------------------------------------------------------------------


def cut(path: Path, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return path


def spoil(path: Path) -> Path:
    """Replace a fifth of the bytes, in the middle, by noise."""
    data = bytearray(path.read_bytes())
    n = len(data) // 5
    data[2 * n : 3 * n] = np.random.default_rng(0).bytes(n)
    path.write_bytes(data)
    return path


KINDS = [
    ("x.m4a", "aac", {}),
    ("x.m4a", "aac", {"movflags": "faststart"}),
    ("x.mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}),
    ("x.m4a", "alac", {"movflags": "faststart"}),
    ("x.aac", "aac", {}),
    ("x.mka", "aac", {}),
    ("x.webm", "libopus", {}),
    ("x.wma", "wmav2", {"container": "asf"}),
    ("x.wv", "wavpack", {}),
    ("x.tta", "tta", {}),
]


@pytest.mark.parametrize(("name", "codec", "how"), KINDS)
def test_truncated(tmp_path, name, codec, how):
    path = encode(tmp_path / name, floats(sound(6)), SR_HZ, codec, **how)
    assert len(decoded(path)) / SETTINGS.sr_hz == pytest.approx(6, abs=0.05)
    assert rejected(cut(path)).reason == "truncated"


def test_a_film_that_was_cut(tmp_path):
    assert rejected(cut(film(tmp_path / "x.mkv"))).reason == "truncated"


def test_a_missing_index_is_said_to_be(tmp_path):
    assert "its index (moov) is missing" in rejected(cut(aac(tmp_path / "x.m4a"))).detail


@pytest.mark.parametrize(("name", "codec", "how"), [kind for kind in KINDS if "frag_duration" not in kind[2]])
def test_damage_that_loses_more_than_half_a_second(tmp_path, name, codec, how):
    path = spoil(encode(tmp_path / name, floats(sound(6)), SR_HZ, codec, **how))
    assert rejected(path).reason == "truncated"


def test_what_is_lost_within_the_tolerance_is_kept(tmp_path):
    path = aac(tmp_path / "x.m4a")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    path.write_bytes(data)
    assert len(decoded(path)) / SETTINGS.sr_hz == pytest.approx(4, abs=0.5)


def test_nothing_to_decode(tmp_path):
    path = aac(tmp_path / "x.m4a")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
    path.write_bytes(data)
    assert rejected(path).reason in ("unreadable", "truncated")
    empty = tmp_path / "empty.m4a"
    with av.open(str(empty), "w", options={"movflags": "empty_moov"}) as file:
        file.add_stream("aac", rate=SR_HZ, layout="stereo")
        file.start_encoding()
    assert str(rejected(empty)) == "empty: no samples"


def test_not_finite(tmp_path):
    y = floats(sound(3))
    y[-5] = np.nan
    assert rejected(encode(tmp_path / "x.mka", y, SR_HZ, "pcm_f32le")).reason == "nan"


def test_channels_that_cancel(tmp_path):
    left = sound(3, 1)
    path = encode(tmp_path / "x.m4a", np.concatenate([left, -left], axis=1), SR_HZ, "alac")
    assert rejected(path).reason == "cancelled"


@pytest.mark.parametrize(("name", "codec", "how"), [KINDS[0], KINDS[7]])
def test_several_recordings_in_one_file(tmp_path, name, codec, how):
    data = encode(tmp_path / name, floats(sound(1)), SR_HZ, codec, **how).read_bytes()
    (tmp_path / name).write_bytes(2 * data)
    found = rejected(tmp_path / name)
    assert found.reason == "chained"
    assert f"another begins after {len(data):,} of {2 * len(data):,} bytes" in found.detail


def test_two_rates_in_one_file(tmp_path):
    low = encode(tmp_path / "low.aac", floats(sound(2, 2, 24_000)), 24_000, "aac").read_bytes()
    path = tmp_path / "x.aac"
    path.write_bytes(aac(tmp_path / "high.aac").read_bytes() + low)
    assert rejected(path).reason == "chained"


@pytest.mark.parametrize("code", [b"drms", b"enca", b"aavd"])
@pytest.mark.parametrize("has_extra", [True, False])
def test_drm_has_a_reason_of_its_own(tmp_path, code, has_extra, monkeypatch):
    path = aac(tmp_path / "x.m4p", container="ipod")
    path.write_bytes(path.read_bytes().replace(b"mp4a", code, 1))
    if not has_extra:
        monkeypatch.setitem(sys.modules, "av", None)
    assert str(rejected(path)).startswith("protected: it is encrypted (DRM)")


def test_drm_of_windows_media(tmp_path):
    path = encode(tmp_path / "x.wma", floats(sound(2)), SR_HZ, "wmav2", container="asf")
    data = bytearray(path.read_bytes())
    guid = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    (size,) = struct.unpack("<Q", data[16:24])
    data[16:24] = struct.pack("<Q", size + 24)
    path.write_bytes(bytes(data[:size]) + guid + struct.pack("<Q", 24) + bytes(data[size:]))
    assert rejected(path).reason == "protected"


def test_without_the_extra_the_reason_names_it(tmp_path, monkeypatch):
    path = aac(tmp_path / "x.m4a")
    monkeypatch.setitem(sys.modules, "av", None)
    read = read_own(MODALITIES["audio"], path, Config(), None)
    assert read.error.endswith(
        "it is MPEG-4 (AAC or ALAC); pip install 'mumu_jax[m4a]', or convert it: ffmpeg -i FILE NEW.flac"
    )


@pytest.mark.parametrize("name", ["x.m4a", "x.wma", "x.mka"])
def test_changed_bytes_give_a_song_or_a_reason(tmp_path, name):
    how = {"container": "asf"} if name == "x.wma" else {"movflags": "faststart"} if name == "x.m4a" else {}
    path = encode(tmp_path / name, floats(sound(1)), SR_HZ, "wmav2" if name == "x.wma" else "aac", **how)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        data[rng.integers(min(len(data), 1500))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            assert len(decoded(path)) < 10 * SETTINGS.sr_hz
        except Rejected as error:
            assert error.reason in REASONS  # noqa: PT017  most are not rejected


def test_ffmpeg_does_not_print(tmp_path):
    paths = [str(spoil(aac(tmp_path / "spoilt.m4a"))), str(cut(aac(tmp_path / "cut.aac")))]
    code = (
        "import sys\nfrom pathlib import Path\nfrom mumu_jax.data.modalities.audio import decode\n"
        "for path in sys.argv[1:]:\n    try: list(decode.decode(Path(path), 22050))\n"
        "    except decode.Rejected as error: print(error.reason)"
    )
    done = run_python("-c", code, *paths)
    assert (done.stdout, done.stderr) == ("truncated\ntruncated\n", "")


# --- prepared data ------------------------------------------------------------------------------------------


def prepare_folder(tmp_path: Path) -> dict:
    arguments = [f"--input={tmp_path / 'music'}", f"--data_dir={tmp_path / 'data'}", "--workers=1", "--max_bad=1"]
    assert prepare.main(["--source=folder", *arguments]) == 0
    return json.loads((tmp_path / "data" / "audio" / "prepared.json").read_text())


def hide_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    foreign.libav_versions.cache_clear()


def show_the_extra(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "av")
    foreign.libav_versions.cache_clear()


def records_of(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "data" / "audio").glob("mumu-*")}


@pytest.fixture
def in_this_process(monkeypatch) -> None:
    monkeypatch.setattr(type(MODALITIES["audio"]), "in_process", True)


@pytest.mark.usefixtures("in_this_process")
def test_the_extra_changes_only_data_that_needs_it(tmp_path, monkeypatch):
    (tmp_path / "music" / "Rock").mkdir(parents=True)
    for i in range(3):
        soundfile.write(tmp_path / "music" / "Rock" / f"{i}.wav", sound(1 + i, 1), SR_HZ)
    hide_the_extra(monkeypatch)
    without, records = prepare_folder(tmp_path), records_of(tmp_path)
    show_the_extra(monkeypatch)
    assert prepare_folder(tmp_path) == without
    assert records_of(tmp_path) == records
    assert not {"libavcodec", "libavformat"} & without["versions"].keys()


@pytest.mark.usefixtures("in_this_process")
def test_songs_are_prepared_once_the_extra_is_there(tmp_path, monkeypatch):
    folder = tmp_path / "music" / "Rock"
    folder.mkdir(parents=True)
    soundfile.write(folder / "read_by_both.wav", sound(1, 1), SR_HZ)
    names = ["a.M4A", "b.m4b", "c.webm", "d.mka", "e.wma", "f.aac", "g.mp4"]
    for i, name in enumerate(names):
        codec = {"c.webm": "libopus", "e.wma": "wmav2"}.get(name, "aac")
        container = {"a.M4A": "ipod", "b.m4b": "ipod", "e.wma": "asf"}.get(name)
        encode(folder / name, floats(sound(1 + 0.1 * i)), SR_HZ, codec, container)
    hide_the_extra(monkeypatch)
    assert sum(split["records"] for split in prepare_folder(tmp_path)["splits"].values()) == 1
    lines = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert len(lines) == len(names)
    assert all("mumu_jax[m4a]" in line["detail"] for line in lines)
    show_the_extra(monkeypatch)
    after = prepare_folder(tmp_path)
    assert sum(split["records"] for split in after["splits"].values()) == 1 + len(names)
    assert {"libavcodec", "libavformat"} <= after["versions"].keys()
    assert (tmp_path / "data" / "rejected.jsonl").read_text() == ""
