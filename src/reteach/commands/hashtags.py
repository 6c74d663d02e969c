"""``reteach relabel hashtags``: class labels out of hashtags or search queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from ..files import atomic_write
from ..frames import TableFile
from ..inline import InNotebook
from ..options.relabel import HashtagsOptions
from ..relabel.selection.database import Limits
from ..relabel.weak.hashtags import Matcher
from ..relabel.weak.tag_tables import label_tags, read_names
from ..scores.classes import read_classes
from ..spreadsheet import to_csv

MOST = 10
"""Classes without an image that are named."""


@final
@dataclass(frozen=True)
class HashtagsResult(InNotebook, TableFile):
    """The label table that was written.

    Args:
        out: the table; the weight of a class is how many of an image's tags name it.
        counts: CSV of images per class, where it was asked for.
        images: in the table, with a hashtag or query or without.
        labelled: those of them with at least one class.
        tags: different hashtags or queries.
        matched: those of them that name a class.
        images_per_class: class name -> images.
    """

    out: Path
    counts: Path | None
    images: int
    labelled: int
    tags: int
    matched: int
    images_per_class: dict[str, int] = field(repr=False)

    def lines(self) -> Iterator[str]:
        """What matched, which classes have no image, and the files."""
        yield (
            f"{self.labelled:,} of {self.images:,} images have a label: {self.matched:,} of "
            f"{self.tags:,} different tags name a class"
        )
        none = [name for name, count in self.images_per_class.items() if not count]
        if none:
            more = f" and {len(none) - MOST} more" if len(none) > MOST else ""
            shown = ", ".join(map(repr, none[:MOST]))
            yield (
                f"{len(none)} of {len(self.images_per_class)} classes have no image: {shown}{more}"
            )
        yield f"labels: {self.out}"
        if self.counts is not None:
            yield f"class counts: {self.counts}"


def hashtags(options: HashtagsOptions) -> HashtagsResult:
    """Label images by the hashtags or search queries that name a class.

    Raises:
        UserError: no such table, class list or names, or no tag that names a class.
    """
    classes = read_classes(options.classes)
    match = Matcher(classes, None if options.names is None else read_names(options.names))
    found = label_tags(options.tags, options.out, match, Limits(options.memory))
    counts = dict(zip(classes, found.counts.tolist(), strict=True))
    if options.counts is not None:
        atomic_write(options.counts, to_csv(["class", "count"], counts.items()))
    return HashtagsResult(
        options.out,
        options.counts,
        found.images,
        found.labelled,
        found.tags,
        found.matched,
        counts,
    )
