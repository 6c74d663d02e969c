"""``reteach train asl | cpsd`` from the command line: label sets, gaps in them, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reteach.cli import main
from reteach.engine.learner import Predictor
from reteach.labels import Multi, Single
from reteach.models.class_heads import class_head_of
from reteach.options import shared as options
from reteach.options.methods import CpsdOptions
from reteach.runs.checkpoint import load_models, save_models
from reteach.runs.config import Config
from reteach.runs.inputs import open_inputs
from reteach.runs.setup import make_setup
from reteach.tables import LabelTable, write_labels

CLASSES = ("cat", "dog", "hat", "tie")
N = 48


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with tags: ``tags``, the same with gaps, one tag each, tags of other names."""
    folder = tmp_path_factory.mktemp("cpsd")
    draw = np.random.default_rng(0)
    present = draw.random((N, 4)) < 0.4
    present[:, 1] |= present[:, 0]
    present[:, 3] |= present[:, 2]
    images = draw.integers(0, 120, (N, 8, 8, 1)) + 30 * present[:, None, :, None].repeat(2, 2)
    items = tuple(f"{i}.png" for i in range(N))
    np.savez(folder / "images.npz", images=images.astype(np.uint8), items=items)
    sets = Multi.from_dense(present, CLASSES)
    tables = {
        "tags": sets,
        "gaps": Multi.from_dense(present, CLASSES, draw.random((N, 4)) < 0.8),
        "single": Single(np.arange(N) % 4, CLASSES),
        "sparse": Multi.from_dense(present, (*CLASSES[:3], "tie")).reorder((*CLASSES, "zebra")),
        "foreign": Multi.from_dense(present, ("cat", "dog", "hat", "scarf")),
    }
    for name, labels in tables.items():
        write_labels(folder / f"{name}.parquet", LabelTable(items, labels))
    (folder / "glove.txt").write_text("".join(f"{name} 1 2\n" for name in CLASSES))
    val = LabelTable(items[:8], tables["foreign"].take(np.arange(8)))
    write_labels(folder / "val_foreign.parquet", val)
    return folder


def reteach(world: Path, words: str, labels: str = "tags") -> int:
    common = f"--images {world}/images.npz --labels {world}/{labels}.parquet --model reteach_tiny"
    return main([*words.split(), *common.split(), "--steps", "6", "--batch-size", "8",
                 "--device", "cpu"])  # fmt: skip


@pytest.mark.parametrize("method", ["asl", "cpsd --subsets 2", "sigmoid"])
@pytest.mark.parametrize("labels", ["tags", "gaps"])
def test_trains_on_label_sets(world, tmp_path, method, labels):
    out = tmp_path / "run"
    assert reteach(world, f"train {method} --out {out}", labels) == 0
    judged = json.loads((out / "evaluation.json").read_text())["val"]
    assert {"map", "cf1@0.5", "of1@0.5", "cf1@0.8", "of1@0.8"} <= next(iter(judged.values()))[
        "metrics"
    ].keys()


def test_a_finished_run_is_evaluated_on_a_table_with_gaps(world, tmp_path, capsys):
    out = tmp_path / "run"
    assert reteach(world, f"train asl --out {out}") == 0
    for labels in ("tags", "gaps"):
        words = f"evaluate {out} --images {world}/images.npz --labels {world}/{labels}.parquet"
        assert main([*words.split(), "--out", str(tmp_path / f"{labels}.json")]) == 0
    found = [
        json.loads((tmp_path / f"{labels}.json").read_text())["metrics"]["model"]
        for labels in ("tags", "gaps")
    ]
    assert found[1]["true_labels_per_image"] < found[0]["true_labels_per_image"]


BAD = {
    "single labels": (
        "train cpsd",
        "single",
        "cpsd needs label sets and these are single labels; grow sets with mile first",
    ),
    "single labels for asl": ("train asl", "single", "asl needs label sets"),
    "too many subsets": (
        "train cpsd --subsets 5",
        "tags",
        "--subsets 5 is more than the 4 classes",
    ),
    "foreign tags": (
        "train cpsd --val-labels {w}/val_foreign.parquet",
        "tags",
        "1 classes are not in the class list, first: 'scarf'",
    ),
    "gaps for mile": (
        "train mile",
        "gaps",
        "mile would take classes that are unknown in an image for",
    ),
    "no vectors": ("train asl --vectors {w}/none.txt", "tags", "none.txt does not exist"),
    "vectors for a plain network": (
        "train asl --vectors {w}/glove.txt",
        "tags",
        "--vectors is for models with a token per class",
    ),
    "no partition": ("train cpsd --partition {w}/none.json", "tags", "none.json does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(world, tmp_path, capsys, case):
    words, labels, message = BAD[case]
    out = tmp_path / "run"
    assert reteach(world, words.format(w=world) + f" --out {out}", labels) == 2
    said = capsys.readouterr().err.strip()
    assert said.splitlines()[-1].startswith("reteach: ")
    assert message in said
    assert not out.exists()


def test_a_class_without_a_positive_image_is_named(world, tmp_path, capsys):
    out = tmp_path / "run"
    assert reteach(world, f"train cpsd --subsets 2 --out {out}", "sparse") == 0
    said = [s for s in capsys.readouterr().err.splitlines() if s.startswith("warning: ")]
    (line,) = [s for s in said if "have no training image" in s]
    assert "1 of 5 classes have no training image, first: 'zebra'" in line
    assert "leave them out" in line
    assert "'zebra'" in json.loads((out / "run.json").read_text())["warnings"][0]


def test_class_tokens_are_made_of_the_file_for_any_of_the_classes(world, tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("".join(f"{c} {i}.5 -1 2\n" for i, c in enumerate(CLASSES)))
    data = options.Data(f"{world}/images.npz", world / "tags.parquet")
    model = options.Model("resnet18_tf", vectors=file, device="cpu")
    config = Config("cpsd", CpsdOptions(), data, model, options.Training(steps=1))
    setup = make_setup(config, open_inputs(data, 0), torch.device("cpu"))
    for classes in (CLASSES, ("hat", "cat")):
        network = setup.build(0, classes=classes)
        tokens = class_head_of(network).classes
        assert tokens.vectors[:, 0].tolist() == [CLASSES.index(c) + 0.5 for c in classes]
    predictor = Predictor((network,), "sigmoid")
    save_models(
        tmp_path / "run", {"model": predictor}, architecture="resnet18_tf", classes=classes,
        image_size=64, frames=None, prepare=setup.prepare, threshold=None, method="asl",
    )  # fmt: skip
    file.unlink()  # the vectors travel with the weights
    again = class_head_of(load_models(tmp_path / "run", "cpu").predictor.models[0])
    assert torch.equal(again.classes.vectors, tokens.vectors)


def test_ablations_are_comparisons(world, tmp_path):
    """Table 3's rows by one command, on label sets."""
    out = tmp_path / "out"
    words = "compare asl cpsd --sweep cpsd.subsets=1,2 --seeds 1 --val-fraction 0.5 --processes 1"
    assert reteach(world, f"{words} --out {out}") == 0
    results = json.loads((out / "results.json").read_text())
    rows = {"asl", "cpsd subsets=1", "cpsd subsets=2", "asl, stopped early", "every class present"}
    assert results.keys() == rows
    for name in rows:
        assert {"map", "cf1@0.5", "of1@0.5", "cf1@0.8", "of1@0.8"} <= results[name].keys()
    assert (out / "report.html").exists()
