"""How many changed copies `reteach advise` finds by grey thumbnails, and how many pairs it takes for copies
that are none.

    python benchmarks/near_copies.py IMAGES [--images 4000] [--seed 0]

IMAGES: whatever `--images` takes. Of 200 pictures changed copies are made, and the nearest picture of each is
looked for; a *stranger* is another picture within the distance.
"""

from __future__ import annotations

import argparse
import io

import numpy as np
from PIL import Image, ImageEnhance

from reteach.data.sources.base import open_source
from reteach.duplicates.neighbours import nearest, normalised
from reteach.duplicates.thumbnails import thumbnail

DISTANCES = (0.02, 0.05, 0.1, 0.15, 0.2)
PLANTED = 200


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """Through a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


def scaled(image: Image.Image, by: float) -> Image.Image:
    """Smaller or larger."""
    size = (max(1, round(image.width * by)), max(1, round(image.height * by)))
    return image.resize(size, Image.Resampling.BILINEAR)


CHANGES = {
    "JPEG 75": lambda i: recompressed(i, 75),
    "JPEG 30": lambda i: recompressed(i, 30),
    "three quarters of the size": lambda i: scaled(i, 0.75),
    "a tenth less contrast": lambda i: ImageEnhance.Contrast(i).enhance(0.9),
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "cropped by 5%": lambda i: i.crop((i.width // 20 or 1, i.height // 20 or 1, i.width, i.height)),
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = open_source(options.source)
    rows = np.random.default_rng(options.seed).permutation(len(source))[: options.images]
    pixels = [source.read(int(row)) for row in rows]
    base = normalised(np.stack([thumbnail(p) for p in pixels]))
    own = nearest(base, base, 2)
    apart = np.where(
        own.index[:, 0] == np.arange(len(base)), own.distance[:, 1], own.distance[:, 0]
    )
    print(f"{options.source}: {len(base):,} images")
    counts = " ".join(f"{(apart <= d).sum():6d}" for d in DISTANCES)
    print(f"{'distance':28}" + " ".join(f"{d:6}" for d in DISTANCES))
    print(f"{'pictures with a stranger':28}{counts}")
    for name, change in CHANGES.items():
        copies = []
        for p in pixels[:PLANTED]:
            image = Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p)
            copy = np.asarray(change(image))
            copies.append(thumbnail(copy[..., None] if copy.ndim == 2 else copy))
        near = nearest(normalised(np.stack(copies)), base, 1)
        hit = near.index[:, 0] == np.arange(len(copies))
        found = " ".join(f"{(hit & (near.distance[:, 0] <= d)).mean():6.1%}" for d in DISTANCES)
        print(f"{name:28}{found}")
