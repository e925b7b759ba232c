"""Tests of the confusion matrix as a table and as a picture, for few and many genres with any name."""

import csv

import numpy as np
import pytest
from PIL import Image

from mumu_jax.runs import confusion

MATRIX = np.array([[1200, 300, 0], [0, 0, 0], [10, 0, 90]])
NAMES = ["Gospel, Christian", 'the "$x_{$" 音楽', "🎸\nRock"]


def test_table(tmp_path):
    confusion.write_table(tmp_path / "confusion.csv", MATRIX, NAMES)
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["true genre", *NAMES]
    assert [row[0] for row in rows] == NAMES
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], int), MATRIX)
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.csv"]


def test_what_the_picture_says():
    figure = confusion.draw(MATRIX, NAMES)
    ax, bar = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted genre", "true genre")
    assert ax.get_title() == "1,600 items, top-1 accuracy 80.6%"
    assert bar.get_ylabel() == "share of the true genre's items"
    shown = [NAMES[0], NAMES[1], "🎸 Rock"]
    assert [label.get_text() for label in ax.get_xticklabels()] == shown
    assert [label.get_text() for label in ax.get_yticklabels()] == shown
    shares = ax.images[0].get_array()
    np.testing.assert_allclose(shares.filled(-1), [[0.8, 0.2, 0], [-1, -1, -1], [0.1, 0, 0.9]])
    # Column, row; none of the empty row.
    counts = {text.get_position(): text.get_text() for text in ax.texts if text.get_visible()}
    assert counts == {(0, 0): "1,200", (1, 0): "300", (2, 0): "0", (0, 2): "10", (1, 2): "0", (2, 2): "90"}


def test_nothing_was_scored():
    figure = confusion.draw(np.zeros((2, 2), int), ["Jazz", "Rock"])
    assert figure.axes[0].get_title() == "no items"
    assert not any(text.get_visible() for text in figure.axes[0].texts)


@pytest.mark.parametrize("n_genres", [1, 3, 25, 60])
def test_the_picture_is_whole(n_genres, tmp_path):
    names = [f"{NAMES[i % 3]} {'long ' * (i % 20)}{i}" for i in range(n_genres)]
    confusion.write_picture(tmp_path / "confusion.png", np.full((n_genres, n_genres), 12345), names)
    with Image.open(tmp_path / "confusion.png") as image:
        pixels = np.asarray(image.convert("L"))
    for edge in (pixels[:5], pixels[-5:], pixels[:, :5], pixels[:, -5:]):
        assert (edge == 255).all()  # nothing is cut off
    assert pixels.std() > 10
    assert [file.name for file in tmp_path.iterdir()] == ["confusion.png"]


def test_counts_stay_in_their_cells():
    many = np.full((confusion.MAX_COUNTED, confusion.MAX_COUNTED), 1_234_567)
    names = [str(i) for i in range(len(many))]
    figure = confusion.draw(many, names)
    ax = figure.axes[0]
    cell = ax.get_window_extent().width / len(many)
    assert max(text.get_window_extent().width for text in ax.texts[:5]) < cell
    assert len(ax.texts) == many.size
    assert not confusion.draw(np.ones((26, 26), int), [*names, "25"]).axes[0].texts


def test_long_names_are_shortened():
    name = "Music " * 40
    labels = confusion.draw(np.eye(2, dtype=int), [name, "Rock"]).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"{name[: confusion.MAX_CHARS - 1]}…", "Rock"]
