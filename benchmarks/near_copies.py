"""How many changed copies `reteach advise` finds by grey thumbnails, and how many pairs it takes for copies
that are none.

    python -m benchmarks near-duplicates
    python -m benchmarks.near_copies IMAGES [--images 4000] [--seed 0]

IMAGES: whatever `--images` takes. Of 200 pictures changed copies are made, and the nearest picture of each is
looked for; a *stranger* is another picture within the distance.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.house import Contender, Contest, cpu_seconds
from reteach.data.sources.base import open_source
from reteach.duplicates.find import find
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

ORIGINALS, ASKED = 160, ("JPEG 75", "three quarters of the size", "brighter")


def contest(folder: Path) -> Contest:
    """A row: time, and F1 of the pairs found; from files to pairs."""
    files = folder / "photos"
    truth = plant(files)

    def ours() -> set[frozenset[str]]:
        source = open_source(str(files))
        pairs = find(source, workers=0).all()
        rows = zip(pairs.row.tolist(), pairs.against.tolist(), strict=True)
        return {frozenset((source.items[a], source.items[b])) for a, b in rows}

    def hashes(name: str) -> Contender:
        from imagededup import methods

        def work() -> set[frozenset[str]]:
            method = getattr(methods, name)(verbose=False)
            found = method.find_duplicates(str(files), num_enc_workers=0, num_dist_workers=0)
            return {frozenset((a, b)) for a, others in found.items() for b in others}

        return _judged(work, truth)

    return Contest(
        f"{len(truth)} changed copies ({', '.join(ASKED)}) among {ORIGINALS + len(truth)} made-up pictures, "
        "from JPEG files to pairs",
        _judged(ours, truth),
        {f"imagededup {name}": partial(hashes, name) for name in ("PHash", "DHash")},
    )


def plant(files: Path) -> dict[str, str]:
    """Different pictures of three sizes of detail, and changed copies of some: copy -> original."""
    files.mkdir(parents=True)
    draw = np.random.default_rng(0)
    copies = {}
    for number in range(ORIGINALS):
        layers = [
            draw.normal(0, strength, (n * 3, n * 4, 3))
            for n, strength in ((1, 50), (4, 30), (32, 12))
        ]
        big = [
            np.kron(layer, np.ones((288 // len(layer), 288 // len(layer), 1))) for layer in layers
        ]
        image = Image.fromarray((128 + sum(big)).clip(0, 255).astype(np.uint8))
        image.save(files / f"{number:04}.jpg", quality=92)
        if number < 3 * ORIGINALS // 4:
            name = ASKED[number % 3]
            CHANGES[name](image).save(files / f"{number:04}-copy.jpg", quality=90)
            copies[f"{number:04}-copy.jpg"] = f"{number:04}.jpg"
    return copies


def _judged(work: Callable[[], set[frozenset[str]]], truth: dict[str, str]) -> Contender:
    planted = {frozenset(pair) for pair in truth.items()}

    def run(number: int) -> dict[str, float]:
        start = cpu_seconds()
        pairs = work()
        took = cpu_seconds() - start
        return {"s": took, "F1": 2 * len(pairs & planted) / (len(pairs) + len(planted))}

    return run


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
