"""Small pictures for tests: smooth, without symmetry, so that every rotation and flip shows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(height: int = 24, width: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a gradient of its own in each channel."""
    phase = np.random.default_rng(seed).uniform(0, 0.2, 3)
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([x / width, y / height, (x + y) / (height + width)], -1)
    return ((ramps * 0.8 + phase) * 255).astype(np.uint8)


def encoded(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file's content."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def folder(root: Path, names: list[str], kind: str = "PNG") -> Path:
    """A folder with an image under each name."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(seed=seed), kind))
    return root


def verify(source: Any, rows: Any = None, **more: Any) -> list[Any]:
    """Which images cannot be used, in the order of rows."""
    from reteach.data.loading.quarantine import examine

    return examine(source, rows, **more).broken
