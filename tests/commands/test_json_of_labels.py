"""``--json`` of the commands on data, labels and raters: one object with the files and the numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reteach.cli import main
from reteach.labels import Multi, Single
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, read_labels, write_labels

for package in ("duckdb", "sqlalchemy"):
    pytest.importorskip(package)

ITEMS = [f"{i}.png" for i in range(8)]
CLASSES = ("cat", "dog", "owl")
QUICK = "--model reteach_tiny --steps 2 --batch-size 8 --workers 0 --device cpu"
FOUR_TAGS = "item,tags\n0.png,#cat #pet\n1.png,#dog\n2.png,#house\n3.png,#Dog\n"
ANSWERS = "task,rater,answer\n" + "".join(
    f"{item},{rater},{CLASSES[(row + rater // 2) % 3]}\n"
    for row, item in enumerate(ITEMS)
    for rater in range(3)
)

YES_OR_NO = "task,rater,answer\n" + "".join(
    f"{item}#cat,{rater},{'yes' if row < 3 or rater == 2 else 'no'}\n"
    for row, item in enumerate(ITEMS)
    for rater in range(3)
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of which two are one file, their labels, two models' scores, tags, answers, a run."""
    root = tmp_path_factory.mktemp("json")
    draw = np.random.default_rng(0)
    (root / "photos").mkdir()
    for item in ITEMS[:7]:
        pixels = draw.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(root / "photos" / item)
    shutil.copy(root / "photos/0.png", root / "photos/7.png")
    labels = np.arange(8) % 3
    write_labels(root / "single.csv", LabelTable(tuple(ITEMS), Single(labels, CLASSES)))
    sets = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1]] * 2)
    names = (*CLASSES, "fox")
    write_labels(root / "sets.csv", LabelTable(tuple(ITEMS), Multi.from_dense(sets, names)))
    for model in ("one", "two"):
        with ScoreWriter(root / f"{model}.parquet", CLASSES) as out:
            out.write_dense(ITEMS, draw.dirichlet(np.ones(3), 8))
    (root / "tags.csv").write_text(FOUR_TAGS)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    (root / "answers.csv").write_text(ANSWERS)
    (root / "binary.csv").write_text(YES_OR_NO)
    images = [{"id": i, "file_name": item} for i, item in enumerate(ITEMS)]
    boxes = [{"id": 1, "image_id": 3, "category_id": 5, "iscrowd": 0, "bbox": [0, 0, 2, 2]}]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 5, "name": "cat"}]}
    (root / "coco.json").write_text(json.dumps(coco))
    pixels = draw.integers(0, 120, (48, 8, 8, 1)) + 100 * (np.arange(48) % 2)[:, None, None, None]
    np.savez(root / "grey.npz", images=pixels.astype(np.uint8), labels=np.arange(48) % 2)
    for words in (
        f"train softmax --images {root}/grey.npz {QUICK} --out {root}/run",
        f"relabel propose --scores {root}/one.parquet {root}/two.parquet --labels {root}/single.csv "
        f"--out {root}/proposals.parquet",
        f"relabel tasks --proposals {root}/proposals.parquet --out {root}/ratings.db --raters 1",
    ):
        assert main(words.split()) == 0
    return root


Numbers = Callable[[dict[str, Any], Path], bool]

CHEAP: dict[str, tuple[str, tuple[str, ...], Numbers]] = {
    "convert": (
        "convert coco ROOT/coco.json --out ROOT/coco.csv",
        ("out",),
        lambda said, root: [said[key] for key in ("images", "classes", "entries")] == [8, 1, 1],
    ),
    "noise": (
        "noise --labels ROOT/single.csv --out ROOT/noisy.csv --rate 0.5",
        ("out",),
        lambda said, root: said["wrong"] == _different(root / "single.csv", root / "noisy.csv") > 0,
    ),
    "noise estimate": (
        "noise estimate --labels ROOT/single.csv --scores ROOT/one.parquet --out ROOT/matrix.csv",
        ("out",),
        lambda said, root: said["images"] == 8 and 0 <= said["share"] <= 1,
    ),
    "relabel hashtags": (
        "relabel hashtags ROOT/tags.csv --classes ROOT/classes.txt --out ROOT/tags.parquet "
        "--counts ROOT/counts.csv",
        ("out", "counts"),
        lambda said, root: (
            said["images_per_class"] == {"cat": 1, "dog": 2, "owl": 0} and said["tags"] == 5
        ),
    ),
    "partition": (
        "partition --labels ROOT/sets.csv --subsets 2 --out ROOT/partition.json",
        ("out",),
        lambda said, root: (
            said["decompositions"][0]["co"]["subsets"] == _read(root / "partition.json")["co"]
        ),
    ),
    "dedup": (
        "dedup --images ROOT/photos --workers 0 --out ROOT/pairs.parquet --exclude ROOT/drop.txt",
        ("out", "exclude"),
        lambda said, root: (
            said["equal_files"] == said["removed"] == len((root / "drop.txt").read_text().split())
        ),
    ),
    "dedup --only-bytes": (
        "dedup --images ROOT/photos --only-bytes --out ROOT/pairs.parquet",
        ("out",),
        lambda said, root: said["neighbours"] == 0 and said["distances"] is said["recall"] is None,
    ),
    "select": (
        "select ROOT/one.parquet --per-class 2 --out ROOT/picks.parquet --images ROOT/photos "
        "--report ROOT/picks.html",
        ("out", "page"),
        lambda said, root: said["picks"] == sum(said["selection"]["counts"]) == said["pictures"],
    ),
    "score": (
        "score ROOT/run --images ROOT/grey.npz --out ROOT/shards --top 1 --workers 0 --device cpu",
        ("out",),
        lambda said, root: (
            said["images"] == 48
            and said["parts"] == len([*(root / "shards").glob("*.parquet")]) == 1
        ),
    ),
    "relabel clean": (
        f"relabel clean --images ROOT/grey.npz --folds 2 {QUICK} --out ROOT/clean.csv --rule per-class",
        ("out", "scores", "report", "numbers"),
        lambda said, root: (
            said["kept"] == len(read_labels(root / "clean.csv").items) and said["labels"] == 48
        ),
    ),
    "relabel propose": (
        "relabel propose --scores ROOT/one.parquet ROOT/two.parquet --labels ROOT/single.csv "
        "--gold ROOT/single.csv --recall 0.1 --out ROOT/again.parquet --report ROOT/subsets.html",
        ("out", "report"),
        lambda said, root: (
            said["all_models"]["models"] == ["one", "two"] and said["gold_items"] == 8
        ),
    ),
    "relabel tasks": (
        "relabel tasks --proposals ROOT/proposals.parquet --out ROOT/more.db --raters 2",
        ("store",),
        lambda said, root: said["raters"] == 2 and said["questions"] >= said["tasks"] > 0,
    ),
    "relabel export": (
        "relabel export ROOT/ratings.db --out ROOT/ratings.json",
        ("out", "config"),
        lambda said, root: said["answers_only"] is False,
    ),
    "relabel consensus of classes": (
        "relabel consensus ROOT/answers.csv --out ROOT/voted.csv --method majority",
        ("out", "unlabeled"),
        lambda said, root: (
            said["labelled"] == int(read_labels(root / "voted.csv").labels.known().sum())
            and said["answers"] == 24
        ),
    ),
    "relabel consensus": (
        "relabel consensus ROOT/binary.csv --out ROOT/real.csv --scores ROOT/real.parquet",
        ("out", "unlabeled", "scores"),
        lambda said, root: (
            said["items"] == len(read_labels(root / "real.csv").items) and said["point"] is None
        ),
    ),
}
"""Words of a command, the fields that name files, and whether its numbers are right."""


def _read(file: Path) -> Any:
    return json.loads(file.read_text())


def _different(one: Path, other: Path) -> int:
    return int((read_labels(one).labels.index != read_labels(other).labels.index).sum())


@pytest.mark.parametrize("name", CHEAP)
def test_json_is_one_object_with_the_files_and_the_numbers(name, world, capsys):
    words, files, right = CHEAP[name]
    capsys.readouterr()
    assert main([*words.replace("ROOT", str(world)).split(), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert isinstance(said, dict)
    for field in files:
        assert Path(said[field]).exists(), field
    assert right(said, world)
