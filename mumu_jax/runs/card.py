"""The model card of an export: what it is, of what data, how good it is, how to run it, and what not to expect."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mumu_jax.runs.folder import TrainedRun
from mumu_jax.runs.inputs import Inputs

SCORES = {
    "cosine": "cosines between an item's vector and each genre's, from −1 to 1; the order counts, they are no shares",
    "logistic": "a probability for each genre, apart from the others",
    "softmax": "probabilities of the one genre of an album, which sum to 1",
}
SEES = {
    "audio": "songs",
    "text": "reviews and other texts",
    "timbre": "the timbre statistics of songs",
    "image": "album covers",
    "fusion": "several kinds of input at once, each seen by a model of its own",
}
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
    """README.md, in Markdown.

    `inputs` has the settings of the export, `evaluation` is what `evaluate` found, and `weights` says which published
    ones the run started from.
    """
    config, two = inputs.config, run.track is not None
    text, example = _describe(inputs)
    checksum = evaluation["data"]["checksum"]
    name = example.partition(" =")[0]
    calls = [f'scores, _ = load("album")({name})']
    if two:
        calls = [f'_, vectors = load("track")({name})', 'scores, _ = load("album")(np.mean(vectors, 0, keepdims=True))']
        text += (
            "\n\n`album`: float32 [n, d]: the mean of the vectors that `track` gives for what belongs to one album, or "
            "to one song. Its scores are the answer; those of `track` are of single inputs."
        )
    return CARD.format(
        name=config.name,
        sees=SEES[config.modality],
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
        scores=SCORES[config.target.kind],
        example=example,
        calls="\n".join(calls),
        precision=config.model.precision,
        jax=version("jax"),
    )


def _table(evaluation: Mapping[str, Any]) -> str:
    """The metrics, a row each, of albums, of tracks where there are some, and by chance."""
    levels = [level for level in ("album", "track", "chance") if level in evaluation]
    lines = [f"| | {' | '.join(levels)} |", f"|---|{'---:|' * len(levels)}"]
    for key in evaluation["album"]:
        values = [evaluation[level].get(key) for level in levels]
        cells = ["–" if value is None else f"{value:.3f}".removesuffix(".000") for value in values]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _describe(inputs: Inputs) -> tuple[str, str]:
    """(the input of the network that sees the items, in plain words; a line of Python that makes an example)."""
    config = inputs.config
    if config.modality == "audio":
        audio, shape = config.audio, f"{config.audio.patch_frames}, {config.audio.n_bins}"
        return (
            f"float16 [n, {shape}]: patches of {audio.patch_frames * audio.hop_length / audio.sr_hz:.1f} s, frames × "
            f"bins: the constant-Q transform of mono audio at {audio.sr_hz:,} Hz, a frame each {audio.hop_length:,} "
            f"samples, {audio.n_bins} bins, {audio.bins_per_octave} an octave, from {audio.fmin_hz:.2f} Hz; magnitudes "
            f"in dB below the largest of the {audio.excerpt_s:g} s around it, at least {audio.floor_db:g}, which also "
            "fills what is too short."
        ), f"patches = np.full((3, {shape}), {audio.floor_db:g}, np.float16)"
    if config.modality == "text":
        more = ", and `category:NAME` for those of the entities in it" if config.tfidf.categories else ""
        return (
            "two arrays, int32 [n, m] and float32 [n, m]: of each text the places of its terms in `vocabulary.json` "
            "and their tf-idf, (1 + ln count) · idf, divided by the row's length; rows of fewer than m terms end with "
            f"zeros. Terms are the words of the first {config.text.max_chars:,} characters (lower case, two letters or "
            f"more{more})."
        ), "columns, values = np.array([[0, 1, 2, 0]], np.int32), np.array([[0.6, 0.6, 0.5, 0]], np.float32)"
    if config.modality == "image":
        side = config.image.side_px
        return (
            f"uint8 [n, {side}, {side}, 3]: covers as RGB, 0 to 255, rows from the top: the centre square, scaled to "
            f"{side} pixels a side (bicubic, antialiased). The program takes the centre and standardises it."
        ), f"covers = np.full((2, {side}, {side}, 3), 128, np.uint8)"
    if config.modality == "timbre":
        return (
            "float32 [n, 48]: of each track the mean, maximum, variance and l2 norm over its segments, 12 numbers "
            "each, of the 12 timbre coefficients of the Million Song Dataset (`analysis/segments_timbre`)."
        ), "timbre = np.zeros((3, 48), np.float32)"
    widths = [f"{name} ({width})" for name, width in zip(config.fusion.names, inputs.widths, strict=True)]
    return (
        f"float32 [n, {sum(inputs.widths)}]: the penultimate vectors of the models in `sources/` (each has its own "
        f"card), {', '.join(widths)}, in this order side by side, each divided by its length; of songs the mean over "
        "the patches, before that. "
        + ("Zeros stand for one that is missing." if config.fusion.missing == "mask" else "None may be missing.")
    ), f"vectors = np.full((2, {sum(inputs.widths)}), 0.01, np.float32)"
