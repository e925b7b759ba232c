"""Options that the benchmarks' command lines share."""

import argparse
import importlib
from collections.abc import Callable, Iterable

from mumu_jax.errors import UserError
from mumu_jax.experiments import load_experiments
from mumu_jax.system.terminal import positive

# The six audio CNNs, with the target that the paper found best.
SIX = [f"audio_{width}_{kernel}" for kernel in ("4x96", "4x70", "3x3") for width in ("low", "high")]
IMAGES = ["image_resnet101", "covers_vit_b16"]
PRECISIONS = ["float32", "bfloat16"]  # to compute in


def make_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of `python -m MODULE`, with `--no_save`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.add_argument("--no_save", action="store_true", help="print the rows without adding them to results/")
    return parser


def add_repeats(parser: argparse.ArgumentParser, repeats: int, seconds: float | None = None) -> None:
    """Add how often to measure and, with `seconds`, for how long."""
    parser.add_argument("--repeats", type=positive, default=repeats, help=f"measurements of each; default {repeats}")
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help=f"of a measurement; default {seconds:g}")


def add_config(parser: argparse.ArgumentParser, default: list[str], *modalities: str) -> None:
    """Add the experiments to measure, of these modalities."""
    known = names(experiments(*modalities))
    parser.add_argument("--config", type=known, default=default, help=f"comma-separated; default {','.join(default)}")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add what to compute in: by default what training would, and on an accelerator float32 beside it."""
    import jax  # here and below, because the worker processes of some benchmarks must not load it

    default = ["float32"] if jax.default_backend() == "cpu" else ["bfloat16", "float32"]
    parser.add_argument("--precision", type=names(PRECISIONS), default=default, help=", ".join(PRECISIONS))


def add_peer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peer", choices=["torch"], help="measure PyTorch's network beside ours")


def names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return the type of an argument that is a comma-separated list of known names."""
    choices = list(known)

    def parse(text: str) -> list[str]:
        for name in text.split(","):
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(choices)}")
        return text.split(",")

    return parse


def numbers(text: str) -> list[int]:
    """Parse an argument that is a comma-separated list of positive numbers."""
    return [positive(number) for number in text.split(",")]


def experiments(*modalities: str) -> list[str]:
    """Return the names of the experiments that see one of these modalities."""
    return [name for name, experiment in load_experiments().items() if experiment.config.modality in modalities]


def check_devices(wanted: Iterable[int]) -> None:
    """Raise UserError if a number of devices is not there, or only simulated: that is never measured as speed."""
    import jax

    n_devices, asked = len(jax.devices()), f"--devices={','.join(map(str, wanted))}"
    if jax.default_backend() == "cpu" and (n_devices > 1 or max(wanted) > 1):
        raise UserError(
            f"{asked} on {n_devices} CPU devices: a CPU is one device, and simulated ones are never measured; unset "
            "XLA_FLAGS and JAX_NUM_CPU_DEVICES, and leave --devices out"
        )
    if max(wanted) > n_devices:
        raise UserError(f"{asked}: only {n_devices} devices are available; name no more than that")


def check_peer(peer: str | None) -> None:
    """Raise UserError if the peer is PyTorch and that is not installed."""
    if peer:
        try:
            importlib.import_module("torch")
        except ImportError as error:
            raise UserError("--peer=torch needs PyTorch, which is not installed; pip install torch") from error
