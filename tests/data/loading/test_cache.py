"""Decoded images in memory: the same pixels, in every process, and a clear word when they don't fit."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pictures import encoded, folder, picture
from reteach.data.loading.cache import CachedSource, free_memory, reduced
from reteach.data.loading.decode import ImageError
from reteach.data.sources.base import open_source
from reteach.errors import UserError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = folder(tmp_path / "images", [f"{c}/{i}.png" for c in "ab" for i in range(6)])
    (root / "a" / "2.png").write_bytes(b"broken")
    (root / "b" / "wide.png").write_bytes(encoded(picture(20, 90)))
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_images(images: Path, workers: int) -> None:
    source = open_source(images)
    seen: list[int] = []
    cached = CachedSource(source, workers=workers, on_progress=seen.append)
    assert len(cached) == 13
    assert cached.items == source.items
    assert cached.class_of == source.class_of
    assert seen == list(range(1, 14))
    total = 0
    for row in range(13):
        if row == 2:
            with pytest.raises(ImageError, match="not an image"):
                cached.read(row)
            continue
        np.testing.assert_array_equal(cached.read(row), source.read(row))
        total += cached.read(row).nbytes
    assert cached.nbytes == total


def test_what_is_read_does_not_change_the_cache(images: Path) -> None:
    cached = CachedSource(open_source(images), workers=0)
    before = cached.read(0)
    cached.read(0)[:] = 0
    np.testing.assert_array_equal(cached.read(0), before)


def test_only_some_rows(images: Path) -> None:
    cached = CachedSource(open_source(images), rows=[4, 1], workers=0)
    cached.read(1)
    with pytest.raises(ImageError, match="not among the cached images"):
        cached.read(0)


def test_shorter_sides_are_reduced(images: Path) -> None:
    cached = CachedSource(open_source(images), 16, workers=0)
    assert cached.read(0).shape == (16, 21, 3)  # from 24×32
    assert cached.read(12).shape == (16, 72, 3)  # from 20×90
    assert CachedSource(open_source(images), 24, workers=0).read(0).shape == (24, 32, 3)


def test_reduced_agrees_with_what_evaluation_would_do() -> None:
    """Within rounding: two antialiased bilinear filters in fixed-point arithmetic."""
    import torch  # not above: spawned processes import this file

    from reteach.data.loading.augment import Eval

    pixels = picture(300, 401)
    direct = Eval(56)(torch.from_numpy(pixels).permute(2, 0, 1), 0)
    small = reduced(pixels, 64)
    assert small.shape == (64, 85, 3)
    cached = Eval(56)(torch.from_numpy(small.copy()).permute(2, 0, 1), 0)
    assert (direct.int() - cached.int()).abs().max() <= 1
    assert reduced(picture(10, 10)[..., :1], 5).shape == (5, 5, 1)
    assert reduced(picture(1, 100), 1).shape == (1, 100, 3)


def test_too_large(images: Path) -> None:
    with pytest.raises(
        UserError, match=r"13 decoded images would take about .* smaller --image-size"
    ):
        CachedSource(open_source(images), max_bytes=20_000, workers=0)
    one = 24 * 32 * 3
    assert CachedSource(open_source(images), rows=[0], max_bytes=one, workers=0).nbytes == one
    with pytest.raises(UserError):
        CachedSource(open_source(images), rows=[0], max_bytes=one - 1, workers=0)


def test_too_large_is_known_after_a_sample(tmp_path: Path) -> None:
    root = folder(tmp_path, ["0.png"])
    for i in range(1, 2000):
        os.link(root / "0.png", root / f"{i}.png")
    seen: list[int] = []
    one = 24 * 32 * 3
    with pytest.raises(UserError, match=r"0\.00461 GB of memory, and 0\.00346 GB"):
        CachedSource(open_source(root), max_bytes=1500 * one, workers=0, on_progress=seen.append)
    assert len(seen) == 199


def _answer(cached: CachedSource, queue: Any) -> None:
    queue.put((cached.nbytes, [cached.read(row).tolist() for row in (0, 5)]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_it(images: Path, method: str) -> None:
    cached = CachedSource(open_source(images), 8, workers=0)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_answer, args=(cached, queue))
    process.start()
    size, pixels = queue.get(timeout=60)
    process.join()
    assert size == cached.nbytes
    assert pixels == [cached.read(row).tolist() for row in (0, 5)]


def test_it_travels_without_its_content(images: Path) -> None:
    cached = CachedSource(open_source(images), workers=0)
    content = multiprocessing.reduction.ForkingPickler.dumps(cached)
    assert len(content) < 5000 < cached.nbytes
    np.testing.assert_array_equal(pickle.loads(content).read(0), cached.read(0))


def test_memory_is_given_back(images: Path) -> None:
    import gc

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = files()
    cached = CachedSource(open_source(images), workers=0)
    cached.read(0)
    assert files() > before
    del cached
    gc.collect()
    assert files() == before


def test_free_memory() -> None:
    assert 10_000_000 < free_memory() < 1e14
