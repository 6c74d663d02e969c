"""``reteach relabel clean`` as a user meets it: real digits, wrong labels, copies, a kill between folds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import toys
from reteach.cli import main
from reteach.engine.algorithm import Algorithm
from reteach.engine.run import Run
from reteach.engine.setup import Setup
from reteach.item_index import ItemIndex
from reteach.labels import Single
from reteach.losses.standard import softmax_xent
from reteach.methods import clean as method
from reteach.methods.supervised import Supervised
from reteach.options.shared import Model, Training
from reteach.relabel.noise.clean import detection
from reteach.scores.table import open_scores
from reteach.tables import read_labels
from words import override

N, COPIES = 240, 5
HOSTILE = '<b onclick="x">three</b>'


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Digits, the last five of them copies of the first; a fifth of the labels is wrong."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    images = (digits.images[:N] * 15.9).astype(np.uint8)
    true = digits.target[:N]
    generator = np.random.default_rng(0)
    wrong = generator.random(N) < 0.2
    given = np.where(wrong, (true + generator.integers(1, 10, N)) % 10, true)
    both = [np.concatenate([array, array[:COPIES]]) for array in (images, given, true)]
    np.savez(folder / "digits.npz", images=both[0])
    names = ["zero", "one", "two", HOSTILE, *map(str, range(4, 10))]
    for name, labels in (("given", both[1]), ("true", both[2])):
        lines = [f'{i},"{names[c].replace(chr(34), 2 * chr(34))}"' for i, c in enumerate(labels)]
        (folder / f"{name}.csv").write_text("\n".join(["item,labels", *lines]) + "\n")
    return folder


def arguments(world: Path, out: Path, *more: str) -> list[str]:
    given = ["--images", f"{world}/digits.npz", "--labels", f"{world}/given.csv", "--folds", "3"]
    quick = ["--model", "reteach_tiny", "--steps", "40", "--batch-size", "32", "--device", "cpu"]
    given += [*quick, "--optimizer", "adam", "--out", str(out)]
    return override("relabel", "clean", *given, *more)


@pytest.fixture(scope="module")
def cleaned(world) -> Path:
    out = world / "clean.parquet"
    assert main(arguments(world, out, "--truth", f"{world}/true.csv", "--top", "4")) == 0
    return out


def index(labels: object) -> np.ndarray:
    assert isinstance(labels, Single)
    return labels.index


def test_the_kept_labels_are_those_the_models_confirm(world, cleaned):
    given, kept = read_labels(world / "given.csv"), read_labels(cleaned, kind="single")
    scores = open_scores(cleaned.with_suffix("") / "scores.parquet")
    items = ItemIndex(given.items, closed=True)
    table = np.full((len(given.items), 10), -1.0)
    for batch in scores.batches(items, given.labels.classes):
        table[batch.item, batch.cls] = batch.score
    assert ((table >= 0).sum(1) >= 4).all(), "the four best, and the given one"
    assert (table[np.arange(len(table)), index(given.labels)] >= 0).all()
    keep = table.argmax(1) == index(given.labels)
    assert kept.items == tuple(np.array(given.items)[keep])
    np.testing.assert_array_equal(
        index(kept.labels.reorder(given.labels.classes)), index(given.labels)[keep]
    )
    true = read_labels(world / "true.csv", classes=given.labels.classes).labels
    wrong = index(true) != index(given.labels)
    found = detection(keep, wrong)
    numbers = json.loads((cleaned.with_suffix("") / "clean.json").read_text())
    assert numbers["rules"]["agreement"]["f1"] == pytest.approx(found.f1)
    assert found.recall > 0.8
    assert found.precision > 1.5 * wrong.mean(), "better than chance"


def test_copies_share_a_fold(cleaned):
    folder = cleaned.with_suffix("")
    (file,) = (folder / "stages" / "split").glob("*.npz")
    with np.load(file, allow_pickle=False) as split:
        np.testing.assert_array_equal(split["fold"][:COPIES], split["fold"][-COPIES:])
    assert json.loads((folder / "clean.json").read_text())["copies"] >= COPIES


def test_the_page_has_the_suspects_and_nothing_from_elsewhere(cleaned):
    page = (cleaned.with_suffix("") / "suspects.html").read_text()
    assert page.count("<article") == page.count("data:image/png;base64,") > 20
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert HOSTILE not in page
    assert "&lt;b onclick=" in page


def test_another_rule_trains_nothing(world, cleaned, monkeypatch, capsys):
    def never(*_: object) -> None:
        raise AssertionError("a finished fold is trained again")

    monkeypatch.setattr(method, "_held_out", never)
    assert main(arguments(world, cleaned, "--top", "4", "--rule", "per-class")) == 0
    assert "* per-class" in capsys.readouterr().out


def test_another_number_of_folds_is_refused(world, cleaned, capsys):
    assert main(arguments(world, cleaned, "--folds", "4")) == 2
    assert "folds: 3 there, 4 now" in capsys.readouterr().err


def test_killed_between_folds_it_goes_on_with_the_same_result(world, cleaned):
    """kill -9 once the second fold trains: the first is not trained again, the scores are the same."""
    out = world / "killed.parquet"
    code = (
        "import os, signal, sys\n"
        "from reteach.cli import main\n"
        "from reteach.methods import clean\n"
        "whole = clean._held_out\n"
        "def held_out(setup, recipe, settings, fold, number, *more):\n"
        "    if number == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(setup, recipe, settings, fold, number, *more)\n"
        "clean._held_out = held_out\n"
        "main(sys.argv[1:])\n"
    )
    asked = arguments(world, out, "--top", "4")
    dead = subprocess.run([sys.executable, "-c", code, *asked], env=os.environ, check=False)
    assert dead.returncode == -signal.SIGKILL
    assert not out.exists()
    with pytest.MonkeyPatch.context() as patch:
        trained = []
        whole = method._held_out

        def counted(setup, recipe, settings, fold, number, *more):
            trained.append(number)
            return whole(setup, recipe, settings, fold, number, *more)

        patch.setattr(method, "_held_out", counted)
        assert main(asked) == 0
    assert trained == [1, 2]
    first, second = (f.with_suffix("") / "scores.parquet" for f in (cleaned, out))
    assert first.read_bytes() == second.read_bytes()


def test_killed_within_a_fold_it_goes_on_from_the_snapshot(tmp_path):
    """A training that stops in the middle of a fold leaves a snapshot, and the scores are the same."""
    data, stop = toys.dataset(30), [False]
    fold = np.arange(30) % 3

    class Stopping(Supervised):
        def step(self, batch):
            if stop[0] and batch.step == 5:
                raise MemoryError("a crash")
            seen.append(batch.step)
            return super().step(batch)

    def recipe(setup: Setup, settings: object, run: Run) -> Algorithm:
        kind = Stopping if run.folder is not None and run.folder.name == "2" else Supervised
        algorithm = kind(toys.learner(1), softmax_xent, "softmax")
        run.snapshot_seconds = 0
        return run.train("train", algorithm, toys.stream(setup.train), steps=8)

    seen: list[int] = []
    setup = Setup(
        data, None, lambda **_: toys.network(0), lambda _: None, Model(), Training(steps=8),
        None, toys.PREPARE, 8, 0,
    )  # fmt: skip
    whole = method.held_out_scores(setup, recipe, None, fold, Run(tmp_path / "a", quiet=True))
    assert np.isfinite(whole).all()
    stop[0] = True
    with pytest.raises(MemoryError):
        method.held_out_scores(setup, recipe, None, fold, Run(tmp_path / "b", quiet=True))
    assert list((tmp_path / "b" / "folds" / "2").glob("stages/train/snapshot.pt"))
    stop[0] = False
    seen.clear()
    again = method.held_out_scores(setup, recipe, None, fold, Run(tmp_path / "b", quiet=True))
    np.testing.assert_array_equal(whole, again)
    assert seen == [5, 6, 7], "the steps before the snapshot are not taken again"
    assert not list((tmp_path / "b").rglob("snapshot.pt")), "scores are what is kept"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--folds", "1"], "--folds must be at least 2, got 1"),
        (["--out", "clean.txt"], "a label table is a .parquet or .csv file"),
        (["--method", "sotfmax"], "did you mean softmax"),
        (["--labels", "missing.csv"], "missing.csv does not exist"),
        (["--set", "depth=3"], "no method here has a setting 'depth'"),
    ],
)
def test_bad_input_is_one_clear_line(world, tmp_path, more, words, capsys):
    assert main(arguments(world, tmp_path / "new.parquet", *more)) == 2
    err = capsys.readouterr().err.strip()
    assert words in err
    assert "\n" not in err
