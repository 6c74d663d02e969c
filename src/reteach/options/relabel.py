"""``reteach relabel propose`` and ``reteach relabel consensus``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from .ranges import AtLeast, Checked, Positive, Within


@dataclass(frozen=True)
class ProposeOptions(Checked):
    """Collect the classes that raters are to be asked about, from the scores of several models."""

    scores: tuple[Path, ...]
    """Score tables, one per model: Parquet with item, class, score and, if there are, logit."""
    labels: Path
    """Label table of the original labels, one per item."""
    out: Path
    """Where the proposals go (.parquet)."""
    per_item: Annotated[float, Positive()] = 3.0
    """Each model brings up so many pairs per item on average, by score and by logit."""
    gold: Path | None = None
    """Label table of items whose labels are surely complete: take only the subset of the models
    whose proposals are most precise on it."""
    recall: Annotated[float, Within(0, 1, "(]")] = 0.97
    """The least share of the gold labels that the subset must propose."""
    classes: Path | None = None
    """The class list, one name per line, where the score tables do not hold it."""
    report: Path | None = None
    """An HTML page of precision and recall of the subsets (with --gold)."""

    def run(self) -> None:
        """Write the proposals and say how many there are."""
        from ..commands.propose import propose

        for line in propose(self):
            print(line)


@dataclass(frozen=True)
class ConsensusOptions(Checked):
    """Turn raters' answers into labels."""

    ratings: Positional[str | None] = None
    """A rating store (ratings.db or postgresql://…), or a .csv of ratings: task, rater, answer."""
    reassessed: Path | None = None
    """In place of ratings: a folder with the released rater answers of ReaL."""
    out: Path = Path("consensus.parquet")
    """The label table."""
    scores: Path | None = None
    """Also a score table: the probability of every rated (item, class) pair."""
    report: Path | None = None
    """Also an HTML page: precision and recall, the raters, the items left without labels."""
    unlabeled: Path | None = None
    """Where the items left without labels are listed; by default beside --out."""
    labels: Path | None = None
    """Label table of the original labels: items that nobody rated keep theirs."""
    gold: Path | None = None
    """Label table of items whose labels are surely complete: their pairs become golden."""
    classes: Path | None = None
    """The class list, one name per line."""
    pending: Literal["keep", "drop"] = "keep"
    """Items of which some class still lacks answers: keep their original label, or leave them out. They
    are listed beside --out."""
    wanted: Annotated[int | None, AtLeast(1)] = None
    """Answers that a class needs before its item is decided; by default as many as the store asked
    for, and 1 for a file that does not say."""
    method: Literal["golden", "em", "majority"] | None = None
    """golden: raters' error rates counted on golden pairs; em: found together with the truth
    (Dawid & Skene); majority. By default golden where there are golden pairs, else em."""
    trust_original: Path | None = None
    """A file of class names: for these the original label counts as one more rater. With
    --reassessed: the animals."""
    threshold: Annotated[float | None, AtLeast(0)] = None
    """Keep labels of at least this probability; by default 0.8, for a majority vote 0.5."""
    precision: Annotated[float | None, Within(0, 1)] = None
    """In place of a threshold: the highest recall at this precision on the golden pairs."""
    recall: Annotated[float | None, Within(0, 1)] = None
    """In place of a threshold: the highest precision at this recall on the golden pairs."""
    ties: Literal["keep", "drop"] = "keep"
    """A majority vote with as many yes as no."""
    iterations: Annotated[int, AtLeast(1)] = 100
    """Rounds of EM at most."""
    smoothing: Annotated[float, AtLeast(0)] = 1.0
    """Added to each cell of the raters' tables of answers."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Draws the votes by which golden pairs are judged: as many as other pairs have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.ratings is None) == (self.reassessed is None):
            raise UserError("name the ratings: a store, a .csv file, or --reassessed FOLDER")
        if sum(x is not None for x in (self.threshold, self.precision, self.recall)) > 1:
            raise UserError("give one of --threshold, --precision and --recall")

    def run(self) -> None:
        """Write the label table and what else was asked for, and say what came out."""
        from ..commands.consensus import consensus

        for line in consensus(self):
            print(line)
