"""The audio CNNs of Oramas et al. 2017, Table 2: {LOW, HIGH} × {3x3, 4x96, 4x70} × {logistic, cosine}."""

from mumu_jax.config import Config, DataSettings, ModelSettings, OptimSettings, TargetSettings
from mumu_jax.experiments import Experiment, Paper, names_of

TABLE_2 = [
    # width  kernel  target      params   s/epoch  AUC    C@1   C@3   C@5
    ("low", "3x3", "logistic", "0.5M", 390, 0.859, 0.14, 0.34, 0.54),
    ("high", "3x3", "logistic", "16.5M", 2280, 0.840, 0.20, 0.43, 0.69),
    ("low", "4x96", "logistic", "0.2M", 140, 0.851, 0.14, 0.32, 0.48),
    ("high", "4x96", "logistic", "5M", 260, 0.862, 0.12, 0.33, 0.48),
    ("low", "4x70", "logistic", "0.35M", 200, 0.871, 0.05, 0.16, 0.34),
    ("high", "4x70", "logistic", "7.5M", 600, 0.849, 0.08, 0.23, 0.38),
    ("low", "3x3", "cosine", "0.33M", 400, 0.864, 0.26, 0.47, 0.65),
    ("high", "3x3", "cosine", "15.5M", 2200, 0.881, 0.30, 0.54, 0.69),
    ("low", "4x96", "cosine", "0.15M", 135, 0.860, 0.19, 0.40, 0.52),
    ("high", "4x96", "cosine", "4M", 250, 0.884, 0.35, 0.59, 0.75),
    ("low", "4x70", "cosine", "0.3M", 190, 0.868, 0.26, 0.51, 0.68),
    ("high", "4x70", "cosine", "6.5M", 590, 0.888, 0.35, 0.60, 0.74),
]


def _experiment(name, width, kernel, target, params, epoch_s, roc_auc, *coverage) -> Experiment:
    dropout = 0.5 if (width, target) == ("high", "cosine") else 0.0  # section 6.1: it only helps there
    config = Config(
        name=name,
        model=ModelSettings(kernel=kernel, width=width, dropout=dropout),
        target=TargetSettings(kind=target),
    )
    return Experiment(config, Paper(params, epoch_s, roc_auc, coverage))


def _for_few_songs(name: str, target: str) -> Experiment:
    """Return LOW-4x96 for dozens or hundreds of songs, which the paper's recipe learns little from.

    Statistics over the frames take the place of positions, tracks' outputs that of an album network, and the best epoch
    is sought after a few hundred steps, not after a few epochs of two steps each.
    """
    config = Config(
        name=name,
        model=ModelSettings(kernel="4x96", width="low", dropout=0.5, pooling="statistics", albums="mean"),
        target=TargetSettings(kind=target),
        data=DataSettings(patch="random", standardise="bin"),
        optim=OptimSettings(max_epochs=1000, min_steps=400, patience_steps=100, select="roc_auc"),
    )
    return Experiment(config)


EXPERIMENTS = [
    *(_experiment(name, *row) for row in TABLE_2 for name in names_of(f"audio_{row[0]}_{row[1]}", row[2], "cosine")),
    *(
        _for_few_songs(name, target)
        for target in ("logistic", "cosine")
        for name in names_of("audio_low_4x96_small", target, "cosine")
    ),
]
