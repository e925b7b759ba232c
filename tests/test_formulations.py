"""Formulations that are chosen by measurement, remembered, recorded with the run and used again."""

import json
import math
import signal
from functools import partial
from pathlib import Path

import jax
import pytest
from conftest import REPOSITORY, complain, run_python, succeed

from mumu_jax.compute.formulations import (
    BUDGET_S,
    FIRST_TURNS,
    MOST_TURNS,
    Timed,
    choose,
    convolutions_of,
    most_work_first,
    time_candidates,
    with_formulations,
)
from mumu_jax.compute.network import item_network
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.errors import UserError
from mumu_jax.experiments import load_config
from mumu_jax.models.kernels.backend import backend, traced_for
from mumu_jax.models.kernels.formulations import FIXED, Choice, Convolution, candidates, fastest, usable
from mumu_jax.runs import formulations
from mumu_jax.runs.folder import load_run
from mumu_jax.runs.formulations import NAME, as_json, choose_formulations, from_about

N_ITEMS = 32
SMALL = Convolution((10, 6, 2), (3, 3, 2, 2), (2, 2), "float32")


def convolutions(name: str, width_divisor: int = 1) -> list[Convolution]:
    config = load_config(name)
    config.model.width_divisor = width_divisor
    return convolutions_of(item_network(config, 5, {}), Inputs.unfitted(config).item)


def test_convolutions_of_a_network():
    assert [*map(str, convolutions("audio_low_4x70"))] == [
        "319x93x1 4x70x1x64 4x4 float32",
        "79x6x64 4x6x64x128 4x1 float32",
        "19x1x128 4x1x128x128 4x1 float32",
        "4x1x128 1x1x128x64 1x1 float32",
    ]
    assert convolutions("text_vsm") == []
    assert with_formulations(network := item_network(load_config("text_vsm"), 5, {}), Choice("cpu")) is network


@pytest.mark.parametrize("name", [f"audio_{width}_{size}" for width in ("low", "high") for size in ("4x70", "3x3")])
def test_the_fixed_table_s_choice_is_a_candidate(name):
    for one in convolutions(name):
        for kind in ("cpu", "gpu"):
            assert FIXED(kind, N_ITEMS, one) in candidates(kind, one) <= usable(one)
        assert "plain" in candidates("gpu", one)


def test_a_choice_holds_for_its_backend_and_its_convolutions():
    one, other = convolutions("audio_low_4x96")[:2]
    choice = Choice("cpu", ((str(one), "im2col"),))
    assert choice("cpu", N_ITEMS, one) == "im2col"
    assert choice("cpu", N_ITEMS, other) == FIXED("cpu", N_ITEMS, other) == "quartered_im2col"
    assert choice("gpu", N_ITEMS, one) == "folded"
    assert fastest("gpu", (N_ITEMS, *one.item_shape), one.kernel_shape, one.pool) == "folded"


def test_a_network_is_computed_as_chosen():
    config = load_config("audio_low_4x96")
    network, item = item_network(config, 5, {}), jax.ShapeDtypeStruct((322, 96), "float32")
    table = tuple((str(one), "plain") for one in convolutions("audio_low_4x96"))

    def count(choice, name):
        model = with_formulations(network, choice).model
        variables = jax.eval_shape(model.init, jax.random.key(0), item.update(shape=(1, 322, 96)))
        return str(jax.make_jaxpr(model.apply)(variables, item.update(shape=(1, 322, 96)))).count(f" {name}[")

    assert count(Choice("cpu", table), "conv_general_dilated") == 4
    assert count(FIXED, "conv_general_dilated") == 0
    with traced_for("gpu"):
        assert count(Choice("cpu", table), "conv_general_dilated") == count(FIXED, "conv_general_dilated") == 4


# --- measuring ------------------------------------------------------------------------------------------------

FASTER, SLOWER = [0.9, 0.8, 0.9, 0.9, 0.9], [1.2, 1.1, 1.2, 1.2, 1.2]


@pytest.mark.parametrize(
    ("turns", "chosen"),
    [
        ({"fixed": [1.0] * 5, "other": FASTER}, "other"),
        ({"fixed": [1.0] * 5, "other": SLOWER}, "fixed"),
        ({"fixed": [1.0] * 5, "other": FASTER, "fastest": [0.7] * 5}, "fastest"),
        ({"fixed": [1.0] * 5, "other": [0.98] * 5}, "fixed"),  # not worthwhile
        ({"fixed": [1.0] * 5, "other": [0.5, 0.5, 1.5, 1.5, 1.5]}, "fixed"),  # by chance
        ({"fixed": [1.0] * 5, "hopeless": [0.1, 0.1]}, "fixed"),  # not in all turns
        ({"other": SLOWER, "fastest": FASTER}, "fastest"),  # the fixed one does not compile
        ({}, "fixed"),
    ],
)
def test_only_what_is_surely_faster_is_chosen(turns, chosen):
    assert choose(turns, "fixed") == chosen


def test_candidates_are_timed():
    ticks = iter(range(10_000))
    timed = time_candidates(SMALL, 4, clock=lambda: next(ticks))
    assert timed is not None
    assert timed.milliseconds == {"im2col": 1000, "winograd": 1000}  # a call takes one tick, and has one step
    assert timed.chosen == FIXED("cpu", 4, SMALL) == "winograd"
    assert next(ticks) < 10 * 2 * MOST_TURNS


@pytest.mark.parametrize("hopeless", [None, math.inf])
def test_a_hopeless_candidate_has_few_turns(hopeless, monkeypatch):
    from mumu_jax.compute import formulations as compute

    turns = []

    def compiled(convolution, name, *_):
        def run(n_steps):
            turns.append(name)
            return 3.0 if name == "im2col" else 1.0

        return run

    monkeypatch.setattr(compute, "_compiled", compiled)
    timed = time_candidates(SMALL, 4, **({} if hopeless is None else {"hopeless": hopeless}))
    assert timed is not None
    assert timed.milliseconds == {"im2col": 3000, "winograd": 1000}
    few = 1 + (FIRST_TURNS if hopeless is None else MOST_TURNS)  # one to warm up
    assert (turns.count("im2col"), turns.count("winograd")) == (few, 1 + MOST_TURNS)


def test_time_over_ends_measuring():
    asked = iter(range(1_000))
    assert time_candidates(SMALL, 4, is_over=lambda: next(asked) >= 5) is None
    assert next(asked) == 6


def test_a_candidate_that_does_not_compile_is_dropped(monkeypatch):
    from mumu_jax.compute import formulations as compute

    compiled = compute._compiled

    def fail(convolution, name, *others):
        if name == "winograd":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")
        return compiled(convolution, name, *others)

    monkeypatch.setattr(compute, "_compiled", fail)
    timed = time_candidates(SMALL, 4)
    assert timed is not None
    assert timed.chosen == "im2col", timed
    assert timed.milliseconds["winograd"] == "JaxRuntimeError: RESOURCE_EXHAUSTED"


def test_the_fixed_table_holds_if_nothing_compiles(monkeypatch):
    from mumu_jax.compute import formulations as compute

    def fail(*_):
        raise jax.errors.JaxRuntimeError("")

    monkeypatch.setattr(compute, "_compiled", fail)
    assert time_candidates(SMALL, 4) == Timed("winograd", {"im2col": "JaxRuntimeError", "winograd": "JaxRuntimeError"})


def test_the_first_layer_s_input_has_no_gradient():
    first = Convolution((10, 6, 1), (3, 3, 1, 2), (2, 2), "float32")
    timed = time_candidates(first, 4)
    assert timed is not None
    assert timed.milliseconds.keys() == {"im2col", "window", "winograd"}
    alone = time_candidates(first, 4, backward=False)
    assert alone is not None
    assert alone.milliseconds.keys() == timed.milliseconds.keys()


# --- remembering ----------------------------------------------------------------------------------------------


class StandIn:
    """In place of a measurement: always the same result, after so many seconds of a clock of its own."""

    def __init__(self) -> None:
        self.seconds, self.now, self.timed = 1.0, 0.0, []

    def time_candidates(self, convolution, n_items, is_over, clock):
        self.now += self.seconds
        if is_over():
            return None
        self.timed.append(convolution)
        return Timed("im2col", dict.fromkeys(candidates(backend(), convolution), 1.0))


@pytest.fixture
def stand_in(monkeypatch, tmp_path) -> StandIn:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stand_in = StandIn()
    monkeypatch.setattr(formulations, "time_candidates", stand_in.time_candidates)
    monkeypatch.setattr(formulations, "measured", partial(formulations.measured, clock=lambda: stand_in.now))
    return stand_in


def choose_for(name: str, named: str) -> Choice:
    config = load_config(name)
    config.model.formulations = named
    return choose_formulations(config)


FOUR = "audio_low_4x96"


MEASURED = most_work_first(convolutions(FOUR))[:3]  # the last one has one candidate


def test_measured_once_and_remembered(stand_in, tmp_path, capsys):
    choice = choose_for(FOUR, "measured")
    assert choice == Choice("cpu", tuple((str(one), "im2col") for one in MEASURED))
    assert stand_in.timed == MEASURED
    said = capsys.readouterr().err
    assert said.startswith("formulations of 3 convolutions measured in 3.0 s: 319x96x1 4x96x1x64 4x1 float32 by im2col")
    assert ", not quartered_im2col, 79x1x64 " in said
    assert said.endswith(f"; kept in {tmp_path / 'mumu_jax' / 'formulations.json'}\n")
    assert said.count("\n") == 1
    assert choose_for(FOUR, "measured") == choice
    again = capsys.readouterr().err
    assert again.startswith(f"formulations as {tmp_path / 'mumu_jax' / 'formulations.json'} remembers them: 319x96x1")
    assert len(stand_in.timed) == 3


def test_not_remembered_under_other_compiler_options(stand_in, monkeypatch):
    choose_for(FOUR, "measured")
    monkeypatch.setattr(formulations, "compiler_options", lambda device: {})
    choose_for(FOUR, "measured")
    assert stand_in.timed == 2 * MEASURED


def test_what_failed_is_tried_again(stand_in, monkeypatch, capsys):
    whole = stand_in.time_candidates

    def fail(*arguments):
        timed = whole(*arguments)
        return timed._replace(milliseconds=dict(timed.milliseconds) | {"im2col": "no memory"})

    monkeypatch.setattr(formulations, "time_candidates", fail)
    choose_for(FOUR, "measured")
    said = capsys.readouterr().err
    assert f"warning: 4 × {MEASURED[0]} cannot be computed by im2col now (no memory); the next run tries again" in said
    assert "; kept in" not in said
    monkeypatch.setattr(formulations, "time_candidates", whole)
    choose_for(FOUR, "measured")
    assert len(stand_in.timed) == 6


def test_other_shapes_are_measured_for_themselves(stand_in, monkeypatch):
    choose_for(FOUR, "measured")
    choose_for("audio_low_3x3", "measured")
    assert len(stand_in.timed) == 6
    monkeypatch.setattr(jax, "device_count", lambda: 4)  # fewer items on each
    choose_for(FOUR, "measured")
    assert len(stand_in.timed) == 9


@pytest.mark.parametrize("harm", ["a byte", "half", "another device", "another candidate", "a folder"])
def test_what_is_remembered_wrongly_is_measured_again(stand_in, tmp_path, capsys, harm):
    choice = choose_for(FOUR, "measured")
    capsys.readouterr()
    path = tmp_path / "mumu_jax" / "formulations.json"
    text = path.read_text()
    if harm == "a byte":
        path.write_text(text.replace("1.0", "2.0", 1))
    elif harm == "half":
        path.write_text(text[: len(text) // 2])
    elif harm == "a folder":
        path.unlink()
        path.mkdir()
    else:
        (entries,) = (entries for name, entries in json.loads(text).items() if name != "sha256")
        for _, milliseconds in entries.values():
            milliseconds["another"] = 1.0
        path.write_text(json.dumps({"another" if harm == "another device" else next(iter(json.loads(text))): entries}))
    assert choose_for(FOUR, "measured") == choice
    assert len(stand_in.timed) == 6
    said = capsys.readouterr().err
    assert (f"warning: {path} is damaged" in said) == (harm in ("a byte", "half", "a folder"))
    assert ("cannot be written" in said) == (harm == "a folder") == ("; kept in" not in said)


def test_the_budget_ends_measuring(stand_in, capsys):
    stand_in.seconds = BUDGET_S / 2.5
    choice = choose_for(FOUR, "measured")
    assert [name for name, _ in choice.table] == [*map(str, MEASURED[:2])]
    said = capsys.readouterr().err
    assert said.startswith("formulations of 2 convolutions measured in ")
    assert "; no time was left for 1 more: " in said
    assert len(choose_for(FOUR, "measured").table) == 3  # goes on
    assert stand_in.timed == MEASURED


def test_on_a_cpu_the_fixed_table_is_the_default(stand_in):
    assert choose_for(FOUR, "auto") == choose_for(FOUR, "fixed") == FIXED
    assert stand_in.timed == []


def test_on_an_accelerator_measuring_is_the_default(stand_in):
    with traced_for("gpu"):
        choice = choose_for(FOUR, "auto")
    assert choice == Choice("gpu", tuple((str(one), "im2col") for one in most_work_first(convolutions(FOUR))))


# --- files ----------------------------------------------------------------------------------------------------


def test_a_choice_is_read_as_it_was_written():
    choice = Choice("cpu", ((str(MEASURED[0]), "im2col"), (str(MEASURED[1]), "quartered_im2col")))
    for one in (choice, FIXED, Choice("gpu")):
        assert from_about(json.loads(json.dumps({NAME: as_json(one)})), "config.json") == one
    assert from_about({}, "config.json") == FIXED  # a run from before there was a choice


@pytest.mark.parametrize("found", [5, [], {}, {"backend": "cpu"}, {"backend": "cpu", "convolutions": [["a", "b"]]}])
def test_other_formulations_than_a_run_writes_are_named(found):
    with pytest.raises(UserError, match=r"^RUN/config.json has other formulations than a run writes .*; restore it$"):
        from_about({NAME: found}, "RUN/config.json")


def write(path: Path, choice: Choice) -> Path:
    path.write_text(json.dumps({"config": {}, NAME: as_json(choice)}))
    return path


def test_another_run_s_choice(stand_in, tmp_path):
    chosen = ((str(MEASURED[0]), "plain"), ("319x93x1 4x70x1x64 4x4 float32", "banded"))
    path = write(tmp_path / "config.json", Choice("cpu", chosen))
    assert choose_for(FOUR, str(path)) == Choice("cpu", chosen[:1])
    assert stand_in.timed == []


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (None, r"neither 'auto', 'measured' nor 'fixed', nor the config.json .* \(.*No such file"),
        (FIXED, r"\(it has no measured formulations\); choose one of these"),
        (Choice("gpu", ((str(MEASURED[0]), "plain"),)), r"measured on a gpu, .* a cpu here; choose 'measured'"),
        (
            Choice("cpu", (("5x5x1 3x3x1x2 1x1 float32", "plain"),)),
            r"none of this network's .*, such as 319x96",
        ),
        (
            Choice("cpu", ((str(MEASURED[0]), "winograd"),)),
            r"as 'winograd', which .*; choose one of folded",
        ),
        (
            Choice("cpu", ((str(MEASURED[0]), "magic"),)),
            r"the formulation 'magic'; known are plain, .*; correct it",
        ),
    ],
)
def test_a_file_without_this_network_s_choice_is_refused(tmp_path, choice, says):
    path = tmp_path / "config.json"
    if choice is not None:
        write(path, choice)
    with pytest.raises(UserError, match=says) as raised:
        choose_for(FOUR, str(path))
    assert "\n" not in str(raised.value)


# --- runs -----------------------------------------------------------------------------------------------------

QUICK = (
    f"--config={FOUR}",
    "--config.model.width_divisor=8",
    "--config.optim.batch_size=16",
    "--config.optim.max_epochs=2",
    "--config.album_optim.max_epochs=2",
    "--config.loop.chunk_steps=3",
)


@pytest.mark.full
def test_a_resumed_run_computes_as_it_began(small_data, tmp_path):
    """Also if the file that named its formulations is another one then; and the choice is what is computed."""
    choice = Choice("cpu", tuple((str(one), "im2col") for one in convolutions(FOUR, width_divisor=8)))
    file = write(tmp_path / "other.json", choice)
    settings = (*QUICK, f"--config.model.formulations={file}", f"--data_dir={small_data}")
    succeed("mumu_jax.train", *settings, f"--workdir={tmp_path / 'whole'}")
    killer = (REPOSITORY / "tests" / "killed_train.py", "chunk:4", "--config.loop.checkpoint_minutes=0")
    killed = run_python(*killer, *settings, f"--workdir={tmp_path / 'killed'}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    write(file, Choice("cpu", tuple((name, "plain") for name, _ in choice.table)))
    succeed("mumu_jax.train", *settings, f"--workdir={tmp_path / 'killed'}")
    succeed("mumu_jax.train", *QUICK, f"--data_dir={small_data}", f"--workdir={tmp_path / 'fixed'}")
    whole, again, fixed = (tmp_path / name for name in ("whole", "killed", "fixed"))
    for name in ("metrics.jsonl", "predictions_test.npz"):
        assert (again / name).read_bytes() == (whole / name).read_bytes() != (fixed / name).read_bytes()
    assert [load_run(run).first.network.model.formulations for run in (whole, again, fixed)] == [choice, choice, FIXED]
    refused = (*QUICK, "--config.model.formulations=measured", f"--data_dir={small_data}", f"--workdir={whole}")
    complain("mumu_jax.train", *refused, says=[f"config.model.formulations={str(file)!r}, not 'measured'"])


def test_another_network_has_no_formulations(tmp_path):
    says = ["config.model.formulations='measured' has no effect on text_vsm", "'cnn'"]
    complain("mumu_jax.train", "--config=text_vsm", "--config.model.formulations=measured", says=says)
