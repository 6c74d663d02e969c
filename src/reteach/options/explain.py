"""``reteach explain``: where the models of a run look (CPSD, Figure 4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked


@dataclass(frozen=True)
class ExplainOptions(Checked):
    """Show where a run's models look for a class: class activation maps, side by side."""

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run folder; of a cpsd run, the teachers that know a class stand beside the student."""
    images: Annotated[str, ImagesExist()]
    """Images: a folder, an .npz file, tar shards, hf:NAME."""
    classes: tuple[str, ...]
    """The classes to look for."""
    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table: only images that have the class are shown, from the surest to the least sure. Class
    folders of --images need none. Without labels, the images that the model is surest of are shown,
    whether they have the class or not."""
    out: Path = Path("cam.html")
    """The page."""
    count: Annotated[int, AtLeast(1)] = 6
    """Images per class."""
    map: Literal["auto", "gradient", "grad-cam", "attention"] = "auto"
    """auto: attention where the network has a token per class, else what speaks for the class, which
    behind average pooling is the class activation map."""
    batch_size: Annotated[int, AtLeast(1)] = 64
    """Images at a time."""
    workers: Annotated[int | None, AtLeast(0)] = None
    """Processes that decode images; by default one per core, at most 8; 0: none."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
