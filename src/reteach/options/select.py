"""``reteach select``: the best images of every class out of a score table of any size."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from .ranges import AtLeast, Checked

if TYPE_CHECKING:
    from ..relabel.selection.topk import Selection


@dataclass(frozen=True)
class SelectOptions(Checked):
    """Pick the images with the best scores for every class, out of a score table of any size."""

    scores: Positional[Path]
    """A score table: a Parquet file or a folder of shards with item, class, score. Picks are one
    too, so parts that were selected apart merge by selecting from their folder. With --by random
    also a label table of tags."""
    per_class: Annotated[int | None, AtLeast(1)] = None
    """K: images per class; by default as many as all picks together are 16% of the images, the paper's
    ratio (16,000 of 100 million for 1,000 classes), but at least 10. Picks of parts need it."""
    out: Path = Path("picks.parquet")
    """The picks (.parquet): item, class, score, rank."""
    top: Annotated[int | None, AtLeast(1)] = None
    """P: of each image only its so many best classes count; by default all that the table has."""
    by: Literal["score", "logit", "random"] = "score"
    """What ranks: softmax scores, raw logits, or chance (a control)."""
    minimum: float | None = None
    """Lower scores are never picked."""
    frequencies: Path | None = None
    """CSV with class, count: class sizes follow these frequencies, with K as their mean."""
    exclude: tuple[Path, ...] = ()
    """Images never to pick, e.g. duplicates of test images: one or several .txt, .csv or .parquet files
    with item. A list of which no item is in the scores is an error (with --part: said), and so is
    none with items."""
    classes: Path | None = None
    """The class list, one name per line, where the score table does not hold it."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Of --by random."""
    part: bool = False
    """These are the scores of a part of the images, and K is that of the whole: select from the picks of all
    parts afterwards. A part may pick an image for most classes; a whole is refused."""
    memory: Annotated[int, AtLeast(64)] = 512
    """MB of memory; what does not fit is kept beside --out while it runs."""
    threads: Annotated[int | None, AtLeast(1)] = None
    """By default one per core; they change nothing in the result."""
    page: Path | None = None
    """Also an HTML page of the images at a few ranks of each class (needs --images)."""
    images: str | None = None
    """Where the images of the page are: a folder, an .npz file, tar shards, hf:NAME."""
    ranks: Annotated[tuple[int, ...], AtLeast(1)] = ()
    """Ranks on the page; by default 1, 10, 100, … and K."""
    shown: tuple[str, ...] = ()
    """Classes on the page; by default all, at most 50 spread over the list."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.page is None) != (self.images is None):
            raise UserError("a page of images needs both --page and --images")
        if self.part and self.per_class is None:
            raise UserError("--part needs --per-class: K follows from the whole, not from a part")

    def run(self) -> None:
        """Write the picks and say what they are."""
        from ..progress import progress
        from ..relabel.selection.database import Limits
        from ..relabel.selection.item_lists import read_exclusions
        from ..relabel.selection.quotas import read_frequencies
        from ..relabel.selection.score_shards import open_shards
        from ..relabel.selection.topk import RankingRule, select
        from ..scores.classes import read_classes

        table = open_shards(self.scores)
        rule = RankingRule(self.per_class, self.top, self.by, self.minimum, self.seed)
        with progress("selecting", table.rows) as tell:
            found = select(
                table,
                self.out,
                rule,
                classes=None if self.classes is None else read_classes(self.classes),
                frequencies=None
                if self.frequencies is None
                else read_frequencies(self.frequencies),
                exclude=read_exclusions(self.exclude),
                part=self.part,
                limits=Limits(self.memory, self.threads),
                tell=tell,
            )
        for line in complaints(found):
            print(line, file=sys.stderr)
        for line in found.excluded:
            print(f"excluded: {line}")
        if self.per_class is None:
            print(f"K = {found.per_class:,} per class, by the paper's ratio")
        print(
            f"{found.counts.sum():,} picks for {len(found.classes) - len(found.empty):,} of "
            f"{len(found.classes):,} classes, out of {found.rows:,} rows"
        )
        print(f"picks: {self.out}")
        if self.page is not None and self.images is not None:
            from ..commands.picks_page import write_page

            shown = write_page(self.page, self.out, self.images, self.ranks, self.shown)
            print(f"page: {self.page} ({shown} images)")


def complaints(found: Selection, most: int = 10) -> list[str]:
    """What the user should know of a selection that is not complete."""
    lines = [f"warning: {s.file} cannot be read and is left out: {s.reason}" for s in found.skipped]
    empty = found.empty
    if empty:
        more = f" and {len(empty) - most} more" if len(empty) > most else ""
        names = ", ".join(repr(name) for name in empty[:most])
        lines.append(f"warning: no image was picked for {len(empty)} classes: {names}{more}")
    if found.short:
        lines.append(f"warning: classes with fewer images than asked for: {found.short}")
    if found.repeated is not None:
        item, cls = found.repeated
        lines.append(
            f"warning: item {item!r} was picked more than once for class {cls!r}: "
            "is a shard in the table twice?"
        )
    return lines
