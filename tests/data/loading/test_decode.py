"""Decoding: every kind of file becomes (H, W, 3) uint8 that looks right, or one short reason."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pictures import encoded, picture
from reteach.data.loading.decode import EXTENSIONS, ImageError, decode

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}
"""What the EXIF standard says a viewer has to do with the stored pixels."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation(orientation: int, kind: str) -> None:
    stored = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    got = decode(encoded(stored, kind, exif=exif, **options))
    np.testing.assert_array_equal(got, UPRIGHT[orientation](stored))


def test_orientation_of_a_jpeg_at_reduced_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(400, 640), "JPEG", quality=95, exif=exif)
    full, half = decode(data), decode(data, at_least=200)
    assert full.shape == (640, 400, 3)
    assert half.shape == (320, 200, 3)
    coarse = full.reshape(320, 2, 200, 2, 3).mean((1, 3))
    assert np.abs(coarse - half).max() < 4


def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode(data).shape == (24, 32, 3)
    exif = Image.Exif()
    exif[0x0112] = 99
    np.testing.assert_array_equal(decode(encoded(picture(), exif=exif)), picture())


@pytest.mark.parametrize(
    ("side", "at_least", "expected"),
    [(640, None, 640), (640, 321, 640), (640, 320, 320), (640, 100, 160), (640, 1, 80), (8, 1, 1)],
)
def test_reduced_size_never_falls_below_the_bound(
    side: int, at_least: int | None, expected: int
) -> None:
    data = encoded(picture(side, side * 2), "JPEG")
    assert decode(data, at_least=at_least).shape == (expected, expected * 2, 3)


def test_cmyk() -> None:
    cmyk = Image.new("CMYK", (16, 8), (255, 0, 0, 0))  # pure cyan
    got = decode(encoded(cmyk, "JPEG", quality=95))
    assert np.abs(got.astype(int) - (0, 255, 255)).max() < 8
    assert decode(encoded(cmyk, "TIFF"))[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    wide = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    # by hand: Pillow before 10.3 reads such a PGM, and cannot write one
    pgm = b"P5 16 16 65535\n" + wide.astype(">u2").tobytes()
    got = decode(pgm if kind == "PPM" else encoded(wide, kind))
    expected = np.round(wide / 65535 * 255)
    assert np.abs(got[..., 0] - expected).max() <= 1
    assert got[0, 0].tolist() == [0, 0, 0]
    assert got[-1, -1].tolist() == [255, 255, 255]


def test_32_bit_floats_are_read_as_0_to_1() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    got = decode(encoded(values, "TIFF"))
    assert np.array_equal(got[..., 0], np.rint(values * 255))
    assert np.array_equal(got[..., 0], got[..., 2])
    for odd in (np.float32(1.5), np.float32(-0.1), np.float32("nan")):
        with pytest.raises(ImageError, match="expected 0 to 1"):
            decode(encoded(np.where(values > 0.9, odd, values), "TIFF"))
    with pytest.raises(ImageError, match="no agreed range"):
        decode(encoded(np.ones((4, 4), np.int32), "TIFF"))


def test_palette() -> None:
    image = Image.fromarray(picture()).quantize(16)
    np.testing.assert_array_equal(decode(encoded(image)), np.asarray(image.convert("RGB")))


def test_transparent_pixels_are_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    files = [
        encoded(palette, transparency=1),
        encoded(palette, "GIF", transparency=1),
        encoded(np.array([[[255, 0, 0, 255], [0, 0, 255, 0]]], np.uint8)),
        encoded(
            Image.fromarray(np.array([[[255, 0, 0], [0, 0, 9]]], np.uint8)), transparency=(0, 0, 9)
        ),
    ]
    for file in files:
        assert decode(file).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    half = Image.new("LA", (1, 1), (0, 128))
    assert decode(encoded(half)).tolist() == [[[127, 127, 127]]]


def test_grey_bilevel_and_animated() -> None:
    grey = picture()[..., 0]
    np.testing.assert_array_equal(decode(encoded(grey)), np.repeat(grey[..., None], 3, 2))
    assert set(np.unique(decode(encoded(Image.fromarray(grey).convert("1"))))) == {0, 255}
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("ending", EXTENSIONS)
def test_every_accepted_ending_is_decoded(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{ending}"
    pixels = picture()[..., 0] if ending == ".pgm" else picture()
    Image.fromarray(pixels).save(path)
    assert decode(path).shape == (24, 32, 3)


def test_result_is_writable() -> None:
    got = decode(encoded(picture()))
    got[0, 0, 0] = 1
    assert got.flags.c_contiguous


# -- refusals ----------------------------------------------------------------------------------


def png_of_size(width: int, height: int) -> bytes:
    """A tiny file that claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [14_000, 30_000, 2_000_000])
def test_bombs(side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # in particular Pillow's own, which is only a warning
        with pytest.raises(ImageError, match="too large"):
            decode(png_of_size(side, side))


def test_max_pixels_is_the_limit() -> None:
    data = encoded(picture(10, 10))
    assert decode(data, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(ImageError, match=r"too large \(10×10 pixels, at most 99\)"):
        decode(data, max_pixels=99)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("lenient", [False, True])
def test_truncated(kind: str, lenient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = encoded(picture(200, 300), kind)
    with pytest.raises(ImageError):
        decode(data[: len(data) * 6 // 10])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_truncated_jpeg_says_so_at_any_size() -> None:
    data = encoded(picture(200, 300), "JPEG")
    progressive = encoded(picture(200, 300), "JPEG", progressive=True)
    for whole in (data, progressive):
        for at_least in (None, 1):
            with pytest.raises(ImageError, match=r"^truncated file$"):
                decode(whole[:-20], at_least=at_least)


def test_no_image(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("this is no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, reason in [
        ("text.jpg", "not an image in a known format"),
        ("empty.jpg", r"empty file \(0 bytes\)"),
        ("folder.jpg", "a folder"),
        ("pipe.jpg", "not a regular file"),
        ("missing.jpg", "no such file"),
        ("loop.jpg", "cannot be opened"),
        ("a\0b.jpg", "not a possible file name"),
        ("n" * 300, "cannot be opened"),
    ]:
        with pytest.raises(ImageError, match=reason):
            decode(f"{tmp_path}/{name}")
    with pytest.raises(ImageError, match="empty"):
        decode(b"")


def test_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(picture()))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # a real one would let root in
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="permission denied"):
        decode(path)


def test_formats_that_run_programs_are_not_tried() -> None:
    postscript = io.BytesIO()
    Image.fromarray(picture()).save(postscript, "EPS")
    with pytest.raises(ImageError, match="not an image in a known format"):
        decode(postscript.getvalue())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_gives_pixels_or_a_reason_and_nothing_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]))
    content = bytearray(encoded(picture(40, 40), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    reason, got = "", np.zeros((1, 1, 3), np.uint8)
    try:
        got = decode(bytes(content), max_pixels=1_000_000)
    except ImageError as error:
        reason = str(error)
    assert len(reason) < 200
    assert "\n" not in reason
    assert got.dtype == np.uint8
    assert got.ndim == 3
    assert got.shape[2] == 3
