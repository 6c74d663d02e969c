"""What it costs in accuracy to mix so many tar shards at a time instead of all images.

    python -m benchmarks.shard_shuffle [--seeds 5] [--epochs 12]

The digits of scikit-learn in 48 shards, in a random order and sorted by class; others of them judge.
The network, its rate and the number of steps are the same everywhere; accuracy after the last step.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from reteach.api.functions import train
from reteach.data.item_ids import item_id

SHARDS, HELD_OUT = 48, 497


def shards(folder: Path, images: np.ndarray, classes: np.ndarray) -> str:
    """The images in equal shards, in the order given."""
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(images)), SHARDS)):
        with tarfile.open(folder / f"{number:02}.tar", "w") as tar:
            for row in rows.tolist():
                out = io.BytesIO()
                Image.fromarray(images[row]).save(out, "PNG")
                parts = ((".png", out.getvalue()), (".cls", str(classes[row]).encode()))
                for ending, data in parts:
                    info = tarfile.TarInfo(f"{row:05}{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return item_id(f"{folder}/*.tar")


def main() -> None:
    """Print a line for each order and each number of shards."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=12)
    asked = parser.parse_args()
    digits = load_digits()
    images = np.repeat((digits.images * 15).astype(np.uint8)[..., None], 3, -1)
    order = np.random.default_rng(0).permutation(len(images))
    rest, held = order[:-HELD_OUT], order[-HELD_OUT:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judge = shards(folder / "judge", images[held], digits.target[held])
        by_class = rest[np.argsort(digits.target[rest], kind="stable")]
        for what, rows in (("random", rest), ("by class", by_class)):
            where = shards(folder / what.replace(" ", "-"), images[rows], digits.target[rows])
            for at_once in (None, 16, 8, 4):
                found = []
                for seed in range(asked.seeds):
                    with redirect_stdout(io.StringIO()):
                        model = train(
                            "softmax",
                            images=where,
                            val_images=judge,
                            model="reteach_small",
                            image_size=8,
                            batch_size=64,
                            augment="none",
                            epochs=asked.epochs,
                            lr=0.05,
                            shuffle_shards=at_once,
                            seed=seed,
                            workers=0,
                            device="cpu",
                            out=folder / f"{what}-{at_once}-{seed}".replace(" ", "-"),
                        )
                    found.append(100 * model.evaluate().metrics["model"]["accuracy"])
                shuffled = "all images" if at_once is None else f"{at_once} shards"
                print(
                    f"{what:9} {shuffled:11} {np.mean(found):6.2f} ± {np.std(found, ddof=1):.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
