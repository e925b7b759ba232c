"""The model card of an export, `card.md.j2`: its data, its results, how to run it, and its limits."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.runs.folder import TrainedRun

TEMPLATE = Path(__file__).with_name("card.md.j2")


def card(
    run: TrainedRun,
    inputs: Inputs,
    evaluation: Mapping[str, Any],
    weights: Mapping[str, str] | None,
    calibrated: bool,
) -> str:
    """Return the text of README.md, in Markdown.

    `inputs` has the settings of the export, `evaluation` is what `evaluate` returned, and `weights` names the published
    ones that the run started from; `calibrated` tells if it has thresholds.
    """
    modalities = sorted(inputs.modalities.items())
    described = [modality.describe(inputs.config, inputs.fitted[name]) for name, modality in modalities]
    template = jinja2.Template(
        TEMPLATE.read_text(encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return template.render(
        run=run,
        config=inputs.config,
        evaluation=evaluation,
        weights=weights,
        calibrated=calibrated,
        sees=" and ".join(modality.sees for modality in inputs.modalities.values()),
        levels=[level for level in ("album", "track", "baseline", "chance") if level in evaluation],
        cell=_cell,
        described=[words for words, _ in described],
        examples=[example for _, example in described],
        names=", ".join(example.partition(" =")[0] for _, example in described),
        jax=version("jax"),
    )


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".removesuffix(".000")
