"""Proposals against plain sorting, and the command from score tables to subsets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import proposals_oracle as oracle
from command import run
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.relabel import ProposeOptions
from reteach.relabel.raters.proposals import read_proposals
from reteach.relabel.raters.propose import Largest
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, write_labels

CLASSES = ("a", "b", "c", "d", "e")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_largest_of_a_stream(values: list[int], k: int, batch: int, random: object) -> None:
    keys = np.arange(len(values)) * 7
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    kept = Largest(k)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        kept.add(keys[rows], np.array(values, np.float32)[rows])
    expected = sorted(keys.tolist(), key=lambda key: (-values[key // 7], key))[:k]
    assert kept.keys().tolist() == sorted(expected)


def write_model(path: Path, rng: np.random.Generator, items: list[str], logits: bool) -> tuple:
    """A score table in random row order, and the same as dictionaries."""
    score = np.round(rng.dirichlet(np.ones(len(CLASSES)), len(items)), 2).astype(np.float32)  # ties
    logit = np.round(rng.normal(size=score.shape), 1).astype(np.float32)
    order = rng.permutation(score.size)
    with ScoreWriter(path, CLASSES, logits=logits) as out:
        for rows in np.array_split(order, 3):
            item, cls = np.divmod(rows, len(CLASSES))
            out.write(items, item, cls, score[item, cls], logit[item, cls])
    tables = [
        {(i, c): float(v) for (i, c), v in np.ndenumerate(values)} for values in (score, logit)
    ]
    return tables[0], tables[1] if logits else None


@pytest.mark.parametrize("seed", range(4))
def test_command_equals_the_plain_rule(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = [f"{i}.jpg" for i in rng.permutation(12)]
    models, paths = [], []
    for m in range(3):
        paths.append(tmp_path / f"model{m}.parquet")
        models.append(write_model(paths[-1], rng, items, logits=m != 1))
    original = rng.integers(0, 5, len(items))
    labels = tmp_path / "labels.csv"
    write_labels(labels, LabelTable(tuple(items), Single(original, CLASSES)))
    out = tmp_path / "proposals.parquet"
    run(ProposeOptions(scores=tuple(paths), labels=labels, out=out, per_item=1.5))
    found = read_proposals(out)

    expected = oracle.proposals(models, dict(enumerate(original.tolist())), k=18)
    pairs = zip(found.pair_item.tolist(), found.pair_class.tolist(), strict=True)
    named = [(found.items[i], found.classes[c]) for i, c in pairs]
    assert sorted(named) == sorted((items[i], CLASSES[c]) for i, c in expected)
    assert len(set(named)) == len(named)

    firsts = [oracle.first_predictions(scores) for scores, _ in models]
    for (item, cls), top1, is_original in zip(named, found.top1, found.original, strict=True):
        pair = (items.index(item), CLASSES.index(cls))
        assert top1 == sum(pair in first for first in firsts)
        assert is_original == (original[pair[0]] == pair[1])
    agreed = {
        items[i] for i in range(12) if all((i, int(original[i])) in first for first in firsts)
    }
    assert {
        item for item, all_agree in zip(found.items, found.agreed(), strict=True) if all_agree
    } == agreed


def test_best_subset_of_models_by_gold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    items = [f"{i}.jpg" for i in range(12)]
    models, paths = [], []
    for m in range(4):
        paths.append(tmp_path / f"model{m}.parquet")
        models.append(write_model(paths[-1], rng, items, logits=True))
    original = rng.integers(0, 5, len(items))
    write_labels(tmp_path / "labels.csv", LabelTable(tuple(items), Single(original, CLASSES)))
    true = {(i, c) for i in range(6) for c in range(5) if rng.random() < 0.3 or c == original[i]}
    rows, columns = np.array(sorted(true)).T
    write_labels(
        tmp_path / "gold.parquet",
        LabelTable(tuple(items[:6]), Multi.from_pairs(rows, columns, 6, CLASSES)),
    )
    best: tuple[float, int, int] = (-1.0, 0, 0)
    given_labels = dict(enumerate(original.tolist()))
    for subset in range(1, 16):
        chosen = [models[m] for m in range(4) if subset >> m & 1]
        proposed = {p for p in oracle.proposals(chosen, given_labels, k=18) if p[0] < 6}
        if len(proposed & true) / len(true) >= 0.8:
            rank = (len(proposed & true) / len(proposed), -subset.bit_count(), -subset)
            best = max(best, rank)
    out = tmp_path / "proposals.parquet"
    run(
        ProposeOptions(
            scores=tuple(paths),
            labels=tmp_path / "labels.csv",
            out=out,
            per_item=1.5,
            gold=tmp_path / "gold.parquet",
            recall=0.8,
        )
    )
    names = [f"model{m}" for m in range(4) if -best[2] >> m & 1]
    assert read_proposals(out).models == names
    assert f"precision {best[0]:.1%}: {', '.join(names)}" in capsys.readouterr().out


def command(tmp_path: Path) -> ProposeOptions:
    rng = np.random.default_rng(0)
    items = ["x.jpg", "y.jpg"]
    write_model(tmp_path / "one.parquet", rng, items, logits=True)
    write_model(tmp_path / "two.parquet", rng, items, logits=True)
    write_labels(
        tmp_path / "labels.csv", LabelTable(tuple(items), Single(np.array([0, 1]), CLASSES))
    )
    return ProposeOptions(
        scores=(tmp_path / "one.parquet", tmp_path / "two.parquet"),
        labels=tmp_path / "labels.csv",
        out=tmp_path / "out.parquet",
    )


def test_bad_input_is_named(tmp_path: Path) -> None:
    good = command(tmp_path)
    run(good)

    with ScoreWriter(tmp_path / "odd.parquet", ("a", "b", "z")) as out:
        out.write(["x.jpg", "y.jpg"], np.array([0, 1]), np.array([0, 1]), np.ones(2))
    with pytest.raises(UserError, match="scores of unequal classes"):
        run(replace(good, scores=(*good.scores, tmp_path / "odd.parquet")))

    write_model(tmp_path / "more.parquet", np.random.default_rng(0), ["x.jpg", "q.jpg"], False)
    with pytest.raises(UserError, match=r"item 'q.jpg' is not in the label table"):
        run(replace(good, scores=(tmp_path / "more.parquet",)))

    write_model(tmp_path / "less.parquet", np.random.default_rng(0), ["x.jpg"], False)
    with pytest.raises(
        UserError, match=r"less.parquet: 1 of 2 items have no score, first: 'y.jpg'"
    ):
        run(replace(good, scores=(tmp_path / "less.parquet",)))

    write_labels(tmp_path / "l.csv", LabelTable(("x.jpg",), Single(np.array([0]), ("mouse",))))
    with pytest.raises(UserError, match="first: 'mouse'"):
        run(replace(good, labels=tmp_path / "l.csv"))
    with pytest.raises(UserError, match="named twice"):
        run(replace(good, scores=(good.scores[0], good.scores[0])))
    with pytest.raises(UserError, match="does not exist"):
        run(replace(good, scores=(tmp_path / "none.parquet",)))
    with pytest.raises(UserError, match="not a table of proposals"):
        read_proposals(good.scores[0])
