"""Images per processor second of `reteach embed` beside eager timm on the same files, decoding included.

    python -m benchmarks embedding
    python -m benchmarks.embed [--images FOLDER] [--count 64] [--model tf_efficientnet_lite0] [--size 224]
                               [--backends folded openvino onnx] [--rounds 3]

Eager timm is what its documentation shows: `create_model(..., num_classes=0).eval()`, its own transform,
batches of 32 under `inference_mode`. Both sides decode in the process itself with one thread, and take turns,
so that they meet the same load. Without --images, pieces of two photos are taken. Untrained weights: what
the features say does not matter here. The features of both are compared as well, on the same pixels.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import timm
import torch
from PIL import Image

from benchmarks import pictures
from benchmarks.house import Contender, Contest, timed
from reteach.data.loading.batch import Normalize
from reteach.features.embed import Backend, embed
from reteach.features.extractor import Extractor
from reteach.features.preprocessing import Preprocessing
from reteach.models import zoo

torch.set_num_threads(1)


def eager(model: torch.nn.Module, files: list[Path], size: int) -> None:
    """timm's own way."""
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, size, size)}
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        for start in range(0, len(files), 32):
            batch = [transform(Image.open(f).convert("RGB")) for f in files[start : start + 32]]
            model(torch.stack(batch))


def extractor(name: str, size: int) -> Extractor:
    """An untrained network."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    mean, std = zoo.normalisation(model)
    prepare = Normalize(mean, std, interpolation=zoo.interpolation(model))
    return Extractor(model, Preprocessing(size, None, prepare), name)


def contest(folder: Path) -> Contest:
    """A row: the backend that ``reteach embed`` takes by itself."""
    count, name, size = 16, "tf_efficientnet_lite0", 224
    files = pictures.write(folder / "photos", count, 500, 375)
    paths = sorted(files.rglob("*.jpg"))
    eyes = extractor(name, size)

    def ours(backend: Backend | None) -> None:
        shutil.rmtree(folder / "table", ignore_errors=True)
        embed(eyes, str(files), folder / "table", backend=backend)

    def onnx() -> Contender:
        for need in ("onnxruntime", "onnx"):
            import_module(need)
        return timed(lambda: ours("onnx"))

    return Contest(
        f"features of {count} JPEGs of 500 × 375 by {name} at {size} px, from files to a table on disk",
        timed(lambda: ours(None)),
        {
            "timm, eager": lambda: timed(lambda: eager(eyes.model, paths, size)),
            "reteach's eager backend": lambda: timed(lambda: ours("eager")),
            "reteach's onnx backend": onnx,
        },
    )


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
        pictures.write(files, args.count, 500, 375)
    else:
        for file in sorted(args.images.rglob("*.jpg"))[: args.count]:
            shutil.copy(file, files)
    paths = sorted(files.rglob("*.jpg"))
    eyes = extractor(args.model, args.size)
    model = eyes.model

    def seconds(run: Callable[[], object]) -> float:
        return timed(run)(0)["s"]

    def ours(backend: str) -> None:
        shutil.rmtree(work / backend, ignore_errors=True)
        embed(eyes, str(files), work / backend, backend=backend)

    rates: dict[str, list[float]] = {name: [] for name in ["eager timm", *args.backends]}
    for _ in range(args.rounds):
        rates["eager timm"].append(len(paths) / seconds(lambda: eager(model, paths, args.size)))
        for backend in args.backends:
            rates[backend].append(len(paths) / seconds(lambda name=backend: ours(name)))
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
