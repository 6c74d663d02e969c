"""What a calibration costs: a million images with a thousand classes, streamed.

    python benchmarks/calibrate.py [--images 1000000] [--classes 1000]

CPU time of counting and of fitting, and the largest memory of the process. The scores are made block by
block from a few blocks of noise, so that making them does not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from reteach.relabel.calibration.logit_histogram import LogitHistogram
from reteach.relabel.calibration.presence import calibrate

BLOCK = 2000


def main(images: int, classes: int) -> None:
    generator = np.random.default_rng(0)
    blocks = []
    for _ in range(4):
        z = generator.normal(-9, 1, (BLOCK, classes)).astype(np.float32)
        present = generator.random((BLOCK, classes)) < 3 / classes
        present[np.arange(BLOCK), generator.integers(0, classes, BLOCK)] = True
        z[present] += generator.normal(5, 1.5, int(present.sum()))
        blocks.append((z, np.where(present, z, -np.inf).argmax(1)))
    truth = 1 + 3 * (1 - 1 / classes)
    sketch = LogitHistogram(tuple(f"class {i}" for i in range(classes)))
    start = time.process_time()
    for number in range(images // BLOCK):
        sketch.add(*blocks[number % len(blocks)])
    counted = time.process_time()
    pooled = calibrate(sketch, "sigmoid")
    fitted = time.process_time()
    each = calibrate(sketch, "sigmoid", scope="classes")
    done = time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{images:,} images, {classes:,} classes: {images * classes / 1e9:.2f} billion scores")
    print(f"counting        {counted - start:6.1f} s of CPU")
    print(
        f"pooled          {fitted - counted:6.1f} s   {pooled.labels_per_image:.2f} labels per image"
    )
    print(f"one per class   {done - fitted:6.1f} s   {each.labels_per_image:.2f} labels per image")
    print(f"truth                      {truth:.2f} labels per image")
    print(f"largest memory  {memory:6.2f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    options = parser.parse_args()
    main(options.images, options.classes)
