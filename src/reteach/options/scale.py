"""Options of ``reteach score`` and ``reteach select``: score tables of very many images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from ..files import local
from .conditions import OnlyWith
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked, Within
from .shared import Tta


@dataclass(frozen=True)
class ScoreOptions(Checked):
    """Write the best classes of each of very many images as a score table, shard by shard.

    The same command goes on where it was stopped.
    """

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run whose model scores: the teacher."""
    images: Annotated[str, ImagesExist()]
    """Images: tar shards ('s/{000000..009999}.tar'), a folder, an .npz file, hf:NAME."""
    out: Path = Path("scores")
    """Folder of the shards, one per tar file or per --block images: item, class, score, logit."""
    top: Annotated[int | None, AtLeast(1)] = None
    """P: only so many classes of each image are kept; by default 10, or all if there are fewer."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    tta: Tta | None = None
    """flip: average the probabilities of each image and its mirror image; twice the work."""
    block: Annotated[int | None, AtLeast(1)] = None
    """Images per shard where they are not in tar files: what a crash may cost. By default 16,384."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode, for each process that scores; by default one per core, at most 8; with --ray
    all cores that go with a GPU, at most 16, or without one 1."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision."""
    channels_last: bool = False
    """Store images and weights channels-last: often faster for convolutions, and rounds otherwise."""
    compile: bool = False
    """Use torch.compile: a minute at the start, worth it for very many images; rounds otherwise."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    ray: str | None = None
    """Share the work on Ray: local (this machine), auto (the cluster it belongs to), or an address.
    All machines must see the files under the same paths, or at an object store."""
    scorers: Annotated[int | None, AtLeast(1), OnlyWith("ray")] = None
    """With --ray: processes that score; by default one per GPU, or as many as there are cores for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        local(self.out, "--out")


@dataclass(frozen=True)
class SelectOptions(Checked):
    """Pick the images with the best scores for every class, out of a score table of any size."""

    scores: Annotated[Positional[Path], Exists("score table")]
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
    frequencies: Annotated[Path | None, Exists("table of class frequencies")] = None
    """CSV with class, count: class sizes follow these frequencies, with K as their mean."""
    exclude: Annotated[tuple[Path, ...], Exists("item list")] = ()
    """Images never to pick, e.g. duplicates of test images: one or several .txt, .csv or .parquet files
    with item. A list of which no item is in the scores is an error (with --part: said), and so is
    none with items."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line, where the score table does not hold it."""
    seed: Annotated[int, AtLeast(0), OnlyWith("by", "random")] = 0
    """Seed of the draws of --by random."""
    sample: Annotated[float | None, Within(0, 1, "()")] = None
    """Pick from this share of the images alone, drawn at random: a smaller share lies within a larger one. K
    by the paper's ratio is that of the drawn images."""
    sample_seed: Annotated[int, AtLeast(0), OnlyWith("sample")] = 0
    """Seed of the draw of --sample."""
    part: bool = False
    """These are the scores of a part of the images, and K is that of the whole: select from the picks of all
    parts afterwards. A part may pick an image for most classes; a whole is refused."""
    incomplete: bool = False
    """Go without shards that cannot be read, and without those that score has still to make: each is said."""
    memory: Annotated[int, AtLeast(64)] = 512
    """MB of memory; what does not fit is kept beside --out while it runs."""
    threads: Annotated[int | None, AtLeast(1)] = None
    """By default one per core; they change nothing in the result."""
    report: Path | None = None
    """Also an HTML page of the images at a few ranks of each class (needs --images)."""
    images: Annotated[str | None, ImagesExist()] = None
    """Where the images of the page are: a folder, an .npz file, tar shards, hf:NAME."""
    ranks: Annotated[tuple[int, ...], AtLeast(1), OnlyWith("report")] = ()
    """Ranks on the page; by default 1, 10, 100, … and K."""
    shown: Annotated[tuple[str, ...], OnlyWith("report")] = ()
    """Classes on the page; by default all, at most 50 spread over the list."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.report is None) != (self.images is None):
            raise UserError("a page of images needs both --report and --images")
        if self.part and self.per_class is None:
            raise UserError("--part needs --per-class: K follows from the whole, not from a part")
