"""``reteach compare METHOD METHOD …``: one data set, one budget, the same seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from ..errors import UserError
from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked
from .shared import Data, Model, Training


@dataclass(frozen=True)
class CompareOptions(Checked):
    """Several methods under one budget of backward passes, with the same seeds and batches."""

    methods: Positional[tuple[str, ...]]
    """softmax, sigmoid, mile, … : those of reteach train (reteach --help lists them)."""
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    test_images: Annotated[str | None, ImagesExist()] = None
    """Images to judge on; without them, half of the validation images (the other half tunes the
    threshold)."""
    test_labels: Annotated[Path | None, Exists("label table")] = None
    """Their label table; alone, it names test images among --images, which then nobody learns from."""
    test_original: Annotated[Path | None, Exists("label table")] = None
    """Original single labels of the test images, where --test-labels are reassessed sets: accuracy is
    against these then, and ReaL accuracy against the sets."""
    clean: Annotated[Path | None, Exists("label table")] = None
    """Label table of true labels where --labels are known to be noisy: to judge by, and to see what
    is memorised; never learned from. Adds the best, the last and the mean of the last ten epochs."""
    also_labels: Annotated[tuple[Path, ...], Exists("label table")] = ()
    """Further label tables of the same images, such as cleaned ones: each method also learns from each of
    these, and is judged on the same images by the same labels. An epoch passes over the images that the
    table labels; with --steps all have the same number of batches."""
    seeds: Annotated[int, AtLeast(1)] = 3
    """Repetitions: other weights, batches and augmentation on the same images."""
    set: tuple[str, ...] = ()
    """Settings of methods: rho=0.1, mile.k_t=100, …"""
    sweep: tuple[str, ...] = ()
    """Settings to vary: rho=0.05,0.1,0.25; two of them make a grid."""
    early: bool = True
    """Also show the supervised baselines as they were at their best validation mAP."""
    out: Path | None = None
    """Folder of the comparison, or an .html file for its page; by default runs/compare-NUMBER."""
    processes: Annotated[int | None, AtLeast(1)] = None
    """Trainings at a time; by default one per core on a CPU, one on a GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.methods:
            raise UserError(
                "name the methods to compare, e.g.: reteach compare softmax sigmoid mile"
            )
