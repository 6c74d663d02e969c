"""The partitions of the real COCO and NUS-WIDE co-occurrence counts, and what they cost.

    python benchmarks/partition.py ../shared/data/cooccurrence.npz [--subsets 5] [--seed 0]

The file holds ``coco_counts, coco_pairs, coco_names, nus_counts, …``. Prints per data set, τ and side the
cut, that of k-means alone, of random partitions, the sizes, and the CPU time.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from reteach.relabel.partition.class_subsets import partition
from reteach.relabel.partition.cooccurrence import SIDES, Cooccurrence


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("set  tau side      cut  k-means   random ±         agree  CPU s  sizes")
    with np.load(options.file, allow_pickle=False) as file:
        for which in ("coco", "nus"):
            counts, pairs, names = (
                file[f"{which}_{part}"] for part in ("counts", "pairs", "names")
            )
            seen = Cooccurrence(
                counts.astype(np.int64), pairs.astype(np.int64), tuple(map(str, names))
            )
            for tau in (2.0, 3.0):
                for side in SIDES:
                    start = time.process_time()
                    found = partition(seen, options.subsets, side, tau=tau, seed=options.seed)
                    print(
                        f"{which:4} {tau:3g} {side:4} {found.cut:8.4f} {found.spectral:8.4f} "
                        f"{found.random.mean():8.4f} {found.random.std(ddof=1):.4f} "
                        f"{found.agreed:5}/{found.searches} {time.process_time() - start:6.1f}  "
                        f"{[len(subset) for subset in found.subsets]}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
