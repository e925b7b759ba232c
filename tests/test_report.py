"""Tests of pages about runs: numbers beside scikit-learn and brute force, hostile names, any state of the run."""

import base64
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import REPOSITORY, complain, succeed
from made_up_run import HOSTILE, make_predictions, make_run
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from mumu_jax.errors import UserError
from mumu_jax.objectives import metrics
from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.logits import Logistic, Softmax
from mumu_jax.reports import scores as measured
from mumu_jax.reports.page import make_page
from mumu_jax.reports.tables.output import write_table
from mumu_jax.reports.tables.table2 import TABLE2, Row
from mumu_jax.system.version import commit

IMAGE = "data:image/svg+xml;base64,"


class Page(HTMLParser):
    """A page as a browser sees it: elements, ids, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, found in self.tags if (value := found.get(attribute)) is not None]

    def images(self) -> list[ET.Element]:
        return [ET.fromstring(base64.b64decode(source.removeprefix(IMAGE))) for source in self.values("src")]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return make_page(make_run(tmp_path_factory.mktemp("runs") / "made_up"), None)


# --- the numbers --------------------------------------------------------------------------------------------


def test_labels_are_scored_as_by_scikit_learn():
    scores, labels = make_predictions(200, 6)
    scores = scores.round(1)  # ties
    rows = measured.by_label(scores, labels, list("abcdef"), np.array([True] * 5 + [False]))
    assert [(row.column, row.name) for row in rows] == list(enumerate("abcdef"))
    assert [row.support for row in rows] == labels.sum(axis=0).tolist()
    assert [row.seen for row in rows] == [True] * 5 + [False]
    for row in rows[:-1]:
        true, score = labels[:, row.column], scores[:, row.column]
        assert row.roc_auc == pytest.approx(roc_auc_score(true, score), abs=1e-6)
        assert row.average_precision == pytest.approx(average_precision_score(true, score), abs=1e-6)
    assert rows[-1].roc_auc is None
    assert rows[-1].average_precision is None


@pytest.mark.parametrize("n_items", [4, 5000])
def test_roc_curve_is_a_part_of_the_whole(n_items):
    scores, labels = make_predictions(n_items, 2)
    labels[0, 0], labels[1, 0] = 1, 0
    found = measured.roc(scores[:, 0], labels[:, 0])
    points = list(zip(found.false_positive, found.true_positive, strict=True))
    assert len(points) <= measured.MAX_POINTS
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    false, true, _ = roc_curve(labels[:, 0], scores[:, 0])
    assert set(points) <= set(zip(false, true, strict=True))
    area = np.trapezoid(found.true_positive, found.false_positive)
    assert area == pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]), abs=2e-3)


@pytest.mark.parametrize("n_labels", [3, 60])
def test_coverage_is_that_of_the_metrics(n_labels):
    scores, _ = make_predictions(7, n_labels)
    found = measured.coverage(scores.round(1), 50)
    assert len(found) == min(50, n_labels)
    expected = [metrics.coverage_at_k(scores.round(1), k) for k in (1, 2, 3)]
    np.testing.assert_allclose(found[:3], expected, rtol=1e-6)


def test_calibration_of_probabilities_by_brute_force():
    scores, labels = make_predictions(50, 4)
    scores[0, :2] = -200, 200
    readable = np.asarray(Logistic().readable(scores))
    found = measured.calibration(readable, labels, Logistic())
    probabilities = 1 / (1 + np.exp(-scores.astype(float)))
    bins = [[] for _ in range(10)]
    for score, true in zip(probabilities.ravel(), labels.ravel(), strict=True):
        bins[min(int(score * 10), 9)].append((score, true))
    expected = [(*np.mean(inside, axis=0), len(inside)) for inside in bins if inside]
    np.testing.assert_allclose(np.column_stack(found[:3]), expected, rtol=1e-5)
    error = sum(abs(score - share) * n for score, share, n in expected) / scores.size
    assert found.error == pytest.approx(error, rel=1e-5)


def test_calibration_of_softmax_is_of_the_most_probable_label():
    scores = np.array([[0.75, 0.25], [0.35, 0.65], [0.28, 0.72]], np.float32)
    found = measured.calibration(scores, np.array([[1, 0], [1, 0], [0, 1]], np.uint8), Softmax())
    assert found.count.tolist() == [1, 2]
    np.testing.assert_allclose(found.score, [0.65, 0.735], rtol=1e-6)
    assert found.frequency.tolist() == [0, 1]
    assert found.error == pytest.approx((0.65 + 2 * 0.265) / 3)


def test_frequency_by_cosine_has_no_error():
    scores = np.array([[-1.0, 1.0], [0.01, 1.0]], np.float32)
    found = measured.calibration(scores, np.array([[0, 1], [1, 1]], np.uint8), Cosine(2))
    assert found.frequency.tolist() == [0, 1, 1]
    assert found.count.tolist() == [1, 1, 2]
    assert found.error is None


@pytest.mark.parametrize("target", ["logistic", "softmax"])
def test_confused_pairs_by_brute_force(target):
    scores, labels = make_predictions(80, 6, target)
    counts: dict[tuple[int, int], int] = {}
    for score, true in zip(scores, labels, strict=True):
        own = set(np.flatnonzero(true))
        given = set(np.argsort(-score, kind="stable")[: len(own)])
        for missed in own - given:
            for instead in given - own:
                counts[missed, instead] = counts.get((missed, instead), 0) + 1
    found = measured.confused_pairs(scores, labels, 1000)
    assert {(pair.label, pair.instead): pair.n for pair in found} == counts
    assert [pair.n for pair in found] == sorted(counts.values(), reverse=True)
    assert all(pair.share == pair.n / labels[:, pair.label].sum() for pair in found)
    assert measured.confused_pairs(scores, labels, 3) == found[:3]


def test_no_label_is_confused_with_none():
    scores, labels = make_predictions(5, 3)
    assert measured.confused_pairs(scores, np.zeros_like(labels), 10) == []
    assert measured.confused_pairs(scores, np.ones_like(labels), 10) == []


# --- the page -----------------------------------------------------------------------------------------------


def test_hostile_names_are_names(page):
    found = Page(page)
    assert found.images()
    for name in [*HOSTILE, '/data/<i>"mine"']:
        assert name in found.text
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert not {"b", "i", "iframe"} & {tag for tag, _ in found.tags}
    assert all(attributes["src"].startswith(IMAGE) for tag, attributes in found.tags if tag == "img")
    elements = {element.tag.rpartition("}")[2] for image in found.images() for element in image.iter()}
    assert not {"script", "foreignObject", "a", "b", "i"} & elements


def test_everything_lies_in_the_page(page):
    assert not re.search(r"https?:|@import|url\(", page)
    found = Page(page)
    assert all(where.startswith(("#", "data:")) for name in ("href", "src") for where in found.values(name))
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    targets = {where[1:] for where in found.values("href") if where.startswith("#")}
    assert targets <= set(ids)
    for image in found.images():
        values = [(name.rpartition("}")[2], value) for element in image.iter() for name, value in element.items()]
        assert all(value.startswith(("#", "data:image/png;")) for name, value in values if name in ("href", "src"))
        used = {id_ for _, value in values for id_ in re.findall(r"url\(([^)]*)\)", value)}
        assert used
        assert used <= {f"#{value}" for name, value in values if name == "id"}


def test_what_is_asked_for_is_there(page):
    found = Page(page)
    for said in (
        "0.877",
        "abc1234+dirty",
        "c0ffee",
        "text, logistic targets",
        "optim.learning_rate",
        "not in training",
    ):
        assert said in found.text
    for said in ("Expected calibration", "compiled in 2.5 s", "Coverage@k, k = 1 … 8", "given instead"):
        assert said in found.text
    assert found.text.index('"logistic"') < found.text.index("All other settings") < found.text.index("optim.b1")
    curves = [value for value in found.values("id") if value.startswith("roc-")]
    assert sorted(curves) == [f"roc-{column}" for column in range(len(HOSTILE) - 1)]  # the last one is on no album
    assert "#000000;'" in found.text


def test_same_run_same_bytes(page, tmp_path):
    make_run(tmp_path / "run")
    again = make_page(tmp_path / "run", None)
    assert again.replace(str(tmp_path / "run"), "HERE") == re.sub(r"(?<=>)/[^<>]+/made_up(?=<)", "HERE", page)
    assert make_page(tmp_path / "run", "test") == again


@pytest.mark.parametrize("target", ["cosine", "softmax"])
def test_other_targets(target, tmp_path):
    found = Page(make_page(make_run(tmp_path / "run", target=target), None)).text
    assert ("A cosine ranks" in found) == (target == "cosine")
    assert ("most probable label" in found) == (target == "softmax")


def test_unfinished_run(tmp_path):
    found = Page(make_page(make_run(tmp_path / "run", scored=False), None))
    assert "not finished" in found.text
    assert "Nothing was logged yet" in found.text
    assert "compiled in 2.5 s" in found.text
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run" / "perf.jsonl").unlink()
    assert "not finished" in make_page(tmp_path / "run", None)


def test_large_run_stays_small(tmp_path):
    run = make_run(tmp_path / "run", [f"Genre {i} of MuMu" for i in range(250)], n_items=3147)
    for name in ("metrics", "perf"):  # a run of days: a hundred epochs of a hundred chunks
        lines = (run / f"{name}.jsonl").read_text().splitlines()[-2:-1] * 10_000
        (run / f"{name}.jsonl").write_text("".join(line.replace("21", str(i)) + "\n" for i, line in enumerate(lines)))
    page = make_page(run, None)
    assert len(page.encode()) < 2_000_000
    assert page.count("Genre 249 of MuMu") >= 1


def test_names_in_the_chart_of_table_2_are_literal(tmp_path):
    write_table(TABLE2, tmp_path / TABLE2.csv, [Row("$x_{$", "$uicideboy$", roc_auc_mean=0.5)])
    [image] = Page(make_page(tmp_path, None)).images()
    assert "$x_{$_$uicideboy$" in {text.strip() for text in image.itertext()}


def test_table_2(tmp_path):
    rows = [
        Row("audio_x", "cosine", 123_456, 1.5, 0.9, 0.01, 0.1, 0.2, 0.3, 2, "epochs ÷ 4", "", "0.5M", 100.0, 0.888),
        Row("image_y", "logistic", note="no <b>covers</b>", paper_roc_auc=0.743),
    ]
    write_table(TABLE2, tmp_path / TABLE2.csv, rows)
    for name in ("seed0", "seed1"):
        make_run(tmp_path / "audio_x_cosine" / name)
    (tmp_path / "audio_x_cosine" / "seed1" / "report.html").touch()
    found = Page(make_page(tmp_path, None))
    for said in ("123,456", "0.900", "± 0.010", "0.888", "0.5M", "no <b>covers</b>", "0.743", "1 of", "epochs ÷ 4"):
        assert said in found.text
    assert [where for where in found.values("href") if "report" in where] == ["audio_x_cosine/seed1/report.html"]
    [image] = found.images()
    assert {"audio_x_cosine", "image_y_logistic"} <= {text.strip() for text in image.itertext()}


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no config.json and no table"):
        make_page(tmp_path, None)
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"mumu_jax\.evaluate --workdir=.* --split=val"):
        make_page(run, "val")
    (run / "predictions_test.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"predictions_test\.npz is missing or damaged"):
        make_page(run, None)
    (run / "metrics.jsonl").write_text("{\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        make_page(run, None)


def test_command_needs_no_accelerator(small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run, ignore=shutil.ignore_patterns("track", "album", "events"))
    done = succeed("mumu_jax.report", f"--workdir={run}", JAX_PLATFORMS="cuda")
    assert done.stdout == f"written: {run / 'report.html'}\n"
    found = Page((run / "report.html").read_text(encoding="utf-8"))
    for said in ("Track network: loss", "Album network: loss", "audio_low_4x96", "tracks"):
        assert said in found.text


def test_command_says_what_it_wants(tmp_path):
    complain("mumu_jax.report", says=["--workdir"])
    complain("mumu_jax.report", f"--workdir={tmp_path}", says=["neither a run", "mumu_jax.reproduce"])


# --- the commit that a run keeps ----------------------------------------------------------------------------


def test_commit_of_the_checkout(monkeypatch):
    if not shutil.which("git") or not (REPOSITORY / ".git").exists():
        pytest.skip("the package does not lie in a git checkout")
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert commit() in (head.stdout.strip(), head.stdout.strip() + "+dirty")
    monkeypatch.setenv("PATH", "")
    assert commit() is None
