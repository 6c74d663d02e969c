"""Training batches from JPEG files: random resized crop, flip, normalised floats, beside other loaders.

Everybody decodes in the process itself, so that processor time is all that is spent.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import pictures
from benchmarks.house import Contender, Contest, timed
from reteach.data.dataset import Dataset
from reteach.data.loading.augment import Train
from reteach.data.loading.batch import Normalize
from reteach.data.loading.samplers import Epochs
from reteach.data.loading.stream import Stream
from reteach.data.sources.base import open_source
from reteach.labels import Single
from reteach.options.shared import Data
from reteach.runs.decoded import decoded

SIDE, BATCH = 224, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def small(folder: Path) -> Contest:
    """A row: photos of the size of ImageNet's."""
    return _contest(folder, 128, (500, 375), cache=False)


def large(folder: Path) -> Contest:
    """A row: photos as cameras and the web have them."""
    return _contest(folder, 32, (1600, 1200), cache=False)


def cached(folder: Path) -> Contest:
    """A row: every epoch after the first with ``--cache``."""
    return _contest(folder, 128, (500, 375), cache=True)


def stream(files: Path, count: int, cache: bool, side: int = SIDE) -> Stream:
    """What ``reteach train --augment crop`` reads from."""
    source = open_source(str(files))
    names = sorted(set(source.class_of or ()))
    index = np.array([names.index(name) for name in source.class_of or ()])
    dataset = Dataset.of(source, Single(index, tuple(names)))
    dataset = decoded(dataset, side, Data(images=str(files), cache=cache), torch.device("cpu"))
    return Stream(
        dataset, Epochs(np.arange(count), 0), BATCH, Train(side), Normalize(MEAN, STD), seed=0
    )


def _contest(folder: Path, count: int, size: tuple[int, int], cache: bool) -> Contest:
    files = pictures.write(folder / "photos", count, *size)
    mine = stream(files, count, cache)

    def ours() -> int:
        return sum(len(batch.x) for batch in mine.batches(0, count // BATCH))

    makers: dict[str, Callable[[Path], Iterable[Any]]] = {
        "ImageFolder and DataLoader": image_folder,
        "timm's loader": timm_loader,
        "webdataset": webdataset,
    }
    how = " in a later epoch with --cache" if cache else ""
    return Contest(
        f"training batches of {SIDE} px from {count} JPEGs of {size[0]} × {size[1]}{how}: "
        "random resized crop, flip, normalised floats",
        timed(ours),
        {name: partial(_loader, make, files, count) for name, make in makers.items()},
        {("ImageFolder and DataLoader", "s"): 2},
    )


def _loader(make: Callable[[Path], Iterable[Any]], files: Path, count: int) -> Contender:
    loader = make(files)

    def work() -> None:
        seen = sum(len(x) for x, _ in loader)
        assert seen == count, seen

    return timed(work)


def image_folder(files: Path) -> Iterable[Any]:
    """torchvision's ImageFolder with the transforms of PyTorch's ImageNet example."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(str(files), transforms.Compose(_steps(transforms)))
    return torch.utils.data.DataLoader(dataset, BATCH, shuffle=True)


def timm_loader(files: Path, side: int = SIDE) -> Iterable[Any]:
    """timm's ``create_loader``, the same steps."""
    from timm.data import create_dataset, create_loader

    loader: Iterable[Any] = create_loader(
        create_dataset("", str(files)), (3, side, side), BATCH, is_training=True, use_prefetcher=False,
        interpolation="bilinear", color_jitter=0.0, num_workers=0, mean=MEAN, std=STD,
        persistent_workers=False,
    )  # fmt: skip
    return loader


def webdataset(files: Path) -> Iterable[Any]:
    """webdataset from one tar file, the same steps."""
    import webdataset as wds
    from torchvision import transforms

    steps = transforms.Compose(_steps(transforms))
    tar = files.parent / "photos.tar"
    with tarfile.open(tar, "w") as out:
        for number, file in enumerate(sorted(files.rglob("*.jpg"))):
            out.add(file, f"{number:05}.jpg")
    pipeline = wds.WebDataset(str(tar), shardshuffle=False).shuffle(100).decode("pil")
    pairs = pipeline.to_tuple("jpg", "__key__").map_tuple(steps, str)
    loader: Iterable[Any] = pairs.batched(BATCH)
    return _Again(loader)


class _Again:
    """Tuples of two, whatever the batches hold."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return ((batch[0], batch[1]) for batch in self.loader)


def _steps(transforms: Any) -> list[Any]:
    return [
        transforms.RandomResizedCrop(SIDE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
