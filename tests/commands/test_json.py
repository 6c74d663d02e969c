"""``--json``: the result of a command as one JSON object, with its files and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reteach.cli import main
from reteach.labels import Single
from reteach.tables import LabelTable, write_labels

QUICK = "--model reteach_tiny --steps 4 --batch-size 8 --workers 0 --device cpu"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of two classes, a run on them, and its scores of all its classes as a table."""
    root = tmp_path_factory.mktemp("json")
    draw = np.random.default_rng(0)
    labels = np.arange(48) % 2
    images = draw.integers(0, 120, (48, 8, 8, 1)) + 100 * labels[:, None, None, None]
    np.savez(root / "images.npz", images=images.astype(np.uint8), labels=labels)
    for words in (
        f"train softmax --images {root}/images.npz {QUICK} --out {root}/run",
        f"predict {root}/run --images {root}/images.npz --out {root}/seen.csv --top 2 "
        f"--scores {root}/scores.parquet --workers 0 --device cpu",
    ):
        assert main(words.split()) == 0
    items = tuple(str(row) for row in range(48))
    write_labels(root / "given.csv", LabelTable(items, Single(labels, ("0", "1"))))
    return root


Numbers = Callable[[dict[str, Any], Path], bool]

CHEAP: dict[str, tuple[str, tuple[str, ...], Numbers]] = {
    "train": (
        f"train sigmoid --images ROOT/images.npz {QUICK} --out ROOT/other",
        ("folder", "report"),
        lambda said, root: (
            said["metrics"]
            == {
                name: entry["metrics"]
                for name, entry in _read(root / "other/evaluation.json")["val"].items()
            }
        ),
    ),
    "resume": (
        "resume ROOT/run",
        ("folder", "report"),
        lambda said, root: 0 <= said["metrics"]["model"]["accuracy"] <= 1,
    ),
    "evaluate a run": (
        "evaluate ROOT/run --images ROOT/images.npz --workers 0 --device cpu",
        ("numbers",),
        lambda said, root: said["metrics"] == _read(Path(said["numbers"]))["metrics"],
    ),
    "evaluate scores": (
        "evaluate ROOT/scores.parquet --labels ROOT/given.csv --original ROOT/given.csv "
        "--report ROOT/scores.html --k 2",
        ("report",),
        lambda said, root: said["original"] == said["reassessed"] != {},
    ),
    "predict": (
        "predict ROOT/run --images ROOT/images.npz --out ROOT/again.csv --workers 0 --device cpu",
        ("out",),
        lambda said, root: (
            [said[key] for key in ("images", "labels", "unreadable")]
            == [48, 48, {"count": 0, "file": None}]
        ),
    ),
    "report": ("report ROOT/run --out ROOT/page.html", ("report",), lambda said, root: True),
    "explain": (
        "explain ROOT/run --images ROOT/images.npz --classes 1 --count 2 --out ROOT/cam.html "
        "--workers 0 --device cpu",
        ("report",),
        lambda said, root: said["images"] == {"1": 2},
    ),
    "calibrate": (
        "calibrate ROOT/run --images ROOT/images.npz --anyway --workers 0 --device cpu "
        "--predictor model --report ROOT/calibration.html",
        ("calibration", "report"),
        lambda said, root: said["images"] == 48 and said["warnings"] != [],
    ),
    "transfer": (
        "transfer ROOT/run --images ROOT/images.npz --mode fc-only --folds 2 --val-fraction 0.25 "
        "--workers 0 --device cpu --out ROOT/regression",
        ("folder", "numbers"),
        lambda said, root: (
            said["metrics"] == _read(Path(said["numbers"]))["metrics"] and said["val"] == 12
        ),
    ),
    "compare": (
        f"compare softmax sigmoid --images ROOT/images.npz --val-fraction 0.5 {QUICK} --seeds 1 "
        "--processes 1 --out ROOT/comparison",
        ("report", "numbers"),
        lambda said, root: said["results"] == _read(Path(said["numbers"])),
    ),
    "probe compression": (
        "probe compression ROOT/run --epochs 2 --seeds 2 --device cpu --out ROOT/probe.json",
        ("out",),
        lambda said, root: (
            list(map(len, said["accuracy"][f"{root}/run"])) == [2, 2] and said["epochs"] == 2
        ),
    ),
    "advise": (
        "advise --images ROOT/images.npz --folds 2 --steps 4 --workers 0 --out ROOT/advice.html",
        ("report", "numbers"),
        lambda said, root: said["facts"] == _read(Path(said["numbers"]))["facts"],
    ),
}
"""Words of a command, the fields that name files, and whether its numbers are right."""


def _read(file: Path) -> Any:
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", CHEAP)
def test_json_is_one_object_with_the_files_and_the_numbers(name, world, capsys):
    words, files, right = CHEAP[name]
    assert main([*words.replace("ROOT", str(world)).split(), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert isinstance(said, dict)
    for field in files:
        assert Path(said[field]).exists(), field
    assert right(said, world)
