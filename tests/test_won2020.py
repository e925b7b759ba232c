"""The table of Won et al. 2020: its printed numbers by data set, its rows, and published weights in it."""

import json
from pathlib import Path

import numpy as np
import pytest
from public_fixture import SAMPLES
from sklearn.metrics import average_precision_score, roc_auc_score
from test_published_scores import by_torch, convert, published_file

from mumu_jax import prepare, reproduce
from mumu_jax.compute.stages import stages_of
from mumu_jax.data.sources import SOURCES
from mumu_jax.data.sources.origin import Origin, write_origin
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.fields import flatten, validate
from mumu_jax.reports.page import make_page
from mumu_jax.reports.tables.base import Job, Plan
from mumu_jax.reports.tables.output import read_table
from mumu_jax.reports.tables.results import SETTINGS, run_folder
from mumu_jax.reports.tables.ru2023 import RU2023
from mumu_jax.reports.tables.won2020 import BANDS, CLEAN, FULL, JAMENDO, METRICS, MSD, PUBLISHED, TAGS, WON, WON2020
from mumu_jax.runs.settings import check_network, check_settings
from mumu_jax.training.vocabularies import VOCABULARIES

SPEC = Path(__file__).parents[2] / "shared" / "spec" / "siblings.md"
FCN = "mel_fcn_logistic"


def plan(data_dir: Path, preset: str = "smoke", table=WON2020) -> Plan:
    jobs = table.jobs(data_dir)
    return Plan(table, data_dir, preset, 2, "", jobs, [*jobs], [], {}, {}, "nothing")


def rows_of(data_dir: Path, workdir: Path) -> dict:
    return {row.job: row for row in WON2020.measure(plan(data_dir), workdir)}


def fill(workdir: Path, job: str, **more) -> None:
    """Write an evaluation of ten tracks."""
    folder = run_folder(workdir, job, 0)
    folder.mkdir(parents=True)
    level = {"roc_auc_macro": 0.5, "pr_auc_macro": 0.25, "n_items": 10}
    result = {"album": level, "track": {**level, "roc_auc_macro": 0.75}, "data": {"checksum": "d"}, **more}
    (folder / "eval_test.json").write_text(json.dumps(result))


# --- what is published --------------------------------------------------------------------------------------


@pytest.mark.skipif(not SPEC.exists(), reason="../shared is not here")
def test_printed_numbers_are_the_sources():
    text = SPEC.read_text()
    names = {
        **{("fcn", 96): "FCN (96 mels)", ("musicnn_won", 96): "Musicnn (96)", ("musicnn_won", 128): "Musicnn (128)"},
        **{("short_chunk", 128): "Short-chunk CNN", ("short_chunk_residual", 128): "Short-chunk CNN + residual"},
    }
    for (network, n_bins), published in PUBLISHED.items():
        if published.origin == WON:
            name = names.get((network, n_bins), f"{network.upper()} ({n_bins})")
            numbers = [published.numbers[data] for data in (CLEAN, MSD, JAMENDO)]
            cells = (" / ".join(f"{number:.4f}"[1:] for number in of_data) for of_data in numbers)
            assert f"| {name} | {' | '.join(cells)} |" in text
        else:
            for data, numbers in published.numbers.items():
                prefix = {FULL: "MTT", MSD: "MSD"}[data]
                assert f"{prefix}_{network} {'/'.join(f'{number:.4f}'[1:] for number in numbers)}" in text


def test_data_sets_are_parts_of_sources_with_fifty_tags():
    for origin, tags in TAGS.items():
        dataset = SOURCES[origin.source].dataset
        assert dataset is not None
        assert dataset.subsets[origin.subset].n_labels == len(VOCABULARIES[tags]) == 50


# --- the rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "smoke"])
def test_presets_are_settings_that_runs_accept(preset, tmp_path):
    found = plan(tmp_path, preset)
    assert len(found.rows) == len(BANDS)
    for name in found.rows:
        config = found.config(name, 0)
        validate(config)
        check_settings(config)
        check_network(config)
        assert config.mel.n_bins == BANDS[config.model.family]
        assert "--config.data.patches=16" in found.arguments(name, 0, tmp_path)


def test_musicnn_is_larger_for_the_msd(tmp_path):
    wide = "--config.model.width=high"
    assert wide not in WON2020.jobs(tmp_path)["mel_musicnn_won_logistic"].flags
    write_origin(tmp_path, MSD)
    assert wide in WON2020.jobs(tmp_path)["mel_musicnn_won_logistic"].flags
    assert wide not in WON2020.jobs(tmp_path)[FCN].flags
    assert "model.width" in flatten(load_config("mel_musicnn_won"))


@pytest.mark.parametrize(
    ("origin", "printed", "why"),
    [
        (CLEAN, 0.9005, "published by Won et al. 2020: ours is trained from random weights"),
        (MSD, 0.8744, "published by Won et al. 2020: ours is trained from random weights"),
        (JAMENDO, 0.8255, "published by Won et al. 2020: ours is trained from random weights"),
        (FULL, None, "no published numbers: Won et al. 2020 have none of magnatagatune full"),
        (Origin("jamendo", "top50", 2), None, "Won et al. 2020 have none of jamendo top50, fold 2"),
        (Origin("jamendo", "top50", 0, ("map",)), None, "the data was prepared with --map"),
        (Origin("folder"), None, "Won et al. 2020 have none of folder"),
        (None, None, "the data does not say where it comes from; the same call of prepare writes that"),
    ],
)
def test_numbers_are_those_of_the_data_s_origin(origin, printed, why, tmp_path):
    (tmp_path / "data").mkdir()
    if origin:
        write_origin(tmp_path / "data", origin)
    fill(tmp_path / "W", FCN)
    rows = rows_of(tmp_path / "data", tmp_path / "W")
    value = rows[FCN].values["roc_auc_macro"]
    assert (value.mean, value.printed) == (0.75, printed)  # of tracks
    assert any(why in line for line in WON2020.remarks([rows[FCN]]))


def test_rows_say_how_many_published_tracks_they_are_of(tmp_path):
    write_origin(tmp_path, CLEAN)
    fill(tmp_path / "W", FCN)
    assert "scored on 10 test tracks, published on 4,332" in rows_of(tmp_path, tmp_path / "W")[FCN].note


def test_weights_of_other_tags_have_no_published_numbers(tmp_path):
    write_origin(tmp_path, CLEAN)
    for job, tags in (("published_fcn_96", "mtat"), ("published_crnn_96", "msd")):
        weights = {"tags": list(VOCABULARIES[tags])}
        fill(tmp_path / "W", job, weights=weights, unknown=["a"], unused=["b", "c"])
    rows = rows_of(tmp_path, tmp_path / "W")
    assert rows["published_fcn_96"].values["pr_auc_macro"].printed == 0.4295
    assert rows["published_crnn_96"].values["pr_auc_macro"].printed is None
    assert rows["published_crnn_96"].why == "no published numbers: the weights have the tags of other data"
    note = rows["published_fcn_96"].note
    assert "1 labels are no tags of the network, and not scored; 2 tags of the network are no labels of the" in note


def test_published_weights_have_one_run_whatever_the_seeds(tmp_path):
    jobs = {FCN: WON2020.jobs(tmp_path)[FCN], "published_fcn_96": Job("evaluate", {}, weights="a")}
    found = Plan(WON2020, tmp_path, "paper", 2, "", jobs, [*jobs], [], {}, {}, "nothing")
    assert found.runs == [(FCN, 0), ("published_fcn_96", 0), (FCN, 1)]
    assert not any("seed=" in argument for argument in found.arguments("published_fcn_96", 0, Path("W")))


def test_rows_that_the_data_rules_out_for_one_reason_are_named_together(tmp_path):
    jobs = WON2020.jobs(tmp_path)
    impossible = dict.fromkeys([name for name in jobs if "short" in name], "no 128 bands")
    said = str(Plan(WON2020, tmp_path, "paper", 1, "", jobs, [*jobs], [], impossible, {}, "nothing"))
    assert "left out: mel_short_chunk_logistic, mel_short_chunk_residual_logistic: no 128 bands" in said


def test_weights_are_for_tables_of_published_networks():
    with pytest.raises(UserError, match="which ru2023 is not; leave it out"):
        RU2023.with_weights([Path("a.safetensors")])
    assert RU2023.with_weights([]) is RU2023


# --- the table ----------------------------------------------------------------------------------------------


def prepared(folder: Path, preset: str) -> Path:
    source = ("--source=magnatagatune", "--subset=clean", f"--input={folder / 'released'}")
    how = ("--modalities=mel", f"--mel.preset={preset}", "--workers=1")
    assert prepare.main([*source, f"--data_dir={folder / preset}", *how]) == 0
    return folder / preset


@pytest.mark.parametrize("network", BANDS)
def test_networks_are_trained_by_the_published_recipe(network):
    """All 200 epochs, without early stopping."""
    optim = load_config(f"mel_{network}").optim
    assert stages_of(optim) == [("adam", 1e-4, 0), ("sgd", 1e-3, 80), ("sgd", 1e-4, 100), ("sgd", 1e-5, 120)]
    assert (optim.weight_decay, optim.momentum, optim.batch_size) == (1e-4, 0.9, 16)
    assert optim.patience >= optim.max_epochs == 200


@pytest.mark.full
def test_a_table_for_real(tmp_path, capsys):
    """Of data of 96 bands a trained and two published networks; then, in the same folder, one of 128 bands."""
    SAMPLES["magnatagatune"](tmp_path / "released")
    data = prepared(tmp_path, "won")
    peer = published_file(tmp_path, "crnn")
    published_file(tmp_path, "fcn", n_bins=128)
    files = [str(convert(tmp_path, "crnn")), str(convert(tmp_path, "fcn"))]
    common = ["--table=won2020", f"--workdir={tmp_path / 'W'}", "--preset=smoke"]
    rows = "--rows=mel_fcn,published*"
    assert reproduce.main([*common, f"--data_dir={data}", rows, "--weights", *files]) == 0
    said = capsys.readouterr().out
    assert "2 runs on 11 albums" in said
    assert "left out: published_fcn_128" in said
    found = {row.job: row for row in read_table(WON2020, tmp_path / "W" / "won2020.csv")}
    assert (found[FCN].seeds, found["published_crnn_96"].seeds, found["published_fcn_128"].seeds) == (1, 1, 0)
    scores, labels, names = by_torch(peer, data, "test", 1813)
    scored = [i for i in range(len(names)) if 0 < labels[:, i].sum() < len(labels)]
    of_names = scores[:, [VOCABULARIES["mtat"].index(name) for name in names]]
    with np.load(run_folder(tmp_path / "W", "published_crnn_96", 0) / "predictions_test.npz") as arrays:
        np.testing.assert_allclose(1 / (1 + np.exp(-arrays["track_scores"])), of_names, atol=1e-5)
    for metric, function in zip(METRICS, (roc_auc_score, average_precision_score), strict=True):
        value = found["published_crnn_96"].values[metric]
        assert value.mean == pytest.approx(function(labels[:, scored], of_names[:, scored], average="macro"), abs=1e-5)
    assert found["published_crnn_96"].values["roc_auc_macro"].printed == 0.8722
    page = make_page(tmp_path / "W", None)
    assert "published CRNN (96)" in page

    data = prepared(tmp_path, "won128")
    capsys.readouterr()
    assert reproduce.main([*common, f"--data_dir={data}", "--rows=published*", "--weights", files[1]]) == 0
    found = {row.job: row for row in read_table(WON2020, tmp_path / "W" / "won2020.csv")}
    assert {job: row.seeds for job, row in found.items()} == {FCN: 1, "published_crnn_96": 1, "published_fcn_128": 1}
    assert found["published_crnn_96"].values["roc_auc_macro"].printed == 0.8722
    assert not np.isnan(found["published_fcn_128"].values["roc_auc_macro"].mean)
    assert {*json.loads((tmp_path / "W" / SETTINGS).read_text())["data"]} == {"mel won", "mel won128"}

    published_file(tmp_path, "musicnn_won")  # in the place of another file
    other = convert(tmp_path, "fcn", "jamendo")
    with pytest.raises(UserError, match="hold the same network; give one of them"):
        WON2020.with_weights([other, other])
    settings = json.loads((tmp_path / "W" / SETTINGS).read_text())
    settings["weights"]["published_fcn_128"] = "another"
    (tmp_path / "W" / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"holds published_fcn_128 of another file of --weights"):
        reproduce.main([*common, f"--data_dir={data}", "--rows=published*", "--weights", str(other)])
    settings["albums"], settings["weights"] = "others", {}
    (tmp_path / "W" / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(UserError, match="holds a table of other albums than"):
        reproduce.main([*common, f"--data_dir={data}", "--rows=published*", "--weights", str(other)])
