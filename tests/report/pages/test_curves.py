"""From measurements to curves: stages in sequence, phases apart, nothing lost in thinning."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pages import read
from reteach.records.runs import Measurement
from reteach.report.kit.line_styles import Looks
from reteach.report.pages.curves import BINS, LearningCurve, Timeline, _thin, evaluations, training


def measured(lines: list[dict[str, object]]) -> list[Measurement]:
    """Lines as a report reads them."""
    return [Measurement.of(line) for line in lines]


def test_stages_follow_each_other() -> None:
    records = [
        {"stage": "1-teacher", "step": 50, "kind": "train", "loss": 1.0},
        {"stage": "1-teacher", "step": 100, "kind": "train", "loss": 0.5},
        {"stage": "2-student", "step": 10, "kind": "train", "loss": 0.4},
        {"stage": "2-student", "step": 30, "kind": "train", "loss": 0.3},
    ]
    time = Timeline(measured(records))
    assert [time.at(record) for record in measured(records)] == [50, 100, 110, 130]
    assert time.marks() == [(0, "1-teacher"), (100, "2-student")]
    assert time.total == 130
    chart = training(measured(records), Looks())
    assert chart is not None
    words = {text.text for text in read(chart).all("text")}
    assert {"1-teacher", "2-student"} <= words


@pytest.mark.parametrize(
    "records",
    [
        [
            {"step": 1, "kind": "train", "loss": 0.9, "phase": "teacher", "rate": 0.1},
            {"step": 2, "kind": "train", "loss": 0.7, "phase": "student", "rate": 0.1},
        ],
        [
            {"step": 1, "kind": "train", "teacher_loss": 0.9, "rate": 0.1},
            {"step": 2, "kind": "train", "student_loss": 0.7, "rate": 0.1},
        ],
    ],
)
def test_losses_are_split_by_phase(records: list[dict[str, object]]) -> None:
    looks = Looks(["student", "teacher"])
    chart = training(measured(records), looks)
    assert chart is not None
    tree = read(chart)
    assert [key.text for key in tree.all("ul", "legend")[0].all("li")] == ["teacher", "student"]
    titles = [figure.all("b")[0].text for figure in tree.all("figure")]
    assert titles == ["Loss", "Learning rate"]
    label = str(tree.all("figure")[0].all("svg")[0].attributes["aria-label"])
    assert "teacher: 0.9000 at first, 0.9000 at last" in label
    assert "student: 0.7000" in label


def test_evaluations_per_metric_and_predictor() -> None:
    records = [
        {"step": s, "kind": "eval", "data": "val", "predictor": p, "map": v, "accuracy": v,
         "real_accuracy": v, "labels_per_image": 2 * v, "true_labels_per_image": 2.74, "ece": None}
        for s in (10, 20)
        for p, v in (("student", 0.5 + s / 100), ("teacher", 0.4))
    ]  # fmt: skip
    chart = evaluations(measured(records), Looks(), None)
    assert chart is not None
    tree = read(chart)
    titles = [figure.all("b")[0].text for figure in tree.all("figure")]
    assert titles == ["Accuracy", "mAP", "Labels per image"]  # ReaL accuracy is the same here
    assert "true number 2.74" in {text.text for text in tree.all("text")}
    label = str(tree.all("figure")[1].all("svg")[0].attributes["aria-label"])
    assert "student: 60.0 at first, 70.0 at last; teacher: 40.0 at first, 40.0 at last" in label
    assert {"70.0", "40.0"} <= {text.text for text in tree.all("figure")[1].all("text")}


def test_nothing_measured_no_section() -> None:
    assert training([], Looks()) is None
    assert evaluations([], Looks(), None) is None
    assert training(measured([{"step": 1, "kind": "train", "loss": math.nan}]), Looks()) is None
    silent = [{"step": 1, "kind": "eval", "data": "val", "predictor": "a", "map": None}]
    assert evaluations(measured(silent), Looks(), None) is None


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=2000))
def test_thinning_keeps_the_mean_and_bounds_the_size(values: list[float]) -> None:
    steps = [float(i + 1) for i in range(len(values))]
    line = _thin("a", LearningCurve(steps, values), steps[-1], 0)
    assert len(line.y) <= BINS + 1
    assert list(line.x) == sorted(line.x)
    assert min(values) - 1e-9 <= min(line.y) <= max(line.y) <= max(values) + 1e-9
    if len(values) <= BINS:
        assert list(line.y) == pytest.approx(values)


def test_a_long_run_stays_light() -> None:
    records = [
        {"stage": "train", "step": 50 * i, "kind": "train", "loss": 1 / (i + 1), "a b<": float(i)}
        for i in range(1, 5000)
    ]
    chart = training(measured(records), Looks())
    assert chart is not None
    assert len(chart) < 25_000
    assert "a b&lt;" in chart
    assert not re.search("<b>a b<<", chart)
