"""What surrounds a method: what its setup warns of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reteach.catalog import Softmax
from reteach.data.dataset import Dataset
from reteach.data.sources import ArraySource
from reteach.experiment.config import Config
from reteach.experiment.inputs import Inputs
from reteach.experiment.surroundings import make_setup
from reteach.labels import Single
from reteach.options import Data, Model, Training


@pytest.mark.parametrize(
    ("capability", "precision", "warns"),
    [("AVX2", "bf16", True), ("AVX2", "fp32", False), ("AVX512", "bf16", False)],
)
def test_half_precision_on_a_processor_without_it(capability, precision, warns, monkeypatch):
    """Such a processor takes many times as long for it, which nobody would expect."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    images = np.zeros((8, 8, 8), np.uint8)
    data = Dataset.of(ArraySource(images), Single(np.arange(8) % 2, ("a", "b")))
    model = Model("reteach_tiny", precision=precision, device="cpu")
    config = Config("softmax", Softmax(), Data("x"), model, Training(steps=1))
    setup = make_setup(config, Inputs(data, None, None), torch.device("cpu"))
    assert [f"slowly in {precision}" in line for line in setup.warnings] == [True] * warns
