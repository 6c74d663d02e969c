"""Distillation on unlabelled images (SimCLR-v2's, MILe's Table 4)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reteach.cli import main

N, LABELLED = 48, 16
SMALL = ["--model", "reteach_tiny", "--workers", "0", "--device", "cpu", "--batch-size", "8"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures in one file, the same in two (16 and 32), and a teacher."""
    root = tmp_path_factory.mktemp("distill")
    draw = np.random.default_rng(0)
    label = np.arange(N) % 3
    images = (draw.integers(0, 90, (N, 12, 12)) + 70 * label[:, None, None]).astype(np.uint8)
    items = np.array([f"i{n}" for n in range(N)])
    parts = {"all": slice(None), "some": slice(0, LABELLED), "rest": slice(LABELLED, None)}
    for name, part in parts.items():
        np.savez(root / f"{name}.npz", images=images[part], items=items[part])
        rows = [f"{i},c{c}" for i, c in zip(items[part], label[part], strict=True)]
        (root / f"{name}.csv").write_text("\n".join(["item,labels", *rows]) + "\n")
    assert _train(root, "softmax", "teacher", "some", "--steps", "6") == 0
    return root


def _train(root: Path, method: str, out: str, data: str, *more: str) -> int:
    given = ["--images", f"{root}/{data}.npz", "--labels", f"{root}/{data}.csv"]
    return main(
        ["train", method, *given, "--val-fraction", "0", *SMALL, "--out", f"{root}/{out}", *more]
    )


def test_unlabelled_images_are_learned_from_as_if_all_were_labelled(world: Path) -> None:
    """The labels do not matter: the student is, to rounding, that of all images labelled."""
    teacher = ("--teacher", f"{world}/teacher", "--epochs", "2")
    rest = ("--unlabeled", f"{world}/rest.npz")
    assert _train(world, "distill", "some-run", "some", *teacher, *rest) == 0
    assert _train(world, "distill", "all-run", "all", *teacher) == 0
    for run in ("some-run", "all-run"):
        assert json.loads((world / run / "run.json").read_text())["steps"] == 2 * N // 8
    mine, theirs = (
        load_file(next((world / run / "models").rglob("model.safetensors")))
        for run in ("some-run", "all-run")
    )
    assert mine.keys() == theirs.keys()
    for name, weights in mine.items():
        torch.testing.assert_close(weights, theirs[name], rtol=0, atol=1e-6)
    few = load_file(next((world / "teacher" / "models").rglob("model.safetensors")))
    assert any(bool((mine[name] != few[name]).any()) for name in mine)


def test_the_budget_of_distillation_counts_all_images_its_own_teacher_too(world: Path) -> None:
    assert _train(
        world, "distill", "own", "some", "--epochs", "2", "--unlabeled", f"{world}/rest.npz"
    ) == 0  # fmt: skip
    records = [json.loads(line) for line in (world / "own/metrics.jsonl").read_text().splitlines()]
    ends = {record["stage"]: record["step"] for record in records}
    assert list(ends.values()) == [N // 8, N // 8]
    assert (
        _train(world, "mile", "mile", "some", "--epochs", "6", "--unlabeled", f"{world}/rest.npz")
        == 0
    )
    told = json.loads((world / "mile/run.json").read_text())
    assert told["steps"] == 6 * LABELLED // 8


def test_draws_by_class_have_no_effect_on_a_teachers_labels(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--teacher", f"{world}/teacher", "--unlabeled", f"{world}/rest.npz", "--rebalance", "1")
    assert _train(world, "distill", "no", "some", *more) == 2
    assert "--rebalance has no effect beside --teacher and --unlabeled" in capsys.readouterr().err
