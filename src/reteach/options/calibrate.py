"""``reteach calibrate``: probabilities of presence out of a model that learned from single labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from ..errors import UserError
from .conditions import OnlyWith, OnlyWithAny
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class CalibrateOptions(Checked):
    """Make a run's scores probabilities of presence, without a single multi-label.

    Needs images that the model has not learned from, best with their one label each; without --images
    these are the run's own validation images. predict, evaluate and every later stage then use what was
    found."""

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run folder."""
    images: Annotated[str | None, ImagesExist()] = None
    """Images: a folder, an .npz file, tar shards, hf:NAME. By default the run's validation images."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table with one label for each of them, or for some."""
    folds: Annotated[int, AtLeast(2, but=0)] = 0
    """In place of images: train so many times on the other folds of the training images, to see scores of
    images that were not learned from. For few images, all of them in use."""
    scope: Literal["pooled", "classes"] = "pooled"
    """One map for all classes, or one for each, shrunk towards the common one."""
    prior_strength: Annotated[float, AtLeast(0), OnlyWith("scope", "classes")] = 1000.0
    """With --scope classes: how many scores of all classes a class borrows; more for few images."""
    present: Literal["auto", "1", "2"] = "auto"
    """Components for classes that are present: often and seldom named ones apart, or together."""
    expected: Annotated[float | None, AtLeast(1)] = None
    """Labels per image, where you know it; so many then pass 0.5, and the result is stored even if the data
    alone do not tell present from absent, with a warning."""
    label_sets: Annotated[Path | None, Exists("label table")] = None
    """In place of --expected: label table with all labels of a few images, 20 or more, whose mean number it
    takes; no matter which images, if they are like the others."""
    half: Annotated[Literal["count", "presence"], OnlyWithAny("expected", "label_sets")] = "count"
    """What a score of 0.5 is. count: as many labels per image pass it as are expected; presence: the class is
    as likely present as absent, and scores are probabilities. Without a number of labels it is the latter."""
    anyway: bool = False
    """Keep the result even if the data do not tell present from absent."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    report: Path | None = None
    """The page; by default calibration.html in the run folder."""
    batch_size: Annotated[int, AtLeast(1)] = 256
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds and (self.images is not None or self.labels is not None):
            raise UserError("--folds takes the training images: leave --images and --labels out")
        if self.labels is not None and self.images is None:
            raise UserError("--labels needs --images: which images are they of?")
        if self.label_sets is not None and self.expected is not None:
            raise UserError(
                "--expected and --label-sets both say how many labels: give one of them"
            )
