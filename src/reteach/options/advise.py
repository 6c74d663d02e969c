"""``reteach advise``: what the labels are like, and which method is worth trying first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError
from ..table_files import Kind
from .conditions import OnlyWith
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class AdviseOptions(Checked):
    """Look at a data set with a small network and say what to try first, and what that stands on."""

    images: str
    """A folder of class folders, a flat folder, an .npz file, tar shards, or hf:NAME[:SPLIT]."""
    labels: Path | None = None
    """Label table. Without it, class folders give the labels."""
    kind: Annotated[Kind | None, OnlyWith("labels")] = None
    """What --labels holds; by default what the table's column kind says."""
    classes: Path | None = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""
    val_images: str | None = None
    """Validation images: are some of them among --images?"""
    val_labels: Annotated[Path | None, OnlyWith("val_images")] = None
    """Their label table, for the commands."""
    unlabeled: str | None = None
    """Images without labels."""
    model: str | None = None
    """The network you mean to train; by default resnet18 for photos, the small one for arrays."""
    probe_model: str | None = None
    """The small network that measures; by default reteach_tiny, _mid or _small by the size of the images."""
    folds: Annotated[int, AtLeast(2)] = 4
    """Each image is judged by a network that learned from the other folds."""
    steps: Annotated[int | None, AtLeast(1)] = None
    """Batches of 64 per fold; by default ten passes over the images, at most 1,000."""
    mirror: Literal["auto", "yes", "no"] = "auto"
    """Does a mirrored image keep its class? auto: colour images yes, grey ones (digits, letters) no."""
    multi_label: Literal["auto", "yes", "no"] = "auto"
    """Can an image hold several of the classes? auto: what the scores say, which often cannot tell."""
    out: Path = Path("advice.html")
    """The page; advice.json and the folder with the work, which is resumed, stand beside it."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of every random choice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix.lower() != ".html":
            raise UserError(f"--out {self.out}: the page is an .html file")
