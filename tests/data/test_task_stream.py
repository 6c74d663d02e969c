"""The stream of tasks against the package of IIRC's authors, and against its words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource
from reteach.data.task_stream import TaskStream
from reteach.errors import UserError
from reteach.labels import Multi, Single

FINE = ("poodle", "pug", "siamese", "manx", "table")
ABOVE = {"dog": ("poodle", "pug"), "cat": ("siamese", "manx")}
TASKS = (("dog", "table"), ("cat", "pug"), ("poodle", "manx", "siamese"))


def images(n: int = 60, seed: int = 0) -> Dataset:
    index = np.random.default_rng(seed).integers(0, len(FINE), n)
    return Dataset.of(ArraySource(np.zeros((n, 4, 4, 1), np.uint8)), Single(index, FINE))


def stream(seed: int | None = 0, coarse: float = 0.4, fine: float = 0.8) -> TaskStream:
    return TaskStream(images(), TASKS, ABOVE, coarse, fine, seed)


def names(data: Dataset) -> list[tuple[int, frozenset[str]]]:
    return sorted(
        (int(row), frozenset(found))
        for row, found in zip(data.rows, data.labels.names(), strict=True)
    )


@pytest.mark.parametrize("number", [0, 1, 2])
def test_tasks_and_labels_are_those_of_the_iirc_package(number: int) -> None:
    """Its own class, on the same images in the same order: rows and labels of each task."""
    base = pytest.importorskip("iirc.lifelong_dataset.torch_dataset")
    above = {name: top for top, under in ABOVE.items() for name in under}
    mine = stream(seed=None)
    finest = [FINE[i] for i in mine.images.labels.index]
    theirs = base.Dataset(
        [(i, (above[f], f) if f in above else (f,)) for i, f in enumerate(finest)],
        [list(task) for task in TASKS],
        superclass_data_pct=0.4,
        subclass_data_pct=0.8,
    )
    theirs.choose_task(number)
    expected = []
    for at in range(len(theirs)):
        row, *labels = theirs.get_item(at)
        expected += [(row, frozenset([label])) for label in labels if label != "None"]
    assert names(mine.training(number)) == sorted(expected)
    judging = base.Dataset(
        [(i, (above[f], f) if f in above else (f,)) for i, f in enumerate(finest)],
        [list(task) for task in TASKS],
        test_mode=True,
    )
    judging.load_tasks_up_to(number)
    expected = []
    for at in range(len(judging)):
        row, *labels = judging.get_item(at)
        expected.append((row, frozenset(labels) - {"None"}))
    assert names(mine.judged(mine.images, number)) == sorted(expected)


def test_published_task_orders_fit_the_stream() -> None:
    """CIFAR-100's ten orders of the package: every class once, no superclass beside its subclass."""
    package = pytest.importorskip("iirc")
    folder = Path(package.__file__).parent / "metadata"
    tree = json.loads((folder / "iirc_cifar100_hierarchy.json").read_text())
    above = tree["super_classes"]
    fine = sorted(
        {*tree["other_sub_classes"], *(name for under in above.values() for name in under)}
    )
    orders = json.loads((folder / "iirc_cifar100_task_configurations.json").read_text())
    assert len(orders) == 10
    for order in orders.values():
        tasks = tuple(tuple(task) for task in order.values())
        data = Dataset.of(
            ArraySource(np.zeros((len(fine), 2, 2, 1), np.uint8)),
            Single(np.arange(len(fine)), fine),
        )
        made = TaskStream(data, tasks, above)
        assert len(made.seen(len(tasks) - 1)) == 115


def test_a_task_brings_one_label_per_image_and_exemplars_keep_theirs() -> None:
    found = stream()
    first = found.training(0)
    assert set(found.seen(1)) == {"dog", "table", "cat", "pug"}
    assert isinstance(first.labels, Single)
    assert first.classes == ("dog", "table")
    second = found.training(1, exemplars=3)
    assert second.classes == ("dog", "table", "cat", "pug")
    kept = [n for n in second.labels.names() if n[0] in ("dog", "table")]
    assert sorted(map(tuple, kept)) == [("dog",)] * 3 + [("table",)] * 3
    old = dict(names(first))
    for row, label in names(second):
        if label <= {"dog", "table"}:
            assert old[row] == label
    assert names(found.training(1, exemplars=3)) == names(second)
    assert not {"dog", "table"} & {n[0] for n in found.training(1).labels.names()}


def test_judged_are_all_labels_so_far_of_the_images_of_a_task() -> None:
    found, test = stream(), images(40, seed=1)
    cats = found.judged(test, 2, task=1)
    assert isinstance(cats.labels, Multi)
    finest = [FINE[i] for i in test.labels.index]
    expected = {
        row: {f, "cat" if f in ABOVE["cat"] else "dog"}
        for row, f in enumerate(finest)
        if f in (*ABOVE["cat"], "pug")
    }
    assert dict(names(cats)) == expected
    early = found.judged(test, 0)
    assert {frozenset(n) for n in early.labels.names()} == {
        frozenset({"dog"}),
        frozenset({"table"}),
    }
    whole = found.complete(1)
    assert {frozenset({"dog", "pug"}), frozenset({"cat"})} <= {
        frozenset(n) for n in whole.labels.names()
    }
    assert len(set(whole.rows)) == len(whole)


@pytest.mark.parametrize(
    ("tasks", "above", "reason"),
    [
        ((("dog",), ("dog",)), ABOVE, "'dog' is introduced twice"),
        ((("dog", "pug"),), ABOVE, "'dog' and its subclass 'pug' come in one task"),
        ((("bird",),), ABOVE, "'bird' is no class"),
        ((("pug",),), {"a": ("pug",), "b": ("pug",)}, "'pug' has two superclasses"),
        ((("pug",),), {"a": ("bird",)}, "'bird' is no class"),
    ],
)
def test_streams_that_cannot_be_are_refused(tasks, above, reason) -> None:
    with pytest.raises(UserError, match=reason):
        TaskStream(images(), tasks, above)
