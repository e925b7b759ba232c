"""Tests of decoding and the log-CQT against librosa, and of damaged files as real owners have them."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import REASONS
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode, mp3, patches
from mumu_jax.data.modalities.base import read_item

SETTINGS = AudioSettings()
SHARED = Path(__file__).parents[2] / "shared" / "data"
SUPER = SHARED / "super" / "audio"
RECORDINGS = SHARED / "recordings"
# librosa.load, the oracle, tries Python's own old audio modules
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated and slated for removal:DeprecationWarning")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings of ../shared are not here")


def sound(seconds: float, sr_hz: int = 22_050, n_channels: int = 1) -> np.ndarray:
    """Return a chord with some noise; [samples, channels] between -1 and 1."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * sr_hz))[:, None] / sr_hz
    pitches = 110 * 2 ** (np.arange(n_channels) / 3)
    y = 0.3 * np.sin(2 * np.pi * pitches * t) + 0.05 * rng.standard_normal((len(t), n_channels))
    return y.astype(np.float32)


def write(path: Path, y: np.ndarray, sr_hz: int = 22_050, **kwargs) -> Path:
    soundfile.write(path, y, sr_hz, **kwargs)
    return path


def reason(path: Path, settings: AudioSettings = SETTINGS) -> str:
    with pytest.raises(decode.Rejected) as caught:
        list(decode.excerpts(path, settings))
    assert caught.value.reason in REASONS  # 46
    assert caught.value.detail
    return caught.value.reason


def truncate(path: Path, share: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return path


def spoil(path: Path, n_bytes: int) -> Path:
    """Replace `n_bytes` in the middle by noise."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + n_bytes] = np.random.default_rng(0).bytes(n_bytes)
    path.write_bytes(data)
    return path


def oracle_cqt(y: np.ndarray) -> np.ndarray:
    transform = librosa.cqt(y, sr=22_050, hop_length=1024, n_bins=96, bins_per_octave=12, window="hann")
    return librosa.power_to_db(np.abs(transform) ** 2, ref=np.max).T


NEAR_DB = 0.001  # to librosa, at and above the floor


# --- what librosa gives -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sr_hz", "n_channels"),
    [
        ("mono.wav", 22_050, 1),
        ("telephone.wav", 8_000, 1),
        ("odd_rate.wav", 22_051, 1),
        ("cd.flac", 44_100, 2),
        ("dat.aiff", 48_000, 2),
        ("surround.wav", 48_000, 6),
        ("vorbis.ogg", 44_100, 2),
        ("lame.mp3", 44_100, 2),
    ],
)
def test_decodes_as_librosa_load(tmp_path, name, sr_hz, n_channels):
    path = write(tmp_path / name, sound(3.1, sr_hz, n_channels), sr_hz)
    expected, _ = librosa.load(path, sr=22_050)
    (found,) = decode.excerpts(path, SETTINGS)
    np.testing.assert_array_equal(found, expected)


@needs_shared
@pytest.mark.parametrize(
    "path", [SUPER / "berlina.mp3", SUPER / "canariedad.mp3", RECORDINGS / "sorohanro_-_solo-trumpet-06.ogg"]
)
def test_real_recordings_equal_librosa(path):
    expected, _ = librosa.load(path, sr=22_050)
    (found,) = decode.excerpts(path, SETTINGS)
    np.testing.assert_array_equal(found, expected)
    cqt, seconds, silent = decode.track_cqt(path, SETTINGS)
    np.testing.assert_allclose(decode.log_cqt(found, SETTINGS), oracle_cqt(expected), rtol=0, atol=NEAR_DB)
    np.testing.assert_array_equal(cqt, decode.log_cqt(found, SETTINGS).astype(np.float16))
    assert seconds == pytest.approx(len(expected) / 22_050)
    assert not silent


def test_log_cqt_is_the_specs():
    y = sound(6)[:, 0]
    cqt = decode.log_cqt(y, SETTINGS)
    np.testing.assert_allclose(cqt, oracle_cqt(y), rtol=0, atol=NEAR_DB)
    assert cqt.dtype == np.float32
    assert cqt.shape == (1 + len(y) // 1024, 96)
    assert cqt.max() == 0
    assert cqt.min() >= -80


@pytest.mark.parametrize("seconds", [1 / 22_050, 0.1, 0.7, 4])
def test_short_input_works_without_warnings(seconds):
    cqt = decode.log_cqt(sound(seconds)[:, 0], SETTINGS)
    assert cqt.shape == (1 + round(max(seconds, decode.SHORTEST_S) * 22_050) // 1024, 96)
    assert cqt.max() == 0


@pytest.mark.parametrize("level", [0.0, 1e-12])
def test_silence_is_at_the_floor(level):
    assert (decode.log_cqt(level * sound(2)[:, 0], SETTINGS) == -80).all()


@needs_shared
def test_the_real_silent_track_is_kept_at_the_floor():
    cqt, seconds, silent = decode.track_cqt(SUPER / "odisea_carnavalera.mp3", SETTINGS)
    assert silent
    assert (cqt == -80).all()
    assert seconds == pytest.approx(30, abs=0.1)


# --- excerpts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (1.5, [0]),
        (2.5, [0]),  # up to half a second is padding, not another excerpt
        (2.6, [0, 0.6]),
        (4.4, [0, 2.4]),
        (4.6, [0, 2, 2.6]),
        (7.3, [0, 2, 4, 5.3]),
    ],
)
def test_long_files_are_cut_into_complete_excerpts(tmp_path, seconds, starts):
    settings = AudioSettings(excerpt_s=2)
    path = write(tmp_path / "long.wav", sound(seconds), subtype="FLOAT")
    whole, _ = librosa.load(path, sr=22_050)
    found = list(decode.excerpts(path, settings))
    assert len(found) == len(starts)
    for excerpt, start in zip(found, starts, strict=True):
        begin = round(start * 22_050)
        end = len(whole) if len(starts) == 1 else begin + 2 * 22_050
        np.testing.assert_array_equal(excerpt, whole[begin:end])


def test_a_long_track_is_its_excerpts_each_to_its_own_maximum(tmp_path):
    settings = AudioSettings(excerpt_s=2)
    y = sound(5) * np.repeat([1.0, 0.01], [2 * 22_050, 3 * 22_050])[:, None]
    path = write(tmp_path / "fading.wav", y, subtype="FLOAT")
    cqt, seconds, silent = decode.track_cqt(path, settings)
    pieces = [decode.log_cqt(piece, settings) for piece in decode.excerpts(path, settings)]
    np.testing.assert_array_equal(cqt, np.concatenate(pieces).astype(np.float16))
    n_frames = patches.n_frames_of_excerpt(settings)
    assert len(cqt) == 3 * n_frames
    assert all(cqt[i * n_frames : (i + 1) * n_frames].max() == 0 for i in range(3))
    assert seconds == pytest.approx(5)
    assert not silent


def test_memory_is_bounded_by_the_excerpt(tmp_path):
    path = write(tmp_path / "hour.wav", np.zeros((600 * 8_000, 1), np.float32), 8_000)
    list(decode.excerpts(write(tmp_path / "warm.wav", sound(1)), SETTINGS))
    tracemalloc.start()
    assert sum(1 for _ in decode.excerpts(path, SETTINGS)) == 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000  # ten minutes at 22,050 Hz in float32 are 53 MB


# --- what is rejected ---------------------------------------------------------------------------------------


def test_not_a_file(tmp_path):
    assert reason(tmp_path / "absent.mp3") == "missing"
    assert reason(write(tmp_path / "file.wav", sound(1)) / "below.wav") == "missing"
    assert reason(tmp_path) == "unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write(tmp_path / "secret.wav", sound(1))
    path.chmod(0)
    assert reason(path) == "unreadable"


@pytest.mark.parametrize("suffix", ["mp3", "wav", "ogg", "flac", "raw", "txt"])
def test_not_audio(tmp_path, suffix):
    path = tmp_path / f"page.{suffix}"
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 100)
    assert reason(path) == "not_audio"


def test_empty(tmp_path):
    (tmp_path / "nothing.mp3").touch()
    assert reason(tmp_path / "nothing.mp3") == "empty"
    assert reason(write(tmp_path / "header.wav", np.zeros((0, 1), np.float32))) == "empty"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    y = sound(3)
    y[-5] = value
    assert reason(write(tmp_path / "broken.wav", y, subtype="FLOAT")) == "nan"


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.aiff", "x.au", "x.mp3", "x.w64", "x.rf64"])
def test_truncated(tmp_path, name):
    assert reason(truncate(write(tmp_path / name, sound(6)))) == "truncated"


def test_truncated_opus(tmp_path):
    path = write(tmp_path / "x.ogg", sound(6, 24_000), 24_000, format="OGG", subtype="OPUS")
    assert reason(truncate(path)) == "truncated"


def test_what_is_cut_by_less_than_the_tolerance_is_kept(tmp_path):
    (y,) = decode.excerpts(truncate(write(tmp_path / "x.wav", sound(6)), 0.95), SETTINGS)
    assert len(y) == pytest.approx(5.7 * 22_050, abs=100)


def test_a_wav_header_that_does_not_know_the_length_is_no_truncation(tmp_path):
    path = write(tmp_path / "piped.wav", sound(3))
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff" * 4  # as ffmpeg writes to a pipe
    path.write_bytes(data)
    (y,) = decode.excerpts(path, SETTINGS)
    assert len(y) == 3 * 22_050


@pytest.mark.parametrize("name", ["x.flac", "x.ogg", "x.mp3"])
def test_damage_that_makes_the_decoder_lose_more_than_half_a_second(tmp_path, name):
    path = write(tmp_path / name, np.random.default_rng(0).uniform(-0.5, 0.5, 12 * 22_050))
    assert reason(spoil(path, path.stat().st_size // 5)) == "truncated"


# --- several recordings in a file, and headers that are wrong -----------------------------------------------


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def decoded_s(path: Path) -> float:
    return decode.track_cqt(path, SETTINGS).seconds


@pytest.mark.parametrize("n_channels", [1, 2])
def test_two_mp3s_in_one_file_are_decoded_to_the_end(tmp_path, n_channels):  # 4
    loud = [(3, 1.0), (5, 0.1)]
    parts = [write(tmp_path / f"{s}.mp3", sound(s, 44_100, n_channels) * level, 44_100) for s, level in loud]
    path = join(tmp_path / "both.mp3", *parts)
    assert decoded_s(path) == pytest.approx(8, abs=0.15)
    (samples,) = decode.excerpts(path, SETTINGS)
    first, second = samples[: 2 * 22_050].std(), samples[-4 * 22_050 :].std()
    assert second / first == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("n_frames", [0, 20, 100])
def test_an_mp3_that_declares_too_few_frames_is_decoded_to_the_end(tmp_path, n_frames):  # 4
    path = write(tmp_path / "x.mp3", sound(6, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    at = data.index(b"Info" if b"Info" in data else b"Xing") + 8
    data[at : at + 4] = n_frames.to_bytes(4, "big")
    path.write_bytes(data)
    assert decoded_s(path) == pytest.approx(6, abs=0.15)


def test_mp3s_of_two_rates_in_one_file(tmp_path):  # 4
    parts = [write(tmp_path / f"{sr}.mp3", sound(3, sr), sr) for sr in (44_100, 22_050)]
    assert reason(join(tmp_path / "both.mp3", *parts)) == "chained"


@pytest.mark.parametrize("suffix", ["ogg", "flac", "wav", "aiff", "opus"])
def test_several_recordings_in_one_file(tmp_path, suffix):  # 4, 18
    how = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    parts = [write(tmp_path / f"{s}.{suffix}", sound(s, 24_000), 24_000, **how) for s in (3, 5)]
    assert reason(join(tmp_path / f"both.{suffix}", *parts)) == "chained"
    assert decoded_s(parts[1]) == 5


def test_a_flac_of_unknown_length_is_decoded_whole(tmp_path):  # 18
    path = write(tmp_path / "piped.flac", sound(4))
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the number of samples: 36 bits
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert decoded_s(path) == 4


@pytest.mark.parametrize("tags", [b"", b"id3 " + (5000).to_bytes(4, "little") + bytes(100)])
def test_only_the_chunk_with_samples_says_how_long_a_wav_is(tmp_path, tags):  # 19
    path = write(tmp_path / "x.wav", sound(4))
    data = bytearray(path.read_bytes() + tags)
    data[4:8] = (3 * len(data)).to_bytes(4, "little")
    path.write_bytes(data)
    assert decoded_s(path) == 4


def test_channels_that_cancel(tmp_path):  # 16
    noise = np.random.default_rng(0).standard_normal((4 * 22_050, 1)).astype(np.float32) * 0.1
    opposite = np.concatenate([noise, -noise], axis=1)
    assert reason(write(tmp_path / "x.wav", opposite)) == "cancelled"
    assert decoded_s(write(tmp_path / "quiet.wav", opposite + 1e-3 * sound(4))) == 4


def test_a_clip_too_short_to_hear_anything_in(tmp_path):  # 41
    with pytest.raises(decode.Rejected, match=r"short: expected at least 0.1 s of sound, found 0.010 s"):
        decode.track_cqt(write(tmp_path / "x.wav", sound(0.01)), SETTINGS)


def test_a_song_whose_name_is_not_utf8(tmp_path):  # 17
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    path.write_bytes(write(tmp_path / "x.wav", sound(2)).read_bytes())
    assert decoded_s(path) == 2
    path.with_suffix(".mp3").write_bytes(write(tmp_path / "x.mp3", sound(2)).read_bytes())
    assert decoded_s(path.with_suffix(".mp3")) == pytest.approx(2, abs=0.15)


def test_a_pipe_is_not_opened(tmp_path):  # 30a
    os.mkfifo(tmp_path / "x.wav")
    assert reason(tmp_path / "x.wav") == "unreadable"


@pytest.mark.parametrize("at", range(8, 40))
def test_a_damaged_header_takes_little_memory(tmp_path, at):  # 30e
    path = write(tmp_path / "x.aiff", sound(2))
    data = bytearray(path.read_bytes())
    data[at] ^= 0x7F
    path.write_bytes(data)
    tracemalloc.start()
    read_item(MODALITIES["audio"], path, SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\x08moov", "MPEG-4"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
        (b"wvpk", "WavPack"),
    ],
)
@pytest.mark.parametrize("suffix", ["mp3", "m4a"])
def test_audio_that_libsndfile_does_not_read_is_named(tmp_path, head, kind, suffix, monkeypatch):  # 48, 56
    monkeypatch.setitem(sys.modules, "av", None)  # as without the extra
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(head + np.random.default_rng(0).bytes(100_000))
    with pytest.raises(decode.Rejected, match=rf"it is {kind}.*'mumu_jax\[m4a\]', or convert it: ffmpeg") as caught:
        decode.track_cqt(path, SETTINGS)
    assert caught.value.reason == "not_audio"


def test_a_few_bytes_that_look_like_mp3_are_no_song(tmp_path):  # 48
    frames = without_tag(write(tmp_path / "x.mp3", sound(1))).read_bytes()[:2000]
    path = tmp_path / "y.mp3"
    path.write_bytes(frames + bytes(500_000))
    with pytest.raises(decode.Rejected, match=r"unreadable: 0\.\d\d s of mp3 frames are 0\.\d% of its bytes"):
        decode.track_cqt(path, SETTINGS)


@pytest.mark.parametrize("n_bytes", [450, 600])
def test_an_mp3_cut_within_its_first_frames_is_truncated(tmp_path, n_bytes):
    path = write(tmp_path / "x.mp3", sound(3, 44_100), 44_100)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert reason(path) in ("truncated", "not_audio")  # libsndfile may not know what it is
    assert mp3.scan(path).n_frames == 0


# --- mp3 without a Xing header ------------------------------------------------------------------------------


def without_tag(path: Path) -> Path:
    """Drop the first frame, which is LAME's Xing frame."""
    stream = mp3.scan(path)
    assert stream.tagged
    path.write_bytes(path.read_bytes()[stream.start :])
    assert not mp3.scan(path).tagged
    return path


@pytest.mark.parametrize("quiet_first", [True, False])
def test_variable_bit_rate_without_a_tag_is_decoded_whole(tmp_path, quiet_first):
    # libsndfile takes the first frame's bit rate for all, and is off by a factor here, either way
    loud, quiet = sound(5, 44_100), 1e-5 * sound(5, 44_100)
    y = np.concatenate((quiet, loud) if quiet_first else (loud, quiet))
    path = tmp_path / "vbr.mp3"
    with soundfile.SoundFile(path, "w", 44_100, 1, bitrate_mode="VARIABLE", compression_level=0.5) as file:
        file.write(y)
    (decoded,) = decode.excerpts(without_tag(path), SETTINGS)
    assert len(decoded) / 22_050 == pytest.approx(10, abs=0.1)
    halves = np.array_split(decoded[: 10 * 22_050], 2)
    assert (halves[0].std() < halves[1].std()) == quiet_first


@needs_shared
def test_real_mp3_cut_inside_a_frame(tmp_path):
    path = tmp_path / "half.mp3"  # its encoder wrote no tag: nothing else tells
    path.write_bytes((SUPER / "berlina.mp3").read_bytes()[:600_000])
    assert reason(path) == "truncated"


@needs_shared
@pytest.mark.parametrize("with_noise", [True, False])
def test_real_mp3_with_a_hole(tmp_path, with_noise):
    data = bytearray((SUPER / "berlina.mp3").read_bytes())
    data[400_000:460_000] = np.random.default_rng(0).bytes(60_000) if with_noise else bytes(60_000)
    path = tmp_path / "hole.mp3"
    path.write_bytes(data)
    assert reason(path) == "truncated"


@pytest.mark.parametrize("sr_hz", [48_000, 44_100, 22_050, 16_000, 8_000])  # MPEG-1, 2 and 2.5
@pytest.mark.parametrize("n_channels", [1, 2])
def test_frames_are_counted(tmp_path, sr_hz, n_channels):
    path = write(tmp_path / "x.mp3", sound(3, sr_hz, n_channels), sr_hz)
    stream = mp3.scan(path)
    assert stream.tagged
    assert not stream.cut
    assert stream.seconds == pytest.approx(3, abs=0.2)  # the encoder's padding
    assert mp3.scan(truncate(path, 0.9)).cut


def test_tags_around_the_frames_are_no_frames(tmp_path):
    path = without_tag(write(tmp_path / "x.mp3", sound(3)))
    before, (decoded,) = mp3.scan(path), decode.excerpts(path, SETTINGS)
    picture = b"\xff\xfb\x90\x44" * 500
    id3v2 = b"ID3\x04\0\0" + bytes([0, 0, len(picture) >> 7, len(picture) & 127]) + picture
    path.write_bytes(id3v2 + path.read_bytes() + b"TAG" + bytes(125))
    after = mp3.scan(path)
    assert (after.seconds, after.cut) == (before.seconds, False)
    (again,) = decode.excerpts(path, SETTINGS)
    np.testing.assert_array_equal(again, decoded)


@pytest.mark.parametrize("data", [b"\xff", b"ID3", b"\xff" * 5000, bytes(100), b"\xff\xfb\x90\x44"])
def test_scan_of_what_is_no_mp3(tmp_path, data):
    path = tmp_path / "x.mp3"
    path.write_bytes(data)
    assert mp3.scan(path).n_frames == 0


def test_worker_processes_import_little():
    code = "import sys, mumu_jax.data.modalities.audio.decode; print({'jax', 'librosa', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr
