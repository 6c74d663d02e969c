"""Options of ``reteach relabel``: proposals, consensus, hashtags and cleaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from ..table_files import Kind
from .conditions import NotWith, OnlyWith
from .paths import Exists, ImagesExist, LocalOnly
from .ranges import AtLeast, Checked, Positive, Within
from .shared import Model, Training


@dataclass(frozen=True)
class ProposeOptions(Checked):
    """Collect the classes that raters are to be asked about, from the scores of several models."""

    scores: Annotated[tuple[Path, ...], Exists("score table")]
    """Score tables, one per model: Parquet with item, class, score and, if there are, logit."""
    labels: Annotated[Path, Exists("label table")]
    """Label table of the original labels, one per item."""
    out: Path
    """Where the proposals go (.parquet)."""
    per_item: Annotated[float, Positive()] = 3.0
    """Each model brings up so many pairs per item on average, by score and by logit."""
    gold: Annotated[Path | None, Exists("label table")] = None
    """Label table of items whose labels are surely complete: take only the subset of the models
    whose proposals are most precise on it."""
    recall: Annotated[float, Within(0, 1, "(]"), OnlyWith("gold")] = 0.97
    """The least share of the gold labels that the subset must propose."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line, where the score tables do not hold it."""
    report: Annotated[Path | None, OnlyWith("gold")] = None
    """An HTML page of precision and recall of the subsets (with --gold)."""


@dataclass(frozen=True)
class ConsensusOptions(Checked):
    """Turn raters' answers into labels."""

    ratings: Annotated[
        Positional[str | None], LocalOnly("a rating store is a database", but=(".csv",))
    ] = None
    """A rating store (ratings.db or postgresql://…), or a .csv of ratings: task, rater, answer."""
    reassessed: Annotated[Path | None, Exists()] = None
    """In place of ratings: a folder with the released rater answers of ReaL."""
    out: Path = Path("consensus.parquet")
    """The label table."""
    scores: Path | None = None
    """Also a score table: the probability of every rated (item, class) pair."""
    report: Path | None = None
    """Also an HTML page: precision and recall, what changed, how far raters agree, each rater, the items left
    without labels."""
    images: Annotated[str | None, OnlyWith("report"), ImagesExist()] = None
    """The images, for pictures on the page: changed, added, emptied and disputed labels (with --report)."""
    pictures: Annotated[int, AtLeast(1), OnlyWith("images")] = 60
    """Items with a picture in each of these sections of the page."""
    unlabeled: Path | None = None
    """Where the items left without labels are listed; by default beside --out."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table of the original labels: items that nobody rated keep theirs."""
    gold: Annotated[Path | None, Exists("label table")] = None
    """Label table of items whose labels are surely complete: their pairs become golden."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line. With --reassessed: names of the 1,000 classes in ImageNet's order;
    by default their WordNet ids, as those of reteach convert real."""
    pending: Literal["keep", "drop"] = "keep"
    """Items of which some class still lacks answers: keep their original label, or leave them out. They
    are listed beside --out."""
    wanted: Annotated[int | None, AtLeast(1)] = None
    """Answers that a class needs before its item is decided; by default as many as the store asked
    for, and 1 for a file that does not say."""
    agree: Annotated[int | None, AtLeast(2)] = None
    """Answers that settle a class where nobody contradicts; by default as the store says, and --wanted
    where it says nothing."""
    method: Literal["golden", "em", "mace", "glad", "crowdlab", "majority"] | None = None
    """golden: raters' error rates counted on golden pairs; em: found together with the truth
    (Dawid & Skene); mace: raters who know or spam; glad: able raters and hard pairs; crowdlab: raters
    and a model together (--model-scores); majority. By default golden where there are golden pairs, true
    and false ones, else em."""
    model_scores: Annotated[Path | None, OnlyWith("method", "crowdlab"), Exists()] = None
    """Score table with the probability that a model gives to every rated pair. Held out: a model that was
    trained on these answers agrees with them."""
    trust_original: Annotated[Path | None, Exists()] = None
    """A file of class names: for these the original label counts as one more rater. With
    --reassessed: the animals."""
    threshold: Annotated[float | None, Within(0, 1)] = None
    """Keep labels of at least this probability; by default 0.8, for a majority vote 0.5."""
    precision: Annotated[float | None, Within(0, 1)] = None
    """In place of a threshold: the highest recall at this precision on the golden pairs."""
    recall: Annotated[float | None, Within(0, 1)] = None
    """In place of a threshold: the highest precision at this recall on the golden pairs."""
    ties: Annotated[Literal["keep", "drop"], OnlyWith("method", "majority")] = "keep"
    """A majority vote with as many yes as no."""
    iterations: Annotated[int, AtLeast(1), NotWith("method", "golden", "majority", "crowdlab")] = (
        100
    )
    """Rounds of EM at most."""
    smoothing: Annotated[
        float, AtLeast(0), NotWith("method", "majority", "mace", "glad", "crowdlab")
    ] = 1.0
    """Added to each cell of the raters' tables of answers."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Draws the votes by which golden pairs are judged: as many as other pairs have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.ratings is None) == (self.reassessed is None):
            raise UserError("name the ratings: a store, a .csv file, or --reassessed FOLDER")
        if self.method == "crowdlab" and self.model_scores is None:
            raise UserError("--method crowdlab needs the model's scores (--model-scores)")
        if sum(x is not None for x in (self.threshold, self.precision, self.recall)) > 1:
            raise UserError("give one of --threshold, --precision and --recall")


@dataclass(frozen=True)
class HashtagsOptions(Checked):
    """Label images by the hashtags or search queries that name a class (weak supervision)."""

    tags: Annotated[Positional[Path], Exists()]
    """A table with item and tags (several), tag (one) or query: .csv, .parquet, or a folder of
    Parquet shards."""
    classes: Annotated[Path, Exists("class list")]
    """The class list: one name per line, or a .csv/.tsv with a column class, name or wnid."""
    names: Annotated[Path | None, Exists("table of class names")] = None
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


@dataclass(frozen=True)
class CleanOptions(Checked):
    """Drop doubtful labels: train on K - 1 folds, predict the K-th, keep what the prediction confirms."""

    images: Annotated[str, ImagesExist()]
    """A folder of class folders, a flat folder, an .npz file, tar shards, hf:NAME[:SPLIT], or a feature table
    of reteach embed."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table, one label per image. Without it, class folders give the labels."""
    kind: Annotated[Kind | None, OnlyWith("labels")] = None
    """What --labels holds; by default what the table's column kind says."""
    classes: Annotated[Path | None, Exists("class list")] = None
    """The class list, one name per line; by default the table's column classes, or the names in it."""
    folds: Annotated[int, AtLeast(2)] = 10
    """K. Copies and near-copies of an image are always in one fold."""
    method: str = "softmax"
    """Any method of reteach train."""
    set: tuple[str, ...] = ()
    """Settings of the method: rho=0.1, smoothing=0.1, …"""
    judge: Literal["auto", "model", "all"] = "auto"
    """Whose held-out scores count. model: those of --method; all, of features only (a table, or --freeze):
    the geometric mean of its and those of a linear discriminant analysis, of the nearest images and of a
    linear layer that ELR trains; auto: all on features."""
    rule: Literal["auto", "agreement", "per-class", "confidence", "ratio", "posterior"] = "auto"
    """auto: agreement, and posterior on features (a table, or --freeze). agreement: the label is the first
    choice (the paper's rule); per-class: no other class scores as much as it does on its own images;
    confidence: drop the lowest scores, as many as are estimated to be wrong; ratio: drop what another class
    beats by the largest factor, fewer where many of the models' contradictions are doubtful; posterior: drop
    what is more likely wrong than right, given how often classes are mistaken for each other. To try another
    rule, ask again: the folds are not trained again."""
    out: Path = Path("clean.parquet")
    """The label table of what is kept (.parquet or .csv)."""
    folder: Path | None = None
    """Where the work is kept and resumed: held-out scores, numbers, the page; by default --out
    without its ending."""
    report: Path | None = None
    """The page of suspects; by default suspects.html in the folder."""
    pictures: Annotated[int, AtLeast(0)] = 200
    """Suspects with a picture on the page."""
    top: Annotated[int, AtLeast(1)] = 20
    """Classes per image in the score table of held-out scores, beside the given label."""
    truth: Annotated[Path | None, Exists("label table")] = None
    """Label table of true labels, for all or some of the images: how well were wrong ones found?"""
    on_error: Literal["report", "fail"] = "report"
    """Unreadable images: leave out and list in quarantine.csv, or stop at once."""
    cache: bool = False
    """Keep the decoded images in memory."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.suffix.lower() not in (".parquet", ".csv"):
            raise UserError(f"--out {self.out}: a label table is a .parquet or .csv file")
