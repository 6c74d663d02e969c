"""``reteach transfer``: a trained network on other images with other classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from .conditions import NotWith, OnlyWith
from .paths import Exists
from .ranges import AtLeast, Checked
from .shared import Data, Output, Training


def paper_training() -> Training:
    """The paper's settings on CUB-200-2011 (Table 13)."""
    return Training(epochs=300, schedule="drops", weight_decay=1e-3)


@dataclass(frozen=True)
class TransferOptions(Checked):
    """See how well what a run has learned serves for other classes: fine-tuned, or with a new last layer.

    Images reach the network as in the run: image size, clip length, normalisation.
    """

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run whose network is taken."""
    mode: Literal["full-ft", "fc-only"] = "full-ft"
    """Fine-tune the whole network, or fit a logistic regression on its frozen features."""
    freeze: Annotated[bool, OnlyWith("mode", "full-ft")] = False
    """Keep the network as it is and train a linear layer on its features, which are computed once and kept:
    train softmax --freeze --init RUN. Rate and augmentation are then those of such a training."""
    predictor: Annotated[str | None, NotWith("freeze")] = None
    """Which of the run's models, e.g. pretrained; by default the first."""
    folds: Annotated[int, AtLeast(2)] = 5
    """Folds of the cross-validation that chooses fc-only's regularisation."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=paper_training)
    output: Output = field(default_factory=Output)
