"""Label Studio and crowd-kit, out and in."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import run
from rating_kit import label_plan, new_store
from reteach.errors import UserError
from reteach.options.rate import TasksOptions
from reteach.rating.assignment import Flow
from reteach.rating.export import ratings_csv, ratings_of
from reteach.rating.label_studio_export import CONFIG, label_studio_json
from reteach.rating.label_studio_import import read_label_studio
from reteach.rating.raters import add_raters, set_state
from reteach.rating.read import read_ratings
from reteach.rating.store import Store
from reteach.relabel.raters.ratings import NO, YES, Ratings


@pytest.fixture
def rated(tmp_path: Path) -> Store:
    """Three raters, hostile names, a golden task."""
    plan = label_plan(
        4,
        golden=(1,),
        items=["=1+1.png", "b.png", "c,\"d'.png", "ü/e.png"],
        classes=["cat", "@dog", 'a "b"'],
    )
    store = new_store(tmp_path / "r.db", plan, wanted=2, gold_rate=0.4)
    add_raters(store, ["ann", "=cmd", "gone"])
    flow = Flow(store, chance=np.random.default_rng(1).random)
    for rater in (1, 2, 3):
        while held := flow.hand(rater):
            task = held[0].task
            flow.submit(rater, task, {3 * task + k: (task + k + rater) % 3 for k in range(3)}, 1)
    set_state(store, 3, "excluded", 0.0)
    assert len(ratings_of(store).answer) > 12
    return store


def pairs(ratings: Ratings) -> set[tuple[str, str, str, int]]:
    """Everything that was said, by name."""
    return {
        (
            ratings.raters[w],
            ratings.items[ratings.pair_item[p]],
            ratings.classes[ratings.pair_class[p]],
            int(a),
        )
        for w, p, a in zip(ratings.rater, ratings.pair, ratings.answer, strict=True)
    }


def gold_of(ratings: Ratings) -> set[tuple[str, str, float]]:
    """What the experts said, by name."""
    return {
        (
            ratings.items[ratings.pair_item[p]],
            ratings.classes[ratings.pair_class[p]],
            float(ratings.gold[p]),
        )
        for p in np.flatnonzero(ratings.golden)
    }


def test_label_studio_and_back(rated: Store, tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text(label_studio_json(rated))
    back = read_ratings(tmp_path / "out.json")
    assert pairs(back) == pairs(ratings_of(rated))
    assert gold_of(back) == gold_of(ratings_of(rated)) != set()
    # the groups of the labelling interface are those of the results
    entries = json.loads((tmp_path / "out.json").read_text())
    groups = {r["from_name"] for e in entries for a in e["annotations"] for r in a["result"]}
    assert groups == {"yes", "maybe", "no"}
    assert all(f'<Choices name="{group}" toName="image"' in CONFIG for group in groups)


def test_label_studio_keeps_tasks_answers_and_original_labels(tmp_path: Path) -> None:
    """Several tasks per image, each answered by others: out, in as a new store, and the same."""
    rng = np.random.default_rng(0)
    plan = label_plan(
        6,
        width=10,
        golden=(1,),
        item=np.repeat(np.arange(6), 3),
        starts=np.cumsum([0, *[4, 3, 3] * 6]),
        asked=np.concatenate([rng.permutation(10) for _ in range(6)]),
    )
    gold = np.where(np.arange(60) < 10, 0.6, np.nan)  # three of five experts
    store = new_store(tmp_path / "a.db", replace(plan, gold=gold), wanted=2, gold_rate=0.3)
    add_raters(store, ["ann", "ben", "cid"])
    flow = Flow(store, chance=rng.random)
    for rater in (1, 2, 3):
        for _ in range(11):
            if not (given := flow.hand(rater)):
                break
            held = given[0].task
            asked = range(plan.starts[held], plan.starts[held + 1])
            flow.submit(rater, held, {q: int(rng.integers(3)) for q in asked}, 1)
    before = ratings_of(store)
    (tmp_path / "ls.json").write_text(label_studio_json(store))
    run(TasksOptions(label_studio=tmp_path / "ls.json", out=str(tmp_path / "b.db"), raters=2))
    after = read_ratings(tmp_path / "b.db")
    assert len(before.answer) == len(after.answer) > 80
    assert pairs(after) == pairs(before)
    assert gold_of(after) == gold_of(before) != set()
    label = {before.items[i]: before.classes[c] for i, c in enumerate(before.original)}
    assert {after.items[i]: after.classes[c] for i, c in enumerate(after.original)} == label


def test_tasks_are_written_into_a_store_not_into_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    for name in (
        "t.json",
        "t.csv",
        "t.parquet",
        "t.xml",
        "t.txt",
        "t.yaml",
        "t",
        "sqlite:///t.xml",
    ):
        with pytest.raises(UserError, match=r"name it \.db"):
            run(TasksOptions(label_studio=tmp_path / "x.json", out=str(tmp_path / name)))


@pytest.mark.parametrize("dialect", ["reteach", "crowd-kit"])
def test_csv_and_back(rated: Store, tmp_path: Path, dialect: Any) -> None:
    text = ratings_csv(rated, dialect)
    (tmp_path / "out.csv").write_text(text)
    back = read_ratings(tmp_path / "out.csv")
    assert pairs(back) == pairs(ratings_of(rated))
    rows = list(csv.reader(text.splitlines()))
    assert rows[0][:3] == (
        ["task", "rater", "answer"] if dialect == "reteach" else ["task", "worker", "label"]
    )
    assert not any(cell.startswith(("=", "@", "+", "-")) for row in rows for cell in row)


def written(tmp_path: Path, entries: object) -> Path:
    path = tmp_path / "ls.json"
    path.write_text(json.dumps(entries))
    return path


def choice(*names: str, group: str = "choice") -> dict[str, Any]:
    return {"type": "choices", "from_name": group, "to_name": "i", "value": {"choices": [*names]}}


def test_the_usual_group_of_choices(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            {
                "data": {"image": "/data/local-files/?d=photos/a.jpg"},
                "annotations": [
                    {"completed_by": 7, "result": [choice("cat")]},
                    {"completed_by": {"email": "b@c.d"}, "result": [choice("cat", "dog")]},
                    {"completed_by": 8, "was_cancelled": True, "result": [choice("owl")]},
                    {"completed_by": 1, "ground_truth": True, "result": [choice("dog")]},
                ],
                "predictions": [{"result": [choice("fox")]}],
            }
        ],
    )
    found = read_label_studio(path).ratings()
    assert found.items == ["photos/a.jpg"]
    assert pairs(found) == {
        ("7", "photos/a.jpg", "cat", YES),
        ("7", "photos/a.jpg", "dog", NO),
        ("7", "photos/a.jpg", "owl", NO),
        ("7", "photos/a.jpg", "fox", NO),
        ("b@c.d", "photos/a.jpg", "cat", YES),
        ("b@c.d", "photos/a.jpg", "dog", YES),
        ("b@c.d", "photos/a.jpg", "owl", NO),
        ("b@c.d", "photos/a.jpg", "fox", NO),
    }
    assert gold_of(found) == {
        ("photos/a.jpg", "dog", 1.0),
        ("photos/a.jpg", "cat", 0.0),
        ("photos/a.jpg", "owl", 0.0),
        ("photos/a.jpg", "fox", 0.0),
    }


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"a": 1}, "a JSON list"),
        ([{"image": "a.jpg"}], "no 'data'"),
        ([{"data": {"text": "x"}}], "no 'image'"),
        ([{"data": {"image": "a.jpg"}}], "no classes"),
        (
            [{"data": {"image": "a.jpg"}, "annotations": [{"result": [{"type": "brush"}]}]}],
            "no classes",
        ),
    ],
)
def test_bad_label_studio_files(tmp_path: Path, entries: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_label_studio(written(tmp_path, entries))
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON file"):
        read_label_studio(tmp_path / "x.json")
