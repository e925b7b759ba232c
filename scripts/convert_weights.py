"""Convert published ImageNet weights, so that training can start from them.

    python scripts/convert_weights.py --from=resnet101-63fe2227.pth --model=resnet101 --out=resnet101.safetensors

Reads torchvision's files, timm's ResNets and DenseNets, and Hugging Face's ResNets: .safetensors and .npz directly,
.pth if PyTorch is installed.  Checks every tensor; executes nothing that is in the file.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mumu_jax.compute.state import n_values
from mumu_jax.errors import UserError
from mumu_jax.models.pretrained import NETWORKS, convert
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import run_command
from mumu_jax.training.weights import Pretrained, read_weights, write_pretrained


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    if arguments.out.suffix != ".safetensors":
        raise UserError(f"--out={arguments.out} should end in .safetensors, the format that is written")
    weights = read_weights(arguments.source)
    variables = convert(arguments.model, weights.tensors, str(arguments.source))
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    about = {"source": weights.file, "sha256": weights.sha256}
    write_pretrained(arguments.out, Pretrained(arguments.model, params, batch_stats, about))
    head = f"{params['output']['dense']['bias'].size:,} outputs" if "output" in params else "no last layer"
    counts = f"{n_values(params):,} parameters, {n_values(batch_stats):,} running statistics, {head}"
    print_line(f"{arguments.out}: {arguments.model}, {counts}; from {weights.file}, SHA-256 {weights.sha256}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/convert_weights.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE", help="the published file")
    parser.add_argument("--model", required=True, help=f"the network: {', '.join(NETWORKS)}")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    return parser


if __name__ == "__main__":
    run_command(main)
