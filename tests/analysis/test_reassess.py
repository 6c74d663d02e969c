"""Many models judged from score tables, against the metrics on dense scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reteach.analysis.ensembles import summed_logits
from reteach.analysis.predictions import top_classes
from reteach.analysis.reassess import reassess
from reteach.commands.evaluate_scores import evaluate_scores
from reteach.errors import UserError
from reteach.item_index import ItemIndex
from reteach.labels import Multi, Single
from reteach.metrics.accuracy import accuracy, kth_accuracy
from reteach.options.runs import EvaluateOptions, ScoreEvaluationOptions
from reteach.scores.table import ScoreTable, ScoreWriter, open_scores
from reteach.tables import LabelTable, write_labels

CLASSES = tuple("abcdefgh")
N = 120


class Case:
    """Seven models of rising accuracy on N items whose label sets have 0 to 3 classes."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.items = [f"{i:03d}.jpg" for i in range(N)]
        self.present = np.zeros((N, 8), np.bool_)
        for i in range(N):
            self.present[i, rng.choice(8, rng.integers(0, 4), replace=False)] = True
        self.original = np.where(self.present.any(1), self.present.argmax(1), rng.integers(0, 8, N))
        self.labels = Multi.from_dense(self.present, CLASSES)
        self.scores: dict[str, np.ndarray] = {}
        self.logits: dict[str, np.ndarray] = {}
        self.tables: dict[str, ScoreTable] = {}
        for m in range(7):
            logit = rng.normal(size=(N, 8)) + self.present * m * 0.4
            logit[np.arange(N), self.original] += m * 0.3
            logit = np.round(logit, 1).astype(np.float32)  # with ties
            score = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
            name = f"model{m}"
            with ScoreWriter(folder / f"{name}.parquet", CLASSES, logits=True) as out:
                for rows in np.array_split(rng.permutation(N * 8), 3):
                    item, cls = np.divmod(rows, 8)
                    out.write(self.items, item, cls, score[item, cls], logit[item, cls])
            self.scores[name], self.logits[name] = score.astype(np.float32), logit
            self.tables[name] = open_scores(folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_top_classes_equal_a_stable_sort(case: Case, k: int) -> None:
    index = ItemIndex(case.items, closed=True)
    for name, table in case.tables.items():
        expected = np.argsort(-case.scores[name], axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(top_classes(table, index, CLASSES, k), expected)


def test_top_classes_across_batches(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ItemIndex(case.items, closed=True)
    whole = ScoreTable.batches
    monkeypatch.setattr(ScoreTable, "batches", lambda self, i, c: whole(self, i, c, 7))
    expected = np.argsort(-case.scores["model3"], axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(top_classes(case.tables["model3"], index, CLASSES, 3), expected)


def test_short_and_missing_items(tmp_path: Path) -> None:
    with ScoreWriter(tmp_path / "s.parquet", CLASSES) as out:
        out.write(["x", "y"], np.array([0, 1, 1]), np.array([2, 5, 4]), np.array([1, 0.2, 0.3]))
    table = open_scores(tmp_path / "s.parquet")
    found = top_classes(table, ItemIndex(["x", "y"], closed=True), CLASSES, 3)
    np.testing.assert_array_equal(found, [[2, -1, -1], [4, 5, -1]])
    with pytest.raises(UserError, match="1 of 3 items have no score, first: 'z'"):
        top_classes(table, ItemIndex(["x", "y", "z"], closed=True), CLASSES, 1)
    with pytest.raises(UserError, match="needs all 8 classes of every item, 'x' has 1"):
        summed_logits([table], ItemIndex(["x", "y"], closed=True), CLASSES)


def test_everything_equals_the_metrics(case: Case) -> None:
    found = reassess(case.tables, case.items, case.labels, Single(case.original, CLASSES), k=3)
    assert [m.name for m in found.models[:7]] == sorted(
        case.tables, key=lambda n: accuracy(case.scores[n], np.eye(8)[case.original] > 0)
    )
    labelled = case.present.any(1)
    assert found.unlabeled == (~labelled).sum()
    for model in found.models[:7]:
        score = case.scores[model.name]
        assert model.reassessed.value == pytest.approx(accuracy(score, case.present))
        np.testing.assert_allclose(model.kth, kth_accuracy(score, case.present, 3))
        assert model.original.value == pytest.approx(accuracy(score, np.eye(8)[case.original] > 0))
        order = np.argsort(-score, axis=1, kind="stable")
        many = case.present.sum(1)
        for place in range(3):
            rows = np.flatnonzero(many > place)
            assert model.kth_possible[place] == pytest.approx(
                case.present[rows, order[rows, place]].mean()
            )
    right = case.present[np.arange(N), case.original]
    assert found.labels_accuracy.value == pytest.approx(right[labelled].mean())
    assert found.progress is not None
    assert found.progress.earlier.n == 3


def test_the_ensemble_adds_logits(case: Case) -> None:
    found = reassess(
        case.tables, case.items, case.labels, Single(case.original, CLASSES), ensemble=3
    )
    best = [m.name for m in found.models[4:7]][::-1]
    assert found.models[-1].name == " + ".join(best)
    total = np.sum([case.logits[name] for name in best], axis=0, dtype=np.float32)
    hits = case.present[np.arange(N), total.argmax(1)]
    assert found.models[-1].reassessed.value == pytest.approx(hits[case.present.any(1)].mean())


def test_without_logits_log_probabilities_rank_alike(case: Case, tmp_path: Path) -> None:
    tables = []
    for name in ("model2", "model5"):
        with ScoreWriter(tmp_path / f"{name}.parquet", CLASSES) as out:
            out.write_dense(case.items, case.scores[name])
        tables.append(open_scores(tmp_path / f"{name}.parquet"))
    index = ItemIndex(case.items, closed=True)
    found = summed_logits(tables, index, CLASSES)
    expected = case.logits["model2"] + case.logits["model5"]
    np.testing.assert_allclose(
        found - found.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=1e-4
    )


def test_the_command(case: Case, tmp_path: Path) -> None:
    write_labels(tmp_path / "real.parquet", LabelTable(tuple(case.items), case.labels))
    more = (*reversed(case.items), "other.jpg")
    original = Single(np.append(case.original[::-1], 0), CLASSES)
    write_labels(tmp_path / "original.csv", LabelTable(more, original))
    paths = [table.path for table in case.tables.values()]
    options = EvaluateOptions(
        tuple(paths), tmp_path / "real.parquet", original=tmp_path / "original.csv"
    )
    lines = list(evaluate_scores(options).lines())
    said = "\n".join(lines)
    assert lines[0].startswith("120 images, ")
    assert f"{accuracy(case.scores['model6'], case.present):.2%}" in said
    assert "progress over" in said

    write_labels(tmp_path / "few.csv", LabelTable(("000.jpg",), Single(np.array([0]), CLASSES)))
    with pytest.raises(UserError, match=r"119 of 120 items have no original label"):
        evaluate_scores(replace(options, original=tmp_path / "few.csv"))
    with pytest.raises(UserError, match="k must lie in"):
        evaluate_scores(replace(options, score_options=ScoreEvaluationOptions(k=9)))
