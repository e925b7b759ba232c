"""Networks of audio tagging on mel spectrograms: Pons et al. 2018 (musicnn), Won et al. 2020 and Choi et al. 2017.

Choi's are also those of the multiframe system (Jiménez and José): trained on pieces of 29 s from all of a song, which
is scored by all its pieces.  There every piece of a song is in every epoch, here a random one.

A track's scores are the mean over 16 patches (of musicnn as published 10, of multiframe networks 8), or of one if it is
nearly as long as an excerpt; an album's are the mean over its tracks.  Optimizers are the papers'.  Early stopping is
our own; Won's networks do without it.
"""

from dataclasses import replace
from typing import Any

from mumu_jax.compression import PRESETS
from mumu_jax.config import Config, DataSettings, ModelSettings, OptimSettings, TargetSettings
from mumu_jax.experiments import Experiment, names_of

MSD, MTT = (f"models/musicnn_{vocabulary}.safetensors" for vocabulary in ("msd", "mtt"))  # scripts/pretrained
LONG = replace(PRESETS["won"], patch_frames=1813)  # 29 s
PONS = OptimSettings(learning_rate=1e-3, batch_size=32, max_epochs=600, patience=20)
WON = OptimSettings(
    learning_rate=1e-4,
    weight_decay=1e-4,
    batch_size=16,
    max_epochs=200,
    patience=200,
    later="sgd:1e-3@40%,sgd:1e-4@50%,sgd:1e-5@60%",
)
CHOI = OptimSettings(learning_rate=1e-3, batch_size=32, max_epochs=200, patience=20)
MULTIFRAME = OptimSettings(learning_rate=1e-3, batch_size=100, max_epochs=40, patience=40)
NETWORKS = [
    # family           mel                optimizer  dropout
    ("musicnn", PRESETS["musicnn"], PONS, 0.5),
    ("vgg", PRESETS["musicnn"], PONS, 0.5),
    ("musicnn_won", PRESETS["won"], WON, 0.5),
    ("fcn", LONG, WON, 0.5),
    ("crnn", LONG, WON, 0.5),
    ("short_chunk", PRESETS["won128"], WON, 0.5),
    ("short_chunk_residual", PRESETS["won128"], WON, 0.5),
    ("cnn_choi", PRESETS["choi"], CHOI, 0.0),
    ("crnn_choi", PRESETS["choi"], CHOI, 0.3),
]


def _experiment(name, target, family, mel, optim, dropout) -> Experiment:
    sizes: Any = {"width": "low"} if family.startswith("musicnn") else {}
    config = Config(
        name=name,
        modality="mel",
        mel=mel,
        data=DataSettings(patch="random", patches=1 if mel is LONG else 16),
        model=ModelSettings(family=family, albums="mean", dropout=dropout, **sizes),
        target=TargetSettings(kind=target),
        optim=optim,
    )
    return Experiment(config)


def _multiframe(name: str, target: str, family: str, dropout: float) -> Experiment:
    """Return a network of 29.12 s at a time; a song is scored by 8 pieces, about as many as their songs had."""
    config = _experiment(name, target, family, PRESETS["choi"], MULTIFRAME, dropout).config
    config.data = DataSettings(patch="random", patches=8)
    return Experiment(config)


def _pretrained(name: str, target: str, weights: str) -> Experiment:
    """Return musicnn as published, of which a new output layer trains: good from a handful of songs a genre.

    MSD's weights have heard songs of the Million Song Dataset, as MuMu's are; MTT's those of MagnaTagATune.
    """
    config = _experiment(name, target, *NETWORKS[0]).config
    config.model = replace(config.model, weights=weights, trainable="^output/")
    config.data = DataSettings(patches=10)  # as many as 30 s have
    config.optim = OptimSettings(max_epochs=1000, min_steps=200, patience_steps=100)
    return Experiment(config)


EXPERIMENTS = [
    *(
        _pretrained(name, target, MSD)
        for target in ("logistic", "cosine", "softmax")
        for name in names_of("audio_musicnn", target, "logistic")
    ),
    *(_pretrained(name, "logistic", MTT) for name in names_of("audio_musicnn_mtt", "logistic", "logistic")),
    *(
        _experiment(name, target, *row)
        for row in NETWORKS
        for target in ("logistic", *(["cosine"] if row[0] == "musicnn" else []))
        for name in names_of(f"mel_{row[0]}", target, "logistic")
    ),
    *(
        _multiframe(name, target, family, dropout)
        for family, dropout in (("cnn_choi", 0.0), ("crnn_choi", 0.3))
        for target in ("shares", "logistic")
        for name in names_of(f"mel_multiframe_{family.removesuffix('_choi')}", target, "shares")
    ),
]
