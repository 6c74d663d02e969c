"""Parameters and multiply-adds of a model, by hand and as the papers have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import reteach.models.video  # noqa: F401  registers the networks
import toys
from reteach.engine.learner import Predictor
from reteach.options.methods import EnsembleOptions
from reteach.options.shared import Data, Model, Output, Training
from reteach.records.runs import RUN
from reteach.report.pages.run import page
from reteach.runs.config import Config
from reteach.runs.network_cost import cost_of
from reteach.runs.train import train


def test_the_cost_of_a_convolution_and_a_layer_by_hand() -> None:
    """8 × 8 pixels, 6 filters of 3 × 3 with stride 2: 3 · 3 places; then 6 features to 3 classes."""
    found = cost_of(Predictor((toys.network(0),) * 2, "softmax"), torch.zeros(1, 1, 8, 8))
    assert found.multiply_adds == 2 * (3 * 3 * 6 * 9 + 6 * 3)
    assert found.parameters == 2 * (6 * 9 + 6 + 2 * 6 + 6 * 3 + 3)


@pytest.mark.parametrize(
    ("network", "frames", "billions"),
    [("r2plus1d_18", 8, 21), ("r2plus1d_18", 32, 83), ("r2plus1d_34", 8, 38)],
)
def test_table_7_has_these_flops(network: str, frames: int, billions: float) -> None:
    """400 classes, 112 × 112 pixels: 21, 83 and 38 billion, to 4% (torchvision's widths)."""
    with torch.device("meta"):
        model = timm.create_model(network, num_classes=400, frames=frames)
        clip = torch.empty(1, 3, frames, 112, 112)
    found = cost_of(Predictor((model,), "softmax"), clip)
    assert found.multiply_adds == pytest.approx(billions * 1e9, rel=0.04)


def test_a_run_says_what_its_model_costs(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(12) % 3
    np.savez(
        tmp_path / "x.npz", images=draw.integers(0, 255, (12, 8, 8, 3), np.uint8), labels=labels
    )
    config = Config("ensemble", EnsembleOptions(), Data(str(tmp_path / "x.npz"), val_fraction=0.0),
                    Model("reteach_tiny", device="cpu"), Training(steps=2, batch_size=4),
                    Output(tmp_path / "run"))  # fmt: skip
    train(config)
    record = RUN.read(tmp_path / "run")
    assert record is not None
    model = timm.create_model("reteach_tiny", num_classes=3)
    assert record.parameters == 2 * sum(p.numel() for p in model.parameters())
    assert record.multiply_adds is not None
    assert record.multiply_adds > 0
    assert f"{int(record.parameters):,}" in page(tmp_path / "run").replace("\u202f", ",")
