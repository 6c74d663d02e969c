"""The one table of metrics, and what it takes to add one: a file that measures it, and a row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import report_fakes as fakes
from metric_batches import random_batch
from report_pages import Element, read, section
from reteach.commands.lines import metric_lines
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import DigitGrids
from reteach.compare.variants import variants
from reteach.metrics.registry import GROUPS, IMAGES, REGISTRY, SETS, Metric, columns, metric, shown
from reteach.metrics.summary import Summary, trivial_every_class
from reteach.options.shared import Model, Training
from reteach.report import run_report

CLASSES = [f"class {i}" for i in range(8)]


class HammingLoss:
    """The share of wrong entries at 0.5, as a contributor's file would measure it."""

    def __init__(self) -> None:
        self.wrong = self.asked = 0

    def update(self, scores: np.ndarray, truth: np.ndarray, known: np.ndarray | None) -> None:
        mask = np.ones_like(truth) if known is None else known
        self.wrong += int((((scores > 0.5) != truth) & mask).sum())
        self.asked += int(mask.sum())

    def compute(self) -> float:
        return self.wrong / self.asked if self.asked else float("nan")


ROW = Metric(
    "hamming",
    "Hamming loss",
    "The share of label entries that are wrong at 0.5; less is better.",
    SETS,
    better=-1,
    column="Hamming",
    shown={"table": 9, "table/sets": 9, "headline": 0, "curves/sets": 12, "compare/mixed": 9},
    meter="hamming:HammingLoss",
    trivial=True,
)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric's file and its row; nothing else."""
    file = ModuleType("reteach.metrics.hamming")
    file.HammingLoss = HammingLoss  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, file.__name__, file)
    monkeypatch.setitem(REGISTRY, ROW.name, ROW)


def test_a_new_metric_is_in_the_summary_and_the_trivial_answer(added: None) -> None:
    scores, truth = random_batch(200, 8)
    known = np.random.default_rng(5).random(truth.shape) < 0.6
    out = Summary(CLASSES)
    for part in (slice(0, 7), slice(7, 200)):
        out.update(scores[part], truth[part], known=known[part])
    right = [
        bool(scores[i, c] > 0.5) == bool(truth[i, c])
        for i in range(200)
        for c in range(8)
        if known[i, c]
    ]
    assert out.compute()["hamming"] == pytest.approx(1 - sum(right) / len(right))
    assert trivial_every_class(truth, known=known)["hamming"] == (~truth & known).sum() / len(right)


def test_a_new_metric_is_in_the_command_lines_table(added: None) -> None:
    scores, truth = random_batch(200, 8)
    out = Summary(CLASSES)
    out.update(scores, truth)
    numbers = out.compute()
    printed = "\n".join(metric_lines({"model": numbers}))
    assert "Hamming" in printed
    assert f"{100 * numbers['hamming']:.1f}" in printed


def test_a_new_metric_is_in_the_run_report(added: None, tmp_path: Path) -> None:
    folder = fakes.run_folder(tmp_path)
    content = json.loads((folder / "evaluation.json").read_text())
    content["val"]["student"]["metrics"]["hamming"] = 0.0731
    fakes.write_json(folder / "evaluation.json", content)
    with open(folder / "metrics.jsonl", "a") as log:
        where = {"stage": "train", "kind": "eval", "data": "val", "predictor": "student"}
        for step in (1499, 1500):
            log.write(json.dumps({"step": step, "hamming": 0.0731} | where) + "\n")
    tree = read(run_report(folder).read_text())
    # among the large numbers, the results, the curves and the words
    assert "Hamming loss" in tree.all("header")[0].text
    for part in ("results", "evaluations", "glossary"):
        assert "Hamming loss" in section(tree, part).text
    assert "7.3" in section(tree, "results").text


def test_a_new_metric_is_in_a_comparison_and_its_page(added: None, tmp_path: Path) -> None:
    training = Training(steps=4, batch_size=8, optimizer="adam")
    chosen, swept = variants(("sigmoid",), Model("reteach_tiny", device="cpu"), training)
    arena = DigitGrids(2, 20, 10, 10)
    results = compare(ComparisonPlan("t", "d", tmp_path, arena, chosen, (0,), swept))
    assert 0 < results["sigmoid"]["hamming"]["mean"] < 100
    assert 0 < results["every class present"]["hamming"]["mean"] < 100
    tree: Element = read((tmp_path / "report.html").read_text())
    for part in ("methods", "seeds", "curves", "glossary"):
        assert "Hamming loss" in section(tree, part).text


def test_every_row_is_whole() -> None:
    for name, row in REGISTRY.items():
        assert row.name == name
        assert row.title
        assert row.group in (*GROUPS, IMAGES)
        assert "{" not in row.title + row.text + row.column
    assert list(columns("table")) == list(shown("table"))


def test_members_of_a_family_and_unknown_names() -> None:
    assert metric("f1@0.3").title == "F1 at 0.3"
    assert metric("cf1@0.8").title == "CF1 at 0.8"
    assert metric("of1").name == "of1"  # of an earlier version, at 0.5
    assert metric("of1").title == "OF1 at 0.5"
    assert metric("strange_one").title == "strange one"
    assert metric("map@0.5").title == "map@0.5"


def test_the_registry_is_light() -> None:
    code = "import sys, reteach.metrics.registry; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("name", "mean", "deviation", "shown"),
    [
        ("loss", 0.02143, 0.000123456, "0.00012"),
        ("loss", 2.13456, 0.0123456, "0.012"),
        ("loss", 12345.6, 12.3456, "12"),
        ("loss", 0.0, 0.0123456, "0.01235"),
        ("map", 0.5, 0.0123456, "1.2"),
    ],
)
def test_a_deviation_has_the_decimals_of_its_mean(name, mean, deviation, shown) -> None:
    assert metric(name).show_spread(deviation, mean) == shown
