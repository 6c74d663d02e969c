"""What `reteach score` adds to the bare forward pass on the same batches.

    python -m benchmarks scoring
    python -m benchmarks.score [--images 1024] [--side 160] [--model resnet18] [--shards 4] [--rounds 3]

Random photos in tar files are scored by an untrained network (what it says does not matter), shards and
all, and then the same batches, decoded beforehand, go through the network alone; round after round, so
that both meet the same load. The processor time is that of the process with the network: decoding is in
workers, and overlaps where there is a core for it. The time on the clock is shown beside it.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from benchmarks.house import Contest, timed
from reteach.data.loading.batch import Normalize
from reteach.engine.learner import Predictor
from reteach.models import zoo
from reteach.runs.checkpoint import save_models
from reteach.scoring.scorer import Scorer, ScoringTask, Step


def photos(folder: Path, count: int, side: int, shards: int) -> str:
    """Tar files of JPEGs; a few different pictures, many times."""
    noise = np.random.default_rng(0)
    files = []
    for _ in range(16):
        small = Image.fromarray(noise.integers(0, 255, (8, 8, 3), np.uint8))
        out = io.BytesIO()
        small.resize((side * 5 // 4, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as tar:
            for number in range(shard, count, shards):
                info = tarfile.TarInfo(f"{number:08}.jpg")
                info.size = len(files[number % 16])
                tar.addfile(info, io.BytesIO(files[number % 16]))
    return f"{folder}/{{000..{shards - 1:03}}}.tar"


def run_folder(folder: Path, architecture: str, side: int, classes: int) -> Path:
    """A run whose model is untrained."""
    model = zoo.create(architecture, classes, image_size=side, seed=0).eval()
    mean, std = zoo.normalisation(model)
    save_models(
        folder, {"model": Predictor((model,), "softmax")}, architecture=architecture,
        classes=tuple(map(str, range(classes))), image_size=side, frames=None,
        prepare=Normalize(mean, std), threshold=None, method="untrained",
    )  # fmt: skip
    return folder


def contest(folder: Path) -> Contest:
    """A row: decoding is in the process itself, and so the batches of the peer are decoded, too."""
    images, side, model = 48, 160, "resnet18"
    tars = photos(folder, images, side, 1)
    run = run_folder(folder / "run", model, side, 1000)
    task = ScoringTask(
        run, tars, folder / "scores", 10, batch_size=24, workers=0, device="cpu", threads=1
    )
    scorer = Scorer(task)

    def ours() -> None:
        shutil.rmtree(task.out, ignore_errors=True)
        done = sum(e.images for e in scorer.score(range(1)) if isinstance(e, Step))
        assert done == images, done

    def bare() -> None:
        for read in scorer.decoded(range(1)):
            scorer.predictor.logits(scorer.saved.prepare(read.pixels[0]))

    return Contest(
        f"the 10 best of 1,000 classes for {images} JPEGs of {side} px in a tar file by {model}, to Parquet",
        timed(ours),
        {"decoding and forward pass alone": lambda: timed(bare)},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = photos(folder, told.images, told.side, told.shards)
        run = run_folder(folder / "run", told.model, told.side, told.classes)
        task = ScoringTask(run, images, folder / "scores", 10, batch_size=told.batch, workers=told.workers,
                    device="cpu", threads=torch.get_num_threads())  # fmt: skip
        scorer = Scorer(task)
        batches = [
            scorer.saved.prepare(read.pixels[0]) for read in scorer.decoded(range(told.shards))
        ]
        print(f"{told.images} images of {told.side} pixels, {told.model}, {told.classes} classes, "
              f"{told.shards} shards, {torch.get_num_threads()} thread(s)")  # fmt: skip
        ratios = []
        for _ in range(told.rounds):
            shutil.rmtree(task.out, ignore_errors=True)
            wall, cpu = time.monotonic(), time.process_time()
            done = sum(e.images for e in scorer.score(range(told.shards)) if isinstance(e, Step))
            score = time.process_time() - cpu, time.monotonic() - wall
            wall, cpu = time.monotonic(), time.process_time()
            for x in batches:
                scorer.predictor.logits(x)
            bare = time.process_time() - cpu, time.monotonic() - wall
            assert done == told.images
            ratios.append((bare[0] / score[0], bare[1] / score[1]))
            print(f"bare {done / bare[0]:6.1f} images per CPU second, {done / bare[1]:6.1f} per second; "
                  f"scoring {done / score[0]:6.1f} and {done / score[1]:6.1f}")  # fmt: skip
        cpu_ratio, wall_ratio = np.median(np.array(ratios), axis=0)
        print(f"scoring has {cpu_ratio:.1%} of the throughput of the bare forward pass by processor "
              f"time, {wall_ratio:.1%} by the clock (median of {told.rounds})")  # fmt: skip
