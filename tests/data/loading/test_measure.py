"""One loop over the pixels of a source, for odd images and for thumbnails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reteach.analysis.image_issues import KINDS, measured, measures
from reteach.data.loading.measure import measure_images
from reteach.data.sources.base import Source, open_source
from reteach.duplicates.thumbnails import thumbnail, thumbnails


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    return open_source(tmp_path)


def mean(pixels: np.ndarray) -> list[float]:
    return [float(pixels.mean()), 1.0]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_measured_and_a_broken_one_named(source: Source, workers: int) -> None:
    out = np.full((4, 2), -1.0)
    broken = measure_images("measuring", source, mean, out, 8, workers)
    assert list(broken) == [2]
    assert out.tolist() == [
        [-1, -1] if row == 2 else [source.read(row).mean(), 1] for row in range(4)
    ]


def test_odd_images_and_thumbnails_are_measured_by_it(source: Source) -> None:
    broken: dict[int, str] = {}
    small, odd = thumbnails(source, broken, 0), measured(source, 0)
    for row in (0, 1, 3):
        assert np.array_equal(small[row], thumbnail(source.read(row)))
        assert odd[row].tolist() == measures(source.read(row))
    assert list(broken) == [2]
    assert not small[2].any()
    assert np.isnan(odd[2]).tolist() == [True] * len(KINDS)
