"""Image augmentation: pixel by pixel against Pillow, SciPy and plain NumPy, and in distribution against a loop."""

import dataclasses
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image, ImageOps
from scipy import ndimage, stats

from mumu_jax.compute.augment import (
    Augmentation,
    augment,
    centre_view,
    crop_boxes,
    jitter,
    light,
    mirror,
    resize_crops,
    rotate,
)
from mumu_jax.config import AugmentSettings

DEFAULTS = Augmentation(**dataclasses.asdict(AugmentSettings()))
NOTHING = Augmentation(size_px=32, min_area=1, max_aspect=4 / 3, colour=0, lighting=0, rotation_deg=0, flip=False)
WHOLE = (0, 0, 256, 256)

run = jax.jit(augment, static_argnames="how")


def noise(*shape, seed=0):
    """Images of random pixels, which hide no mistake in any frequency."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def assert_pixels(views, images):
    """The views are the images' pixels over 255, but for the rounding of a division that XLA makes a product."""
    np.testing.assert_array_almost_equal_nulp(np.asarray(views), np.float32(images) / np.float32(255), nulp=1)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


# The reference, a loop over images and channels, as the description has it.


def pillow(image, change):
    """`change` of each channel's Pillow image, in float32 as Pillow's mode F has it; back to an array."""
    channels = [change(Image.fromarray(np.ascontiguousarray(c))) for c in np.moveaxis(np.float32(image), -1, 0)]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def cut(image, box, size):
    return pillow(image / 255, lambda c: c.crop(box).resize((size, size), Image.Resampling.BICUBIC))


def draw_box(rng, side, min_area, max_aspect):
    for _ in range(10):
        area = rng.uniform(min_area, 1) * side * side
        aspect = rng.uniform(1 / max_aspect, max_aspect)
        width, height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if rng.uniform() < 0.5:
            width, height = height, width
        if width <= side and height <= side:
            left, top = rng.integers(0, side - width, endpoint=True), rng.integers(0, side - height, endpoint=True)
            return left, top, left + width, top + height
    return 0, 0, side, side


def to_grey(image):
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def brighter(image, alpha):
    return alpha * image


def more_contrast(image, alpha):
    return alpha * image + (1 - alpha) * to_grey(image).mean()


def more_saturated(image, alpha):
    return alpha * image + (1 - alpha) * to_grey(image)[..., None]


COLOURS = (brighter, more_contrast, more_saturated)


def relight(image, alphas):
    vectors = [(-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203)]
    shift = [sum(v * a * e for v, a, e in zip(row, alphas, (0.2175, 0.0188, 0.0045), strict=True)) for row in vectors]
    return image + np.array(shift)


def turn(image, degrees):
    return ndimage.rotate(image, degrees, axes=(1, 0), reshape=False, order=1, mode="nearest")


def reference(rng, image, how):
    view = cut(image, draw_box(rng, len(image), how.min_area, how.max_aspect), how.size_px)
    if how.rotation_deg:
        view = turn(view, rng.uniform(-how.rotation_deg, how.rotation_deg))
    for i in rng.permutation(3):
        view = COLOURS[i](view, 1 + rng.uniform(-how.colour, how.colour))
    view = relight(view, rng.normal(0, how.lighting, 3))
    return view[:, ::-1] if how.flip and rng.uniform() < 0.5 else view


# Pixel by pixel.


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([WHOLE, (0, 0, 224, 224), (31, 7, 255, 231), (1, 0, 256, 255)], id="large"),
        pytest.param([(40, 50, 73, 90), (200, 10, 203, 14), (255, 255, 256, 256), (0, 0, 1, 1)], id="small"),
        pytest.param([(3, 100, 253, 120), (17, 0, 49, 256), (90, 200, 91, 256), (5, 6, 256, 7)], id="long"),
    ],
)
@pytest.mark.parametrize("size", [224, 37])
def test_crops_are_scaled_as_pillow_does(boxes, size):
    images = noise(len(boxes), 256, 256)
    found = resize_crops(jnp.asarray(images), jnp.array(boxes), size)
    for image, box, view in zip(images, boxes, found, strict=True):
        np.testing.assert_allclose(view, cut(image, box, size), rtol=0, atol=3e-6)


def test_what_is_beyond_the_crop_has_no_influence():
    image, box = noise(1, 64, 64), jnp.array([[10, 20, 40, 50]])
    other = 255 - image
    other[:, 20:50, 10:40] = image[:, 20:50, 10:40]
    np.testing.assert_array_equal(resize_crops(jnp.asarray(image), box, 16), resize_crops(jnp.asarray(other), box, 16))


def test_mirrored_boxes_make_mirrored_views():
    images, boxes = noise(3, 256, 256), [WHOLE, (5, 6, 77, 99), (60, 0, 61, 256)]
    mirrored = mirror(jnp.array(boxes), jnp.array([True, True, False]))
    found = resize_crops(jnp.asarray(images), mirrored, 50)
    for i, flipped in enumerate([True, True, False]):
        view = cut(images[i], boxes[i], 50)
        expected = pillow(view, ImageOps.mirror) if flipped else view
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_colours_change_alike_in_every_order(order):
    alphas = np.array([[0.6, 1.4, 0.7], [1.37, 0.61, 1.25], [1, 1, 1]])
    images = noise(3, 20, 30) / 255
    found = jitter(jnp.float32(images), jnp.float32(alphas))
    for image, alpha, changed in zip(images, alphas, found, strict=True):
        for i in order:
            image = COLOURS[i](image, alpha[i])
        np.testing.assert_allclose(changed, image, rtol=0, atol=1e-6)


def test_lighting():
    alphas = np.random.default_rng(1).normal(0, 1, (3, 3))
    images = noise(3, 5, 6) / 255
    found = light(jnp.float32(images), jnp.float32(alphas))
    expected = [relight(image, alpha) for image, alpha in zip(images, alphas, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [64, 65])
def test_rotation(side):
    degrees = np.array([0, 15, -30, 90, 180])
    images = noise(len(degrees), side, side) / 255
    found = np.asarray(rotate(jnp.float32(images), jnp.float32(np.deg2rad(degrees))))
    y, x = np.indices((side, side)) - (side - 1) / 2
    inner = x**2 + y**2 < (side / 2 - 2) ** 2
    for image, angle, turned in zip(images, degrees, found, strict=True):
        np.testing.assert_allclose(turned, turn(image, angle), rtol=0, atol=1e-4)
        bilinear = pillow(image, lambda c, a=angle: c.rotate(a, Image.Resampling.BILINEAR))
        np.testing.assert_allclose(turned[inner], bilinear[inner], rtol=0, atol=1e-4)


def test_validation_sees_the_exact_centre():
    images = noise(2, 256, 256)
    assert_pixels(centre_view(jnp.asarray(images), 224), images[:, 16:240, 16:240])
    small = noise(2, 26, 26)  # 23 of 26 pixels: of the three others two are on the left, as there
    assert_pixels(centre_view(jnp.asarray(small), 23), small[:, 2:25, 2:25])


@pytest.mark.parametrize("size", [64, 112, 300])
def test_validation_sees_the_same_field_at_every_size(size):
    image = noise(1, 256, 256)
    expected = cut(image[0], (16, 16, 240, 240), size).clip(0, 1)
    np.testing.assert_allclose(centre_view(jnp.asarray(image), size)[0], expected, rtol=0, atol=3e-6)


# In distribution.


@pytest.mark.parametrize(("min_area", "max_aspect"), [(0.08, 4 / 3), (0.9, 2.0), (0.3, 1.0)])
def test_boxes_are_drawn_as_described(min_area, max_aspect):
    n, side = 4000, 256
    how = DEFAULTS._replace(min_area=min_area, max_aspect=max_aspect)
    rng = np.random.default_rng(0)
    expected = np.array([draw_box(rng, side, min_area, max_aspect) for _ in range(n)]).T
    found = np.asarray(jax.jit(lambda keys: crop_boxes(keys, side, how))(keys(n))).T
    left, top, right, bottom = found
    assert min(left.min(), top.min()) == 0
    assert max(right.max(), bottom.max()) == side
    assert np.all((right > left) & (bottom > top))

    def facts(left, top, right, bottom):
        width, height = right - left, bottom - top
        place = [low / np.maximum(side - size, 1) for low, size in ((left, width), (top, height))]
        return {"area": width * height, "aspect": np.log(width / height), "across": place[0], "down": place[1]}

    for name, values in facts(*found).items():
        assert stats.ks_2samp(values, facts(*expected)[name]).pvalue > 1e-3, name
    whole = [np.mean((box[2] - box[0]) * (box[3] - box[1]) == side**2) for box in (found, expected)]
    assert whole[0] == pytest.approx(whole[1], abs=0.03)  # at (0.9, 2.0) nearly half have no fitting attempt


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(DEFAULTS._replace(size_px=12), id="default"),
        pytest.param(NOTHING._replace(size_px=12, flip=True), id="flip"),
        pytest.param(NOTHING._replace(size_px=12, colour=0.4), id="colour"),
        pytest.param(NOTHING._replace(size_px=12, lighting=0.1), id="lighting"),
        pytest.param(NOTHING._replace(size_px=12, rotation_deg=30.0), id="rotation"),
        pytest.param(NOTHING._replace(size_px=12, min_area=0.08, rotation_deg=15.0, flip=True), id="covers"),
    ],
)
def test_views_are_distributed_as_the_references(how):
    n, image = 2000, noise(24, 24, seed=3)
    rng = np.random.default_rng(1)
    expected = np.array([reference(rng, image, how) for _ in range(n)])
    found = np.asarray(run(jnp.broadcast_to(image, (n, *image.shape)), keys(n, seed=1), how))
    for y, x in [(0, 0), (2, 9), (5, 6), (11, 3)]:
        for c in range(3):
            # Rounding must not tell values apart that are equal, of which a flip alone has only two.
            pixel = [np.round(np.float64(views[:, y, x, c]), 4) for views in (found, expected)]
            assert stats.ks_2samp(*pixel).pvalue > 1e-3, (y, x, c)


# Of an item and its key alone.


def test_with_everything_off_the_pixels_themselves():
    images = noise(3, 32, 32)
    assert_pixels(run(jnp.asarray(images), keys(3), NOTHING), images)


@pytest.mark.full
def test_an_item_is_changed_alike_in_any_batch_on_any_devices():
    how = DEFAULTS._replace(size_px=28, rotation_deg=10.0)
    images, item_keys = jnp.asarray(noise(16, 32, 32)), keys(16)
    together = np.asarray(run(images, item_keys, how))
    sharding = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec("data"))
    spread = run(*jax.device_put((images, item_keys), sharding), how)
    alone = np.concatenate([run(images[i : i + 1], item_keys[i : i + 1], how) for i in range(16)])
    for other in (spread, alone, augment(images, item_keys, how)):
        np.testing.assert_allclose(other, together, rtol=0, atol=1e-5)


def test_other_keys_make_other_views():
    image = noise(32, 32)
    views = np.asarray(run(jnp.stack([image] * 8), keys(8), DEFAULTS._replace(size_px=28)))
    different = [np.abs(a - b).max() > 0.01 for i, a in enumerate(views) for b in views[:i]]
    assert all(different)
