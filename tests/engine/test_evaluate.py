"""Which images an evaluation counts: what an empty label set says is said, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reteach.data.dataset import Dataset
from reteach.data.loading.augment import Plain
from reteach.data.loading.batch import Normalize
from reteach.data.loading.stream import Scan
from reteach.data.sources.base import ArraySource
from reteach.engine.evaluate import Evaluation, in_pieces
from reteach.engine.learner import Predictor
from reteach.labels import LabelSet, Multi, Single

NAMES = tuple("abcd")
SIDE = 4


class Namer(torch.nn.Module):
    """Reads the row of its answers off the pixels, which are the bits of the row."""

    def __init__(self, answers: np.ndarray) -> None:
        super().__init__()
        self.answers = torch.from_numpy(answers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = (x.flatten(1) > 0.5).long() @ 2 ** torch.arange(SIDE**2)
        return 18.0 * self.answers[rows].float() - 9


def evaluation(labels: LabelSet, given: Single | None = None, **more: Any) -> Evaluation:
    bits = (np.arange(len(labels))[:, None] >> np.arange(SIDE**2)) & 1
    images = (255 * bits).reshape(-1, SIDE, SIDE, 1).astype(np.uint8)
    data = Dataset.of(ArraySource(images), labels)
    scan = Scan(data, Plain(), Normalize((0.0,), (1.0,), channels=1), 4096)
    return Evaluation("test", scan, given, **more)


def namer(answers: np.ndarray) -> Predictor:
    """Says exactly these (N, C) labels."""
    return Predictor((Namer(answers).eval(),), "sigmoid")


def test_a_perfect_namer_of_real_has_f1_1_and_coverage_1229(shared_data: Path) -> None:
    """ReaL's published sets; a namer has to name something where they are empty, too.

    Classes are numbered anew within each image, which neither F1 nor coverage sees: the first label of
    an image is class 0, the second class 1, and so on; the last class is what is in no set.
    """
    sets = json.loads((shared_data / "real" / "real.json").read_text())
    with np.load(shared_data / "real" / "imagenet_val.npz", allow_pickle=False) as pack:
        original = pack["label"].tolist()
    width = max(map(len, sets)) + 1
    names = tuple(map(str, range(width)))
    truth = np.arange(width) < np.array([len(entry) for entry in sets])[:, None]
    first = [s.index(c) if c in s else width - 1 for s, c in zip(sets, original, strict=True)]
    labels, given = Multi.from_dense(truth, names), Single(np.array(first), names)
    answers = truth.copy()
    answers[~truth.any(1), width - 1] = True
    found = evaluation(labels, given)(namer(answers)).compute()
    assert (found["n"], found["n_accuracy"]) == (50_000, 50_000)
    assert found["n_sets"] == found["n_real_accuracy"] == 46_837
    assert found["f1@0.25"] == found["f1@0.5"] == found["real_accuracy"] == found["map"] == 1
    assert found["labels_per_image"] == pytest.approx(57_553 / 46_837)
    assert round(found["labels_per_image"], 3) == 1.229
    assert found["labels_per_image@top1"] == 1
    # of k labels the first choice alone has F1 2 / (1 + k)
    sizes = [len(entry) for entry in sets if entry]
    assert found["f1@top1"] == pytest.approx(np.mean([2 / (1 + k) for k in sizes]))
    named = [0 if entry else width - 1 for entry in sets]
    assert found["accuracy"] == pytest.approx(np.mean(np.array(named) == first))
    counted = evaluation(labels, given, empty="none")(namer(answers)).compute()
    assert counted["f1@0.25"] == pytest.approx(46_837 / 50_000), "what was reported before"


TAGS = Multi.from_dense(np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]), NAMES)


def test_a_photo_without_tags_is_known_to_have_none() -> None:
    """Ordinary label sets: nothing predicted there is right, and something is wrong."""
    present = TAGS.present()
    found = evaluation(TAGS)(namer(present)).compute()
    assert (found["f1@0.5"], found["n_sets"], found["n_accuracy"]) == (1, 4, 2)
    wrong = present.copy()
    wrong[1, 3] = True
    found = evaluation(TAGS)(namer(wrong)).compute()
    assert found["f1@0.5"] == 0.75
    left_out = evaluation(TAGS, empty="unknown")(namer(wrong)).compute()
    assert (left_out["f1@0.5"], left_out["n"], left_out["n_sets"]) == (1, 2, 2)


def test_given_labels_say_that_the_sets_are_reassessed() -> None:
    """Then an empty one is of an image of which nobody could tell, unless the caller says otherwise."""
    given = Single(np.array([0, 3, -1, -1]), NAMES)
    answers = np.eye(4, dtype=bool)[[0, 3, 1, 2]]
    found = evaluation(TAGS, given)(namer(answers)).compute()
    assert (found["n"], found["n_accuracy"], found["n_real_accuracy"]) == (3, 2, 2)
    assert (found["accuracy"], found["real_accuracy"]) == (1, 1)
    assert found["f1@0.5"] == pytest.approx((2 / 3 + 1) / 2)
    found = evaluation(TAGS, given, empty="none")(namer(answers)).compute()
    assert (found["n"], found["n_sets"], found["n_real_accuracy"]) == (4, 4, 2)
    assert found["f1@0.5"] == pytest.approx((2 / 3 + 1) / 4)


def test_unknown_entries_everywhere_leave_an_image_out_of_the_sets_alone() -> None:
    unknown = Multi.from_dense(np.array([[0] * 4, [1] * 4, [0] * 4, [0] * 4]), NAMES)
    labels = TAGS.with_unknown(unknown)
    answers = np.eye(4, dtype=bool)[[0, 3, 1, 2]]
    found = evaluation(labels, Single(np.array([0, 3, 1, 1]), NAMES), empty="none")(
        namer(answers)
    ).compute()
    assert (found["n"], found["n_accuracy"], found["n_sets"]) == (4, 4, 3)
    assert found["accuracy"] == 0.75


def test_images_that_no_number_is_over_are_not_read() -> None:
    whole = evaluation(TAGS, Single(np.array([0, 3, -1, -1]), NAMES))
    few = whole.narrowed()
    assert few.scan.dataset.rows.tolist() == [0, 1, 2]
    answers = np.eye(4, dtype=bool)[[0, 3, 1, 2]]
    assert few(namer(answers)).compute() == whole(namer(answers)).compute()


def test_a_processor_takes_large_images_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def of(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x.mean((-1, -2))

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for side, wanted in ((448, [2, 2, 1]), (2000, [1] * 5), (32, [5])):
        x = torch.rand(5, 1, side, side)
        seen.clear()
        assert torch.equal(in_pieces(of)(x), x.mean((-1, -2)))
        assert seen == wanted
    features = torch.rand(3, 10_000, 1, 4)
    seen.clear()
    in_pieces(of)(features)
    assert seen == [3], "features are small, whatever their number"
