"""Pictures with several labels each for :mod:`cpsd_ablation`, from packs of real images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reteach.compare.data import OwnData
from reteach.labels import Multi
from reteach.options.shared import Data
from reteach.tables import LabelTable, write_labels

DROPPED = ("null", "skin", "hair")
"""Tags of nearly every photo of a person."""

Part = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""Pictures, or features as pictures, and which classes are there."""


def clothing(
    packs: Path, few: bool, split: int = 0, size: tuple[int, int] = (80, 128)
) -> tuple[list[Part], tuple[str, ...]]:
    """Photos for training, validation and test; tags of at least 50 photos.

    Args:
        split: number of the random division into the three.
        size: width and height of the photos in pixels.
    """
    with np.load(packs / "ccp_multilabel.npz", allow_pickle=False) as pack:
        jpeg, starts, tags = pack["jpeg"], pack["offsets"], pack["labels"] > 0
        names = pack["label_names"].astype(str)
    kept = (tags.sum(0) >= (1 if few else 50)) & ~np.isin(names, DROPPED)
    order = np.random.default_rng(split).permutation(len(tags))
    images = np.stack([picture(jpeg, starts, row, size) for row in order])
    labels = tags[order][:, kept]
    cuts = (len(tags) * np.array([0, 0.65, 0.8, 1])).astype(int).tolist()
    parts = [(images[a:b], labels[a:b]) for a, b in pairwise(cuts)]
    return parts, tuple(names[kept].tolist())


@dataclass(frozen=True)
class Objects:
    """Pictures of one thing each.

    Attributes:
        cells: (N, side, side, 3), one thing per picture.
        label: (N,) which.
        tested: (N,) whether the published split keeps it for the test.
        names: of the C things.
    """

    cells: NDArray[np.uint8]
    label: NDArray[np.int64]
    tested: NDArray[np.bool_]
    names: tuple[str, ...]


def scenes(
    packs: Path,
    few: bool,
    counts: tuple[int, int, int] = (3000, 500, 1500),
    side: int = 64,
    many: bool = False,
) -> tuple[list[Part], tuple[str, ...]]:
    """2×2 scenes; those for the test have objects of their own, never seen in training.

    Args:
        counts: of scenes for training, validation and test.
        side: of a cell in pixels.
        many: 70 classes, objects of CIFAR-10 and digits among them, in place of 50.
    """
    found = _many(packs, side, few) if many else tiny(packs, side)
    with np.load(packs / "cooccurrence.npz", allow_pickle=False) as pack:
        counted, pairs, names = pack["coco_counts"], pack["coco_pairs"], pack["coco_names"]
    size = len(found.names)
    chosen = np.argsort(-counted, kind="stable")[:size]
    counted, share = counted[chosen], pairs[np.ix_(chosen, chosen)] / counted[chosen][:, None]
    draw = np.random.default_rng(0)
    rows = [draw.permutation(np.flatnonzero(found.tested == s)) for s in (False, True)]
    pools = [rows[0], rows[1][: len(rows[1]) // 3], rows[1][len(rows[1]) // 3 :]]
    out = []
    for pool, n in zip(pools, (60, 20, 20) if few else counts, strict=True):
        by_class = [pool[found.label[pool] == c] for c in range(size)]
        images = np.full((n, 2 * side, 2 * side, 3), 128, np.uint8)
        present = np.zeros((n, size), np.bool_)
        for i in range(n):
            there = _objects(counted, share, draw)
            present[i, there] = True
            for c, cell in zip(there, draw.permutation(4), strict=False):
                y, x = (cell // 2) * side, (cell % 2) * side
                images[i, y : y + side, x : x + side] = found.cells[draw.choice(by_class[c])]
        out.append((images, present))
    return out, tuple(f"{names[c]} ({found.names[i]})" for i, c in enumerate(chosen))


def tiny(packs: Path, side: int) -> Objects:
    """50 kinds of things from Tiny ImageNet."""
    with np.load(packs / "tiny_imagenet50.npz", allow_pickle=False) as pack:
        jpeg, starts, label, split = (pack[n] for n in ("jpeg", "offsets", "label", "split"))
        words = tuple(str(name).split(",")[0] for name in pack["words"])
    cells = np.stack([picture(jpeg, starts, row, (side, side)) for row in range(len(label))])
    return Objects(cells, label.astype(np.int64), split > 0, words)


def _many(packs: Path, side: int, few: bool) -> Objects:
    """The same, CIFAR-10's ten kinds and ten digits, mixed; every tenth picture of these."""
    things = tiny(packs, side)
    step = 50 if few else 10
    with np.load(packs / "cifar10.npz", allow_pickle=False) as pack:
        rows = np.arange(0, len(pack["label"]), step)
        jpeg, starts = pack["jpeg"], pack["offsets"]
        cifar = Objects(
            np.stack([picture(jpeg, starts, row, (side, side)) for row in rows]),
            pack["label"][rows].astype(np.int64),
            pack["split"][rows] > 0,
            tuple(pack["class_names"].astype(str).tolist()),
        )
    with np.load(packs / "mnist.npz", allow_pickle=False) as pack:
        images = np.concatenate([pack["train_images"][::step], pack["test_images"][::step]])
        label = np.concatenate([pack["train_labels"][::step], pack["test_labels"][::step]])
        known = len(pack["train_labels"][::step])
    grey = [Image.fromarray(np.pad(one, 2)).convert("RGB").resize((side, side)) for one in images]
    tested = np.arange(len(label)) >= known
    digits = Objects(np.stack(grey), label.astype(np.int64), tested, tuple("0123456789"))
    parts = (things, cifar, digits)
    names = sum((part.names for part in parts), ())
    # which thing stands for which of COCO's classes is left to chance
    place = np.random.default_rng(1).permutation(len(names))
    before = np.cumsum([0, *(len(part.names) for part in parts)])
    labels = [part.label + start for part, start in zip(parts, before, strict=False)]
    return Objects(
        np.concatenate([part.cells for part in parts]),
        place[np.concatenate(labels)],
        np.concatenate([part.tested for part in parts]),
        tuple(names[i] for i in np.argsort(place)),
    )


def _objects(
    counts: NDArray[np.int64], share: NDArray[np.float64], draw: np.random.Generator
) -> list[int]:
    """One to four classes: the first as frequent as in COCO, each further one as it goes with those."""
    there = [int(draw.choice(len(counts), p=counts / counts.sum()))]
    for _ in range(int(draw.integers(0, 4))):
        weight = share[there].mean(0)
        weight[there] = 0
        if weight.sum() == 0:
            break
        there.append(int(draw.choice(len(counts), p=weight / weight.sum())))
    return there


def picture(
    jpeg: NDArray[np.uint8], starts: NDArray[np.int64], row: int, size: tuple[int, int]
) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(jpeg[starts[row] : starts[row + 1]].tobytes())).convert("RGB")
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def prepare(parts: list[Part], names: tuple[str, ...], folder: Path) -> OwnData:
    """Write images and label tables as a user would have them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, present) in zip(("train", "val", "test"), parts, strict=True):
        items = tuple(f"{name}-{i}" for i in range(len(images)))
        np.savez(folder / f"{name}.npz", images=images, items=items)
        table = LabelTable(items, Multi.from_dense(present, names), "ablation")
        write_labels(folder / f"{name}.parquet", table)
    data = Data(
        images=str(folder / "train.npz"),
        labels=folder / "train.parquet",
        val_images=str(folder / "val.npz"),
        val_labels=folder / "val.parquet",
    )
    return OwnData(data, str(folder / "test.npz"), folder / "test.parquet")
