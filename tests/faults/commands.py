"""Every command on a small world, and which of its files must come out the same whatever happens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from reteach.cli import main
from reteach.data.item_ids import item_id
from reteach.labels import Multi, Single
from reteach.scores.table import ScoreWriter
from reteach.spreadsheet import to_csv
from reteach.tables import LabelTable, write_labels

ITEMS = [f"{n:02}.png" for n in range(16)]
CLASSES = ("cat", "dog", "owl")
SMALL = "--workers 0 --device cpu"
TRAIN = f"--images W/photos --labels W/single.csv --model reteach_tiny --image-size 16 {SMALL} --steps 4"
TRAIN += " --batch-size 8"
GREY = f"--images W/grey.npz --model reteach_tiny {SMALL} --steps 2 --batch-size 8"
WEIGHTS = "models/model/model.safetensors"

COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train softmax": (
        f"train softmax {TRAIN} --snapshot-seconds 0 --out O/run",
        (f"run/{WEIGHTS}",),
    ),
    "resume": ("resume O/begun", (f"begun/{WEIGHTS}",)),
    "evaluate": (f"evaluate W/run --images W/grey.npz {SMALL} --out O/found.json", ("found.json",)),
    "predict": (
        f"predict W/run --images W/grey.npz {SMALL} --out O/labels.parquet --scores O/s.parquet",
        ("labels.parquet", "s.parquet"),
    ),
    "explain": (
        f"explain W/run --images W/grey.npz --classes 1 --count 1 {SMALL} --out O/cam.html",
        ("cam.html",),
    ),
    "calibrate": (
        f"calibrate O/begun --images W/grey.npz --anyway {SMALL} --report O/page.html",
        (),
    ),
    "export": (
        "export W/run --to timm --images W/grey.npz --out O/exported",
        ("exported/*",),
    ),
    "report": ("report W/run --out O/page.html", ("page.html",)),
    "transfer": (
        f"transfer W/run --images W/grey.npz --mode fc-only --folds 2 --val-fraction 0.25 {SMALL} "
        "--out O/new",
        (f"new/{WEIGHTS}",),
    ),
    "compare": (
        f"compare softmax {GREY} --val-fraction 0.5 --seeds 1 --processes 1 --out O/compared",
        ("compared/results.json",),
    ),
    "noise": ("noise --labels W/single.csv --rate 0.5 --out O/noisy.parquet", ("noisy.parquet",)),
    "noise estimate": (
        "noise estimate --labels W/single.csv --scores W/one.parquet --out O/matrix.csv",
        ("matrix.csv",),
    ),
    "probe compression": (
        "probe compression W/run --epochs 1 --seeds 1 --device cpu --out O/probe.json",
        ("probe.json",),
    ),
    "relabel propose": (
        "relabel propose --scores W/one.parquet W/two.parquet --labels W/single.csv --gold W/single.csv "
        "--recall 0.1 --out O/proposals.parquet",
        ("proposals.parquet",),
    ),
    "relabel consensus": ("relabel consensus W/binary.csv --out O/real.csv", ("real.csv",)),
    "relabel tasks": ("relabel tasks --proposals W/proposals.parquet --out O/r.db --raters 1", ()),
    "relabel export": ("relabel export W/ratings.db --out O/ratings.csv", ("ratings.csv",)),
    "relabel hashtags": (
        "relabel hashtags W/tags.csv --classes W/classes.txt --out O/tags.parquet --counts O/n.csv",
        ("tags.parquet", "n.csv"),
    ),
    "relabel clean": (
        f"relabel clean {GREY} --folds 2 --rule per-class --out O/kept.csv",
        ("kept.csv",),
    ),
    "embed": (
        f"embed W/run --images W/grey.npz --block 16 --batch-size 8 --backend eager {SMALL} --out O/f",
        ("f/*.parquet",),
    ),
    "score": (
        f"score W/run --images W/grey.npz --top 1 --block 16 {SMALL} --out O/scores",
        ("scores/*.parquet",),
    ),
    "select": ("select W/one.parquet --per-class 2 --out O/picks.parquet", ("picks.parquet",)),
    "pack": (
        "pack --images W/photos --items W/single.csv --per-shard 6 --out O/packed",
        ("packed/*.tar", "packed/*.parquet"),
    ),
    "dedup": (
        "dedup --images W/photos --workers 0 --out O/pairs.parquet --exclude O/drop.txt",
        ("pairs.parquet", "drop.txt"),
    ),
    "partition": ("partition --labels W/sets.csv --subsets 2 --out O/p.json", ("p.json",)),
    "convert": ("convert coco W/coco.json --out O/coco.csv", ("coco.csv",)),
    "review": (
        "review --images W/photos --labels W/single.csv --features W/features --folds 2 --workers 0 "
        "--prepare --out O/seen.review",
        (),
    ),
    "review, export": ("review O/made.review --export O/labels.csv", ("labels.csv",)),
    "rate": ("rate O/ratings.db --images W/photos --port 0", ()),
    "demo": (
        "demo --seeds 1 --steps 150 --processes 1 --out O/demo",
        ("demo/results.json",),
    ),
    "advise": (
        "advise --images W/grey.npz --folds 2 --steps 2 --workers 0 --out O/advice.html",
        (),
    ),
}
"""Words -> what is said, with the folders of the world (W) and of the output (O), and patterns of the files
there that have the same bytes each time."""
SERVES = {"rate"}
"""Commands that end when they are interrupted; raters' and reviewers' requests are disturbed in
``tests/rating`` and ``tests/review``."""
SLOW = {"demo"}
"""Commands that take so long that a few faults are enough: they are others under one name."""
ELSEWHERE = {
    "demo photos": "compare and embed under another name; its photos are not on every machine",
}
"""Commands that are disturbed by other tests, and by which."""


def make_world(root: Path, names: Sequence[str] = ITEMS, classes: Sequence[str] = CLASSES) -> Path:
    """Photos, tables of all kinds, a run, a store and a run that was begun.

    Args:
        names: sixteen names of files.
        classes: three names.
    """
    items, classes = [item_id(name) for name in names], tuple(classes)
    draw = np.random.default_rng(0)
    (root / "photos").mkdir(parents=True)
    for n, name in enumerate(names):
        pixels = draw.integers(0, 90, (16, 16, 3)) + 60 * (n % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / name, "PNG")
    labels = np.arange(16) % 3
    write_labels(root / "single.csv", LabelTable(tuple(items), Single(labels, classes)))
    sets = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1]] * 4)
    table = LabelTable(tuple(items), Multi.from_dense(sets, (*classes, "fox")))
    write_labels(root / "sets.csv", table)
    for model in ("one", "two"):
        with ScoreWriter(root / f"{model}.parquet", classes) as out:
            out.write_dense(items, draw.dirichlet(np.ones(3), 16))
    (root / "tags.csv").write_text("item,tags\n0.png,#cat #pet\n1.png,#dog\n2.png,#house\n")
    (root / "classes.txt").write_text("\n".join(classes))
    rows = [
        [f"{item}#{classes[0]}", str(rater), "yes" if n < 3 or rater == 2 else "no"]
        for n, item in enumerate(items)
        for rater in range(3)
    ]
    (root / "binary.csv").write_text(to_csv(["task", "rater", "answer"], rows))
    images = [{"id": n, "file_name": item} for n, item in enumerate(items)]
    boxes = [{"id": 1, "image_id": 3, "category_id": 5, "iscrowd": 0, "bbox": [0, 0, 2, 2]}]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 5, "name": classes[0]}]}
    (root / "coco.json").write_text(json.dumps(coco))
    pixels = draw.integers(0, 120, (48, 8, 8, 1)) + 100 * (np.arange(48) % 2)[:, None, None, None]
    np.savez(root / "grey.npz", images=pixels.astype(np.uint8), labels=np.arange(48) % 2)
    for words in (
        f"train softmax {GREY} --out W/run",
        f"train softmax {TRAIN} --out W/seen",
        f"embed W/seen --images W/photos --block 16 --batch-size 8 --backend eager {SMALL} --out W/features",
        "review --images W/photos --labels W/single.csv --features W/features --folds 2 --workers 0 "
        "--prepare --out W/made.review",
        "relabel propose --scores W/one.parquet W/two.parquet --labels W/single.csv "
        "--out W/proposals.parquet",
        "relabel tasks --proposals W/proposals.parquet --out W/ratings.db --raters 1",
    ):
        assert main(said(words, root, root)) == 0
    return root


def said(words: str, world: Path, out: Path) -> list[str]:
    """The words of a command line, its folders named."""
    named = {"W": str(world), "O": str(out)}
    return [
        named[word[0]] + word[1:] if word[:2] in ("W/", "O/") else word for word in words.split()
    ]


def make_out(world: Path, out: Path) -> Path:
    """A folder for outputs, with a finished run in it that may be changed."""
    out.mkdir(parents=True)
    shutil.copytree(world / "run", out / "begun")
    shutil.copytree(world / "made.review", out / "made.review")
    shutil.copy(world / "ratings.db", out / "ratings.db")
    return out
