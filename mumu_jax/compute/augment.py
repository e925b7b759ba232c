"""Views of an image for the network: in training a random part of it in random colours, in validation its centre.

fb.resnet.torch's augmentation, which Oramas et al. 2017 fine-tuned with, in its order: crop, colours, lighting; and
a rotation, which the album-cover study has, between crop and colours.  Everything runs on the device, and an item's
result depends on its image and its key alone, whatever the batch and the devices.

Sums over three terms are written out, because jaxlib 0.10.2 errs on a CPU where it fuses a reduction over so few with
what follows (github.com/jax-ml/jax/issues/39103).

Two things are cheaper here than they look there.  A mirrored image is one whose box has left and right exchanged.
And the random order of brightness, contrast and saturation makes no difference: nothing is clipped, grey's weights sum
to 1, so the three commute.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float, Float32, Int, Key, UInt8

ATTEMPTS = 10  # to draw a crop that fits; after these, the whole image
CENTRE = 224 / 256  # of the side, which validation sees

GREY = np.array([0.299, 0.587, 0.114], np.float32)
# The principal components of ImageNet's colours: eigenvectors are columns, rows are red, green, blue.
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045], np.float32)
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32
)


class Augmentation(NamedTuple):
    """The settings of random views (`config.AugmentSettings`), static under `jit`."""

    size_px: int
    min_area: float
    max_aspect: float
    colour: float
    lighting: float
    rotation_deg: float
    flip: bool


def augment(
    images: UInt8[Array, "items side side 3"], keys: Key[Array, " items"], how: Augmentation
) -> Float32[Array, "items size size 3"]:
    """Return training's random views: pixels in about 0 … 1, which bicubic scaling and changed colours may leave."""
    crop, mirrored, turn, colour, lighting = jax.vmap(lambda key: jax.random.split(key, 5))(keys).T
    boxes = crop_boxes(crop, images.shape[1], how)
    if how.flip:
        boxes = mirror(boxes, _uniform(mirrored, (), 0, 1) < 0.5)
    views = resize_crops(images, boxes, how.size_px)
    if how.rotation_deg:
        limit = np.deg2rad(how.rotation_deg)
        views = rotate(views, _uniform(turn, (), -limit, limit))
    if how.colour:
        views = jitter(views, _uniform(colour, (3,), 1 - how.colour, 1 + how.colour))
    if how.lighting:
        views = light(views, how.lighting * jax.vmap(lambda key: jax.random.normal(key, (3,)))(lighting))
    return views


def centre_view(images: UInt8[Array, "items side side 3"], size_px: int) -> Float32[Array, "items size size 3"]:
    """Return validation's views: the centre, pixels in 0 … 1; for 224 of 256 pixels the pixels themselves."""
    side = images.shape[1]
    view = round(side * CENTRE)
    low = -((view - side) // 2)
    if view == size_px:
        return images[:, low : low + view, low : low + view] / jnp.float32(255)
    box = jnp.array([low, low, low + view, low + view])
    return jnp.clip(resize_crops(images, jnp.broadcast_to(box, (len(images), 4)), size_px), 0, 1)


def _uniform(keys: Key[Array, " items"], shape: tuple[int, ...], low: float, high: float) -> Array:
    """Draw for each key numbers of this shape from `low` to below `high`."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=low, maxval=high))(keys)


def crop_boxes(keys: Key[Array, " items"], side: int, how: Augmentation) -> Int[Array, "items 4"]:
    """Draw a box (left, top, right, bottom) in an image of `side`²: the first of each key's attempts that fits."""

    def crop_box(key):
        share, aspect, turned, *place = jax.random.uniform(key, (5, ATTEMPTS))
        area = side**2 * (how.min_area + share * (1 - how.min_area))
        aspect = 1 / how.max_aspect + aspect * (how.max_aspect - 1 / how.max_aspect)
        sizes = jnp.sqrt(area * jnp.stack([aspect, 1 / aspect]))
        sizes = jnp.maximum(jnp.round(jnp.where(turned < 0.5, sizes[::-1], sizes)), 1).astype(int)
        fits = jnp.all(sizes <= side, axis=0)
        first = jnp.argmax(fits)
        size = jnp.where(fits[first], sizes[:, first], side)
        low = jnp.floor(jnp.stack(place)[:, first] * (side - size + 1)).astype(int)
        return jnp.concatenate([low, low + size])

    return jax.vmap(crop_box)(keys)


def mirror(boxes: Int[Array, "items 4"], mirrored: Bool[Array, " items"]) -> Int[Array, "items 4"]:
    """Exchange left and right of the boxes that are `mirrored`."""
    return jnp.where(mirrored[:, None], boxes[:, jnp.array([2, 1, 0, 3])], boxes)


def resize_crops(
    images: UInt8[Array, "items side side 3"], boxes: Int[Array, "items 4"], size: int
) -> Float32[Array, "items size size 3"]:
    """Cut out each image's box (left, top, right, bottom) and scale it to `size`²; mirrored if left > right.

    As Pillow's BICUBIC: antialiased, and pixels beyond the box have no influence.
    """
    left, top, right, bottom = boxes.T
    across, down = (_weights(*ends, size, images.shape[1]) for ends in ((left, right), (top, bottom)))
    # The channels lie beside the rows, because so both products are plain matrix products, without a transposition.
    lines = images.transpose(0, 1, 3, 2).astype(jnp.float32)
    lines = jnp.einsum("nycx,nwx->nycw", lines, across, precision=lax.Precision.HIGHEST)
    lines = jnp.einsum("nhy,nycw->nhcw", down, lines, precision=lax.Precision.HIGHEST)
    return lines.transpose(0, 1, 3, 2) / 255


def _weights(
    start: Int[Array, " items"], end: Int[Array, " items"], size: int, side: int
) -> Float32[Array, "items size side"]:
    """Return the weight of each of `side` pixels in each of `size` that divide the way from `start` to `end`."""
    start, end = start[:, None, None], end[:, None, None]
    pixels, places = jnp.arange(side), jnp.arange(size)[:, None]
    # From the centre of the place to the centre of the pixel, times 2 · size: whole numbers lose nothing to rounding.
    distance = (2 * (pixels - start) + 1) * size - (2 * places + 1) * (end - start)
    reach = jnp.maximum(abs(end - start), size)  # times size; wider where the image shrinks, against aliasing
    inside = (jnp.minimum(start, end) <= pixels) & (pixels < jnp.maximum(start, end))
    weights = jnp.where(inside, _cubic(distance / (2 * reach)), 0)
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def _cubic(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return Keys' bicubic kernel with a = -1/2."""
    x = jnp.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))


def rotate(
    images: Float32[Array, "items side side 3"], radians: Float32[Array, " items"]
) -> Float32[Array, "items side side 3"]:
    """Turn images counter-clockwise about the centre, bilinear; pixels from beyond repeat the edge."""
    side = images.shape[1]
    from_centre = jnp.arange(side) - (side - 1) / 2
    y, x = from_centre[:, None], from_centre[None, :]

    def turn(image, angle):
        rows, columns = jnp.sin(angle) * x + jnp.cos(angle) * y, jnp.cos(angle) * x - jnp.sin(angle) * y
        places = [rows + (side - 1) / 2, columns + (side - 1) / 2]
        return jax.vmap(lambda plane: map_coordinates(plane, places, order=1, mode="nearest"), -1, -1)(image)

    return jax.vmap(turn)(images, radians)


def jitter(
    images: Float32[Array, "items height width 3"], alphas: Float32[Array, "items 3"]
) -> Float32[Array, "items height width 3"]:
    """Change brightness, contrast, saturation in any order: image · α + (1 - α) · black, grey's mean, grey."""
    brightness, contrast, saturation = alphas.T[:, :, None, None, None]
    grey = sum(images[..., i : i + 1] * share for i, share in enumerate(GREY))
    images = saturation * images + (1 - saturation) * grey
    images = contrast * images + (1 - contrast) * jnp.mean(grey, axis=(1, 2), keepdims=True)
    return brightness * images


def light(
    images: Float32[Array, "items height width 3"], alphas: Float32[Array, "items 3"]
) -> Float32[Array, "items height width 3"]:
    """Change the light: the pixels move by the α's, in units of the eigenvalues, along the eigenvectors."""
    shift = [sum(alphas[:, i] * EIGENVALUES[i] * row[i] for i in range(3)) for row in EIGENVECTORS]
    return images + jnp.stack(shift, axis=-1)[:, None, None, :]
