"""The table of Ru et al. 2023: its printed numbers, its runs, and the metrics of the genres that are given."""

import json
from pathlib import Path

import pytest

from mumu_jax.reports.tables.base import Plan
from mumu_jax.reports.tables.results import run_folder
from mumu_jax.reports.tables.ru2023 import ABLATIONS, FUSION, LYRICS, METRICS, RU2023, SONG

SPEC = Path(__file__).parents[2] / "shared" / "spec" / "siblings.md"


def plan(preset: str = "smoke") -> Plan:
    rows = list(RU2023.jobs(Path()))
    return Plan(RU2023, Path(), preset, 1, "", RU2023.jobs(Path()), rows, [], {}, {}, "nothing")


@pytest.mark.skipif(not SPEC.exists(), reason="../shared is not here")
def test_printed_numbers_are_the_sources():
    text = SPEC.read_text()
    for name, (_, *numbers) in ABLATIONS.items():
        marks = [name == "cross_attention" or part in name for part in ("contrast", "attention", "graph")]
        cells = [*("✓" if mark else "–" for mark in marks), *(f"{number:.3f}"[1:] for number in numbers)]
        assert f"| {' | '.join(cells)} |" in text


def test_every_line_has_its_run_after_those_that_it_joins():
    jobs = RU2023.jobs(Path())
    assert {line.job for line in RU2023.lines} == {*jobs}
    names = list(jobs)
    assert max(names.index(SONG), names.index(LYRICS)) < names.index(FUSION)
    for name, job in jobs.items():
        assert job.config is not None, name
        assert {*job.sees} <= {"mel", "lyrics"}, name


@pytest.mark.parametrize("preset", ["paper", "smoke"])
def test_presets_are_settings_that_runs_accept(preset):
    from mumu_jax.fields import validate
    from mumu_jax.runs.settings import check_network, check_settings

    found = plan(preset)
    for name in found.rows:
        config = found.config(name, 0)
        validate(config)
        check_settings(config)
        check_network(config)


def test_metrics_are_of_the_genres_given_at_a_half(tmp_path):
    folder = run_folder(tmp_path, SONG, 0)
    folder.mkdir(parents=True)
    given = {"at_half": {"jaccard": 0.4, "f1_samples": 0.5}, "best_f1": {"jaccard": 0.6, "f1_samples": 0.7}}
    result = {"album": {"roc_auc_macro": 0.8}, "decisions": given, "data": {"checksum": "d"}}
    (folder / "eval_test.json").write_text(json.dumps(result))
    (row,) = (row for row in RU2023.measure(plan(), tmp_path) if row.seeds)
    assert [row.values[metric].mean for metric in METRICS] == [0.4, 0.5, 0.8]
    assert row.values["jaccard"].printed == 0.354
    assert "÷" not in row.why
    assert "model.width_divisor 1 → 8" in row.cuts
