from __future__ import annotations

import numpy as np
import pytest

from metric_batches import random_batch
from reteach.errors import UserError
from reteach.metrics.accuracy import accuracy
from reteach.metrics.f1 import example_f1
from reteach.metrics.ranking import average_precision
from reteach.metrics.summary import Summary, trivial_every_class

CLASSES = [f"class {i}" for i in range(8)]
SCORES, TRUTH = random_batch(200, 8)
GIVEN = np.random.default_rng(3).integers(-1, 8, 200)
ALWAYS = {
    "n", "accuracy", "top5", "f1@0.25", "f1@0.5", "map", "labels_per_image@0.25",
    "labels_per_image", "true_labels_per_image", "precision@0.25", "ece", "ece_labels",
    "n_accuracy", "n_sets", "f1@top1", "labels_per_image@top1", "jaccard",
    *(f"{name}@{at}" for name in ("cp", "cr", "cf1", "op", "or", "of1") for at in (0.5, 0.8)),
}  # fmt: skip


def summary(*cuts: int, tuned: float | None = None, given: bool = False) -> Summary:
    out = Summary(CLASSES, tuned=tuned)
    pieces = (np.split(a, cuts) for a in (SCORES, TRUTH, GIVEN))
    for scores, truth, label in zip(*pieces, strict=True):
        out.update(scores, truth, label if given else None)
    return out


def test_keys_and_values() -> None:
    out = summary().compute()
    assert set(out) == ALWAYS
    assert all(type(value) is float for value in out.values())
    assert out["n"] == 200
    assert out["accuracy"] == accuracy(SCORES, TRUTH)
    assert out["top5"] == accuracy(SCORES, TRUTH, 5)
    assert out["f1@0.25"] == pytest.approx(example_f1(SCORES, TRUTH, 0.25))
    assert out["f1@0.5"] == pytest.approx(example_f1(SCORES, TRUTH, 0.5))
    assert out["map"] == pytest.approx(average_precision(SCORES, TRUTH).mean())
    assert out["labels_per_image"] == pytest.approx((SCORES > 0.25).sum() / 200)
    assert out["labels_per_image@0.25"] == out["labels_per_image"]
    assert out["true_labels_per_image"] == pytest.approx(TRUTH.sum() / 200)


@pytest.mark.parametrize("at", [0.5, 0.8])
def test_counts_at_both_thresholds_are_those_of_loops(at: float) -> None:
    """CP … OF1 at 0.5 and at the 0.8 of CPSD's code, each under the name of its threshold."""
    out = summary().compute()
    precision, recall, hits, predicted, true = [], [], 0, 0, 0
    for c in range(8):
        tp = sum(SCORES[i, c] > at and TRUTH[i, c] for i in range(200))
        guessed, there = sum(SCORES[:, c] > at), sum(TRUTH[:, c])
        precision.append(tp / guessed if guessed else 0.0)
        recall.append(tp / there)
        hits, predicted, true = hits + tp, predicted + guessed, true + there
    cp, cr, op, or_ = np.mean(precision), np.mean(recall), hits / predicted, hits / true
    expected = {"cp": cp, "cr": cr, "cf1": 2 * cp * cr / (cp + cr)}
    expected |= {"op": op, "or": or_, "of1": 2 * op * or_ / (op + or_)}
    assert {name: out[f"{name}@{at}"] for name in expected} == pytest.approx(expected)


def test_given_labels_take_over_accuracy() -> None:
    out = summary(given=True).compute()
    assert set(out) == ALWAYS | {"real_accuracy", "n_real_accuracy"}
    named = GIVEN >= 0
    one_hot = np.eye(8, dtype=bool)[GIVEN[named]]
    assert out["accuracy"] == accuracy(SCORES[named], one_hot)
    assert out["top5"] == accuracy(SCORES[named], one_hot, 5)
    assert out["real_accuracy"] == summary().compute()["accuracy"]


def test_a_threshold_tuned_elsewhere() -> None:
    validation = Summary(CLASSES)
    validation.update(*random_batch(200, 8, seed=9))
    threshold = validation.tuned_threshold()
    assert (threshold, validation.curve.at(threshold)) == pytest.approx(validation.curve.best())
    out = summary(tuned=threshold).compute()
    assert set(out) == ALWAYS | {"f1@tuned", "threshold"}
    assert out["threshold"] == threshold
    assert out["f1@tuned"] == pytest.approx(example_f1(SCORES, TRUTH, threshold))
    assert out["f1@0.5"] < out["f1@tuned"] <= summary().curve.best()[1]


def test_batches_add_up() -> None:
    whole, parts = summary(given=True), summary(1, 1, 90, given=True)
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-12)
    for mine, theirs in zip(parts.per_class(), whole.per_class(), strict=True):
        assert mine == theirs


def test_few_classes_have_no_top5() -> None:
    few = Summary(CLASSES[:5])
    few.update(SCORES[:, :5], TRUTH[:, :5])
    assert set(few.compute()) == ALWAYS - {"top5"}


def test_other_thresholds_name_their_keys() -> None:
    out = Summary(CLASSES, thresholds=(0.1, 0.125))
    out.update(SCORES, TRUTH)
    keys = set(out.compute())
    assert {"f1@0.1", "f1@0.125", "labels_per_image@0.1", "precision@0.1"} < keys
    with pytest.raises(ValueError, match="at least one threshold"):
        Summary(CLASSES, thresholds=())


def test_per_class_rows() -> None:
    rows = summary().per_class()
    assert [row["class"] for row in rows] == CLASSES
    assert [row["support"] for row in rows] == TRUTH.sum(axis=0).tolist()
    assert [row["ap"] for row in rows] == pytest.approx(average_precision(SCORES, TRUTH))
    assert set(rows[0]) == {"class", "support", "ap", "precision", "recall", "f1"}
    assert Summary(CLASSES).per_class() == []


def test_limited_memory_is_near() -> None:
    exact, folded = Summary(CLASSES), Summary(CLASSES, limit=100)
    for one in (exact, folded):
        one.update(*random_batch(5000, 8, seed=4))
    assert folded.compute() == pytest.approx(exact.compute(), abs=1e-3)
    assert folded.curve.best()[1] == pytest.approx(exact.curve.best()[1], abs=1e-3)


def test_nothing_seen_is_nan() -> None:
    out = Summary(CLASSES).compute()
    assert [out.pop(name) for name in ("n", "n_accuracy", "n_sets")] == [0, 0, 0]
    assert np.isnan(list(out.values())).all()


def test_every_class_is_what_constant_scores_get() -> None:
    assert (~TRUTH.any(axis=1)).any()
    ones = Summary(CLASSES, tuned=0.5)
    ones.update(np.ones(TRUTH.shape, np.float32), TRUTH)
    expected = ones.compute()
    for key in set(expected) - set(trivial_every_class(TRUTH)):
        del expected[key]
    assert {"n", "f1@0.5", "map", "labels_per_image", "of1@0.8"} <= expected.keys()
    assert trivial_every_class(TRUTH) == pytest.approx(expected)


def test_every_class_without_labels_or_images() -> None:
    trivial = trivial_every_class(np.zeros((3, 4), bool))
    assert trivial["f1@0.5"] == 0
    assert np.isnan(
        [trivial[k] for k in ("map", "cp@0.5", "cr@0.5", "cf1@0.5", "op@0.8", "or@0.8", "of1@0.8")]
    ).all()
    with pytest.raises(UserError, match="at least one image"):
        trivial_every_class(np.zeros((0, 4), bool))


def test_bad_input_is_named() -> None:
    out = Summary(CLASSES)
    with pytest.raises(UserError, match="7 columns for 8 classes"):
        out.update(SCORES[:, :7], TRUTH[:, :7])
    broken = SCORES.copy()
    broken[5, 2] = np.nan
    with pytest.raises(UserError, match=r"1 of 200 rows.*row 5, class 'class 2'"):
        out.update(broken, TRUTH)
    with pytest.raises(UserError, match=r"\[-1, 8\), got 0 to 8"):
        out.update(SCORES, TRUTH, np.arange(200) % 9)
    with pytest.raises(UserError, match="200 class indices, got float64"):
        out.update(SCORES, TRUTH, np.zeros(200))
    out.update(SCORES, TRUTH, GIVEN)
    with pytest.raises(ValueError, match="every batch or with none"):
        out.update(SCORES, TRUTH)
    assert out.compute()["n"] == 200


def test_what_reports_draw() -> None:
    out = Summary(CLASSES)
    for part in np.array_split(np.arange(200), 7):
        out.update(SCORES[part], TRUTH[part])
    histogram = out.labels_histogram()
    assert histogram["predicted"] == np.bincount((SCORES > 0.25).sum(1)).tolist()
    assert histogram["true"] == np.bincount(TRUTH.sum(1)).tolist()
    diagram = out.reliability()
    assert sum(diagram["count"]) == TRUTH.any(1).sum() or sum(diagram["count"]) == 200
    assert all(np.isfinite(values).all() for values in diagram.values())


def test_unknown_entries_count_in_no_metric() -> None:
    """Whatever stands in them."""
    known = np.random.default_rng(5).random(TRUTH.shape) < 0.6
    known[:, 0] = True  # a class of every image
    noise = np.random.default_rng(6).random(TRUTH.shape).astype(np.float32)
    plain, noisy = Summary(CLASSES, tuned=0.3), Summary(CLASSES, tuned=0.3)
    plain.update(SCORES, TRUTH, known=known)
    noisy.update(np.where(known, SCORES, noise), np.where(known, TRUTH, noise > 0.5), known=known)
    assert plain.compute() == noisy.compute()
    assert plain.per_class() == noisy.per_class()
    assert plain.tuned_threshold() == noisy.tuned_threshold()
    found = plain.compute()
    assert found["map"] == pytest.approx(np.nanmean(average_precision(SCORES, TRUTH, known)))
    assert found["accuracy"] == accuracy(np.where(known, SCORES, 0), TRUTH & known)
    assert found["labels_per_image"] == pytest.approx(((SCORES > 0.25) & known).sum() / 200)


def test_unknown_entries_of_the_trivial_answer() -> None:
    known = np.random.default_rng(5).random(TRUTH.shape) < 0.6
    summary = Summary(CLASSES)
    summary.update(np.ones_like(SCORES), TRUTH, known=known)
    out, trivial = summary.compute(), trivial_every_class(TRUTH, known=known)
    assert all(trivial[key] == pytest.approx(out[key]) for key in trivial if key != "f1@tuned")


def literal_top1(scores: np.ndarray, truth: np.ndarray, known: np.ndarray) -> float:
    """Image by image: the first choice among the known classes against the known labels."""
    total = 0.0
    for row, present, open_ in zip(scores.tolist(), truth.tolist(), known.tolist(), strict=True):
        asked = [c for c in range(len(row)) if open_[c]]
        best = max(asked, key=lambda c: (row[c], -c))
        labels = {c for c in asked if present[c]}
        total += 2 * (best in labels) / (1 + len(labels))
    return total / len(scores)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_the_first_choice_as_the_set_is_the_softmax_row(share: float) -> None:
    known = np.random.default_rng(5).random(TRUTH.shape) < share
    known[:, 0] = True
    scores = np.round(SCORES, 1)  # many ties
    out = Summary(CLASSES)
    out.update(scores, TRUTH, known=known)
    assert out.compute()["f1@top1"] == pytest.approx(literal_top1(scores, TRUTH, known))
    assert out.compute()["labels_per_image@top1"] == 1


def test_images_whose_set_is_not_known_count_for_given_labels_alone() -> None:
    """Whatever stands in their rows; and each number says how many images it is over."""
    judged = TRUTH.any(axis=1)
    assert 0 < judged.sum() < 200
    every, some = (Summary(CLASSES, tuned=0.3) for _ in range(2))
    every.update(SCORES, TRUTH, GIVEN, judged=judged)
    some.update(SCORES[judged], TRUTH[judged], GIVEN[judged])
    found, wanted = every.compute(), some.compute()
    against_given = {"n", "n_accuracy", "accuracy", "top5"}
    assert {k: v for k, v in found.items() if k not in against_given} == {
        k: v for k, v in wanted.items() if k not in against_given
    }
    assert found["accuracy"] == summary(given=True).compute()["accuracy"]
    assert (found["n"], found["n_accuracy"]) == (200, (GIVEN >= 0).sum())
    assert found["n_sets"] == found["n_real_accuracy"] == judged.sum()
    assert every.tuned_threshold() == some.tuned_threshold()
    with pytest.raises(ValueError, match=r"judged must be boolean \(200,\)"):
        every.update(SCORES, TRUTH, GIVEN, judged=np.ones(3, bool))
