"""The formats of ``reteach convert`` by name: who reads and writes each, and what it can say.

Light: a format is imported when it is asked for.

To add one: a file in ``data/formats/`` with ``read(source, options) -> LabelTable``, where it is written too
``write(table, out, options) -> remarks`` beside it, and a row here. The command, its help, its refusals and
completion follow from the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Fact = Literal["sets", "weights", "unlabelled", "unknown"]
"""What a format may be able to say beside one label per image: label sets, empty ones too; weights; that
nobody labelled an image; that nobody knows of a class whether an image has it."""


@final
@dataclass(frozen=True)
class Format:
    """A format of labels.

    Args:
        help: what is read or written, one line.
        reader: "module:function" below ``reteach.data.formats``: source, options -> label table.
        writer: the same: table, out, options -> remarks for the user; None: it is only read.
        reads_with: settings of the command that reading it takes.
        writes_with: those that writing it takes.
        says: what it can say; a table that needs more is refused.
        lists_classes: whether it holds the class list in its order; else that is written beside it.
        extra: of the package that it needs; None: none.
    """

    help: str
    reader: str
    writer: str | None = None
    reads_with: tuple[str, ...] = ()
    writes_with: tuple[str, ...] = ()
    says: frozenset[Fact] = frozenset()
    lists_classes: bool = True
    extra: str | None = None


def _says(*facts: Fact) -> frozenset[Fact]:
    return frozenset(facts)


FORMATS = {
    "labels": Format(
        "a label table of reteach (.parquet or .csv)",
        "table:read",
        "table:write",
        reads_with=("drop_empty",),
        says=_says("sets", "weights", "unlabelled", "unknown"),
    ),
    "coco": Format(
        "COCO's instances_*.json; of label sets, without boxes",
        "coco:read",
        "coco:write",
        reads_with=("drop_empty",),
        says=_says("sets"),
    ),
    "voc": Format(
        "Pascal VOC: a folder of .xml files, or the one above it",
        "voc:read",
        "voc:write",
        reads_with=("split", "drop_empty"),
        says=_says("sets", "unlabelled", "unknown"),
    ),
    "cvat": Format(
        "CVAT's annotations.xml (for images 1.1), of tags",
        "cvat:read",
        "cvat:write",
        reads_with=("drop_empty",),
        writes_with=("images",),
        says=_says("sets"),
    ),
    "yolo": Format(
        "YOLO's classification folders: SPLIT/CLASS/image",
        "yolo:read",
        "yolo:write",
        reads_with=("split",),
        writes_with=("images",),
        lists_classes=False,
    ),
    "label-studio": Format(
        "Label Studio's .json, with the labelling interface (.xml) beside it",
        "label_studio:read",
        "label_studio:write",
        reads_with=("url_prefix", "prelabels", "drop_empty"),
        writes_with=("url_prefix", "prelabels"),
        says=_says("sets", "unlabelled"),
    ),
    "fiftyone": Format(
        "FiftyOne's folder of labels.json and data/",
        "fiftyone:read",
        "fiftyone:write",
        reads_with=("drop_empty",),
        writes_with=("images",),
        says=_says("sets", "unlabelled"),
    ),
    "hf-folder": Format(
        "Hugging Face's image folder with metadata (.jsonl, .csv or .parquet)",
        "huggingface:read_folder",
        "huggingface:write_folder",
        reads_with=("split", "label_column", "drop_empty"),
        writes_with=("images",),
        says=_says("sets", "unlabelled"),
        lists_classes=False,
    ),
    "hf-parquet": Format(
        "Hugging Face's Parquet with an Image column, a file or a folder of shards",
        "huggingface:read_parquet",
        "huggingface:write_parquet",
        reads_with=("split", "label_column", "drop_empty"),
        writes_with=("images",),
        says=_says("sets", "unlabelled"),
    ),
    "cleanlab": Format(
        "cleanlab's columns with the items (.csv)",
        "cleanlab:read",
        "cleanlab:write",
        reads_with=("label_column", "drop_issues", "drop_empty"),
        lists_classes=False,
    ),
    "crowd-kit": Format(
        "crowd-kit's task, worker, label (.csv)",
        "crowdkit:read",
        "crowdkit:write",
        lists_classes=False,
    ),
    "nuswide": Format(
        "the folder of NUS-WIDE's lists", "nuswide:read", reads_with=("split", "drop_empty")
    ),
    "celeba": Format(
        "CelebA's list_attr_celeba.txt",
        "celeba:read",
        reads_with=("split", "partition", "drop_empty"),
    ),
    "cifar": Format(
        "CIFAR-10 or -100 as published, the folder", "published:read", reads_with=("split",)
    ),
    "cifar10n": Format(
        "CIFAR-10N's file of human labels (.pt or .npz)", "published:read", reads_with=("split",)
    ),
    "cifar100n": Format(
        "CIFAR-100N's file of human labels (.pt or .npz)", "published:read", reads_with=("split",)
    ),
    "clothing1m": Format(
        "the folder of Clothing1M's lists", "published:read", reads_with=("split",)
    ),
    "tiny-imagenet": Format(
        "Tiny-ImageNet as published, the folder", "published:read", reads_with=("split",)
    ),
    "webvision": Format(
        "the folder of WebVision's lists", "published:read", reads_with=("split", "first")
    ),
}
"""Name on the command line -> the format."""

WRITTEN = tuple(name for name, form in FORMATS.items() if form.writer is not None)
"""Those that are written too."""


def listed(names: tuple[str, ...]) -> str:
    """The formats with what each is, for ``--help``."""
    return "; ".join(f"{name}: {FORMATS[name].help}" for name in names)
