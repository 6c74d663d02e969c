"""Hierarchies, similarity and the splitting of proposals into tasks."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reteach.errors import UserError
from reteach.relabel.raters.hierarchy import Hierarchy, co_proposal, read_hierarchy
from reteach.relabel.raters.proposals import Proposals
from reteach.relabel.raters.tasks import split

TREE = """# parent child
thing\tanimal
thing\tvehicle
animal\tdog
animal\tcat
pet\tdog
pet\tcat
vehicle\tcar
vehicle\ttruck
thing\tpet
"""
LEAVES = ["dog", "cat", "car", "truck"]


def tree(tmp_path: Path, text: str = TREE) -> Hierarchy:
    (tmp_path / "is_a.txt").write_text(text, encoding="utf-8")
    return read_hierarchy(tmp_path / "is_a.txt")


def proposals(
    sets: list[list[int]], classes: int, agreed: frozenset[int] = frozenset()
) -> Proposals:
    """One model; the first class of each set is the original label."""
    item = np.concatenate([np.full(len(s), i) for i, s in enumerate(sets)])
    cls = np.concatenate([sorted(s) for s in sets])
    original = cls == np.array([sets[i][0] for i in item])
    top1 = original & np.isin(item, sorted(agreed))
    return Proposals(
        [f"{i}.jpg" for i in range(len(sets))],
        [str(c) for c in range(classes)],
        ["m"],
        item,
        cls,
        np.zeros(len(item), np.int64),
        top1.astype(np.int64),
        original,
    )


def test_similarity_is_the_information_of_the_best_common_ancestor(tmp_path: Path) -> None:
    found = tree(tmp_path).similarity(LEAVES)
    expected = np.full((4, 4), 0.0)
    expected[:2, :2] = expected[2:, 2:] = math.log(2)
    np.fill_diagonal(expected, math.log(4))
    np.testing.assert_allclose(found, expected)


def test_separators_and_several_parents(tmp_path: Path) -> None:
    for mark in (",", " ", "\t"):
        found = tree(tmp_path, TREE.replace("\t", mark))
        assert found.ancestors("dog") == {"dog", "animal", "pet", "thing"}
    assert found.below("pet", LEAVES).tolist() == [True, True, False, False]
    spaced = tree(tmp_path, "living thing\tgreat white shark, white shark\n")
    assert spaced.ancestors("great white shark, white shark") == {
        "living thing",
        "great white shark, white shark",
    }


def test_a_cycle_is_spelled_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cycle: ") as caught:
        tree(tmp_path, "a b\nb c\nc a\nroot a\n")
    steps = str(caught.value).split("cycle: ")[1].split(" is a ")
    assert steps[0] == steps[-1]
    assert set(steps) == {"a", "b", "c"}
    with pytest.raises(UserError, match="cycle: a is a a"):
        tree(tmp_path, "a a\n")


def test_other_faults_of_hierarchies(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 should be 'parent child'"):
        tree(tmp_path, "a b\na b c\n")
    with pytest.raises(UserError, match="no edges"):
        tree(tmp_path, "\n# nothing\n")
    with pytest.raises(UserError, match="'dgo' is not a node of the hierarchy; did you mean dog"):
        tree(tmp_path).similarity(["dgo"])
    with pytest.raises(UserError, match="does not exist"):
        read_hierarchy(tmp_path / "none.txt")


def test_co_proposal_is_a_cosine() -> None:
    sets = [[0, 1], [0, 1, 2], [2], [0]]
    p = proposals(sets, 4)
    found = co_proposal(p.pair_item, p.pair_class, 4)
    for a, b in combinations(range(3), 2):
        both = sum(a in s and b in s for s in sets)
        alone = [sum(c in s for s in sets) for c in (a, b)]
        assert found[a, b] == found[b, a] == pytest.approx(both / math.sqrt(alone[0] * alone[1]))
    assert (found[3] == 0).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(0, 29), min_size=1, max_size=25, unique=True), min_size=1, max_size=5
    ),
    st.integers(1, 9),
    st.integers(0, 1000),
)
def test_tasks_hold_every_proposal_once(sets: list[list[int]], limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.random((30, 30))
    kept = frozenset(i for i in range(len(sets)) if rng.random() < 0.3)
    tasks = split(proposals(sets, 30, kept), similarity + similarity.T, limit)
    assert set(np.flatnonzero(tasks.kept)) == kept
    seen: dict[int, list[int]] = {}
    sizes: dict[int, list[int]] = {}
    for item, a, b in zip(tasks.item, tasks.starts, tasks.starts[1:], strict=False):
        assert 1 <= b - a <= limit
        seen.setdefault(int(item), []).extend(tasks.classes[a:b].tolist())
        sizes.setdefault(int(item), []).append(int(b - a))
    assert {i: sorted(found) for i, found in seen.items()} == {
        i: sorted(s) for i, s in enumerate(sets) if i not in kept
    }
    for item, size in sizes.items():
        assert all(a + b > limit for a, b in combinations(size, 2))  # no two fit together
        assert len(size) <= 2 * math.ceil(len(sets[item]) / limit)


def test_similar_classes_stand_together() -> None:
    kind = np.arange(12) % 3  # three kinds of four classes each
    similarity = (kind[:, None] == kind) * 1.0
    tasks = split(proposals([list(range(12))], 12), similarity, limit=4)
    assert len(tasks) == 3
    for a, b in zip(tasks.starts, tasks.starts[1:], strict=False):
        assert len(set(kind[tasks.classes[a:b]])) == 1
    with pytest.raises(UserError, match="at least 1 class"):
        split(proposals([[0]], 1), np.ones((1, 1)), limit=0)


def test_wordnet(shared_data: Path) -> None:
    folder = shared_data / "real"
    if not (folder / "wordnet_is_a.txt").is_file():
        pytest.skip("WordNet is not on this machine")
    found = read_hierarchy(folder / "wordnet_is_a.txt")
    lines = (folder / "imagenet_classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    classes = [line.split("\t")[1] for line in lines]
    np.testing.assert_array_equal(found.below("n00015388", classes), np.arange(1000) < 398)
    similarity = found.similarity(classes)
    np.testing.assert_array_equal(similarity, similarity.T)
    # pug: more like a bulldog's kin than a cat, more like a cat than a car
    pug, boxer, tabby, jeep = 254, 242, 281, 609
    assert similarity[pug, boxer] > similarity[pug, tabby] > similarity[pug, jeep]
