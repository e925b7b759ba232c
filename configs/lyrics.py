"""Networks of lyrics alone: BERT as published, fine-tuned, and a small encoder from random weights.

Of `lyrics_bert`, learning rate, batch and tokens are those of Wadhwa and Mukherjee 2021; all else is a choice.
"""

from mumu_jax.config import BertSettings, Config, ModelSettings, OptimSettings, TargetSettings, TokenSettings
from mumu_jax.experiments import Experiment, names_of

WEIGHTS, VOCABULARY = "models/bert.safetensors", "models/bert.txt"  # scripts/convert_weights.py; BERT's vocab.txt
SMALL = BertSettings(layers=2, width=128, heads=4, inner=512, n_tokens=8000)


def _bert(name: str, target: str) -> Config:
    return Config(
        name=name,
        modality="lyrics",
        tokens=TokenSettings(vocabulary=VOCABULARY),
        model=ModelSettings(family="bert", albums="mean", dropout=0.1, weights=WEIGHTS),
        target=TargetSettings(kind=target),
        optim=OptimSettings(learning_rate=5e-5, batch_size=32, max_epochs=10),
    )


def _small(name: str, target: str) -> Config:
    return Config(
        name=name,
        modality="lyrics",
        tokens=TokenSettings(n_terms=SMALL.n_tokens),
        model=ModelSettings(family="bert", albums="mean", dropout=0.1, bert=SMALL),
        target=TargetSettings(kind=target),
        optim=OptimSettings(learning_rate=1e-3, batch_size=32, max_epochs=60, patience=10),
    )


EXPERIMENTS = [
    Experiment(build(name, target))
    for stem, build in (("lyrics_bert", _bert), ("lyrics_small", _small))
    for target in ("logistic", "softmax")
    for name in names_of(stem, target, "logistic")
]
