"""Images per processor second of `reteach embed` beside eager timm on the same files, decoding included.

    python benchmarks/embed.py [--images FOLDER] [--count 64] [--model tf_efficientnet_lite0] [--size 224]
                               [--backends folded openvino onnx] [--rounds 3]

Eager timm is what its documentation shows: `create_model(..., num_classes=0).eval()`, its own transform,
batches of 32 under `inference_mode`. Both sides decode in the process itself with one thread, and take turns,
so that they meet the same load. Without --images, JPEGs of 375 × 500 are made up. Untrained weights: what
the features say does not matter here. The features of both are compared as well, on the same pixels.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import timm
import torch
from PIL import Image

from reteach.data.loading.batch import Normalize
from reteach.features.embed import embed
from reteach.features.extractor import Extractor
from reteach.features.preprocessing import Preprocessing
from reteach.models import zoo

torch.set_num_threads(1)


def photos(folder: Path, count: int) -> None:
    """JPEGs of noise with an outline."""
    noise = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(noise.integers(0, 255, (24, 32, 3), np.uint8))
        big = small.resize((500, 375), Image.Resampling.BICUBIC)
        big.save(folder / f"{number:05}.jpg", quality=90)


def timed(work: Callable[[], object]) -> float:
    """Processor seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def eager(model: torch.nn.Module, files: list[Path], size: int) -> None:
    """timm's own way."""
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, size, size)}
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        for start in range(0, len(files), 32):
            batch = [transform(Image.open(f).convert("RGB")) for f in files[start : start + 32]]
            model(torch.stack(batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--backends", nargs="+", default=["folded", "openvino", "onnx"])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    files = work / "photos"
    files.mkdir()
    if args.images is None:
        photos(files, args.count)
    else:
        for file in sorted(args.images.rglob("*.jpg"))[: args.count]:
            shutil.copy(file, files)
    paths = sorted(files.iterdir())
    torch.manual_seed(0)
    model = timm.create_model(args.model, num_classes=0).eval()
    mean, std = zoo.normalisation(model)
    prepare = Normalize(mean, std, interpolation=zoo.interpolation(model))
    eyes = Extractor(model, Preprocessing(args.size, None, prepare), args.model)

    def ours(backend: str) -> None:
        shutil.rmtree(work / backend, ignore_errors=True)
        embed(eyes, str(files), work / backend, backend=backend)

    rates: dict[str, list[float]] = {name: [] for name in ["eager timm", *args.backends]}
    for _ in range(args.rounds):
        rates["eager timm"].append(len(paths) / timed(lambda: eager(model, paths, args.size)))
        for backend in args.backends:
            rates[backend].append(len(paths) / timed(lambda name=backend: ours(name)))
    print(f"{args.model} at {args.size}, {len(paths)} files, images per processor second:")
    for name, found in rates.items():
        ratios = np.array(found) / np.array(rates["eager timm"])
        print(
            f"{name:12} {np.median(found):6.1f}   × {np.median(ratios):.2f} "
            f"({ratios.min():.2f} … {ratios.max():.2f})"
        )
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
