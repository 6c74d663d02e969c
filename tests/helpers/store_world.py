"""The pipeline of very many images, small: labels, shards, a teacher, scores, picks, a student, a page."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from reteach.labels import Single
from reteach.tables import LabelTable, write_labels

CLASSES = ("cat", "dog", "owl")
SMALL = "--workers 0 --device cpu"
NET = f"--model reteach_tiny --image-size 16 {SMALL} --batch-size 4"
WEIGHTS = "models/model/model.safetensors"


def make(folder: Path, shards: int = 3) -> None:
    """Labelled photos, and shards of unlabelled ones."""
    draws = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir(parents=True)
    items = [f"{n:02}.png" for n in range(12)]
    for item in items:
        photos.joinpath(item).write_bytes(_png(draws))
    labels = Single(np.arange(12) % 3, CLASSES)
    write_labels(folder / "labels.parquet", LabelTable(tuple(items), labels))
    (folder / "shards").mkdir()
    for shard in range(shards):
        with tarfile.open(folder / "shards" / f"{shard:03}.tar", "w") as tar:
            for n in range(6):
                data = _png(draws)
                info = tarfile.TarInfo(f"{n:04}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _png(draws: np.random.Generator) -> bytes:
    out = io.BytesIO()
    Image.fromarray(draws.integers(0, 255, (16, 16, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def steps(world: str, out: str, steps: int = 6, shards: int = 3) -> dict[str, list[str]]:
    """The commands of the pipeline: what is read is below ``world``, what is made below ``out``."""
    pile = f"{world}/shards/{{000..{shards - 1:03}}}.tar"
    told = {
        "teacher": f"train softmax --images {world}/photos --labels {world}/labels.parquet {NET} "
        f"--steps {steps} --val-fraction 0.25 --snapshot-seconds 0 --out {out}/teacher",
        "score": f"score {out}/teacher --images {pile} --out {out}/scores {SMALL} --top 3",
        "select": f"select {out}/scores --per-class 2 --out {out}/picks.parquet --threads 1",
        "student": f"train semi --images {world}/photos --labels {world}/labels.parquet "
        f"--unlabeled {pile} --picks {out}/picks.parquet {NET} "
        f"--steps {steps} --val-fraction 0.25 --snapshot-seconds 0 "
        f"--out {out}/student",
        "report": f"report {out}/student",
        "evaluate": f"evaluate {out}/student --images {world}/photos --labels {world}/labels.parquet "
        f"{SMALL} --out {out}/found.json",
        "predict": f"predict {out}/student --images {world}/photos {SMALL} --out {out}/labels.csv",
    }
    return {name: words.split() for name, words in told.items()}


COMPARED = (
    *(f"teacher/{WEIGHTS}", "picks.parquet", "labels.csv"),
    *(f"student/models/{name}/model.safetensors" for name in ("student", "pretrained")),
)
"""What is the same bytes on a local disk and at a store."""


def digest(data: bytes) -> str:
    """A short name of bytes."""
    return hashlib.sha256(data).hexdigest()[:16]
