"""The multiframe system's results: songs by pieces, by descriptors, and by both (Wadhwa and Mukherjee 2021).

What they print has two origins that can be traced: Jiménez and José's multiframe network, and Bahuleyan's
descriptors (arXiv 1804.01149).  The rest is claimed without data, code or a log.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mumu_jax.config import Config
from mumu_jax.reports.tables.base import Job
from mumu_jax.reports.tables.comparison import Comparison, Line, columns_of
from mumu_jax.reports.tables.plan import training_job
from mumu_jax.runs.estimators import ESTIMATORS

METRICS = ("accuracy_at_1", "f1_macro", "roc_auc_macro")
CNN, CRNN, BOOSTED, TEXT = (
    "mel_multiframe_cnn_shares",
    "mel_multiframe_crnn_shares",
    "descriptors_boosted_softmax",
    "text_vsm_softmax",
)
# Means of the scores of other rows' runs.
ENSEMBLES = {
    "ensemble_boosted_cnn": (BOOSTED, CNN),
    "ensemble_boosted_crnn": (BOOSTED, CRNN),
    "ensemble_boosted_text": (BOOSTED, TEXT),
    "ensemble_crnn_text": (CRNN, TEXT),
    "ensemble_songs": (BOOSTED, CNN, CRNN),
    "ensemble_all": (BOOSTED, CNN, CRNN, TEXT),
}

BAHULEYAN = "Bahuleyan 2018"
OTHER_CLIPS = "not comparable: 2,027 test clips of 10 s, 7 classes of AudioSet"
SCALER = f"{OTHER_CLIPS}; its scaler had seen the test clips"
JIMENEZ = "Jiménez and José"
LEAK = (
    "not comparable: 100 test songs of their own in 10 genres, which also chose the weights; from Choi's weights, ours "
    "from random ones"
)
WADHWA = "Wadhwa and Mukherjee 2021"
CLAIMED = (
    "not comparable: claimed of 300 songs that are not public, without a log; their text network is BERT on lyrics"
)
PICTURES = f"{OTHER_CLIPS}; their CNN is VGG-16 on pictures of spectrograms"


def _published(accuracy: float, f1: float | None = None, auc: float | None = None) -> Mapping[str, float]:
    numbers = zip(METRICS, (accuracy, f1, auc), strict=True)
    return {metric: value for metric, value in numbers if value is not None}


class Multiframe(Comparison):
    """Single-label classification by descriptors, by pieces of songs, by text, and by means of these."""

    name, title, axis = "multiframe", "Multiframe table", "top-1 accuracy"
    about = "descriptors, pieces of songs and their ensembles, of data with one genre an album"
    source = "the sources named in the notes"
    caption = "Descriptors, pieces of songs and ensembles, test split: ours, each beside what was published"
    single_label, seeds = True, 3
    metrics = METRICS
    columns = columns_of(METRICS)
    width = 112
    lines = (
        Line("descriptors_linear", "logistic regression", "album", _published(0.53, 0.47, 0.822), BAHULEYAN, SCALER),
        Line("descriptors_forest", "random forest", "album", _published(0.54, 0.48, 0.840), BAHULEYAN, OTHER_CLIPS),
        Line("descriptors_svm", "support vector machine", "album", _published(0.57, 0.52, 0.856), BAHULEYAN, SCALER),
        Line(BOOSTED, "boosted trees", "album", _published(0.59, 0.55, 0.865), BAHULEYAN, OTHER_CLIPS),
        Line(CRNN, "CRNN: pieces", "patch", _published(0.7789), JIMENEZ, LEAK),
        Line(CRNN, "CRNN: songs by mean share", "track_shares", _published(0.82), JIMENEZ, LEAK),
        Line(CRNN, "CRNN: songs by vote", "track_votes", _published(0.824), WADHWA, CLAIMED),
        Line(CNN, "CNN: pieces", "patch"),
        Line(CNN, "CNN: songs by mean share", "track_shares"),
        Line(CNN, "CNN: songs by vote", "track_votes"),
        Line(TEXT, "text", "album", _published(0.865), WADHWA, CLAIMED),
        Line("ensemble_boosted_cnn", "trees + CNN", "album", _published(0.65, 0.62, 0.894), BAHULEYAN, PICTURES),
        Line("ensemble_boosted_crnn", "trees + CRNN"),
        Line("ensemble_songs", "trees + CNN + CRNN"),
        Line("ensemble_crnn_text", "CRNN + text", "album", _published(0.8456), WADHWA, CLAIMED),
        Line("ensemble_boosted_text", "trees + text", "album", _published(0.8735), WADHWA, CLAIMED),
        Line("ensemble_all", "trees + CNN + CRNN + text"),
    )
    # Of few songs, in small batches.
    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "paper": {},
        "smoke": {
            CNN: {"model.width_divisor": 4, "optim.batch_size": 10, "optim.max_epochs": 20},
            CRNN: {
                "model.width_divisor": 4,
                "optim.batch_size": 10,
                "optim.learning_rate": 2e-3,
            },
        },
    }

    def jobs(self, data_dir: Path) -> dict[str, Job]:
        """Return the estimators, experiments and ensembles."""
        sees = {"descriptors": Config().descriptors}
        estimators = {
            f"descriptors_{name}": Job("estimators", sees, flags=(f"--estimator={name}", "--modality=descriptors"))
            for name in ESTIMATORS
        }
        experiments = {name: training_job(name) for name in (BOOSTED, CNN, CRNN, TEXT)}
        ensembles = {
            name: Job("ensemble", {}, joins={member: member for member in members})
            for name, members in ENSEMBLES.items()
        }
        return {**estimators, **experiments, **ensembles}


MULTIFRAME = Multiframe()
