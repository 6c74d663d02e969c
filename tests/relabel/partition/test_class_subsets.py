"""Partitions of the classes: affinities and cuts against loops, searches against brute force."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import run
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.partition import PartitionOptions as Command
from reteach.relabel.partition.class_subsets import partition, random_subsets, suggest
from reteach.relabel.partition.cooccurrence import SIDES, Cooccurrence, Side, read_cooccurrence
from reteach.relabel.partition.cut import canonical, climb, normalized_cut, search, whole
from reteach.relabel.partition.decomposition import decompose, read_subsets, write_decompositions
from reteach.relabel.partition.spectral import spectral_partitions
from reteach.tables import LabelTable, write_labels


def some_affinity(rng: np.random.Generator, size: int) -> np.ndarray:
    """Symmetric, zero diagonal, in (0, 1)."""
    upper = np.triu(rng.uniform(0.01, 1, (size, size)), 1)
    return upper + upper.T


def slow_cut(affinity: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The normalised cut as it is defined, in loops."""
    total = 0.0
    for t in range(k):
        cut = volume = 0.0
        for i in range(len(labels)):
            for j in range(len(labels)):
                if i != j and labels[i] == t:
                    volume += affinity[i, j]
                    cut += affinity[i, j] if labels[j] != t else 0.0
        total += cut / volume if volume else 1.0
    return total


def tagged(n: int = 400, size: int = 12, topics: int = 3, seed: int = 0) -> Multi:
    """Items of one topic each, whose tags come nearly all from that topic's classes."""
    rng = np.random.default_rng(seed)
    present = np.zeros((n, size), bool)
    for row in range(n):
        own = np.arange(size) % topics == rng.integers(topics)
        present[row] = rng.random(size) < np.where(own, 0.6, 0.03)
    return Multi.from_dense(present, [f"c{i}" for i in range(size)])


def packed(folder: Path, data: Path, which: str) -> Path:
    """The real counts in the form that the command reads."""
    with np.load(data / "cooccurrence.npz", allow_pickle=False) as file:
        arrays = {name: file[f"{which}_{name}"] for name in ("counts", "pairs", "names")}
    np.savez(folder / f"{which}.npz", **arrays)
    return folder / f"{which}.npz"


@pytest.mark.parametrize("tau", [1.0, 2.0, 3.0])
def test_affinity_is_equation_1(tau: float) -> None:
    labels = tagged()
    seen = Cooccurrence.of(labels)
    dense = labels.present()
    for i in range(12):
        n_i = sum(bool(row[i]) for row in dense)
        assert seen.counts[i] == n_i
        for j in range(12):
            if i == j:
                assert seen.affinity("co", tau)[i, i] == seen.affinity("dis", tau)[i, i] == 0
                continue
            e = sum(bool(row[i]) and bool(row[j]) for row in dense)
            n_j = sum(bool(row[j]) for row in dense)
            plus = 0.5 * ((e / n_i) ** (1 / tau) + (e / n_j) ** (1 / tau))
            assert seen.affinity("co", tau)[i, j] == pytest.approx(plus, abs=1e-12)
            assert seen.affinity("dis", tau)[i, j] == pytest.approx(1 - plus, abs=1e-12)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_cut_is_its_definition(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    affinity, labels = some_affinity(rng, 9), rng.integers(0, k, 9)
    assert normalized_cut(affinity, labels, k) == pytest.approx(slow_cut(affinity, labels, k))


@given(seed=st.integers(0, 10**6), k=st.integers(2, 3), least=st.integers(1, 2))
@settings(max_examples=8, deadline=None)
def test_search_finds_what_brute_force_finds(seed: int, k: int, least: int) -> None:
    weights = whole(some_affinity(np.random.default_rng(seed), 8))
    best = min(
        normalized_cut(weights, np.array(labels), k)
        for labels in itertools.product(range(k), repeat=8)
        if min(labels.count(t) for t in range(k)) >= least
    )
    found = search(weights, k, least=least, seed=1)
    assert found.cut == pytest.approx(best, abs=1e-9)
    assert min(np.bincount(found.labels, minlength=k)) >= least


def test_climbing_counts_what_it_says_and_never_loses() -> None:
    rng = np.random.default_rng(0)
    weights = whole(some_affinity(rng, 20))
    labels = np.stack([rng.permutation(20) % 4 for _ in range(30)])
    after, kept = climb(weights, labels, 4, least=3)
    for old, new, score in zip(labels, after, kept, strict=True):
        assert 4 - score == pytest.approx(slow_cut(weights, new, 4), abs=1e-12)
        assert 4 - score <= slow_cut(weights, old, 4) + 1e-12
        assert np.bincount(new, minlength=4).min() >= 3


def test_whole_weights_add_up_exactly_in_any_order() -> None:
    weights = whole(some_affinity(np.random.default_rng(0), 700))
    assert weights.sum() == float(sum(int(w) for w in weights.ravel()))
    assert weights.sum() < 2**53


def test_spectral_clustering_sees_blocks_and_leaves_no_subset_empty() -> None:
    seen = Cooccurrence.of(tagged())
    found = spectral_partitions(seen.affinity("co"), 3, starts=4, seed=0)
    assert {tuple(canonical(row)) for row in found} == {tuple(np.arange(12) % 3)}
    for row in spectral_partitions(seen.affinity("dis"), 6, starts=4, seed=0):
        assert np.bincount(row, minlength=6).min() >= 1


@pytest.mark.parametrize("side", SIDES)
def test_plain_spectral_is_the_best_k_means_of_equation_2(side: Side) -> None:
    """Eigenvectors by the book, and every assignment of eight classes to three centres tried."""
    seen = Cooccurrence.of(tagged(size=8))
    affinity = seen.affinity(side)
    degree = np.diag(affinity.sum(1) ** -0.5)
    laplacian = degree @ (np.diag(affinity.sum(1)) - affinity) @ degree  # D^-1/2 L D^-1/2
    values, vectors = np.linalg.eigh(laplacian)
    rows = vectors[:, np.argsort(values)[:3]]

    def apart(labels: np.ndarray) -> float:
        groups = [rows[labels == t] for t in range(3)]
        return sum(float(((g - g.mean(0)) ** 2).sum()) for g in groups if len(g))

    every = map(np.array, itertools.product(range(3), repeat=8))
    best = min(apart(labels) for labels in every if len(set(labels.tolist())) == 3)
    found = partition(seen, 3, side, how="spectral")
    names = [next(t for t, s in enumerate(found.subsets) if c in s) for c in seen.classes]
    assert apart(np.array(names)) == pytest.approx(best, abs=1e-6)
    assert found.searches == 0
    assert found.cut == pytest.approx(slow_cut(affinity, np.array(names), 3), abs=1e-9)
    assert found.cut >= partition(seen, 3, side, smallest=1).cut - 1e-9


def test_plain_spectral_guards_no_size(tmp_path: Path, capsys: Any) -> None:
    seen = Cooccurrence.of(tagged())
    with pytest.raises(UserError, match="--smallest is for --method search"):
        partition(seen, 3, "co", how="spectral", smallest=2)
    np.savez(tmp_path / "c.npz", counts=seen.counts, pairs=seen.pairs, names=seen.classes)
    out, page = tmp_path / "p.json", tmp_path / "p.html"
    run(
        Command(
            cooccurrence=tmp_path / "c.npz", subsets="6", method="spectral", out=out, report=page
        )
    )
    content = json.loads(out.read_text())
    assert content["method"] == "spectral"
    assert "no search" in capsys.readouterr().out
    assert sorted(c for s in content["dis"] for c in s) == sorted(seen.classes)
    assert "at least" not in page.read_text().split("Independent")[0]


def test_planted_topics_are_found_together_and_apart() -> None:
    seen = Cooccurrence.of(tagged())
    found = decompose(seen, 3)
    assert {frozenset(s) for s in found.co.subsets} == {
        frozenset(f"c{i}" for i in range(t, 12, 3)) for t in range(3)
    }
    assert found.co.cut < found.co.random.min()
    assert found.dis.cut < found.dis.random.mean()
    for subset in found.dis.subsets:  # of each topic as many classes as of the others, about
        topics = np.bincount([int(name[1:]) % 3 for name in subset], minlength=3)
        assert topics.max() - topics.min() <= 2
    assert suggest(seen) == 3


def test_order_of_the_classes_noise_and_seed_do_not_matter() -> None:
    labels = tagged(n=2000, size=24, topics=4)
    seen = Cooccurrence.of(labels)
    order = np.random.default_rng(1).permutation(24)
    shuffled = Cooccurrence.of(labels.reorder([labels.classes[i] for i in order]))
    for side in SIDES:
        first, again = partition(seen, 4, side), partition(seen, 4, side)
        assert first.subsets == again.subsets
        other = partition(shuffled, 4, side, tau=2 + 1e-10, seed=5)
        assert set(map(frozenset, first.subsets)) == set(map(frozenset, other.subsets))
        assert first.cut == pytest.approx(other.cut, abs=1e-8)


def test_classes_without_information_are_dealt_out_and_named() -> None:
    tags = tagged().array()
    extra = np.zeros((400, 3))
    extra[:, 1] = 1  # always
    lonely = np.zeros((5, 15))
    lonely[:, 13] = lonely[:, 14] = 1  # alone, but for the class that always is
    present = np.vstack([np.hstack([tags, extra]), lonely])
    names = [*(f"c{i}" for i in range(12)), "never", "always", "lonely"]
    seen = Cooccurrence.of(Multi.from_dense(present, names))
    assert [names[i] for i in np.flatnonzero(seen.never)] == ["never"]
    assert [names[i] for i in np.flatnonzero(seen.always)] == ["always"]
    plain = partition(Cooccurrence.of(tagged()), 3, "co")
    found = partition(seen, 3, "co")
    assert found.unplaced == ("never", "always", "lonely")
    assert sorted(name for subset in found.subsets for name in subset) == sorted(names)
    assert [len(subset) for subset in found.subsets] == [5, 5, 5]
    assert found.cut == pytest.approx(plain.cut)


def test_no_subset_is_smaller_than_asked() -> None:
    seen = Cooccurrence.of(tagged(size=18))
    for smallest in (1, 3, 6):
        for side in SIDES:
            sizes = [len(s) for s in partition(seen, 3, side, smallest=smallest).subsets]
            assert min(sizes) >= smallest
            assert sum(sizes) == 18


def test_one_subset_is_everything() -> None:
    found = partition(Cooccurrence.of(tagged()), 1, "dis")
    assert found.subsets == (tuple(f"c{i}" for i in range(12)),)
    assert found.cut == pytest.approx(0, abs=1e-12)


def test_random_subsets_are_even_and_complete() -> None:
    names = tuple(f"c{i}" for i in range(17))
    subsets = random_subsets(names, 5)
    assert sorted(map(len, subsets)) == [3, 3, 3, 4, 4]
    assert {name for subset in subsets for name in subset} == set(names)
    assert subsets == random_subsets(names, 5) != random_subsets(names, 5, seed=1)


@pytest.mark.parametrize(
    ("which", "tau", "side", "bar", "best"),
    [
        ("coco", 2.0, "co", 3.0248, 3.00666),
        ("coco", 2.0, "dis", 4.035, 4.02224),
        ("coco", 3.0, "co", 3.335, 3.32010),
        ("nus", 2.0, "co", 3.1266, 3.12349),
        ("nus", 3.0, "co", 3.41, 3.36678),
    ],
)
def test_real_counts_are_cut_below_the_bar(
    shared_data: Path, tmp_path: Path, which: str, tau: float, side: str, bar: float, best: float
) -> None:
    seen = read_cooccurrence(packed(tmp_path, shared_data, which))
    found = partition(seen, 5, "co" if side == "co" else "dis", tau=tau)
    position = {name: i for i, name in enumerate(seen.classes)}
    labels = np.empty(len(position), np.int64)
    for t, subset in enumerate(found.subsets):
        labels[[position[name] for name in subset]] = t
    recounted = slow_cut(seen.affinity(found.side, tau), labels, 5)
    assert found.cut == pytest.approx(recounted, abs=1e-9)
    assert recounted <= bar
    assert recounted == pytest.approx(best, abs=1e-5)  # what every longer search ended with too
    assert min(map(len, found.subsets)) >= 3


def test_command_writes_both_sides_their_cuts_and_a_page(tmp_path: Path) -> None:
    hostile = Multi(
        tagged().starts, tagged().columns, ("<script>alert(1)</script>", *tagged().classes[1:])
    )
    table = LabelTable(tuple(f"{i}.jpg" for i in range(400)), hostile)
    write_labels(tmp_path / "tags.parquet", table)
    out, page = tmp_path / "p.json", tmp_path / "p.html"
    run(Command(labels=tmp_path / "tags.parquet", subsets="3,2", out=out, report=page))
    content = json.loads(out.read_text())
    assert content["subsets"] == 3
    assert content["items"] == 400
    assert len(content["co"]) == len(content["dis"]) == len(content["random"]) == 3
    found = decompose(Cooccurrence.of(hostile), 3)
    assert content["co"] == [list(subset) for subset in found.co.subsets]
    assert content["cut"] == pytest.approx({"co": found.co.cut, "dis": found.dis.cut}, abs=1e-9)
    assert [each["subsets"] for each in content["sweep"]] == [3, 2]
    assert content["sides"]["co"]["random"]["mean"] > content["cut"]["co"]
    text = page.read_text()
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert read_subsets(out, hostile.classes)["co"] == found.co.subsets


def test_command_takes_counts_and_an_automatic_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Cooccurrence.of(tagged())
    np.savez(tmp_path / "c.npz", counts=seen.counts, pairs=seen.pairs, names=seen.classes)
    run(Command(cooccurrence=tmp_path / "c.npz", subsets="auto", out=tmp_path / "p.json"))
    assert json.loads((tmp_path / "p.json").read_text())["subsets"] == 3
    assert "3 subsets by co-occurrence: cut" in capsys.readouterr().out


def test_bad_input_gets_one_clear_line(tmp_path: Path) -> None:
    seen = Cooccurrence.of(tagged())
    apart = Cooccurrence(np.array([3, 4]), np.zeros((2, 2), np.int64), ("a", "b"))
    for broken, words in (
        (lambda: partition(seen, 13, "co"), "more than the 12 classes"),
        (lambda: partition(seen, 0, "co"), "at least 1"),
        (lambda: partition(seen, 3, "co", tau=0), "--tau must be positive"),
        (lambda: partition(seen, 3, "co", smallest=5), "--smallest must lie in"),
        (lambda: partition(apart, 2, "co"), "no two classes ever occur"),
        (lambda: Cooccurrence.of(Single(np.zeros(3, np.int64), ("a",))), "one label per item"),
        (lambda: Cooccurrence.of(Multi.from_dense(np.zeros((3, 2)), "ab")), "no item has a label"),
        (lambda: Command(), "--labels"),
        (lambda: run(Command(cooccurrence=tmp_path / "none.npz")), "does not exist"),
        (lambda: _command(tmp_path, seen, subsets="five"), "--subsets must be a number"),
        (lambda: read_subsets(tmp_path / "none.json", "ab"), "does not exist"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            broken()
        assert "\n" not in str(caught.value)


def _command(folder: Path, seen: Cooccurrence, **options: str) -> None:
    np.savez(folder / "c.npz", counts=seen.counts, pairs=seen.pairs, names=seen.classes)
    run(Command(cooccurrence=folder / "c.npz", out=folder / "p.json", **options))  # type: ignore[arg-type]


def test_damaged_counts_are_refused(tmp_path: Path) -> None:
    seen = Cooccurrence.of(tagged())
    good = {"counts": seen.counts, "pairs": seen.pairs, "names": np.array(seen.classes)}
    lopsided = seen.pairs.copy()
    lopsided[0, 1] += 1
    for change, words in (
        ({"pairs": lopsided}, "not symmetric"),
        ({"pairs": seen.pairs * 3}, "counted twice"),
        ({"counts": seen.counts[:-1]}, "do not fit"),
        ({"counts": seen.counts / 7}, "whole numbers"),
        ({"names": np.array(["a"] * 12)}, "listed twice"),
        ({"names": np.array(["a", 1] * 6, dtype=object)}, "readable .npz file"),
        ({"names": np.arange(12)}, "list of text"),
        ({"pairs": np.array(3)}, "do not fit"),
    ):
        np.savez(tmp_path / "c.npz", **(good | change))
        with pytest.raises(UserError, match=words):
            read_cooccurrence(tmp_path / "c.npz")
    np.savez(tmp_path / "c.npz", counts=seen.counts)
    with pytest.raises(UserError, match="no array 'pairs'"):
        read_cooccurrence(tmp_path / "c.npz")
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 but not a zip")
    with pytest.raises(UserError, match="not a readable"):
        read_cooccurrence(tmp_path / "c.npz")


def test_a_partition_file_must_hold_every_class_once(tmp_path: Path) -> None:
    seen = Cooccurrence.of(tagged())
    path = tmp_path / "p.json"
    write_decompositions(path, seen, [decompose(seen, 3)])
    with pytest.raises(UserError, match="'c12' is in none"):
        read_subsets(path, [*seen.classes, "c12"])
    with pytest.raises(UserError, match="'c11' is not in the class list"):
        read_subsets(path, seen.classes[:-1])
    content = json.loads(path.read_text())
    content["co"][0].append(content["co"][1][0])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="stands in two places"):
        read_subsets(path, seen.classes)
    path.write_text('{"dis": []}')
    with pytest.raises(UserError, match="co must be a list"):
        read_subsets(path, seen.classes)
    path.write_text("{")
    with pytest.raises(UserError, match="not a readable JSON"):
        read_subsets(path, seen.classes)
