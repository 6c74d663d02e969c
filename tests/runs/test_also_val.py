"""Several validation sets in one run (MILe's Table 2: WebVision and ImageNet)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from reteach.cli import main
from reteach.commands import evaluate
from reteach.records.runs import EVALUATION

CLASSES = ("dark", "grey", "light")


def images(root: Path, name: str, n: int, seed: int, sets: bool = False) -> str:
    """Pictures of three brightnesses with their table; returns IMAGES,LABELS."""
    label = np.arange(n) % 3
    noise = np.random.default_rng(seed).integers(0, 60, (n, 8, 8))
    np.savez(root / f"{name}.npz", images=(noise + 80 * label[:, None, None]).astype(np.uint8))
    more = ";grey" if sets else ""
    kind = "multi" if sets else "single"
    rows = [f"{i},{CLASSES[c]}{more if c != 1 else ''},{kind}" for i, c in enumerate(label)]
    (root / f"{name}.csv").write_text("\n".join(["item,labels,kind", *rows]) + "\n")
    return f"{root}/{name}.npz,{root}/{name}.csv"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("also")
    for name, n in (("train", 36), ("val", 12), ("imagenet", 15)):
        images(root, name, n, n)
    images(root, "real", 9, 1, sets=True)
    return root


def train(root: Path, out: str, *more: str) -> int:
    words = ["train", "softmax", "--images", f"{root}/train.npz", "--labels", f"{root}/train.csv"]
    words += ["--val-images", f"{root}/val.npz", "--val-labels", f"{root}/val.csv", "--steps", "4"]
    words += ["--model", "reteach_tiny", "--batch-size", "8", "--workers", "0", "--device", "cpu"]
    return main([*words, "--eval-every", "2", "--out", f"{root}/{out}", *more])


@pytest.fixture(scope="module")
def trained(world: Path) -> Path:
    both = [f"imagenet={world}/imagenet.npz,{world}/imagenet.csv"]
    both += [f"real={world}/real.npz,{world}/real.csv"]
    assert train(world, "run", "--also-val", *both) == 0
    return world / "run"


def test_each_set_is_judged_at_every_validation_and_in_the_report(trained: Path) -> None:
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    judged = [(r["step"], r["data"]) for r in records if r["kind"] == "eval"]
    assert judged == [(step, name) for step in (2, 4) for name in ("val", "imagenet", "real")]
    found = EVALUATION.read(trained)
    assert found is not None
    assert {name: each["model"].metrics["n"] for name, each in found.items()} == {
        "val": 12, "imagenet": 15, "real": 9
    }  # fmt: skip
    page = (trained / "report.html").read_text()
    assert all(f'On <span class="name">{name}</span>' in page for name in found)


def test_the_numbers_are_those_of_evaluate_and_the_threshold_is_that_of_the_first_set(
    trained: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--images", f"{world}/real.npz", "--labels", f"{world}/real.csv"]
    told: list[tuple[str, int]] = []

    @contextmanager
    def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: told.append((title, total - done))

    monkeypatch.setattr(evaluate, "progress", progress)
    assert main(["evaluate", f"{trained}", *given, "--workers", "0", "--device", "cpu"]) == 0
    assert told[-1] == ("judging", 0)
    file = next(trained.glob("evaluation-*.json"))
    apart = json.loads(file.read_text())["metrics"]["model"]
    found = EVALUATION.read(trained)
    assert found is not None
    mine, first = found["real"]["model"].metrics, found["val"]["model"].metrics
    for name in ("map", "f1@0.5", "labels_per_image", "f1@tuned", "threshold"):
        assert mine[name] == pytest.approx(apart[name], abs=1e-6)
    assert "threshold" not in first  # on its own images nothing is said at a tuned threshold


def test_further_sets_change_nothing_that_is_learned(trained: Path, world: Path) -> None:
    assert train(world, "plain") == 0
    one, other = (
        next((run / "models").rglob("model.safetensors")).read_bytes()
        for run in (trained, world / "plain")
    )
    assert one == other


def test_resume_holds_the_further_sets_too(
    trained: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = yaml.safe_load((trained / "config.yaml").read_text())
    assert told["data"]["also_val"] == [
        f"{name}={world}/{name}.npz,{world}/{name}.csv" for name in ("imagenet", "real")
    ]
    assert main(["resume", f"{trained}"]) == 0
    before = (world / "real.csv").read_text()
    (world / "real.csv").write_text(before.replace("dark;grey", "dark", 1))
    try:
        capsys.readouterr()
        assert main(["resume", f"{trained}"]) == 2
        assert "real.csv" in capsys.readouterr().err
    finally:
        (world / "real.csv").write_text(before)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--also-val {w}/real.npz", "wants NAME=IMAGES or NAME=IMAGES,LABELS"),
        ("--also-val val={w}/real.npz,{w}/real.csv", "'val' is taken"),
        ("--also-val a={w}/real.npz,{w}/real.csv a={w}/val.npz,{w}/val.csv", "'a' is taken"),
        ("--also-val a={w}/train.npz,{w}/train.csv", "these images are used already"),
        ("--also-val a={w}/real.npz", "--labels is needed"),
        ("--also-val a={w}/none.npz,{w}/real.csv", "none.npz"),
    ],
)
def test_wrong_further_sets_are_refused_in_one_line(
    world: Path, words: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(world, "refused", *words.format(w=world).split()) == 2
    error = capsys.readouterr().err
    assert reason in error


def test_further_sets_need_a_first_one_and_a_comparison_has_its_test(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    also = ["--also-val", f"real={world}/real.npz,{world}/real.csv"]
    words = ["--images", f"{world}/train.npz", "--labels", f"{world}/train.csv", *also]
    small = ["--model", "reteach_tiny", "--device", "cpu", "--out", f"{world}/no"]
    assert main(["train", "softmax", *words, "--val-fraction", "0", *small]) == 2
    assert "--also-val judges beside validation images" in capsys.readouterr().err
    assert main(["compare", "softmax", "sigmoid", *words, *small]) == 2
    assert "--also-val has no effect in a comparison" in capsys.readouterr().err
