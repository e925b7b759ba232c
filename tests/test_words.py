"""Tests of the words that tell genres: scikit-learn's mutual information, the picture, and the command."""

import csv

import numpy as np
import pytest
from conftest import complain, succeed
from PIL import Image
from sklearn.metrics import mutual_info_score

from mumu_jax import prepare, report
from mumu_jax.data.modalities.text.information_gain import MIN_TEXTS, telling_words, word_gains
from mumu_jax.errors import UserError
from mumu_jax.reports.words import Genre, Word, draw_words
from mumu_jax.system.pictures import render


def test_gain_is_mutual_information():
    rng = np.random.default_rng(0)
    words, labels = np.array(["a", "b", "c", "d"]), rng.integers(0, 2, (200, 3)).astype(np.uint8)
    has = rng.random((200, 4)) < np.array([0.5, 0.1, 0.06, 0.9])
    has[:, 1] |= labels[:, 0] == 1
    gains = word_gains([[*words[row], *words[row]] for row in has], labels)
    assert gains.words == list(words)
    for i in range(4):
        for column in range(3):
            expected = mutual_info_score(has[:, i], labels[:, column]) / np.log(2)
            assert gains.gain_bits[i, column] == pytest.approx(expected, abs=1e-12)
            assert gains.with_genre[i, column] == pytest.approx(has[labels[:, column] == 1, i].mean())
            assert gains.without[i, column] == pytest.approx(has[labels[:, column] == 0, i].mean())
    assert telling_words(gains, 0, 2)[0] == 1


def test_a_word_that_tells_what_a_genre_is_not_is_left_out():
    texts = [["loud"]] * 6 + [["quiet"]] * 6
    labels = np.repeat(np.array([[1], [0]], np.uint8), 6, axis=0)
    assert telling_words(word_gains(texts, labels), 0, 5) == [0]


@pytest.mark.parametrize("texts", [[["loud"]] * (MIN_TEXTS - 1), [["one"], ["two"], ["three"], ["four"]], [[]] * 9])
def test_too_few_texts_are_said_to_be(texts):
    with pytest.raises(UserError, match=f"MIN_TEXTS = 3 texts or more, found none in {len(texts)} texts; prepare more"):
        word_gains(texts, np.ones((len(texts), 1), np.uint8))


def test_every_text_of_the_picture_is_literal():
    words = [Word("category:$x_{$", 0.5, 0.9, 0.1), Word("1984", 0.25, 0.5, 0.1)]
    figure = draw_words([Genre("$uicideboy$ $\\frac", 3, words), Genre("_$", 2, words[:1])])
    assert render(figure, "png").startswith(b"\x89PNG")
    drawing = render(figure, "svg").decode()
    for text in ("$uicideboy$ $\\frac (3 texts)", "_$ (2 texts)", "category:$x_{$", "1984"):
        assert text in drawing


def test_command(small_data, tmp_path):
    done = succeed("mumu_jax.report", "words", f"--data_dir={small_data}", f"--out={tmp_path}", "--top_k=3")
    first, *_ = done.stdout.splitlines()
    assert first.split()[0] == "Rock"
    with (tmp_path / "words.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["rank"] for row in rows} == {"1", "2", "3"}
    assert all(float(row["with_genre"]) > float(row["without"]) and float(row["gain_bits"]) > 0 for row in rows)
    with Image.open(tmp_path / "words.png") as image:
        assert image.width > 1000
        assert np.asarray(image.convert("L")).std() > 10
    named = succeed("mumu_jax.report", "words", f"--data_dir={small_data}", f"--out={tmp_path}", "--categories")
    assert "category:" in named.stdout


def prepare_texts(folder, texts):
    """Prepare texts of the genres A and B."""
    rows = ["album,genres,split,text"]
    for i, (genre, text) in enumerate(texts):
        (folder / f"{i}.txt").write_text(text)
        rows.append(f"{i},{genre},train,{i}.txt")
    (folder / "table.csv").write_text("\n".join(rows))
    arguments = ["--source=csv", f"--input={folder / 'table.csv'}", f"--data_dir={folder / 'data'}", "--workers=1"]
    assert prepare.main([*arguments, "--modalities=text"]) == 0
    return folder / "data"


def test_genres_that_no_word_tells_are_said_to_be(tmp_path, capsys):  # 47
    data = prepare_texts(tmp_path, [("A", "loud loud")] * 3 + [("B", "quiet")] * 2)
    report.main(["words", f"--data_dir={data}"])
    first, second, _ = capsys.readouterr().out.splitlines()[-3:]
    assert first.split() == ["A", "3", "loud"]
    assert second == "B       2  (no word is in 3 texts or more, and more often in this genre's than in the others)"


def test_no_word_at_all_is_an_error(tmp_path):  # 47
    data = prepare_texts(tmp_path, [("A", "same"), ("B", "same")] * 2)
    with pytest.raises(UserError, match=r"found none of 2 genres in 4 texts of .*text; prepare more texts, or choose"):
        report.main(["words", f"--data_dir={data}"])
    assert not (data / "report").exists()


def test_without_text(tmp_path):
    complain("mumu_jax.report", "words", f"--data_dir={tmp_path}", says=["the prepared text", "does not exist"])
