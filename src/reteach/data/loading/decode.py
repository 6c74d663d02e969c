"""Image files to pixels: always (H, W, 3) uint8, or one short reason why not.

What is done to a file, so that every image of a data set means the same:

* EXIF (and XMP) orientation is applied;
* transparent pixels are shown on white, as a browser or a printed page shows them;
* 16-bit greys are scaled to 8 bits, not clipped; grey, palette and CMYK become RGB;
* 32-bit floats are read as 0 (black) to 1 (white), scikit-image's convention; other ranges are refused;
* of an animation, the first frame is taken;
* truncated and damaged files are refused, whatever Pillow's process-wide switches say.

Pillow decodes. torchvision's JPEG decoder takes about 25% less time for a photo of 640 pixels, but its
import alone takes seconds in every fresh worker, and libjpeg's reduced-size decoding (``at_least``)
beats it on all larger photos.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError, features

MAX_PIXELS = 2 * 89_478_485
"""Width times height from which Pillow itself refuses an image as a decompression bomb."""

_AVIF = bool(features.check("avif")) if "avif" in features.modules else False

# Only these decoders are ever tried: others run programs (EPS) or are seldom looked at for safety.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", *(("AVIF",) if _AVIF else ()))

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *((".avif",) if _AVIF else ()),
)
"""Endings of the files that are taken for images, in lower case."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


class ImageError(Exception):
    """An image cannot be used; the message is a short reason, such as ``truncated file``."""


def decode(
    data: bytes | str | os.PathLike[str],
    *,
    at_least: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Decode an image.

    Args:
        data: the content of a file, or its path.
        at_least: the shorter side may come out smaller than it is, but not below this. A JPEG is
            then decoded at 1/2, 1/4 or 1/8 of its size, which is several times cheaper; other
            formats ignore it. Twice the side that is needed is a good value. All the file is read
            all the same, so a truncated one is found at any size.
        max_pixels: larger images are refused as decompression bombs; at most :data:`MAX_PIXELS`.

    Returns:
        (H, W, 3) uint8, writable.

    Raises:
        ImageError: the file is missing, unreadable, no image, damaged or too large.
    """
    if isinstance(data, bytes):
        return _decode(io.BytesIO(data), len(data), at_least, max_pixels)
    with opened(data) as file:
        return _decode(file, os.fstat(file.fileno()).st_size, at_least, max_pixels)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A regular file, open for reading.

    Raises:
        ImageError: there is none, or it cannot be opened.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("a folder, not a file")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise ImageError("not a regular file")
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except PermissionError:
        raise ImageError("permission denied") from None
    except OSError as error:
        raise ImageError(f"cannot be opened ({os.strerror(error.errno or 0)})") from None
    except ValueError:
        raise ImageError("not a possible file name") from None
    with file:
        yield file


def _decode(file: IO[bytes], size: int, at_least: int | None, max_pixels: int) -> NDArray[np.uint8]:
    if size == 0:
        raise ImageError("empty file (0 bytes)")
    try:
        with _strict(), Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(f"too large ({width}×{height} pixels, at most {max_pixels:,})")
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            return _pixels(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"not an image in a known format ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise ImageError(f"too large (more than {MAX_PIXELS:,} pixels)") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except Exception as error:  # decoders answer hostile bytes with nearly any type of exception
        raise ImageError(_reason(error)) from None


@contextmanager
def _strict() -> Iterator[None]:
    """Pillow's process-wide switches must not decide which images a run uses."""
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        with warnings.catch_warnings():
            # metadata and sizes that Pillow merely finds odd; `max_pixels` decides about the latter
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated file"
    return f"damaged file ({text[:80] or type(error).__name__})"


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a loaded image, upright."""
    upright = _UPRIGHT.get(_orientation(image))
    image = _rgb(image)
    return np.array(image if upright is None else image.transpose(upright))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata around good pixels
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # also NaN
            raise ImageError(
                f"32-bit pixels from {values.min():g} to {values.max():g}: expected 0 to 1; "
                "convert it to 8 or 16 bits"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        raise ImageError("32-bit whole numbers have no agreed range; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    try:
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise ImageError(f"{image.mode} colours cannot be made RGB") from None
