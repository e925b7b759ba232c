"""Settings: the command line, JSON, and what is said of mistakes."""

import dataclasses
import json
from pathlib import Path

import pytest

from mumu_jax.config import Config
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config, load_experiments
from mumu_jax.fields import flatten, from_json, validate
from mumu_jax.models.registry import FAMILIES
from mumu_jax.runs.flags import parse_flags
from mumu_jax.runs.settings import check_network, check_settings

NAME = "--config=audio_low_4x96"


def test_bare_names_are_the_papers_best_target():
    names = set(load_experiments())
    for kernel in ("3x3", "4x96", "4x70"):
        for width in ("low", "high"):
            stem = f"audio_{width}_{kernel}"
            assert {stem, f"{stem}_cosine", f"{stem}_logistic"} <= names
            bare, full = load_config(stem), load_config(f"{stem}_cosine")
            assert dataclasses.replace(bare, name="") == dataclasses.replace(full, name="")
    others = {
        "audio_low_4x96_small": "cosine",
        "text_vsm": "cosine",
        "text_vsm_sem": "cosine",
        "timbre_mlp": "logistic",
        "descriptors_mlp": "logistic",
        "image_resnet101": "logistic",
    }
    others |= {"audio_musicnn": "logistic", "mel_musicnn": "logistic"}
    others |= dict.fromkeys(("fusion_at", "fusion_ai", "fusion_ti", "fusion_ati"), "cosine")
    for stem, target in others.items():
        assert {stem, f"{stem}_cosine", f"{stem}_logistic"} <= names
        bare, full = load_config(stem), load_config(f"{stem}_{target}")
        assert dataclasses.replace(bare, name="") == dataclasses.replace(full, name="")
    tagging = ("vgg", "musicnn_won", "fcn", "crnn", "short_chunk", "short_chunk_residual", "cnn_choi", "crnn_choi")
    for stem in (f"mel_{one}" for one in tagging):
        assert load_config(stem) == dataclasses.replace(load_config(f"{stem}_logistic"), name=stem)
    for stem in ("descriptors_boosted", "timbre_boosted", "fusion_boosted"):
        assert load_config(stem) == dataclasses.replace(load_config(f"{stem}_logistic"), name=stem)
        assert load_config(f"{stem}_softmax").target.kind == "softmax"
    for stem in ("mel_multiframe_cnn", "mel_multiframe_crnn"):
        assert load_config(stem) == dataclasses.replace(load_config(f"{stem}_shares"), name=stem)
    for stem in ("lyrics_bert", "lyrics_small", "mel_five_blocks", "fusion_mel_lyrics", "joint_cross_attention"):
        assert load_config(stem) == dataclasses.replace(load_config(f"{stem}_logistic"), name=stem)
    n_joint = 2 * (8 + 2)
    assert len(names) == 48 + 1 + 4 + 4 + 5 + 2 * len(tagging) + 3 * 3 + 2 * 3 + 2 * 3 + 2 + 2 + n_joint


@pytest.mark.parametrize("name", load_experiments())
def test_every_experiment_resolves_and_round_trips(name):
    check_settings(load_config(name))
    config = load_config(name)
    validate(config)
    assert config.name == name
    assert from_json(Config, json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_defaults_are_the_papers():
    adam = load_config("audio_high_4x70").optim
    assert (adam.algorithm, adam.learning_rate, adam.b1, adam.b2, adam.eps) == ("adam", 1e-3, 0.9, 0.999, 1e-8)
    assert (adam.batch_size, adam.max_epochs, adam.patience, adam.decay_epochs) == (32, 100, 4, 0)
    sgd = load_config("image_resnet101").optim
    assert (sgd.algorithm, sgd.learning_rate, sgd.momentum, sgd.weight_decay) == ("sgd", 1e-4, 0.9, 1e-4)
    assert (sgd.batch_size, sgd.max_epochs, sgd.patience, sgd.decay_epochs) == (50, 100, 4, 0)


def test_overrides_are_typed_and_leave_the_table_alone():
    flags = parse_flags(["--config.optim.learning_rate=3e-4", "--config.seed=7", "--data_dir=D", NAME])
    assert (flags.config.optim.learning_rate, flags.config.seed, flags.data_dir) == (3e-4, 7, "D")
    assert load_config("audio_low_4x96").seed == 0


def test_runs_are_named_in_either_form_and_any_order():  # 34
    expected = {"audio": Path("a"), "text": Path("t")}
    for arguments in (["--runs=text=t,audio=a"], ["--runs", "audio=a,text=t"], ["--features=audio=a,text=t"]):
        flags = parse_flags([*arguments, "--config=fusion_at"])
        assert list(flags.runs.items()) == list(expected.items())


def test_settings_of_the_track_network_alone_are_noted():  # 35
    note = parse_flags([NAME, "--config.optim.max_epochs=2", "--config.optim.b1", "0.8"]).note
    assert note == (
        "config.optim is the track network's; the album network has b1=0.9, max_epochs=100 "
        "(--config.album_optim.b1=0.8 --config.album_optim.max_epochs=2 changes that)"
    )
    for arguments in (
        [NAME, "--config.optim.max_epochs=2", "--config.album_optim.max_epochs=3"],
        [NAME, "--config.optim.max_epochs=100"],
        ["--config=text_vsm", "--config.optim.max_epochs=2"],  # has one network
        ["--config=joint_small", "--config.optim.max_epochs=2"],
        [NAME],
        ["--list"],
    ):
        assert parse_flags(arguments).note == ""


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--config=audio_low_4x9"], ["'audio_low_4x9'", "did you mean 'audio_low_4x96'", "--list"]),
        ([NAME, "--config.optim.learnig_rate=1"], ["'optim.learnig_rate'", "did you mean config.optim.learning_rate"]),
        ([NAME, "--max_epochs=3"], ["no option --max_epochs", "did you mean --config.optim.max_epochs?"]),
        ([NAME, "--config.optim.zzz=1"], ["'optim.zzz'", "optim.batch_size"]),
        ([NAME, "--config.optim.batch_size=many"], ["batch_size", "many"]),
        ([NAME, "--config.optim.batch_size=0"], ["config.optim.batch_size is 0", "above 0"]),
        ([NAME, "--config.audio.cqt=librosa"], ["config.audio.cqt", "'librosa'", "'librosa-0.11', 'librosa-1.0'"]),
        ([NAME, "--config.model.dropout=1"], ["config.model.dropout", "below 1"]),
        (["--config=text_vsm", "--config.model.family=shallow"], ["family is 'shallow'", "'text'; choose 'mlp'"]),
        (
            [NAME, "--config.optim.momentum=0.5"],
            ["momentum=0.5 has no effect", "only optim.algorithm 'sgd'"],
        ),
        ([NAME, "--config.optim.later=sgd:1e-3@40"], ["optim.later: 'sgd:1e-3@40' is not a stage", "'sgd:0.001@40%'"]),
        ([NAME, "--config.optim.later=sgd:0@40%"], ["'sgd:0@40%' is not a stage such as"]),
        ([NAME, "--config.optim.later=sgd:1e-3@100%"], ["'sgd:1e-3@100%' is not a stage such as"]),
        ([NAME, "--config.optim.later=sgd:1e-3@40%,adam:1e-4@20%"], ["is not in order; sort the stages"]),
        (
            [NAME, "--config.optim.later=sgd:1e-3@40%", "--config.optim.decay_epochs=3"],
            [
                "later='sgd:1e-3@40%' and config.optim.decay_epochs=3",
                "--config.optim.later= or --config.optim.decay_epochs=0",
            ],
        ),
        ([NAME, "--config.optim.later=sgd:1e400@40%"], ["'sgd:1e400@40%' is not a stage such as"]),
        ([NAME, "--config.optim.later=sgd:1e-3@40%,"], ["'' is not a stage such as"]),
        ([NAME, "--config.optim.max_epochs=1", "--config.optim.later=sgd:1e-3@50%,adam:1e-4@40%"], ["is not in order"]),
        (
            [NAME, "--config.model.trainable=("],
            ["config.model.trainable is '('", "not a regular", "correct it"],
        ),
        (["--config=image_resnet101", "--config.model.depth=99"], ["config.model.depth is 99", "10, 14, 18, 34"]),
        (["--config=image_resnet101", "--config.augment.max_aspect=0.5"], ["max_aspect is 0.5", "at least 1"]),
        (
            ["--config=text_vsm", "--config.data.patch=random"],
            ["patch='random' has no effect on text_vsm", "only modality 'audio'"],
        ),
        ([NAME, "--config.modality=timbre"], ["family is 'cnn'", "choose 'shallow' or 'trees', or another experiment"]),
        (["--config=text_vsm", "--config.model.depth=50"], ["model.depth=50 has no effect", "model.family 'resnet'"]),
        (["--config=text_vsm", "--config.audio.n_bins=84"], ["audio.n_bins=84 has no effect", "modality 'audio'"]),
        (["--config=text_vsm", "--config.album_optim.patience=9"], ["album_optim.patience=9", "a modality of tracks"]),
        (["--config=text_vsm_logistic", "--config.target.n_factors=9"], ["n_factors=9", "only target.kind 'cosine'"]),
        ([NAME, "--config.target.kind=sigmoid"], ["target.kind is 'sigmoid'", "'logistic'"]),
        ([NAME, "--config.modality=audio+smell"], ["config.modality is 'audio+smell'", "'timbre'"]),
        ([NAME, "--workdri=x"], ["workdri", "workdir"]),
        ([NAME, "--runs=audio=x"], ["--runs is for a fusion", "sees audio", "leave it out"]),
        (["--config=fusion_at", "--runs=audio=x"], ["'audio=x'", "joins audio, text", "audio=RUN,text=RUN"]),
        (["--config=fusion_at", "--runs=audio=x,txt=y"], ["'audio=x,txt=y'", "audio=RUN,text=RUN"]),
        (["--config=fusion_at", "--runs=audio=x,text="], ["'audio=x,text='", "audio=RUN,text=RUN"]),
        (["--config=fusion_at", "--runs=audio=x,text=y,text=z"], ["audio=RUN,text=RUN"]),
        (["--config=fusion_at", "--config.fusion.missing=guess"], ["missing is 'guess'", "'drop', 'mask'"]),
        ([NAME, "stray"], ["'stray'", "--name=value"]),
        ([], ["--config=NAME", "--list"]),
    ],
)
def test_mistakes_are_named(arguments, fragments):  # 33
    with pytest.raises(UserError) as caught:
        parse_flags(arguments)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_lists_every_field_with_the_experiments_values(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse_flags(["--help", NAME, "--config.optim.max_epochs=7"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    sentences = " ".join(printed.partition("fields of audio_low_4x96")[2].split())
    config = load_config("audio_low_4x96")
    config.optim.max_epochs = 7
    for field, value in flatten(config).items():
        assert f"--config.{field}={value}" in sentences
    for text in (
        "--config.model.kernel=4x96 frames × bins [4x70, 4x96, 3x3]",
        "--config.optim.select=loss what a gain is: a smaller loss, or a larger ROC-AUC [loss, roc_auc]",
        "--config.target.head=dense graph: the last layer's weights are those",  # the comment is above the field
        "--config.model.family=cnn the kind of network [",  # those that see audio, by the registry
        "--config.augment: Random changes of images in training",
        "--config.album_optim: training of the album network",
        "its fields are those of --config.optim",
    ):
        assert text in sentences
    assert "vit_b16" not in sentences


def test_json_with_an_unknown_field():
    with pytest.raises(UserError, match=r"config\.optim has no field 'warmth'"):
        from_json(Config, {"optim": {"warmth": 0.9}})


def test_the_config_of_a_run_from_before_the_cqts_form_was_a_setting():
    tree = dataclasses.asdict(Config())
    del tree["audio"]["cqt"]
    assert from_json(Config, tree) == Config()
    assert Config().audio.cqt == "librosa-0.11"


def test_flatten_names_every_field_once():
    flat = flatten(Config())
    assert flat["optim.batch_size"] == 32
    assert len(flat) == len(set(flat)) > 20


def test_more_pieces_than_the_encoder_knows_are_refused():
    config = load_config("lyrics_small")
    config.tokens.n_terms = 9000
    with pytest.raises(UserError, match=r"n_terms=9000 is more than config\.model\.bert\.n_tokens=8000"):
        check_settings(config)


def test_inputs_that_a_network_cannot_see_are_named():  # 31
    cases = {
        (
            NAME,
            "--config.audio.n_bins=60",
        ): r"audio \(322, 60\) \(Zero.* see audio \(322, 96\); change .*n_bins=60,",
        ("--config=text_vsm", f"--config.tfidf.n_terms={10**19}"): r"change config.tfidf.n_terms=10000",
    }
    for settings, says in cases.items():
        with pytest.raises(UserError, match=f"cannot see inputs of the shape .*{says}"):
            check_network(parse_flags(settings).config)


def test_a_network_that_cannot_be_built_at_all_keeps_its_own_error(monkeypatch):  # 31
    def build(settings, output):
        raise TypeError("a mistake in the network's own code")

    monkeypatch.setitem(FAMILIES, "mlp", FAMILIES["mlp"]._replace(build=build))
    with pytest.raises(TypeError, match="a mistake in the network's own code"):
        check_network(load_config("text_vsm"))
