"""Tests of duplicates: the same picture is recognised however it was saved, and no other is mistaken for it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mumu_jax.data.modalities.image.duplicates import N_BYTES, alike, likeness
from mumu_jax.data.sources.synthetic.covers import LOOKS, draw_cover


def of(image: Image.Image) -> bytes:
    return likeness(np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def cut(image: Image.Image, share: float) -> Image.Image:
    off = round(share * image.width)
    return image.crop((off, off // 2, image.width, image.height - off + off // 2))


def levels(image: Image.Image, scale: float, offset: float, gamma: float = 1) -> Image.Image:
    values = np.asarray(image) / 255
    return Image.fromarray(np.clip(255 * scale * values**gamma + offset, 0, 255).astype(np.uint8))


def test_pictures_of_another_tint_stay_different():  # 52: a series of one design in several colours
    design = np.random.default_rng(0).uniform(0.3, 1, (8, 8, 1))
    red, blue = (np.uint8(255 * design * tint) for tint in ((1, 0.3, 0.3), (0.3, 0.3, 1)))
    a, b = (of(Image.fromarray(pixels).resize((256, 256))) for pixels in (red, blue))
    assert not list(alike([a], [b]))


@pytest.fixture(scope="module")
def covers() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [draw_cover(tuple(rng.choice([*LOOKS], 2, replace=False)), rng) for _ in range(100)]


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda image: image, 1.0),
        (lambda image: jpeg(image, 30), 0.95),
        (lambda image: jpeg(image.resize((160, 160), Image.Resampling.LANCZOS), 75), 0.95),
        (lambda image: jpeg(cut(image, 0.01), 75), 0.9),
        (lambda image: jpeg(cut(image, 0.02), 60), 0.8),
        (lambda image: jpeg(levels(image, 0.7, 0), 75), 0.95),
        (lambda image: jpeg(levels(image, 0.75, 50), 75), 0.95),
        (lambda image: jpeg(levels(image, 0.6, 50), 75), 0.95),
        (lambda image: jpeg(levels(image, 1, 0, gamma=1.4), 75), 0.95),
        (lambda image: jpeg(cut(levels(image, 0.8, 25).resize((220, 220)), 0.01), 70), 0.9),
    ],
    ids=[
        "as it is",
        "quality 30",
        "160 pixels",
        "1 % cut off",
        "2 % cut off",
        "darker",
        "brighter",
        "paler",
        "another gamma",
        "another scan",
    ],
)
def test_the_same_picture_is_found_and_no_other(covers, change, share):  # 52: other scans of the same sleeve
    found = list(alike([of(change(image)) for image in covers], [of(image) for image in covers]))
    assert all(i == j for i, j in found)
    assert len(found) >= share * len(covers)


def test_plain_pictures_are_looked_at_further():
    rng = np.random.default_rng(0)

    def plain(i: int) -> Image.Image:
        image = Image.new("RGB", (400, 400), (250, 250, 250) if i % 2 else (8, 8, 8))
        words, where = "".join(rng.choice([*"ABCDEFGHIJKLMNO "], 4 + i % 14)), rng.integers(20, 300, 2).tolist()
        colour = tuple(rng.integers(30, 220, 3).tolist())
        ImageDraw.Draw(image).text(where, words, fill=colour, font=ImageFont.load_default(24))
        return image

    pictures = [plain(i) for i in range(30)]
    found = list(alike([of(jpeg(image, 60)) for image in pictures], [of(image) for image in pictures]))
    assert {j for i, j in found if i == j} == {*range(30)}
    assert sum(i != j for i, j in found) == 0


def test_gradients_of_other_colours_are_no_duplicates():  # 52: levelled, all gradients are alike
    rng = np.random.default_rng(0)
    y, x = np.indices((256, 256)) / 255

    def gradient() -> Image.Image:
        angle, (dark, light) = rng.uniform(0, 2 * np.pi), np.sort(rng.uniform(0, 255, (2, 3)), axis=0)
        along = np.cos(angle) * x + np.sin(angle) * y
        share = ((along - along.min()) / np.ptp(along))[..., None]
        image = Image.fromarray(np.uint8(dark + share * (light - dark)))
        words, where = "".join(rng.choice([*"ABCDEFGHIJKLMNO "], 12)), rng.integers(20, 150, 2).tolist()
        ImageDraw.Draw(image).text(where, words, fill=(255, 255, 255), font=ImageFont.load_default(20))
        return image

    pictures = [of(gradient()) for _ in range(150)]
    assert [(i, j) for i, j in alike(pictures, pictures) if i != j] == []


def test_pairs_are_those_of_one_comparison_after_the_other(monkeypatch):
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, (20, N_BYTES), np.uint8)
    a, b = ([pool[i].tobytes() for i in rng.integers(0, 20, n)] for n in (70, 50))
    wanted = [(i, j) for i in range(70) for j in range(50) if a[i] == b[j]]
    assert list(alike(a, b)) == wanted
    monkeypatch.setattr("mumu_jax.data.modalities.image.duplicates._BLOCK", 130)
    assert list(alike(a, b)) == wanted
    assert list(alike([], b)) == list(alike(a, [])) == []
    nothing, everything = bytes(N_BYTES), b"\xff" * N_BYTES  # no pair is near enough to be looked at further
    assert list(alike([nothing], [everything])) == []
