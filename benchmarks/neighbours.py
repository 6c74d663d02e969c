"""Near-duplicate search: comparing all with all, and by index, beside FAISS alone.

    python -m benchmarks neighbours
    python -m benchmarks.neighbours --images 100000 --queries 1000 --width 128
    python -m benchmarks.neighbours --features photos.features --images 200000 --parts 2

Clustered features of length 1, as networks give them; half of the queries are slightly changed copies of
base images. With a table of ``reteach embed`` the base is its vectors and copies of them under noise, and the
other half of the queries are vectors that were left out of it. ``--parts`` searches parts of the base apart
and merges what they find. Needs faiss-cpu.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.house import Contender, Contest, timed
from reteach.duplicates.neighbours import Neighbours, nearest, normalised

K = 10


def features(
    n: int, queries: int, width: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, D) base, (Q, D) queries, and the base rows that the first Q/2 queries copy."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(max(10, n // 500), width)).astype(np.float32)
    noise = generator.standard_normal((n, width), np.float32)
    base = normalised(centres[generator.integers(0, len(centres), n)] + noise)
    copied = generator.choice(n, queries // 2, replace=False)
    near = base[copied] + 0.02 * generator.standard_normal((queries // 2, width), np.float32)
    rest = centres[generator.integers(0, len(centres), queries - queries // 2)]
    rest = rest + generator.standard_normal(rest.shape, np.float32)
    return base, normalised(np.concatenate([near, rest])), copied


def enlarged(table: Path, n: int, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of real features: half of the queries are in no form in the base."""
    from reteach.data.sources.feature_table import read_table

    real = normalised(np.array(read_table(table).features[:, 0]))  # the first view
    generator = np.random.default_rng(0)
    order = generator.permutation(len(real))
    apart, inside = real[order[: queries - queries // 2]], real[order[queries - queries // 2 :]]

    def noisy(rows: np.ndarray, size: np.ndarray) -> np.ndarray:
        noise = generator.standard_normal(rows.shape, np.float32)
        return rows + size[:, None] * normalised(noise)

    base = np.empty((n, real.shape[1]), np.float32)
    base[: len(inside)] = inside[:n]
    for first in range(len(inside), n, len(inside)):
        rows = inside[: n - first]
        size = generator.uniform(0.05, 0.5, len(rows)).astype(np.float32)
        base[first : first + len(rows)] = noisy(rows, size)
    base = normalised(base)
    copied = generator.choice(n, queries // 2, replace=False)
    near = noisy(base[copied], np.full(len(copied), 0.02, np.float32))
    return base, normalised(np.concatenate([near, apart])), copied


def in_parts(queries: np.ndarray, base: np.ndarray, k: int, parts: int, **more: Any) -> Neighbours:
    """What each part of the base finds, merged: the worst recall is that of all."""
    found = []
    for rows in np.array_split(np.arange(len(base)), parts):
        part = nearest(queries, base[rows], k, **more)
        index = np.where(part.index < 0, -1, part.index + rows[0])
        found.append(Neighbours(part.distance, index, part.recall))
    distance = np.concatenate([part.distance for part in found], 1)
    index = np.concatenate([part.index for part in found], 1)
    best = np.lexsort((index, distance), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(distance, best, 1),
        np.take_along_axis(index, best, 1),
        min(part.recall for part in found),
    )


def contest(folder: Path) -> Contest:
    """A row: the exact search, which is the usual one up to 100,000 images."""
    base, queries, _ = features(30_000, 1000, 128, 0)
    found: dict[str, Any] = {}

    def flat() -> Contender:
        import faiss

        faiss.omp_set_num_threads(1)

        def work() -> Any:
            index = faiss.IndexFlatL2(base.shape[1])
            index.add(base)
            return index.search(queries, K)[1]

        return timed(work, partial(found.__setitem__, "FAISS"))

    def sklearn() -> Contender:
        from sklearn.neighbors import NearestNeighbors

        return timed(lambda: NearestNeighbors(algorithm="brute").fit(base).kneighbors(queries, K))

    def note() -> str:
        if "FAISS" not in found:
            return ""
        same = (found["FAISS"] == found["reteach"].index).mean()
        assert same > 0.99, same
        return f"{same:.2%} of the neighbours are the same as FAISS', the rest ties"

    return Contest(
        f"the {K} nearest of 30,000 vectors of 128 numbers for 1,000 queries, exactly",
        timed(
            lambda: nearest(queries, base, K, search="exact"),
            partial(found.__setitem__, "reteach"),
        ),
        {"FAISS IndexFlatL2": flat, "scikit-learn": sklearn},
        note=note,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--k", type=int, default=K)
    parser.add_argument("--features", type=Path, help="a table of reteach embed, in place of draws")
    parser.add_argument("--parts", type=int, default=0)
    options = parser.parse_args()
    if options.features is None:
        base, queries, copied = features(options.images, options.queries, options.width, 0)
    else:
        base, queries, copied = enlarged(options.features, options.images, options.queries)
    exact: Neighbours | None = None
    codes = {"search": "faiss", "memory_mb": 1}
    rows: list[tuple[str, int, dict[str, Any]]] = [
        ("all with all", 1, {"search": "exact"}),
        ("IVF", 1, {"search": "faiss"}),
        ("IVF, PQ codes", 1, codes),
        ("same, asked 99%", 1, {**codes, "recall": 0.99}),
    ]
    if options.parts:
        rows.append((f"PQ, {options.parts} parts", options.parts, codes))
    for name, parts, more in rows:
        start = time.process_time()
        found = in_parts(queries, base, options.k, parts, **more)
        used = time.process_time() - start
        exact = exact or found
        hits = (found.distance <= exact.distance[:, -1:] + 1e-6).mean()
        copies = (found.index[: len(copied), 0] == copied).mean()
        print(
            f"{name:16}  {used:7.1f} s CPU  recall {100 * hits:6.2f}% (reported "
            f"{100 * found.recall:.2f}%)  copies found {100 * copies:.2f}%",
            flush=True,
        )


if __name__ == "__main__":
    main()
