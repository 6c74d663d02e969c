"""``reteach convert``: published annotation formats to label tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from .ranges import AtLeast, Checked

if TYPE_CHECKING:
    from ..data.formats.annotations import Annotations
    from ..data.formats.published import Published


@dataclass(frozen=True)
class ConvertOptions(Checked):
    """Turn published annotations or label lists into a label table."""

    format: Positional[
        Literal["coco", "nuswide", "voc", "cifar", "cifar10n", "cifar100n", "clothing1m",
                "tiny-imagenet", "webvision"]
    ]  # fmt: skip
    """coco: an instances_*.json; nuswide: the folder of its lists; voc: a folder of .xml files; cifar10n,
    cifar100n: the file of human labels (.pt or .npz); cifar, clothing1m, tiny-imagenet, webvision: the
    folder as it was published. The last six have one label per image."""
    source: Positional[Path]
    """The file or folder."""
    out: Path
    """The label table (.parquet or .csv)."""
    split: str | None = None
    """nuswide: train (the default), test or all; voc: a list such as ImageSets/Main/train.txt; cifar: train
    or test; cifar10n: worse_label, aggre_label, random_label1 …; cifar100n: noisy_label; clothing1m:
    noisy_train, clean_train, clean_val or clean_test; tiny-imagenet: train or val; webvision: train (its
    Google and its Flickr list), google or flickr (one of them), or val."""
    first: Annotated[int | None, AtLeast(1)] = None
    """webvision: only the first so many classes (papers often take 50)."""
    classes: Path | None = None
    """The class list to use, one name per line; by default the format's own."""
    drop_empty: bool = False
    """Leave out images without any class, as papers on COCO and NUS-WIDE do."""

    def run(self) -> None:
        """Write the table and say what is in it."""
        from ..tables import LabelTable, write_labels

        if self.format != "coco" and self.format != "nuswide" and self.format != "voc":
            self._one_label(self.format)
            return
        if self.first is not None:
            raise UserError(f"--first takes the first classes of webvision, not of {self.format}")
        found = self._read()
        if self.classes is not None:
            from ..scores.classes import read_classes

            found = found.reorder(read_classes(self.classes), str(self.source))
        if self.drop_empty:
            found = found.labelled()
        name = f"{self.format}: {self.source.name}"
        write_labels(self.out, LabelTable(found.items, found.labels, name))
        entries, unknown = len(found.labels.columns), found.labels.unknown
        print(
            f"{len(found.items):,} images, {found.labels.num_classes:,} classes, "
            f"{entries / max(len(found.items), 1):.2f} per image: {self.out}"
        )
        if unknown is not None:
            print(f"{len(unknown.columns):,} entries are unknown, neither present nor absent")

    def _one_label(self, form: Published) -> None:
        from dataclasses import replace

        from ..data.formats.published import read_published
        from ..tables import write_labels

        if self.drop_empty:
            raise UserError(f"every image of {form} has one label: leave out --drop-empty")
        table = read_published(form, self.source, self.split, self.first)
        if self.classes is not None:
            from ..scores.classes import read_classes

            labels = table.labels.reorder(read_classes(self.classes), str(self.source))
            table = replace(table, labels=labels)
        write_labels(self.out, table)
        print(f"{len(table.items):,} images, {table.labels.num_classes:,} classes: {self.out}")

    def _read(self) -> Annotations:
        if self.format == "coco":
            from ..data.formats.coco import read_coco

            if self.split is not None:
                raise UserError("--split: COCO has a file per split; name that file")
            return read_coco(self.source)
        if self.format == "voc":
            from ..data.formats.voc import read_voc

            return read_voc(self.source, None if self.split is None else Path(self.split))
        from ..data.formats.nuswide import read_nuswide

        match self.split or "train":
            case "train" | "test" | "all" as split:
                return read_nuswide(self.source, split)
            case other:
                raise UserError(f"--split must be train, test or all for nuswide, got {other!r}")
