"""A run whose last layer alone trains: what comes before it is kept before anything is computed."""

import dataclasses

import jax
import numpy as np
import pytest

from mumu_jax import train as command
from mumu_jax.runs.flags import parse_flags
from mumu_jax.runs.folder import load_run
from mumu_jax.system.signals import Interrupted, StopRequest


def test_a_stopped_run_starts_from_what_it_has_kept(small_data, tmp_path, monkeypatch):
    """And not again from the weights, whose file may be gone."""
    settings = ("--config=text_vsm", "--config.tfidf.n_terms=50", "--config.model.trainable=^output")
    config = parse_flags([*settings, "--config.optim.max_epochs=2"]).config
    started = []

    def start(state, **how):
        started.append(jax.tree.map(lambda leaf: leaf + 1, state.params))
        return dataclasses.replace(state, params=started[-1])

    monkeypatch.setattr(command, "start_from_weights", start)
    with monkeypatch.context() as stopped:
        stopped.setattr(StopRequest, "__bool__", lambda self: True)
        with pytest.raises(Interrupted):
            command.train(config, small_data, tmp_path / "run", StopRequest())
    command.train(config, small_data, tmp_path / "run", StopRequest())
    [expected] = started
    params = load_run(tmp_path / "run").album.variables["params"]
    for name in expected.keys() - {"output"}:
        np.testing.assert_array_equal(params[name], expected[name])
    assert (params["output"]["dense"]["kernel"] != expected["output"]["dense"]["kernel"]).all()
