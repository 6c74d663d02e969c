"""Comparisons: the same conditions for all, honest statistics, nothing trained twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reteach.cli import main
from reteach.compare import trials as trials
from reteach.compare.compare import ComparisonPlan, compare
from reteach.compare.data import DigitGrids, OwnData, relabelled
from reteach.compare.variants import for_each_table, variants
from reteach.data.sources.base import open_source
from reteach.data.synthetic import compose
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.shared import Data, Model, Training
from reteach.recorded import Recorded
from reteach.tables import LabelTable, read_labels, write_labels

MODEL = Model("reteach_tiny", device="cpu")
TRAINING = Training(steps=20, batch_size=8, optimizer="adam")


def plan(folder: Path, methods=("sigmoid", "mile"), sweep=(), seeds=(0, 1, 2)) -> ComparisonPlan:
    chosen, swept = variants(methods, MODEL, TRAINING, ("k_t=4",), sweep)
    arena = DigitGrids(2, 40, 30, 30)
    return ComparisonPlan("t", "d", folder, arena, chosen, seeds, swept, early=("sigmoid",))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    return folder, compare(plan(folder))


def test_results_and_report(made):
    folder, results = made
    assert json.loads((folder / "results.json").read_text()) == results
    assert list(results) == ["sigmoid", "mile", "sigmoid, stopped early", "every class present"]
    for name in ("sigmoid", "mile"):
        assert results[name]["map"]["n"] == 3
        assert 0 < results[name]["map"]["mean"] <= 100
        assert 0 <= results[name]["labels_per_image"]["mean"] <= 10
    page = (folder / "report.html").read_text()
    assert "every class present" in page


def test_statistics_are_those_of_the_runs(made):
    folder, results = made
    maps = {}
    for name in ("sigmoid", "mile"):
        outcomes = [
            json.loads((folder / f"runs/{name}-seed{s}/outcome.json").read_text()) for s in range(3)
        ]
        maps[name] = np.array([o["values"]["map"] for o in outcomes])
        assert results[name]["map"]["mean"] == pytest.approx(100 * maps[name].mean())
        assert results[name]["map"]["std"] == pytest.approx(100 * maps[name].std(ddof=1))
    content = json.loads((folder / "comparison.json").read_text())
    pair = next(
        p for p in content["paired"] if (p["metric"], p["a"], p["b"]) == ("map", "mile", "sigmoid")
    )
    difference = maps["mile"] - maps["sigmoid"]
    low, high = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
    assert (pair["mean"], pair["low"], pair["high"]) == pytest.approx(
        (difference.mean(), low, high)
    )


def test_nothing_is_trained_twice(made, monkeypatch):
    folder, results = made
    monkeypatch.setattr(trials, "run_trial", None)
    assert compare(plan(folder)) == results


def test_only_what_is_missing_is_trained(made, monkeypatch):
    folder, results = made
    gone = folder / "runs/mile-seed1/outcome.json"
    gone.unlink()
    ran = []
    real = trials.run_trial
    monkeypatch.setattr(trials, "run_trial", lambda trial: ran.append(trial.seed) or real(trial))
    assert compare(plan(folder)) == results
    assert ran == [1]


def test_another_comparison_in_the_same_folder_is_refused(made):
    folder, _ = made
    other = replace(plan(folder), arena=DigitGrids(2, 41, 30, 30))
    with pytest.raises(UserError, match="other settings"):
        compare(other)


def test_a_setting_that_came_later_lets_a_begun_comparison_go_on(made, monkeypatch):
    folder, results = made
    monkeypatch.setattr(trials, "run_trial", None)
    for file in folder.glob("runs/*/job.json"):
        job = json.loads(file.read_text())
        del job["data"]["val_kind"], job["model"]["compile"]
        file.write_text(json.dumps(job))
    with pytest.raises(UserError, match="other settings"):
        compare(plan(folder))
    for kind, since in ((Data, {"val_kind": Data().val_kind}), (Model, {"compile": False})):
        name = trials.NAMES[kind].name
        monkeypatch.setitem(trials.NAMES, kind, Recorded(name, {}, frozenset(), since))
    assert compare(plan(folder)) == results
    for file in folder.glob("runs/*/job.json"):  # as earlier versions wrote the arena
        job = json.loads(file.read_text())
        job["arena"] = repr(DigitGrids(2, 40, 30, 30))
        file.write_text(json.dumps(job))
    assert compare(plan(folder)) == results


def test_processes_change_nothing(made, tmp_path):
    _, results = made
    assert compare(replace(plan(tmp_path), processes=2)) == results


def test_methods_see_the_same_pictures_and_start_from_the_same_weights():
    first, second = (DigitGrids(2, 40, 30, 30).open(5) for _ in range(2))
    assert np.array_equal(first.inputs.train.source.images, second.inputs.train.source.images)
    assert not np.array_equal(
        first.inputs.train.source.images,
        DigitGrids(2, 40, 30, 30).open(6).inputs.train.source.images,
    )
    assert np.array_equal(
        first.test.source.images, DigitGrids(2, 40, 30, 30).open(6).test.source.images
    )


@pytest.mark.parametrize("side", [2, 3])
def test_grids_carry_the_label_they_should(side):
    cells = np.arange(10, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    grids = compose(cells, np.arange(10), 4000, side, seed=0)
    shown = grids.images[:, ::2, ::2, 0].reshape(4000, -1)
    assert [set(row) for row in shown.tolist()] == [set(map(int, n)) for n in grids.truth.names()]
    main_cell = 4 if side == 3 else 0
    assert np.array_equal(shown[:, main_cell], grids.main.index)
    assert all(label in row for label, row in zip(grids.given.index, shown.tolist(), strict=True))
    # the main cell is named with 0.6, and others may show the same digit
    others = (side * side - 1) * (0.4 / (side * side - 1)) * 0.1
    assert (grids.given.index == grids.main.index).mean() == pytest.approx(0.6 + others, abs=0.03)


def test_sweeps_reach_the_methods_that_have_the_setting():
    found, swept = variants(
        ("sigmoid", "mile"), MODEL, TRAINING, (), ("rho=0.1,0.25", "lr=0.1,0.2")
    )
    assert swept == {"rho": [0.1, 0.25], "lr": [0.1, 0.2]}
    assert [e.name for e in found if e.config.method == "sigmoid"] == [
        "sigmoid lr=0.1",
        "sigmoid lr=0.2",
    ]
    assert len([e for e in found if e.config.method == "mile"]) == 4
    assert found[-1].config.settings.rho == 0.25
    assert found[-1].config.training.lr == 0.2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: variants(("milo",), MODEL, TRAINING), "did you mean mile"),
        (lambda: variants(("mile",), MODEL, TRAINING, ("rho",)), "wants name=value"),
        (lambda: variants(("mile",), MODEL, TRAINING, ("roh=1",)), "no method here has"),
        (lambda: variants(("mile",), MODEL, TRAINING, (), ("rho=0.1,x",)), "must be a float"),
        (lambda: variants(("mile", "mile"), MODEL, TRAINING), "named twice"),
        (lambda: DigitGrids(cells=Path("nowhere.npz")).open(0), "does not exist"),
    ],
)
def test_faults(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_compare_on_ones_own_arrays(tmp_path):
    noise = np.random.default_rng(0)
    labels = noise.integers(0, 3, 60)
    images = (noise.integers(0, 90, (60, 12, 12)) + 60 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=labels, classes=np.array(["a", "b", "c"]))
    command = f"compare softmax mile --images {tmp_path}/own.npz --model reteach_tiny --device cpu"
    more = "--steps 9 --batch-size 8 --seeds 2 --sweep rho=0.2,0.4 --processes 1 --val-fraction 0.4"
    page = tmp_path / "page.html"
    assert main([*command.split(), *more.split(), "--out", str(page)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert {"softmax", "mile rho=0.2", "mile rho=0.4"} <= results.keys()
    assert page.exists()


@pytest.fixture
def own(tmp_path):
    """60 pictures of three classes; labels.csv, and clean.csv, which has half of them."""
    noise = np.random.default_rng(0)
    labels = noise.integers(0, 3, 60)
    images = (noise.integers(0, 90, (60, 12, 12)) + 60 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=labels, classes=np.array(list("abc")))
    names = open_source(f"{tmp_path}/own.npz").items
    table = LabelTable(tuple(names), Single(labels, tuple("abc")))
    write_labels(tmp_path / "labels.csv", table)
    half = LabelTable(tuple(names[:30]), Single((labels[:30] + 1) % 3, tuple("abc")))
    write_labels(tmp_path / "clean.csv", half)
    return tmp_path


def test_another_table_to_learn_from_changes_nothing_else(own):
    data = Data(f"{own}/own.npz", own / "labels.csv", val_fraction=0.4)
    contest = OwnData(data).open(0)
    other = relabelled(contest, own / "clean.csv")
    assert other.test is contest.test
    assert other.inputs.val is contest.inputs.val
    items = contest.inputs.train.items
    given = contest.inputs.train.labels.index
    named = [i for i, item in enumerate(items) if item in set(read_labels(own / "clean.csv").items)]
    assert other.inputs.train.items == [items[i] for i in named]
    assert (other.inputs.train.labels.index == (given[named] + 1) % 3).all()
    (own / "none.csv").write_text(f"item,labels\n{contest.test.items[0]},a\n")
    with pytest.raises(UserError, match="none of the training images has a label"):
        relabelled(contest, own / "none.csv")


@pytest.mark.parametrize("again", [None, "own.npz"])
def test_nobody_learns_from_test_images_that_stand_among_the_images(own, capfd, again):
    names = read_labels(own / "labels.csv").items
    test = LabelTable(names[:20], Single(np.arange(20) % 3, tuple("abc")))
    write_labels(own / "test.csv", test)
    data = Data(f"{own}/own.npz", own / "labels.csv", val_fraction=0.4)
    contest = OwnData(data, again and f"{own}/{again}", own / "test.csv").open(0)
    assert contest.test.items == list(names[:20])
    assert contest.inputs.val is not None
    assert not set(contest.inputs.train.items + contest.inputs.val.items) & set(names[:20])
    assert len(contest.inputs.train) + len(contest.inputs.val) == 40
    assert "labelled images are test images: they are taken out" in capfd.readouterr().err
    write_labels(own / "all.csv", LabelTable(names, Single(np.arange(60) % 3, tuple("abc"))))
    with pytest.raises(UserError, match="none is left to train on"):
        OwnData(data, None, own / "all.csv").open(0)


def test_losses_by_labels_by_schedule(own):
    """ReaL's Table 2 in small: all × cleaned labels, two lengths, judged by sets and originals."""
    test = f"--test-images {own}/own.npz --test-labels {own}/sets.parquet"
    names = read_labels(own / "labels.csv").items
    sets = Multi.from_dense(np.tile([[1, 1, 0]], (30, 1)), tuple("abc"))
    write_labels(own / "sets.parquet", LabelTable(names[30:], sets))
    command = f"compare softmax sigmoid --images {own}/own.npz --labels {own}/labels.csv {test}"
    more = f"--test-original {own}/labels.csv --also-labels {own}/clean.csv --sweep epochs=1,2"
    small = "--model reteach_tiny --device cpu --batch-size 8 --seeds 3 --processes 1 --no-early"
    assert main([*f"{command} {more} {small}".split(), "--out", f"{own}/out"]) == 0
    content = json.loads((own / "out" / "comparison.json").read_text())
    assert content["sweep"] == {"labels": ["labels", "clean"], "epochs": [1.0, 2.0]}
    results = json.loads((own / "out" / "results.json").read_text())
    rows = {(r["method"], *r["settings"].values()): r for r in content["rows"] if r["method"]}
    assert len(rows) == 8
    for row in rows.values():
        real = row["values"]["real_accuracy"]
        assert results[row["name"]]["real_accuracy"]["median"] == 100 * sorted(real)[1]
        assert row["values"]["accuracy"] != real
    assert content["budget"]["steps"] < content["budget"]["most_steps"]
    page = (own / "out" / "report.html").read_text()
    assert "Budgets of backward passes differ" in page


def test_label_tables_need_names_of_their_own():
    found, _ = variants(("sigmoid",), MODEL, TRAINING)
    with pytest.raises(UserError, match="two label tables are called 'labels'"):
        for_each_table(found, Path("a/labels.csv"), (Path("b/labels.parquet"),))


@pytest.mark.parametrize("changed", ["images", "labels", "clean"])
def test_outcomes_are_not_those_of_changed_inputs(own, changed):
    def compared() -> None:
        chosen, swept = variants(("softmax",), MODEL, replace(TRAINING, steps=2))
        chosen = [replace(variant, labels=own / "clean.csv") for variant in chosen]
        arena = OwnData(Data(f"{own}/own.npz", own / "labels.csv", val_fraction=0.4))
        compare(ComparisonPlan("t", "d", own / "out", arena, chosen, (0,), swept))

    compared()
    compared()
    if changed == "images":
        pack = dict(np.load(own / "own.npz"))
        pack["images"][5, 0, 0] ^= 1
        np.savez(own / "own.npz", **pack)
    else:
        file = own / f"{changed}.csv"
        lines = file.read_text().splitlines()
        item, label, *rest = lines[-1].split(",")
        lines[-1] = ",".join([item, "b" if label == "a" else "a", *rest])
        file.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="not what they were"):
        compared()
