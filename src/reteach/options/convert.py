"""Options of ``reteach convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from tyro.conf import Positional, arg

from .formats import FORMATS, WRITTEN, listed
from .ranges import AtLeast, Checked

if TYPE_CHECKING:
    Read: TypeAlias = str
    Written: TypeAlias = str
else:  # the command line offers what the registry has
    Read, Written = Literal[*FORMATS], Literal[*WRITTEN]


@dataclass(frozen=True)
class ConvertOptions(Checked):
    """Turn annotations or label lists of another program into a label table, or a label table into theirs."""

    format: Annotated[
        Positional[Read], arg(help=f"What the source is. {listed(tuple(FORMATS))}. labels is ours.")
    ]
    source: Positional[Path]
    """The file or folder."""
    out: Path
    """What is written: by default a label table (.parquet or .csv)."""
    to: Annotated[Written, arg(help=f"What is written. {listed(WRITTEN)}.")] = "labels"
    split: str | None = None
    """nuswide: train (the default), test or all; celeba: train (the default), val, test or all; voc: a list
    such as ImageSets/Main/train.txt; yolo, hf-folder, hf-parquet: the folder or shards of that name (train);
    cifar: train or test; cifar10n: worse_label, aggre_label, random_label1 …; cifar100n: noisy_label;
    clothing1m: noisy_train, clean_train, clean_val or clean_test; tiny-imagenet: train or val; webvision:
    train (its Google and its Flickr list), google or flickr (one of them), or val."""
    partition: Path | None = None
    """celeba: list_eval_partition.txt, which says which images --split train, val and test are."""
    first: Annotated[int | None, AtLeast(1)] = None
    """webvision: only the first so many classes (papers often take 50)."""
    kind: Literal["single", "multi"] | None = None
    """Take the labels that are read as one label per image, an empty set then as not labelled; or as label
    sets, where an image that nobody labelled has every class unknown. By default as the format says."""
    classes: Path | None = None
    """The class list to use, one name per line; by default the format's own."""
    drop_empty: bool = False
    """Leave out images without any class, as papers on COCO and NUS-WIDE do; of tables of one label per
    image those that nobody labelled."""
    images: Path | None = None
    """The folder of the images, for formats that hold them: yolo, fiftyone, hf-folder, hf-parquet; cvat:
    their sizes are written too."""
    label_column: str | None = None
    """hf-folder, hf-parquet: the column of the labels, by default label or labels; cleanlab: by default
    given_label."""
    drop_issues: bool = False
    """cleanlab: labels that is_label_issue flags become unlabelled."""
    url_prefix: str | None = None
    """label-studio: what stands before the item in a task's image, such as
    /data/local-files/?d=photos/, https://host/photos/ or s3://bucket/photos/."""
    prelabels: bool = False
    """label-studio: the labels are predictions, to be looked at, in place of annotations."""
