"""Formulations of a `valid` convolution, each as products of the input and a matrix made from the kernel.

All give the same values up to rounding; which is fastest depends on the shapes and the backend.  One-channel and narrow
convolutions do not fill a matrix unit, and copies of the input cost memory traffic: each formulation trades one for the
other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from mumu_jax.models.kernels import plain, winograd
from mumu_jax.models.kernels.pooling import Phases, Window, in_order
from mumu_jax.models.kernels.precision import product_precision

# A banded matrix covers this many output bins.  With a wider band, more products are wasted on zeros, and the values
# between the product and the pool do not stay in the cache; a narrower one fills the matrix unit less.
BAND_BINS = 8

# Matrix units read rows of 16 bytes: this many bfloat16 values.
ALIGNED = 8


class Formulation(NamedTuple):
    """A way to convolve.  Both functions are linear in each of their arrays; most leave the gradients to JAX."""

    expand: Callable[[Any, Window], Any]  # (kernel, pool) → matrix
    # (input, matrix, the kernel's shape, pool) → the convolution, in pieces that cover the output's bins in order, each
    # in phases that divide the pool
    apply: Callable[[Any, Any, tuple[int, ...], Window], tuple[Phases, ...]]


def _positions(x, kernel_shape) -> tuple[int, int]:
    return x.shape[1] - kernel_shape[0] + 1, x.shape[2] - kernel_shape[1] + 1


def _dot(rows, matrix):
    """Multiply; `matrix` may have fewer rows than `rows` has columns: the missing ones count as zero."""
    matrix = jnp.pad(matrix, ((0, rows.shape[-1] - matrix.shape[0]), (0, 0)))
    return jnp.matmul(rows.reshape(-1, rows.shape[-1]), matrix, precision=product_precision(rows.dtype))


def _align(parts):
    """Concatenate `parts`, and zeros up to a multiple of ALIGNED, along the last axis."""
    missing = -sum(part.shape[-1] for part in parts) % ALIGNED
    return jnp.concatenate([*parts, jnp.zeros((*parts[0].shape[:-1], missing), parts[0].dtype)], axis=-1)


def _in_order(y) -> Phases:
    return ((y,),)


def _apply_plain(x, kernel, kernel_shape, pool):
    return (_in_order(plain.convolve(x, kernel, 1, ((0, 0), (0, 0)), product_precision(x.dtype))),)


def _apply_folded(x, kernel, kernel_shape, pool):
    """Convolve over time alone: the kernel covers all bins, which become channels."""
    kt, kf, cin, cout = kernel_shape
    x, kernel = x.reshape(*x.shape[:2], kf * cin), kernel.reshape(kt, kf * cin, cout)
    numbers, precision = ("NWC", "WIO", "NWC"), product_precision(x.dtype)
    y = lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=numbers, precision=precision)
    return (_in_order(y[:, :, None]),)


def _apply_im2col(x, kernel, kernel_shape, pool):
    """Multiply a matrix with one row for each window by the kernel as a matrix."""
    kt, kf, _, cout = kernel_shape
    n_frames, n_bins = _positions(x, kernel_shape)
    if n_bins == 1:  # copies fewer and longer pieces
        x, kf = x.reshape(*x.shape[:2], 1, -1), 1
    taps = [x[:, i : i + n_frames, j : j + n_bins] for i in range(kt) for j in range(kf)]
    y = _dot(jnp.concatenate(taps, axis=-1), kernel.reshape(-1, cout))
    return (_in_order(y.reshape(-1, n_frames, n_bins, cout)),)


def _expand_banded(kernel, pool):
    """Return T[t, i, j] = kernel[t, i − j], zero outside, as a matrix: each column is shifted by one bin.

    The kernel is padded to span + 1 and repeated; cutting the repetition into pieces of span shifts it.
    """
    kt, kf, _, channels = kernel.shape
    span = BAND_BINS + kf - 1
    padded = jnp.pad(kernel[:, :, 0], ((0, 0), (0, BAND_BINS), (0, 0)))
    repeated = jnp.broadcast_to(padded[:, None], (kt, BAND_BINS, span + 1, channels))
    skewed = repeated.reshape(kt, BAND_BINS * (span + 1), channels)[:, : BAND_BINS * span]
    return skewed.reshape(kt, BAND_BINS, span, channels).swapaxes(1, 2).reshape(kt * span, -1)


def _apply_banded(x, matrix, kernel_shape, pool):
    """Multiply the frames under the kernel × a band of bins by the Toeplitz matrix: the whole band at once."""
    kt, kf, _, cout = kernel_shape
    n_frames, n_bins = _positions(x, kernel_shape)
    span, pieces = BAND_BINS + kf - 1, []
    for low in range(0, n_bins, BAND_BINS):
        rows = _align([x[:, i : i + n_frames, low : low + span, 0] for i in range(kt)])
        pieces.append(_in_order(_dot(rows, matrix).reshape(-1, n_frames, BAND_BINS, cout)))
    return tuple(pieces)


def _expand_window(kernel, pool):
    """Return a matrix [patch, window · c]: the kernel at each place of a pool's window, in the patch that it reads."""
    (kt, kf, _, channels), (pt, pf) = kernel.shape, pool
    placed = [
        jnp.pad(kernel[:, :, 0], ((i, pt - 1 - i), (j, pf - 1 - j), (0, 0))) for i in range(pt) for j in range(pf)
    ]
    return jnp.stack(placed, axis=2).reshape((kt + pt - 1) * (kf + pf - 1), pt * pf * channels)


def _apply_window(x, matrix, kernel_shape, pool):
    """Multiply the patch that each pool's window reads, a row, by a matrix that yields all values of the window."""
    (kt, kf, _, cout), (pt, pf) = kernel_shape, pool
    n_frames, n_bins = _positions(x, kernel_shape)
    taps = [
        x[:, i : i + n_frames - pt + 1 : pt, j : j + n_bins - pf + 1 : pf]
        for i in range(kt + pt - 1)
        for j in range(kf + pf - 1)
    ]
    y = _dot(_align(taps), matrix).reshape(-1, n_frames // pt, n_bins // pf, pt, pf, cout)
    return (tuple(tuple(y[:, :, :, i, j] for j in range(pf)) for i in range(pt)),)


def _identity(kernel, pool):
    return kernel


# --- fast algorithms: fewer products, of sums of the input and sums of the kernel -------------------------------
# They compute neighbouring outputs together, and return them as polyphase components.


def _expand_winograd(kernel, pool):
    return winograd.kernel_matrices(kernel)


def _apply_winograd(x, matrix, kernel_shape, pool):
    y = winograd.products(winograd.input_tiles(x), matrix)
    return (_for_pool(winograd.phases_of(y, *_positions(x, kernel_shape)), pool),)


def _halved(whole: Formulation) -> Formulation:
    """Compute two neighbouring frames by three convolutions of half as many taps over time, instead of four.

    With the kernel's even and odd taps and the input's even and odd frames, y_even = k_even·x_even + k_odd·x_odd and
    y_odd = k_even·x_odd + k_odd·x_even_next have the product p = (k_even + k_odd)·x_odd in common: y_even = p +
    k_even·(x_even − x_odd), y_odd = p + k_odd·(x_even_next − x_odd).  The fast FIR algorithm of Mou and Duhamel 1991,
    "Short-Length FIR Filters and Their Use in Fast Nonrecursive Filtering"; it can be nested, and loses no digit.
    """

    def expand(kernel, pool):
        even, odd = kernel[0::2], kernel[1::2]
        return jnp.stack([whole.expand(taps, pool) for taps in (even + odd, even, odd)])

    def apply(x, matrix, kernel_shape, pool):
        half = (kernel_shape[0] // 2, *kernel_shape[1:])
        even, odd = x[:, 0::2], x[:, 1::2]
        inputs = (odd, even[:, :-1] - odd, even[:, 1:] - odd)
        products = [whole.apply(part, taps, half, pool) for part, taps in zip(inputs, matrix, strict=True)]
        return tuple(_for_pool(_sums(*piece), pool) for piece in zip(*products, strict=True))

    return Formulation(expand, apply)


def _sums(common, evens, odds) -> Phases:
    """Return the phases of common + evens and of common + odds, their frames interleaved."""
    return tuple(
        tuple(one + other for one, other in zip(row, rest, strict=True))
        for row, *both in zip(common, evens, odds, strict=True)
        for rest in both
    )


def _for_pool(phases: tuple[tuple[Any, ...], ...], pool) -> Phases:
    """Return the phases; join those of an axis along which their number does not divide the pool."""
    if pool[0] % len(phases):
        columns = zip(*phases, strict=True)
        phases = (tuple(in_order(tuple((part,) for part in column)) for column in columns),)
    if pool[1] % len(phases[0]):
        phases = tuple((in_order((row,)),) for row in phases)
    return phases


# --- the choice -------------------------------------------------------------------------------------------------

FORMULATIONS = {
    "plain": Formulation(_identity, _apply_plain),
    "folded": Formulation(_identity, _apply_folded),
    "im2col": Formulation(_identity, _apply_im2col),
    "banded": Formulation(_expand_banded, _apply_banded),
    "window": Formulation(_expand_window, _apply_window),
    "winograd": Formulation(_expand_winograd, _apply_winograd),
}
# Halved twice: nine products instead of sixteen.
QUARTERED = {f"quartered_{name}": name for name in ("banded", "im2col")}
FORMULATIONS |= {name: _halved(_halved(FORMULATIONS[whole])) for name, whole in QUARTERED.items()}

# Formulations that leave the convolution to XLA.
CONVOLUTIONS = {"plain", "folded"}

# Formulations that add inputs before they multiply, which in bfloat16 rounds them once more.
FAST_ALGORITHMS = {"winograd", *QUARTERED}

# The largest kernel, in taps, for formulations that copy the input once for each tap.
FEW_TAPS = 16


def supported(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], pool: Window) -> set[str]:
    """Return the formulations that can compute a `valid` convolution of these shapes; all its positions are pooled."""
    kt, kf, cin, _ = kernel_shape
    n_frames, n_bins = x_shape[1] - kt + 1, x_shape[2] - kf + 1
    possible = {
        "plain": True,
        "folded": n_bins == 1,
        "im2col": n_bins == 1 or kt * kf <= FEW_TAPS,
        "banded": cin == 1 and n_bins % BAND_BINS == BAND_BINS % pool[1] == 0,
        "window": cin == 1 and kt * kf <= FEW_TAPS,
        "winograd": (kt, kf) == (3, 3) and n_frames % 2 == n_bins % 2 == 0,
    }
    for name, whole in QUARTERED.items():
        possible[name] = possible[whole] and kt % 4 == n_frames % 4 == 0
    return {name for name, yes in possible.items() if yes}


class Convolution(NamedTuple):
    """The properties of a convolution by which its formulation is chosen, beside the backend and the number of items.

    Its text names it in files: items' shape, kernel's shape, pool and dtype.
    """

    item_shape: tuple[int, ...]  # frames × bins × channels of the input that its pooled positions read
    kernel_shape: tuple[int, ...]
    pool: Window
    dtype: str

    def __str__(self) -> str:
        sizes = ("x".join(map(str, shape)) for shape in self[:3])
        return " ".join([*sizes, self.dtype])


def candidates(backend: str, convolution: Convolution) -> set[str]:
    """Return the usable formulations that may be the fastest on `backend`.

    On a CPU, these are products alone, if there are any: XLA's own gradients of convolutions in a loop are far slower.
    """
    names = usable(convolution)
    return (names - CONVOLUTIONS or names) if backend == "cpu" else names


def usable(convolution: Convolution) -> set[str]:
    """Return the formulations that `convolution` may be computed in, as exactly as the plain one."""
    names = supported((1, *convolution.item_shape), convolution.kernel_shape, convolution.pool)
    return names if convolution.dtype == "float32" else names - FAST_ALGORITHMS


# (backend, number of items, convolution) → its formulation
Choose = Callable[[str, int, Convolution], str]


class Choice(NamedTuple):
    """A table of formulations for one backend; convolutions that it does not have are computed as `fastest` says."""

    backend: str = ""
    table: tuple[tuple[str, str], ...] = ()  # texts of convolutions, and their formulations

    def __call__(self, backend: str, n_items: int, convolution: Convolution) -> str:
        named = dict(self.table).get(str(convolution)) if backend == self.backend else None
        x_shape = (n_items, *convolution.item_shape)
        return named or fastest(backend, x_shape, convolution.kernel_shape, convolution.pool, convolution.dtype)


FIXED = Choice()


def fastest(
    backend: str, x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], pool: Window, dtype: Any = jnp.float32
) -> str:
    """Return the formulation to use on `backend` for an input of this dtype.

    Measured on a CPU.  For accelerators, chosen from the bytes and kernels of compiled modules, not timed.
    """
    kt, kf, cin, cout = kernel_shape
    names = usable(Convolution(x_shape[1:], kernel_shape, pool, jnp.dtype(dtype).name))
    if kf <= BAND_BINS:  # the band would be mostly zeros
        names -= {"banded", "quartered_banded"}
    if cin == 1:  # the transforms would cost more than they save
        names.discard("winograd")
    if x_shape[0] * (x_shape[1] - kt + 1) * (x_shape[2] - kf + 1) < cout:
        # Measured: with fewer positions than the matrix has columns, its transform costs what the products save.
        names.discard("quartered_im2col")
    on_cpu = ("quartered_banded", "banded", "winograd", "quartered_im2col", "im2col")
    order = on_cpu if backend == "cpu" else ("banded", "folded", "window")
    return next((name for name in order if name in names), "plain")
