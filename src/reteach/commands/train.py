"""``reteach train METHOD``: a run from its beginning."""

from __future__ import annotations

from ..options.train import TrainOptions
from ..runs import train as runs
from ..runs.config import Config
from .trained import TrainResult


def train(options: TrainOptions) -> TrainResult:
    """Train.

    Raises:
        UserError: inputs that do not fit each other, or a folder that holds something else.
    """
    config = Config(
        options.method,
        options.settings,
        options.data,
        options.model,
        options.training,
        options.output,
    )
    return TrainResult.of(runs.train(config))
