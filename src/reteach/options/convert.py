"""Options of ``reteach convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class ConvertOptions(Checked):
    """Turn published annotations or label lists into a label table."""

    format: Positional[
        Literal["coco", "nuswide", "voc", "celeba", "cifar", "cifar10n", "cifar100n", "clothing1m",
                "tiny-imagenet", "webvision"]
    ]  # fmt: skip
    """coco: an instances_*.json; nuswide: the folder of its lists; voc: a folder of .xml files; celeba:
    list_attr_celeba.txt; cifar10n, cifar100n: the file of human labels (.pt or .npz); cifar, clothing1m,
    tiny-imagenet, webvision: the folder as it was published. The last six have one label per image."""
    source: Positional[Path]
    """The file or folder."""
    out: Path
    """The label table (.parquet or .csv)."""
    split: str | None = None
    """nuswide: train (the default), test or all; celeba: train (the default), val, test or all; voc: a list
    such as ImageSets/Main/train.txt; cifar: train or test; cifar10n: worse_label, aggre_label, random_label1
    …; cifar100n: noisy_label; clothing1m: noisy_train, clean_train, clean_val or clean_test; tiny-imagenet:
    train or val; webvision: train (its Google and its Flickr list), google, flickr, or val."""
    partition: Path | None = None
    """celeba: list_eval_partition.txt, which says which images --split train, val and test are."""
    first: Annotated[int | None, AtLeast(1)] = None
    """webvision: only the first so many classes (papers often take 50)."""
    classes: Path | None = None
    """The class list to use, one name per line; by default the format's own."""
    drop_empty: bool = False
    """Leave out images without any class, as papers on COCO and NUS-WIDE do."""
