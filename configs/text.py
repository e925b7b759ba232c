"""The text networks of Oramas et al. 2017, Table 2: {VSM, VSM+SEM} × {logistic, cosine}; and of one genre an album."""

from mumu_jax.config import Config, ModelSettings, TargetSettings, TfidfSettings
from mumu_jax.experiments import Experiment, Paper, names_of

TABLE_2 = [
    # variant   target      params  s/epoch  AUC   C@1   C@3   C@5
    ("vsm", "logistic", "25M", 11, 0.905, 0.08, 0.20, 0.37),
    ("vsm_sem", "logistic", "25M", 11, 0.916, 0.10, 0.25, 0.44),
    ("vsm", "cosine", "25M", 11, 0.901, 0.53, 0.44, 0.90),  # as printed: C@1 cannot be above C@3
    ("vsm_sem", "cosine", "25M", 11, 0.917, 0.42, 0.70, 0.85),
]


def _config(name: str, variant: str, target: str) -> Config:
    return Config(
        name=name,
        modality="text",
        tfidf=TfidfSettings(categories=variant == "vsm_sem"),
        model=ModelSettings(family="mlp", dropout=0.5),
        target=TargetSettings(kind=target),
    )


EXPERIMENTS = [
    *(
        Experiment(_config(name, *row[:2]), Paper(*row[2:5], row[5:]))
        for row in TABLE_2
        for name in names_of(f"text_{row[0]}", row[1], "cosine")
    ),
    Experiment(_config("text_vsm_softmax", "vsm", "softmax")),
]
