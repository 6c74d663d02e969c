"""Nearest neighbours of feature vectors: exactly, block by block, or with a FAISS index.

Features are L2-normalised, distances Euclidean: 0 for the same direction, √2 for unrelated ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, missing_extra
from ..parquet import one_line
from ..progress import note
from ..scratch import zeros

Features = NDArray[np.float32]
"""(N, D); may be a memory map, which is then read block by block."""

EXACT_BELOW = 100_000
"""Up to so many vectors, comparing with all of them is as fast as an index, and needs none."""
_QUERIES, _BLOCK = 1024, 32768
_SPARE = 8
"""Further candidates of an exact search: products in single precision cannot tell distances below
about 0.0003 apart, so the last step measures differences."""
_CODEBOOK = 1000
"""Fewer vectors are too few to learn 256 codes from."""
_RERANK, _MOST = 4, 64
"""An index that stores codes finds so many times k candidates, at first and at most, whose true
distances decide."""


@dataclass(frozen=True)
class Neighbours:
    """The k nearest base vectors of Q queries, nearest first; equal ones by index."""

    distance: NDArray[np.float32]
    """(Q, k); infinite where fewer than k were found."""
    index: NDArray[np.int64]
    """(Q, k) rows of the base; -1 where fewer than k were found."""
    recall: float
    """Share of the true k nearest that were found: 1 for an exact search, else measured."""


def normalised(features: NDArray[np.floating]) -> Features:
    """(N, D) -> the same directions at length 1; zero vectors stay.

    Raises:
        UserError: not two-dimensional, or a value that is not finite.
    """
    if features.ndim != 2 or not features.shape[1]:
        raise UserError(f"features must be (N, D), got the shape {features.shape}")
    out = zeros(features.size, np.float32).reshape(features.shape)
    for start in range(0, len(features), _BLOCK):
        block = np.asarray(features[start : start + _BLOCK], np.float32)
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(1))[0])
            raise UserError(f"the features of row {row} are not finite numbers")
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        out[start : start + _BLOCK] = block / np.where(norms > 0, norms, 1)
    return out


def nearest(
    queries: Features,
    base: Features,
    k: int,
    *,
    search: Literal["auto", "exact", "faiss"] = "auto",
    recall: float = 0.95,
    memory_mb: int = 4096,
    seed: int = 0,
) -> Neighbours:
    """The ``k`` nearest of (N, D) ``base`` for each of (Q, D) ``queries``, all of length 1.

    Args:
        search: auto takes FAISS above 100,000 base vectors.
        recall: that FAISS has to reach on a sample of the queries; it looks further until it does.
        memory_mb: above this size, FAISS keeps compressed codes (product quantisation).

    Raises:
        UserError: unequal dimensions, or FAISS is wanted and missing.
    """
    if queries.shape[1:] != base.shape[1:]:
        raise UserError(
            f"the features have {queries.shape[1]} and {base.shape[1]} dimensions: "
            "make both with the same model"
        )
    k = min(k, len(base))
    if search == "exact" or (search == "auto" and len(base) <= EXACT_BELOW):
        return _exact(queries, base, k)
    return _indexed(queries, base, k, recall, memory_mb, seed)


def _exact(queries: Features, base: Features, k: int) -> Neighbours:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = min(k + _SPARE, len(base))
    index = np.empty((len(queries), wanted), np.int64)
    for start in range(0, len(queries), _QUERIES):
        asked = torch.from_numpy(np.array(queries[start : start + _QUERIES])).to(device)
        best = torch.full((len(asked), wanted), -torch.inf, device=device)
        rows = torch.full((len(asked), wanted), -1, device=device)
        for first in range(0, len(base), _BLOCK):
            block = torch.from_numpy(np.array(base[first : first + _BLOCK])).to(device)
            near, at = (asked @ block.T).topk(min(wanted, len(block)), 1)
            joined = torch.cat([best, near], 1)
            best, chosen = joined.topk(wanted, 1)
            rows = torch.cat([rows, at + first], 1).gather(1, chosen)
        index[start : start + _QUERIES] = rows.cpu().numpy()
    return _measured(queries, base, index, k, 1.0)


def _indexed(
    queries: Features, base: Features, k: int, recall: float, memory_mb: int, seed: int
) -> Neighbours:
    try:
        import faiss
    except ImportError:
        raise missing_extra(
            f"a search among {len(base):,} vectors (without --search exact)", "faiss-cpu", "faiss"
        ) from None
    n, width = base.shape
    generator = np.random.default_rng(seed)
    lists = max(1, int(min(4 * n**0.5, n // 40)))
    codes = n * width * 4 > memory_mb * 2**20 and n >= _CODEBOOK
    parts = next(m for m in range(max(1, min(64, width // 8)), 0, -1) if width % m == 0)
    index: Any = faiss.index_factory(width, f"IVF{lists}," + (f"PQ{parts}np" if codes else "Flat"))
    index.cp.seed = seed
    index, at_once = _on_gpus(faiss, index)
    chosen = np.sort(generator.choice(n, min(n, 50 * lists), replace=False))
    index.train(np.array(base[chosen]))
    for first in range(0, n, _BLOCK):
        index.add(np.array(base[first : first + _BLOCK]))
    wanted, most = (min(k * times, n) if codes else k for times in (_RERANK, _MOST))

    def ask(some: Features, wanted: int) -> NDArray[np.int64]:
        found = [
            index.search(np.array(some[i : i + _QUERIES]), wanted)[1]
            for i in range(0, len(some), _QUERIES)
        ]
        return np.concatenate(found)

    sample = np.sort(generator.choice(len(queries), min(len(queries), 256), replace=False))
    truth = _exact(queries[sample], base, k)
    probes, reached = 8, 0.0
    while True:
        at_once.set_index_parameter(index, "nprobe", probes)
        found = _measured(queries[sample], base, ask(queries[sample], wanted), k, 1.0)
        # by distance, not by index: of equally near ones any will do
        reached = float((found.distance <= truth.distance[:, -1:] + 1e-6).mean())
        if reached >= recall or (probes >= lists and wanted == most):
            break
        probes, wanted = min(2 * probes, lists), min(2 * wanted, most)
    return _measured(queries, base, ask(queries, wanted), k, reached)


def _on_gpus(faiss: Any, index: Any) -> tuple[Any, Any]:
    """The index on all GPUs that FAISS sees, each with a part of the vectors, and what sets its parameters.

    Where there is none, or where they do not take this kind of index, it stays on the processor.
    """
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        how = faiss.GpuMultipleClonerOptions()
        how.shard = True
        try:
            return faiss.index_cpu_to_all_gpus(index, co=how), faiss.GpuParameterSpace()
        except RuntimeError as error:
            note(f"FAISS searches on the processor, not on the GPU ({one_line(error)})")
    return index, faiss.ParameterSpace()


def _measured(
    queries: Features, base: Features, index: NDArray[np.int64], k: int, recall: float
) -> Neighbours:
    """The k nearest among the candidates ``index`` (Q, ≥ k), by distances without cancellation."""
    distance = np.full(index.shape, np.inf, np.float32)
    for start in range(0, len(queries), 256):
        rows = index[start : start + 256]
        found = np.unique(rows[rows >= 0])
        near = np.array(base[found])[np.searchsorted(found, rows)]
        apart = np.linalg.norm(near - queries[start : start + 256, None], axis=2)
        distance[start : start + 256] = np.where(rows >= 0, apart, np.inf)
    order = np.lexsort((index, distance), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(distance, order, 1), np.take_along_axis(index, order, 1), recall
    )
