"""Options of ``reteach export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from .paths import Exists, ImagesExist
from .ranges import AtLeast, Checked

Target = Literal["timm", "onnx", "torch-export", "safetensors"]


@dataclass(frozen=True)
class ModelExportOptions(Checked):
    """Write a run's model for programs that do not know reteach, and hold it against the run on photos."""

    run_folder: Annotated[Positional[Path], Exists("run folder")]
    """The run."""
    to: Target
    """timm: a folder as on the Hugging Face hub, for timm.create_model; onnx: model.onnx for ONNX Runtime;
    torch-export: model.pt2 for torch.export.load; safetensors: plain weights and a config.json that says how
    the network is built. With each go preprocessing, class names, the calibration where the run has one, a
    model card, and predict.py, which uses them."""
    out: Path | None = None
    """A new folder; by default exported/TO in the run folder."""
    predictor: str | None = None
    """Which of the run's models, e.g. teacher; by default the first."""
    images: Annotated[str | None, ImagesExist()] = None
    """Photos on which the exported model is held against the run's; by default the run's own, those to
    validate on where they are given."""
    check: Annotated[int, AtLeast(1)] = 64
    """How many of them, spread over all."""
