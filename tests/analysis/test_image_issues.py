"""Odd images: each kind trips on the picture that is made for it, and on no ordinary one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from reteach.analysis.image_issues import KINDS, image_issues
from reteach.data.sources.arrays import ArraySource
from reteach.data.sources.base import open_source


def ordinary(seed: int = 0, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """(H, W, 3) uint8: coloured blocks of several sizes, as sharp and as bright as a photo."""
    generator = np.random.default_rng(seed)
    total = np.zeros((*size, 3))
    for cells, weight in ((3, 1.0), (8, 0.6), (20, 0.4)):
        blocks = Image.fromarray(generator.integers(0, 255, (cells, cells, 3)).astype(np.uint8))
        total += weight * np.asarray(blocks.resize(size[::-1], Image.Resampling.BILINEAR))
    return (total / 2).clip(0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels.mean(-1, keepdims=True).astype(np.uint8), 3, -1)


ODD = {
    "dark": ordinary(1) // 5,
    "bright": 255 - ordinary(1) // 30,
    "blurry": blurred(ordinary(1), 8),
    "odd shape": ordinary(1, (30, 100)),
    "grey among colour": grey(ordinary(1)),
}
NEARLY = {
    "dark": ordinary(1) // 2,
    "bright": 255 - ordinary(1) // 4,
    "blurry": blurred(ordinary(1), 0.7),
    "odd shape": ordinary(1, (40, 100)),
    "grey among colour": (0.7 * grey(ordinary(1)) + 0.3 * ordinary(1)).astype(np.uint8),
}


def found(tmp_path, picture: np.ndarray) -> dict[str, list[str]]:
    """Kind -> items, among ten ordinary photos in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        Image.fromarray(ordinary(number + 10)).save(folder / f"{number}.png")
    Image.fromarray(picture).save(folder / "odd.png")
    source = open_source(folder)
    return {i.name: [source.items[row] for row in i.rows] for i in image_issues(source, 0)}


def test_every_kind_is_tried():
    assert set(ODD) == set(NEARLY) == {kind.name for kind in KINDS}


@pytest.mark.parametrize("name", ODD)
def test_each_kind_trips_on_its_own_picture_alone(name, tmp_path):
    assert found(tmp_path, ODD[name]) == {
        kind.name: ["odd.png"] if kind.name == name else [] for kind in KINDS
    }


@pytest.mark.parametrize("name", NEARLY)
def test_and_not_on_one_that_is_nearly_so(name, tmp_path):
    assert found(tmp_path, NEARLY[name]) == {kind.name: [] for kind in KINDS}


def test_grey_sets_are_not_odd_and_the_oddest_come_first():
    pixels = np.stack([grey(ordinary(seed)) for seed in range(4)])
    pixels[1], pixels[2] = pixels[1] // 5, pixels[2] // 9
    by_name = {i.name: i.rows.tolist() for i in image_issues(ArraySource(pixels), 0)}
    assert by_name["grey among colour"] == []
    assert by_name["dark"] == [2, 1]
    single = {i.name: i.rows.tolist() for i in image_issues(ArraySource(pixels[..., :1]), 0)}
    assert single == by_name


def test_a_flat_picture_is_not_called_blurry_and_a_broken_one_nothing(tmp_path):
    (tmp_path / "flat.png").write_bytes(b"")
    Image.fromarray(np.full((40, 40, 3), (90, 120, 150), np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(ordinary()).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert all(not len(i.rows) for i in image_issues(open_source(tmp_path), 0))
