"""Tests of text files in the encodings that people use, and of files that are not text."""

import pytest

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.text.files import plain, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("Olé, señor café".encode(encoding))
    assert read_text(tmp_path / "a.txt", max_chars=100) == "Olé, señor café"
    assert read_text(tmp_path / "a.txt", max_chars=3) == "Olé"


def test_a_cut_within_a_character_is_no_other_encoding(tmp_path):
    (tmp_path / "a.txt").write_text("aé€" * 100, encoding="utf-8")
    for n in range(1, 8):
        assert read_text(tmp_path / "a.txt", max_chars=n) == ("aé€" * 3)[:n]


def test_damaged_utf8_with_a_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfol\xe9!")
    assert read_text(tmp_path / "a.txt", max_chars=100) == "ol\ufffd!"


@pytest.mark.parametrize(("content", "reason"), [(None, "missing"), (b"\x00\x01", "not_text")])
def test_no_text(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(Rejected) as caught:
        read_text(tmp_path / "a.txt", max_chars=100)
    assert caught.value.reason == reason
    (tmp_path / "folder").mkdir()
    with pytest.raises(Rejected, match="unreadable"):
        read_text(tmp_path / "folder", max_chars=100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&quot;Caf&eacute;&quot; &#39;n&#x27; &amp; &lt;b&gt;", "\"Café\" 'n' & <b>"),
        ("rock&roll R&B AT&T; &copy2 &nosuch; & &;", "rock&roll R&B AT&T; &copy2 &nosuch; & &;"),
        ("&amp;quot;", "&quot;"),
        ("rock&regae; drum&notebook;", "rock&regae; drum&notebook;"),
    ],
)
def test_entities_of_html_are_characters(text, expected):  # 56
    assert plain(text) == expected
