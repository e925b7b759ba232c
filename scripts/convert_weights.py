"""Convert published weights, so that training can start from them, or files be tagged with them.

    python scripts/convert_weights.py --from=resnet101-63fe2227.pth --model=resnet101 --out=resnet101.safetensors
    python scripts/convert_weights.py --from=musicnn-0.1.0-py3-none-any.whl --model=musicnn_msd --out=msd.safetensors
    python scripts/convert_weights.py --from=best_model.pth --model=fcn --tags=jamendo --out=fcn_jamendo.safetensors
    python scripts/convert_weights.py --from=model.safetensors --model=bert --out=bert.safetensors

Reads torchvision's files, timm's ResNets and DenseNets, Hugging Face's ResNets and BERTs of any size, the wheel of
musicnn (pip download --no-deps musicnn==0.1.0) and the music taggers of Won et al. 2020: .safetensors, .npz, .whl and
.pth of PyTorch before 1.6 directly, other .pth if PyTorch is installed.  Checks every tensor; executes nothing that is
in the file.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mumu_jax.compute.state import n_values
from mumu_jax.errors import UserError
from mumu_jax.models.pretrained import NETWORKS, convert, front_end_of, sizes_of
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import run_command
from mumu_jax.training.musicnn_wheel import CHECKPOINTS, SUFFIX, Checkpoint
from mumu_jax.training.vocabularies import VOCABULARIES
from mumu_jax.training.weights import Pretrained, read_weights, write_pretrained

HEAD_WIDTH = 64  # of every BERT that Google has published


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    if arguments.out.suffix != ".safetensors":
        raise UserError(f"--out={arguments.out} should end in .safetensors, the format that is written")
    checkpoint = _checkpoint(arguments)
    weights = read_weights(arguments.source, checkpoint.folder)
    variables = convert(checkpoint.network, weights.tensors, str(arguments.source))
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    pretrained = Pretrained(
        checkpoint.network,
        params,
        batch_stats,
        {"source": weights.file, "sha256": weights.sha256},
        _vocabulary(checkpoint.vocabulary, params),
        front_end_of(checkpoint.network, weights.tensors),
        _licence(arguments.licence) or weights.licence,
        _sizes(sizes_of(checkpoint.network, weights.tensors), arguments.heads),
    )
    write_pretrained(arguments.out, pretrained)
    head = f"{params['output']['dense']['bias'].size:,} outputs" if "output" in params else "no last layer"
    counts = f"{n_values(params):,} parameters, {n_values(batch_stats):,} running statistics, {head}"
    print_line(f"{arguments.out}: {checkpoint.network}, {counts}; from {weights.file}, SHA-256 {weights.sha256}")
    if pretrained.sizes:
        print_line(" ".join(f"--config.model.bert.{name}={size}" for name, size in pretrained.sizes.items()))


def _checkpoint(arguments: argparse.Namespace) -> Checkpoint:
    """Return the network to convert; those in a wheel are named by network and training data, and have their tags."""
    in_wheel, model = arguments.source.suffix == SUFFIX, arguments.model
    if (in_wheel and model not in CHECKPOINTS) or (model in CHECKPOINTS and not in_wheel):
        fitting = ", ".join(CHECKPOINTS if in_wheel else NETWORKS)
        raise UserError(f"{arguments.source} does not hold --model={model}; choose one of {fitting}, or another --from")
    if in_wheel and arguments.tags:
        raise UserError(f"--tags={arguments.tags} is for other files: {model} has tags of its own; leave it out")
    return CHECKPOINTS[model] if in_wheel else Checkpoint(model, "", arguments.tags)


def _vocabulary(name: str, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags called `name`, none if it is empty; raises UserError unless there is one for each output."""
    vocabulary = VOCABULARIES[name] if name else ()
    n_outputs = params["output"]["dense"]["bias"].size if "output" in params else 0
    if vocabulary and len(vocabulary) != n_outputs:
        raise UserError(f"--tags={name} names {len(vocabulary)} tags, and the network has {n_outputs} outputs")
    return vocabulary


def _sizes(sizes: dict[str, int], heads: int | None) -> dict[str, int]:
    """Add the number of heads, by default a head every 64 of the width.  Raises UserError if it cannot be."""
    if not sizes:
        if heads is not None:
            raise UserError(f"--heads={heads} is for BERT's encoder; leave it out")
        return {}
    heads = max(1, sizes["width"] // HEAD_WIDTH) if heads is None else heads
    if heads < 1 or sizes["width"] % heads:
        raise UserError(f"{heads} heads do not divide the width, {sizes['width']}; give --heads, num_attention_heads")
    return {**sizes, "heads": heads}


def _licence(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--licence={path} is not a text file in UTF-8 that can be read: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/convert_weights.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    networks = ", ".join((*NETWORKS, *CHECKPOINTS))
    tags = "the tags of a music tagger's outputs, which its file does not hold"
    licence = "a text to keep with the weights; musicnn's wheel has its own"
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE", help="the published file")
    parser.add_argument("--model", required=True, help=f"the network: {networks}")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--tags", choices=tuple(VOCABULARIES), default="", help=tags)
    heads = "of a BERT whose heads are not 64 wide: num_attention_heads of its config.json"
    parser.add_argument("--heads", type=int, metavar="N", help=heads)
    parser.add_argument("--licence", type=Path, metavar="FILE", help=licence)
    return parser


if __name__ == "__main__":
    run_command(main)
