"""Thumbnails: made once, kept within a bound, and never those of another picture."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reteach.data.loading.decode import ImageError
from reteach.web.images import FolderImages
from reteach.web.thumbnails import SIDE, Thumbnails


def photos(folder: Path, count: int = 6, size: int = 300) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 255, (size, size // 2, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def thumbs(tmp_path: Path, identity: str = "a", most: int = 1 << 30) -> Thumbnails:
    images = FolderImages(tmp_path / "photos")
    return Thumbnails(tmp_path / "t.sqlite", identity, images, lambda row: f"{row}.png", most)


def filled(found: Thumbnails, count: int) -> None:
    found.fill(lambda: range(count))
    end = time.monotonic() + 60
    while found.state().running:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_picture_is_made_once_and_kept_for_the_next_start(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    one = thumbs(tmp_path)
    data = one.get(3)
    assert Image.open(io.BytesIO(data)).size == (SIDE // 2, SIDE)
    filled(one, 6)
    assert one.state().made == 6
    one.close()
    two = thumbs(tmp_path)
    two._make = None  # type: ignore[method-assign,assignment]  # making another would fail
    assert [two.get(row) for row in range(6)][3] == data
    two.close()


def test_a_changed_file_is_shown_as_it_is_now(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    one = thumbs(tmp_path)
    before = one.get(0)
    Image.new("RGB", (40, 40), "red").save(folder / "0.png")
    after = one.get(0)
    assert after != before
    assert Image.open(io.BytesIO(after)).size == (40, 40)
    (folder / "0.png").unlink()
    with pytest.raises(ImageError, match="no such file"):
        one.get(0)
    assert one.state().failed == 1
    Image.new("RGB", (40, 40), "red").save(folder / "0.png")
    assert one.get(0) == after
    assert one.state().failed == 0
    one.close()


def test_the_file_is_bounded(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 12)
    probe = thumbs(tmp_path)
    size = len(probe.get(0))
    probe.close()
    (tmp_path / "t.sqlite").unlink()
    one = thumbs(tmp_path, most=5 * size)
    for row in range(12):
        one.get(row)
        assert one.state().bytes <= 5 * size
    held = one._one("SELECT total(length(data)) FROM picture")
    assert held == one.state().bytes
    filled(one, 12)
    assert one.state().bytes <= 5 * size
    assert one.state().full
    one.close()


def test_pictures_of_other_images_and_damaged_files_are_thrown_away(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    one = thumbs(tmp_path)
    one.get(0)
    one.close()
    two = thumbs(tmp_path, "b")
    assert two.state().made == 0
    two.get(0)
    two.close()
    (tmp_path / "t.sqlite").write_bytes(b"no database at all" * 1000)
    three = thumbs(tmp_path)
    assert three.state().made == 0
    assert three.get(0)
    three.close()
