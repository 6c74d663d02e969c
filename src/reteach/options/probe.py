"""``reteach probe compression RUN …``: what the features of trained networks still hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..errors import UserError
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class CompressionOptions(Checked):
    """How hard random labels are to fit on frozen features: the harder, the better compressed."""

    run_folders: Annotated[Positional[tuple[Path, ...]], Exists("run folder")]
    """Finished runs."""
    images: Annotated[str | None, ImagesExist()] = None
    """Images to put random labels on; by default those that each run was trained on."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Their label table, to choose the classes by; class folders need none."""
    classes: Annotated[int, AtLeast(0)] = 2
    """Take the images of the first so many classes; 0: all images."""
    most: Annotated[int, AtLeast(1)] = 10_000
    """At most so many images."""
    epochs: Annotated[int, AtLeast(1)] = 30
    """Passes of the perceptron over them."""
    seeds: Annotated[int, AtLeast(1)] = 3
    """Repetitions with other random labels."""
    predictor: str | None = None
    """Which of a run's models; of an ensemble the first network. By default the first predictor."""
    out: Path | None = None
    """Also write the accuracies after each epoch as JSON."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.run_folders:
            raise UserError("name at least one run folder")
