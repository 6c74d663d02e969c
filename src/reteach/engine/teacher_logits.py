"""What frozen teachers say of all images, computed once where an image always looks the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..progress import progress
from .evaluate import outputs
from .learner import Predictor
from .run import Arrays, Run
from .setup import Setup


def fixed_logits(setup: Setup, teachers: Sequence[Predictor], run: Run) -> Tensor | None:
    """The teachers' logits of the training images (teachers, N, C), kept in the run folder.

    None where there is no teacher, or where augmentation makes an image look otherwise each time.
    """
    if not teachers or setup.augment() != setup.scan(setup.train).augment:
        return None
    compute = partial(_logits, setup, teachers)
    found = run.once("teachers-logits", compute, sides=teachers, images=setup.train)
    return torch.from_numpy(found["logits"]).to(setup.device)


def _logits(setup: Setup, teachers: Sequence[Predictor]) -> Arrays:
    out = np.zeros((len(teachers), len(setup.train), len(setup.train.classes)), np.float32)

    def ask(x: Tensor) -> Tensor:
        return torch.stack([teacher.logits(x) for teacher in teachers], 1)

    with progress("teachers' logits", len(setup.train)) as on_progress:
        done = 0
        for rows, said in outputs(ask, setup.scan(setup.train)):
            out[:, rows] = said.cpu().numpy().swapaxes(0, 1)
            on_progress(done := done + len(rows))
    return {"logits": out}
