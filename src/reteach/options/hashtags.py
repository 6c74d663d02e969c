"""``reteach relabel hashtags``: class labels out of hashtags or search queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..errors import UserError
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class HashtagsOptions(Checked):
    """Label images by the hashtags or search queries that name a class (weak supervision)."""

    tags: Positional[Path]
    """A table with item and tags (several), tag (one) or query: .csv, .parquet, or a folder of
    Parquet shards."""
    classes: Path
    """The class list: one name per line, or a .csv/.tsv with a column class, name or wnid."""
    names: Path | None = None
    """Further names of the classes: .csv/.tsv with class (or wnid) and names (or lemmas),
    separated by commas; by default the class names are matched."""
    out: Path = Path("labels.parquet")
    """The label table; the weight of a class is how many of an image's tags name it."""
    counts: Path | None = None
    """Also a CSV of class, count: images per class, for reteach select --frequencies."""
    memory: Annotated[int, AtLeast(64)] = 512
    """MB of memory; what does not fit is kept beside --out while it runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix.lower() != ".parquet":
            raise UserError(f"--out {self.out}: labels from hashtags go into a .parquet file")

    def run(self) -> None:
        """Write the label table and say what matched."""
        from ..files import atomic_write
        from ..relabel.selection.database import Limits
        from ..relabel.weak.hashtags import Matcher
        from ..relabel.weak.tag_tables import label_tags, read_names
        from ..scores.classes import read_classes
        from ..spreadsheet import to_csv

        classes = read_classes(self.classes)
        match = Matcher(classes, None if self.names is None else read_names(self.names))
        found = label_tags(self.tags, self.out, match, Limits(self.memory))
        print(
            f"{found.labelled:,} of {found.images:,} images have a label: {found.matched:,} of "
            f"{found.tags:,} different tags name a class"
        )
        none = [name for name, count in zip(classes, found.counts, strict=True) if not count]
        if none:
            more = f" and {len(none) - 10} more" if len(none) > 10 else ""
            shown = ", ".join(map(repr, none[:10]))
            print(f"{len(none)} of {len(classes)} classes have no image: {shown}{more}")
        print(f"labels: {self.out}")
        if self.counts is not None:
            counts = zip(classes, found.counts.tolist(), strict=True)
            atomic_write(self.counts, to_csv(["class", "count"], counts))
            print(f"class counts: {self.counts}")
