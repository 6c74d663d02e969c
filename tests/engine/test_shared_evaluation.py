"""Several processes decode each image once between them, and their numbers are those of one, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

import nodes
import toys
from reteach.data.dataset import Dataset
from reteach.engine import distributed
from reteach.engine.evaluate import Evaluation, scores
from reteach.engine.learner import Predictor
from reteach.methods.distill import make_targets
from reteach.methods.mile_labels import PseudoLabeler

N = 40


class Counting:
    """The toys' images; each one that is decoded is written down, whichever process does it."""

    def __init__(self, folder: Path) -> None:
        self.whole: Any = toys.dataset(N).source
        self.items, self.class_of, self.folder = self.whole.items, None, folder

    def __len__(self) -> int:
        return len(self.items)

    def read(self, row: int) -> np.ndarray[Any, Any]:
        with open(self.folder / "decoded.txt", "a") as out:
            out.write(f"{row}\n")
        pixels: np.ndarray[Any, Any] = self.whole.read(row)
        return pixels


def counted(folder: Path, batch_size: int = 16) -> Any:
    labels = toys.dataset(N).labels
    scan = toys.scan(Dataset.of(Counting(folder), labels))  # type: ignore[arg-type]
    return type(scan)(scan.dataset, scan.augment, scan.prepare, batch_size)


def decodes(folder: Path) -> list[int]:
    rows = [int(row) for row in (folder / "decoded.txt").read_text().split()]
    (folder / "decoded.txt").unlink()
    return sorted(rows)


def no_pickle() -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("objects were pickled")

    for name in ("all_gather_object", "broadcast_object_list", "gather_object"):
        setattr(dist, name, refuse)


def predictor() -> Predictor:
    return toys.learner(1).predictor("softmax")


def evaluated(folder: Path) -> str:
    summary = Evaluation("val", counted(folder))(predictor())
    return str(sorted(summary.compute().items()))


def scored(folder: Path) -> str:
    rows, found = scores(predictor(), counted(folder))
    return f"{rows.tolist()} {found.tobytes().hex()}"


def pseudo_labelled(folder: Path) -> str:
    labeler = PseudoLabeler(make_targets("threshold", rho=0.3), images=counted(folder, 8))
    found = labeler.label_all(toys.learner(1).infer, 0)
    return f"{found.dtype} {found.numpy().tobytes().hex()}"


SCENES = [evaluated, scored, pseudo_labelled]


def shared(scene: Any, folder: Path) -> str:
    with distributed.group(torch.device("cpu")):
        no_pickle()
        return str(scene(folder))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_each_image_is_decoded_once_over_all_processes(scene, tmp_path):
    alone = scene(tmp_path)
    assert decodes(tmp_path) == list(range(N))
    assert nodes.played(shared, tmp_path / "two", 2, 1, scene, tmp_path) == [alone] * 2
    assert decodes(tmp_path) == list(range(N))


def odd_tensors() -> str:
    with distributed.group(torch.device("cpu")):
        no_pickle()
        own = (
            [torch.arange(3) > 1, torch.tensor([[1.5, float("nan")]])] if distributed.rank() else []
        )
        found = distributed.gather_tensors(own)
        empty = distributed.gather_tensors([torch.zeros(0, 3)])
        assert [t.shape for t in empty[1]] == [(0, 3)]
        return " ".join(f"{t.dtype}{t.tolist()}" for part in found for t in part)


def test_tensors_of_any_shape_travel_as_they_are(tmp_path):
    expected = "torch.bool[False, False, True] torch.float32[[1.5, nan]]"
    assert nodes.played(odd_tensors, tmp_path) == [expected] * 2


def test_more_processes_than_batches(tmp_path):
    alone = scored(tmp_path)
    assert nodes.played(shared, tmp_path / "four", 4, 2, scored, tmp_path) == [alone] * 4
