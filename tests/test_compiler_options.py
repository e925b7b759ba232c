"""Options of compilers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from mumu_jax.compute import compiler_options as options
from mumu_jax.compute.compiler_options import compiler_options

CPU = jax.devices()[0]


@dataclass
class Device:
    """A device that is not here."""

    platform: str
    device_kind: str


def convolve(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def is_ynnpacks(function, shapes: list[tuple[int, ...]], chosen: dict[str, str]) -> bool:
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return "__ynn_fusion" in jax.jit(function).lower(*arrays).compile(chosen).as_text()


@pytest.mark.skipif(
    not jax.__version__.startswith(options.MEASURED_WITH), reason="this version of JAX is given no such option"
)
def test_convolutions_on_a_cpu_are_eigens_and_products_stay_ynnpacks():
    images, rows = [(2, 32, 32, 16), (3, 3, 16, 32)], [(64, 64), (64, 64)]
    assert is_ynnpacks(convolve, images, options.CPU_KEEPS_BARRIERS)
    assert not is_ynnpacks(convolve, images, compiler_options(CPU))
    assert is_ynnpacks(jnp.matmul, rows, compiler_options(CPU))


def test_of_a_version_that_was_not_measured(monkeypatch):
    monkeypatch.setattr(options, "version", lambda package: "0.11.0")
    assert compiler_options(CPU) == options.CPU_KEEPS_BARRIERS


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device("gpu", "NVIDIA H200"), options.GPU_IN_ONE_MESSAGE),
        (Device("tpu", "TPU v5 lite"), {}),
        (Device("tpu", "TPU v6 lite"), {"xla_tpu_scoped_vmem_limit_kib": "28672"}),
    ],
)
def test_accelerators(device, expected):
    assert compiler_options(device) == expected
