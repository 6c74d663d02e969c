"""Pictures: whole, in the folder, and in a form that browsers show."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reteach.data.loading.decode import ImageError
from reteach.errors import UserError
from reteach.web.images import THUMB_SIDE, FolderImages, Gallery, open_images


def gallery(folder: Path) -> Gallery:
    return Gallery(FolderImages(folder))


def test_plain_files_are_sent_as_they_are(tmp_path: Path) -> None:
    for name, kind in (("a.jpg", "image/jpeg"), ("b.png", "image/png")):
        Image.new("RGB", (30, 20), "red").save(tmp_path / name)
        picture = gallery(tmp_path).picture(name)
        assert picture.data == (tmp_path / name).read_bytes()
        assert picture.media_type == kind


def test_others_become_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.tif")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "b.bmp")
    (tmp_path / "b.bmp").rename(tmp_path / "b.jpg")  # the content counts, not the ending
    for name in ("a.tif", "b.jpg"):
        picture = gallery(tmp_path).picture(name)
        assert picture.media_type == "image/jpeg"
        assert Image.open(io.BytesIO(picture.data)).format == "JPEG"


def test_large_files_are_made_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1200, 2400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", compress_level=0)
    picture = gallery(tmp_path).picture("a.png")
    assert len(picture.data) < 2 * 1024 * 1024
    assert max(Image.open(io.BytesIO(picture.data)).size) <= 1600
    thumb = Image.open(io.BytesIO(gallery(tmp_path).picture("a.png", thumb=True).data))
    assert max(thumb.size) == THUMB_SIDE


def test_names_that_leave_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "photos"
    inside.mkdir()
    Image.new("RGB", (3, 2)).save(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a/../../secret.png", "a\0.png"):
        assert "leads out" in str(gallery(inside).why_missing(name))


def test_reasons(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    Image.new("RGB", (300, 200)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
    shown = gallery(tmp_path)
    assert shown.why_missing("whole.jpg") is None
    assert shown.why_missing("none.jpg") == "no such file"
    assert "not an image" in str(shown.why_missing("text.jpg"))
    assert "empty" in str(shown.why_missing("empty.jpg"))
    assert "folder" in str(shown.why_missing("folder.jpg"))
    assert "truncated" in str(shown.why_missing("half.jpg"))
    with pytest.raises(ImageError):
        shown.picture("half.jpg", thumb=True)


def test_arrays(tmp_path: Path) -> None:
    for channels in ((), (3,)):
        pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, *channels), np.uint8)
        np.savez(tmp_path / "x.npz", images=pixels, items=np.array(["one", "two"]))
        shown = Gallery(open_images(str(tmp_path / "x.npz")))
        assert Image.open(io.BytesIO(shown.picture("two").data)).size == (8, 8)
        assert "not among" in str(shown.why_missing("three"))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_images(str(tmp_path / "none"))


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reteach.web.images.CACHE_BYTES", 3000)
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    shown = gallery(tmp_path)
    for i in range(10):
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
        shown.picture(f"{i}.png")
    kept = list(shown._kept.values())
    assert sum(len(picture.data) for picture in kept) == shown._size <= 3000
    (tmp_path / "9.png").unlink()
    assert shown.why_missing("9.png") is None  # still kept
    assert shown.why_missing("0.png") is None
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    assert shown.why_missing("1.png") == "no such file"
