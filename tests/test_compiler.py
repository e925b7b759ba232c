"""Options of compilers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from mumu_jax.compute import compiler

CPU = jax.devices()[0]


@dataclass
class Device:
    """A device that is not here."""

    platform: str
    device_kind: str


def compiled(function, *shapes: tuple[int, ...]) -> str:
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(function).lower(*arrays).compile(compiler.compiler_options(CPU)).as_text()


@pytest.mark.skipif(not compiler._is_known(*compiler.CPU_YNNPACK), reason="this version of JAX has no such option")
def test_on_a_cpu_products_are_ynnpacks_and_convolutions_are_not():
    assert "__ynn_fusion" in compiled(jnp.matmul, (64, 64), (64, 64))

    def convolve(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert "__ynn_fusion" not in compiled(convolve, (2, 32, 32, 16), (3, 3, 16, 32))


def test_an_option_that_this_version_does_not_have_is_left_out(monkeypatch):
    monkeypatch.setattr(compiler, "CPU_YNNPACK", ("xla_unheard_of", "1"))
    assert compiler.compiler_options(CPU) == compiler.CPU_WITHOUT


@pytest.mark.parametrize(
    ("device", "n_options"), [(Device("tpu", "TPU v5 lite"), 0), (Device("tpu", "TPU v6 lite"), 1)]
)
def test_a_v6e_has_an_option_of_its_own(device, n_options):
    assert len(compiler.compiler_options(device)) == n_options
