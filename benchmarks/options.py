"""Options that several benchmarks have, and the experiments that they measure."""

import argparse
from collections.abc import Callable, Iterable

from mumu_jax.errors import UserError
from mumu_jax.experiments import load_experiments
from mumu_jax.system.terminal import positive

# The six audio CNNs, with the target that the paper found best.
SIX = [f"audio_{width}_{kernel}" for kernel in ("4x96", "4x70", "3x3") for width in ("low", "high")]
IMAGES = ["image_resnet101", "covers_vit_b16"]
TAGGING = ["mel_musicnn", "mel_vgg", "mel_musicnn_won", "mel_fcn", "mel_crnn", "mel_short_chunk"]
TAGGING += ["mel_short_chunk_residual", "mel_cnn_choi", "mel_crnn_choi"]
JOINT = ["joint_small", "joint_cross_attention", "joint_coattention"]


def experiments(*modalities: str) -> list[str]:
    """Return the names of the experiments that see one of these modalities."""
    return [name for name, experiment in load_experiments().items() if experiment.config.modality in modalities]


def add_cases(parser: argparse.ArgumentParser, default: list[str], *modalities: str) -> None:
    """Add the experiments of these modalities, the precisions and the batch sizes to measure."""
    known = names(experiments(*modalities))
    parser.add_argument("--config", type=known, default=",".join(default), help="comma-separated; default %(default)s")
    add_precision(parser)
    parser.add_argument("--batch_size", type=numbers, help="comma-separated; default by modality and device")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add the precisions to measure: by default those that training would compute in, and float32."""
    import jax  # here and below, because the worker processes of some benchmarks must not load it

    precisions = "float32" if jax.default_backend() == "cpu" else "bfloat16,float32"
    help_text = "comma-separated; default %(default)s"
    parser.add_argument("--precision", type=names(["float32", "bfloat16"]), default=precisions, help=help_text)


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


def devices(text: str) -> list[int]:
    """Parse an argument that is a comma-separated list of numbers of devices, which are there."""
    wanted = numbers(text)
    check_devices(wanted)
    return wanted


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
