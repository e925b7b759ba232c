"""Networks of songs with their lyrics, trained jointly: Ru et al. 2023 with its ablations, and dense co-attention.

Ru et al. print the front end, the frozen BERT, λ = 0.3, batch and learning rate; sizes, stopping and dropout are
choices.  `joint_small` has the contrastive loss and the graph, in small, with an encoder of lyrics from random weights;
attention costs more than it gains with some hundred songs (`benchmarks.joint`).  `mel_five_blocks` has the song alone,
and `--config.modality=mel+image --config.model.family=joint_cross_attention` gives it a second input.
"""

from itertools import product

from mumu_jax.compression import PRESETS
from mumu_jax.config import (
    BertSettings,
    Config,
    DataSettings,
    FusionSettings,
    JointSettings,
    ModelSettings,
    OptimSettings,
    TargetSettings,
    TokenSettings,
)
from mumu_jax.experiments import Experiment, names_of

BERT, VOCABULARY = "models/bert.safetensors", "models/bert.txt"  # scripts/convert_weights.py; BERT's vocab.txt
RU = OptimSettings(learning_rate=1e-4, batch_size=16, max_epochs=200, patience=20, decay_epochs=50, decay_factor=0.5)
# Nguyen and Okatani 2018.  Their weight decay of 1e-4 is left out: it stands beside a sum over batch and answers, and
# as much beside our mean would be next to nothing.
COATTENTION = OptimSettings(batch_size=48, max_epochs=16, patience=16, decay_epochs=7, decay_factor=0.5)
SMALL = BertSettings(layers=2, width=128, heads=4, inner=512, n_tokens=8000)
SMALL_OPTIM = OptimSettings(learning_rate=1e-3, batch_size=16, max_epochs=60, patience=10)


def _experiment(
    name: str, family: str, joint: JointSettings, optim: OptimSettings, head: str = "dense", dropout: float = 0.0
) -> Config:
    return Config(
        name=name,
        modality="mel+lyrics",
        mel=PRESETS["ru"],
        tokens=TokenSettings(vocabulary=VOCABULARY),
        data=DataSettings(patches=1),  # the first 30 s
        model=ModelSettings(
            family=family, albums="mean", dropout=dropout, weights=BERT, bert=BertSettings(frozen=True), joint=joint
        ),
        target=TargetSettings(kind="logistic", head=head),
        optim=optim,
    )


def _small(config: Config) -> Config:
    config.tokens = TokenSettings(n_terms=SMALL.n_tokens)
    config.model.weights, config.model.bert, config.model.width_divisor = "", SMALL, 4
    config.model.joint.contrast, config.model.dropout = 0.1, 0.1
    config.optim = SMALL_OPTIM
    return config


def ablations() -> dict[str, tuple[bool, bool, bool]]:
    """Return if the contrastive loss, attention and the graph are on, by the names of Ru et al.'s eight systems."""
    names = {}
    for parts in product((False, True), repeat=3):
        on = [name for name, is_on in zip(("contrast", "attention", "graph"), parts, strict=True) if is_on]
        names["cross_attention" if all(parts) else "_".join(on) or "concatenated"] = parts
    return names


def _of_ru(name: str, contrast: bool, attention: bool, graph: bool) -> Config:
    joint = JointSettings(contrast=0.3 if contrast else 0.0, attention=attention)
    return _experiment(name, "joint_cross_attention", joint, RU, "graph" if graph else "dense")


def _song(name: str) -> Config:
    """Return the network of the song alone, with the same five blocks."""
    return Config(
        name=name,
        modality="mel",
        mel=PRESETS["ru"],
        data=DataSettings(patches=1),
        model=ModelSettings(family="five_blocks", albums="mean"),
        target=TargetSettings(kind="logistic"),
        optim=RU,
    )


def _fusion(name: str) -> Config:
    """Return the late fusion of both, as the paper's fusions."""
    model, fusion = ModelSettings(family="shallow"), FusionSettings(modalities="mel+lyrics")
    return Config(name=name, modality="fusion", fusion=fusion, model=model, target=TargetSettings(kind="logistic"))


EXPERIMENTS = [
    *(
        Experiment(_of_ru(name, *parts))
        for ablation, parts in ablations().items()
        for name in names_of(f"joint_{ablation}", "logistic", "logistic")
    ),
    *(
        Experiment(_small(_of_ru(name, contrast=True, attention=False, graph=True)))
        for name in names_of("joint_small", "logistic", "logistic")
    ),
    *(Experiment(_fusion(name)) for name in names_of("fusion_mel_lyrics", "logistic", "logistic")),
    *(Experiment(_song(name)) for name in names_of("mel_five_blocks", "logistic", "logistic")),
    *(
        Experiment(_experiment(name, "joint_coattention", JointSettings(width=1024, heads=4), COATTENTION, dropout=0.3))
        for name in names_of("joint_coattention", "logistic", "logistic")
    ),
]
