"""Photos for the rows that read images: pieces of the two that scikit-learn brings, so that decoding costs
what it costs for photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def write(folder: Path, count: int, width: int, height: int, classes: int = 4) -> Path:
    """``count`` different JPEGs of quality 90 in class folders: a random piece, at a random brightness."""
    draw = np.random.default_rng(0)
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(count):
        photo = photos[number % len(photos)]
        scale = draw.uniform(0.35, 0.7)
        w, h = int(photo.width * scale), int(photo.width * scale * height / width)
        x, y = draw.integers(0, photo.width - w), draw.integers(0, photo.height - h)
        piece = photo.crop((x, y, x + w, y + h)).resize((width, height), Image.Resampling.BICUBIC)
        grain = draw.normal(0, 4, (height, width, 1))
        pixels = np.asarray(piece, np.float32) * draw.uniform(0.7, 1.1) + grain
        place = folder / f"class{number % classes}"
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(place / f"{number:05}.jpg", quality=90)
    return folder
