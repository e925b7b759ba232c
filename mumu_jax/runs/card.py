"""The model card of an export: its data, its results, how to run it, and its limits."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.runs.folder import TrainedRun

CARD = """\
# {name}

Genres of music from {sees}: experiment `{name}` of mumu_jax, after Oramas et al. 2017 (below), with {kind} targets; all
settings are in `config.json`.

## Data

Trained on the data with the checksum `{checksum}`, which has {n_labels} genres ({some}), all in `labels.json` in the
order of the scores; {n_seen} of them occur in training. Training started from {weights}.

## Results

On the {split} split{other}; `chance` is what random scores reach:

{metrics}

## Input and output

{inputs}

Each program takes its weights and constants (a dict by the names in its `.safetensors`) and its input, for any number
of items n, and gives two float32 arrays: the scores [n, {n_labels}], {scores}; and the penultimate vectors [n, d].

## Running it

With mumu_jax, files as they are:

    python -m mumu_jax.tag --model=THIS_FOLDER PATH … --out=tags.csv

Without it, in this folder, with `pip install "jax>={jax}" flatbuffers safetensors`:

```python
import json
from pathlib import Path
import numpy as np
from jax.export import deserialize
from safetensors.numpy import load_file

def load(name):
    program, weights = deserialize(Path(f"{{name}}.stablehlo").read_bytes()), load_file(f"{{name}}.safetensors")
    return lambda *inputs: program.call(weights, *inputs)

{example}  # put yours here
{calls}
labels = [label["name"] for label in json.loads(Path("labels.json").read_bytes())]
print(sorted(zip(scores[0].tolist(), labels), reverse=True)[:5])
```

## Limits

* The programs are for CPUs and NVIDIA GPUs and compute in {precision}, whatever the device. A run that was trained on a
  GPU computes in bfloat16 there, by default: its scores and the results above differ from these by that rounding.
* It knows the genres of its data and no others, and repeats the habits of those who gave them; the scores of genres
  that are rare there mean little. Other input than the above gets scores, too, and they mean nothing.
* `model.json` holds the SHA-256 of each file and the version of JAX that made the programs ({jax}). JAX promises that
  versions up to six months newer read them; after that, export the run again.

## Citation

Sergio Oramas, Oriol Nieto, Francesco Barbieri, Xavier Serra: Multi-label music genre classification from audio, text,
and images using deep features. ISMIR 2017.

## Licence

mumu_jax is under the MIT licence. The weights were learned from the data above, whose terms, and those of any weights
that training started from, may limit what you may do with them.
"""


def card(run: TrainedRun, inputs: Inputs, evaluation: Mapping[str, Any], weights: Mapping[str, str] | None) -> str:
    """Return the text of README.md, in Markdown.

    `inputs` has the settings of the export, `evaluation` is what `evaluate` returned, and `weights` names the published
    ones that the run started from.
    """
    config, two = inputs.config, run.track is not None
    described = [one.describe(config, inputs.fitted[name]) for name, one in sorted(inputs.modalities.items())]
    text = "\n\n".join(words for words, _ in described)
    examples = [line for _, line in described]
    checksum = evaluation["data"]["checksum"]
    name = ", ".join(line.partition(" =")[0] for line in examples)
    calls = [f'scores, _ = load("album")({name})']
    if two:
        calls = [f'_, vectors = load("track")({name})', 'scores, _ = load("album")(np.mean(vectors, 0, keepdims=True))']
        text += (
            "\n\n`album`: float32 [n, d]: the mean of the vectors that `track` gives for what belongs to one album, or "
            "to one song. Its scores are the answer; those of `track` are of single inputs."
        )
    return CARD.format(
        name=config.name,
        sees=" and ".join(one.sees for one in inputs.modalities.values()),
        kind=config.target.kind,
        checksum=run.data_checksum,
        n_labels=len(run.labels),
        some=", ".join(label.name for label in run.labels[:5]) + ", …" * (len(run.labels) > 5),
        n_seen=int(run.seen.sum()),
        weights=f"the published {weights['source']} (SHA-256 {weights['sha256']})" if weights else "random weights",
        split=evaluation["split"],
        other="" if checksum == run.data_checksum else f" of other data (checksum `{checksum}`)",
        metrics=_table(evaluation),
        inputs=f"`{'track' if two else 'album'}`: {text}",
        scores=run.album.network.objective.meaning,
        example="\n".join(examples),
        calls="\n".join(calls),
        precision=config.model.precision,
        jax=version("jax"),
    )


def _table(evaluation: Mapping[str, Any]) -> str:
    """Return a table of the metrics, a row each, of albums, of tracks if there are some, and by chance."""
    levels = [level for level in ("album", "track", "chance") if level in evaluation]
    lines = [f"| | {' | '.join(levels)} |", f"|---|{'---:|' * len(levels)}"]
    for key in evaluation["album"]:
        values = [evaluation[level].get(key) for level in levels]
        cells = ["–" if value is None else f"{value:.3f}".removesuffix(".000") for value in values]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(lines)
