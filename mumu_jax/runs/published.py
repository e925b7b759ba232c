"""Published networks that tag songs without training: a scorer of converted weights, its genres and its priors."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mumu_jax.compression import PRESETS
from mumu_jax.compute.network import Constants, Standardisation, item_network
from mumu_jax.config import Config
from mumu_jax.data.manifest import Label
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.mel import differences_from
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.head import output_layer
from mumu_jax.runs.folder import Trained
from mumu_jax.runs.ranking import Ranking
from mumu_jax.runs.scorer import Scorer, scorer_of_songs
from mumu_jax.system.files import sha256_of
from mumu_jax.training.weights import Pretrained, load_for, load_pretrained

# The tags that are genres in the vocabularies of Last.fm (MSD), MagnaTagATune and MTG-Jamendo, as `plain` has them.
GENRES = """
alternative alternativerock ambient atmospheric blues chillout choral classic classical classicrock country dance
downtempo easylistening electro electronic electronica experimental folk funk hardrock heavymetal hiphop house indian
indie indiepop indierock instrumentalpop jazz lounge metal newage opera orchestral pop popfolk poprock progressiverock
punk reggae rnb rock soul soundtrack techno trance triphop world
"""
IS_GENRE = frozenset(GENRES.split())
# Genres that a listener may expect of any vocabulary.
COMMON = """
blues classical country disco electronic folk gospel hip-hop jazz latin metal pop reggae rock soul soundtrack techno
world
"""


def plain(tag: str) -> str:
    """Return what spellings of a tag have in common: Hip-Hop, hip hop and hiphop."""
    return "".join(filter(str.isalnum, tag.casefold()))


def open_published(path: Path) -> Scorer:
    """Open the converted weights of a published tagging network, ready to score.  Raises UserError on other files."""
    pretrained = load_tagger(path)
    labels, config = [Label(tag) for tag in pretrained.vocabulary], config_of(pretrained)
    names = (f"{pretrained.model}-{sha256_of(path)[:12]}",)
    track = trained_of(pretrained, config, len(labels))
    scorer = scorer_of_songs(names, labels, Inputs.unfitted(config), track)
    return replace(scorer, ranking=_ranking_of(pretrained))


def load_tagger(path: Path) -> Pretrained:
    """Load converted weights that have tags.  Raises UserError on other files."""
    pretrained = load_pretrained(path)
    if not pretrained.vocabulary:
        raise UserError(
            f"{path} holds the weights of {pretrained.model}, which knows no genres; train with "
            f"--config.model.weights={path}, then tag with the run"
        )
    return pretrained


def trained_of(pretrained: Pretrained, config: Config, n_labels: int) -> Trained:
    """Return the network with what it needs to run: it standardises its input itself."""
    constants = Constants({"mel": Standardisation(np.float32(0), np.float32(1))}, {})
    return Trained(item_network(config, n_labels, {}), pretrained.variables, constants)


def check_front_end(config: Config) -> None:
    """Raise UserError if `config.model.weights` learned from other mel spectrograms than the experiment sees."""
    if not (config.model.weights and "mel" in config.inputs):
        return
    preset = load_for(config.model).front_end
    if preset and (differences := differences_from(preset, config.mel)):  # an encoder of texts has none
        raise UserError(
            f"config.model.weights={config.model.weights} has learned from mel spectrograms of the preset {preset!r}, "
            f"and this experiment sees others: {', '.join(differences)}; leave out these settings, or the weights"
        )


def config_of(pretrained: Pretrained) -> Config:
    """Return the settings of the network's input and of the network."""
    family = pretrained.model.removesuffix("_big")
    config = load_config(f"mel_{family}")
    model = replace(config.model, width="low" if pretrained.model == family else "high")
    mel = replace(PRESETS[pretrained.front_end], patch_frames=config.mel.patch_frames)
    return replace(config, mel=mel, model=model)


def _ranking_of(pretrained: Pretrained) -> Ranking:
    is_genre = np.array([plain(tag) in IS_GENRE for tag in pretrained.vocabulary])
    return Ranking(is_genre, np.asarray(output_layer(pretrained.params)["dense"]["bias"]))


def remark_on(name: str, labels: Sequence[Label], ranking: Ranking) -> str:
    """Say in one line how many genres a published vocabulary has, which common ones it lacks, and how it ranks."""
    names = {plain(label.name) for label in labels}
    missing = [genre for genre in COMMON.split() if plain(genre) not in names]
    lacking = f" (not among them: {', '.join(missing)})" if missing else ""
    n_genres = int(ranking.is_genre.sum())
    return f"{name}: {n_genres} genres{lacking}, ranked by how far their probability is above what is usual"
