"""What a billion images would cost: measured seconds and bytes, carried on; assumptions named as such.

    python benchmarks/scale.py --select-ns 26 --gpu-images 3730 --gpu-hour 1.0

Measures here: decoding a photo, one forward pass of the teacher on this CPU, bytes per row of score
shards. Takes from ``benchmarks/selection.py``: CPU nanoseconds per row of the selection. Takes as
assumptions: images per second of a GPU (somebody's published figure), and prices. One thread.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reteach.data.loading.augment import Eval
from reteach.data.loading.decode import decode
from reteach.models import zoo

ROUNDS = 3


def best(work: object, times: int) -> float:
    """CPU seconds of one call, the best of a few rounds."""
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - start) / times)
    return min(found)


def photo(width: int = 500, height: int = 375) -> bytes:
    """A JPEG of the usual size of ImageNet's, with as much detail as photos have (about 50 kB)."""
    generator = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        noise = generator.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, np.float64) / cells**0.5
    pixels = (255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=92)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=float, default=1e9)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--teacher", default="resnet50")
    parser.add_argument("--select-ns", type=float, required=True, help="of benchmarks.selection")
    parser.add_argument("--gpu-images", type=float, required=True, help="per second, assumed")
    parser.add_argument("--gpu-hour", type=float, default=1.0, help="dollars, assumed")
    parser.add_argument("--core-hour", type=float, default=0.05, help="dollars, assumed")
    parser.add_argument("--gigabyte-month", type=float, default=0.023, help="dollars, assumed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    jpeg = photo()

    def seen() -> torch.Tensor:
        pixels = decode(jpeg, at_least=448)
        return Eval(224)(torch.from_numpy(pixels).permute(2, 0, 1), 0)

    decoding = best(seen, 20)
    model = zoo.create(options.teacher, 1000, seed=0).eval()
    x = torch.randn(8, 3, 224, 224)
    with torch.no_grad():
        forward = best(lambda: model(x), 1) / 8
    row = {}
    for name, text in (("numbers", False), ("names", True)):
        with tempfile.TemporaryDirectory() as folder:
            import selection

            selection.SHARD = 2_000_000
            selection.generate(Path(folder), 0, text)
            row[name] = (Path(folder) / "000.parquet").stat().st_size / selection.SHARD
    n, rows = options.images, options.images * options.top
    print("measured here, one thread")
    print(f"  a photo of {len(jpeg) / 1e3:.0f} kB decoded and resized: {1e3 * decoding:.2f} ms")
    print(f"  {options.teacher}, 224 pixels, forward on this CPU: {1e3 * forward:.0f} ms")
    print(f"  a row of scores: {row['numbers']:.1f} bytes by number, {row['names']:.1f} by name")
    print(f"{n:.0e} images, {options.top} classes each")
    select = rows * options.select_ns / 1e9 / 3600
    decode_hours, gpu_hours = n * decoding / 3600, n / options.gpu_images / 3600
    cpu_hours = n * forward / 3600
    cores = options.gpu_images * decoding
    print(f"  score on GPUs: {gpu_hours:,.0f} GPU hours, {gpu_hours * options.gpu_hour:,.0f} $")
    print(
        f"    with decoding: {decode_hours:,.0f} core hours, "
        f"{decode_hours * options.core_hour:,.0f} $; {cores:.0f} cores feed one GPU"
    )
    print(f"  score on CPUs: {cpu_hours:,.0f} core hours, {cpu_hours * options.core_hour:,.0f} $")
    for name, width in row.items():
        size = rows * width / 1e9
        print(f"  scores by {name}: {size:,.0f} GB, {size * options.gigabyte_month:,.2f} $ a month")
    print(f"  select: {select:.2f} core hours, {select * options.core_hour:.2f} $")


if __name__ == "__main__":
    main()
