"""Options of ``reteach review``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..errors import UserError
from ..files import local
from ..table_files import Kind
from .conditions import OnlyWith
from .paths import Exists, ImagesExist, LocalOnly
from .ranges import AtLeast, Checked, Within


@dataclass(frozen=True)
class ReviewOptions(Checked):
    """Look at doubtful labels on a page, mend them in bulk, and let heads learn again.

    The first time, features are computed and labels ranked; the folder that this makes opens in seconds
    afterwards, with all decisions.
    """

    source: Annotated[
        Positional[str | None], LocalOnly("a review is made of what is on a disk")
    ] = None
    """A review made before, a folder of 'reteach relabel clean', a run, or a rating store (file or
    postgresql://…, with --images)."""
    images: Annotated[str | None, ImagesExist(local_only="a review shows images of a disk")] = None
    """The images: a folder, or whatever else reteach trains on, or a feature table of 'reteach embed',
    without pictures to look at. Of a review made before: where its images are now."""
    labels: Annotated[Path | None, OnlyWith("images"), Exists("label table")] = None
    """Label table (.csv or .parquet: item, labels). Without it, class folders give the labels."""
    features: Annotated[Path | None, Exists()] = None
    """A feature table of the images; by default those of tf_efficientnet_lite0, computed once and kept."""
    kind: Annotated[Kind | None, OnlyWith("labels")] = None
    """What --labels holds: single, or multi for label sets. By default what the table's column kind says."""
    classes: Annotated[Path | None, OnlyWith("images"), Exists("class list")] = None
    """The class list, one name per line; by default the table's, or the names in it."""
    out: Annotated[Path | None, LocalOnly("a review is a folder with a database")] = None
    """Folder of the review; by default beside the labels or the source, ending in .review."""
    store: Annotated[str | None, LocalOnly("decisions are kept in a database")] = None
    """Where decisions are kept: an SQLite file, or postgresql://user@host/name; by default in the folder."""
    reviewers: tuple[str, ...] = ()
    """Names of the people who decide; each gets a link. By default one."""
    export: Path | None = None
    """Write the labels as they are now, and the changes, to this folder or label table; serve no page."""
    prepare: bool = False
    """Make the folder and stop."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but this machine also needs --public."""
    port: Annotated[int, Within(0, 65535)] = 8766
    """Port to listen on."""
    public: str | None = None
    """The address that reviewers use, such as https://review.example.org behind a reverse proxy."""
    browser: bool = True
    """Open the page; --no-browser only prints the link."""
    learn_after: Annotated[int, AtLeast(0)] = 200
    """Let heads learn again after so many decisions; 0: only when somebody asks for it."""
    folds: Annotated[int, Within(2, 100)] = 10
    """Heads learn in so many folds, each judged by the one that has not seen it."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the folds."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is None and self.images is None:
            raise UserError(
                "what is to be reviewed? Name a folder or store, or --images and --labels"
            )
        if self.prepare and self.export is not None:
            raise UserError("--prepare and --export both stop before the page: give one of them")
        for path, flag in ((self.out, "--out"), (self.export, "--export")):
            if path is not None:
                local(path, flag)
