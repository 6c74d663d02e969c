"""Early stopping: how long no validation was better, and the weights of the best one.

What was seen so far is a function of the log, which is cut back to the snapshot where a run goes on: so a
resumed run stops where the undisturbed one does, and keeps the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch

from .. import sealed
from ..files import atomic_path
from ..recorded import recorded
from . import distributed
from .algorithm import Algorithm
from .learner import Predictor
from .sharding import copy_of, full_state


@final
@recorded("patience")
@dataclass(frozen=True)
class Patience:
    """When to stop.

    Args:
        count: validations in a row without a better number.
        metric: the number; more is better.
    """

    count: int
    metric: str


@final
@dataclass(eq=False)
class BestModel:
    """The best validation of a stage, and its weights.

    Args:
        patience: when to stop.
        file: where the weights are kept; None: in memory.
        step: of the best validation; of equal ones the first counts.
        value: its number; None: there was none yet.
        seen: the step of the last validation.
    """

    patience: Patience
    file: Path | None
    step: int = field(default=0, init=False)
    value: float | None = field(default=None, init=False)
    seen: int = field(default=0, init=False)
    _since: int = field(default=0, init=False)
    _memory: dict[str, Any] | None = field(default=None, init=False)

    @property
    def enough(self) -> bool:
        """Whether the stage ends here."""
        return self._since >= self.patience.count

    def replay(self, records: Iterable[Mapping[str, Any]], stage: str) -> None:
        """See again what an earlier attempt logged: of each step the first evaluation."""
        steps: dict[int, float | None] = {}
        for record in records:
            if record.get("stage") == stage and record.get("kind") == "eval":
                steps.setdefault(int(record["step"]), record.get(self.patience.metric))
        for step, value in steps.items():
            self._better(step, value)

    def see(self, step: int, value: float | None, predictor: Predictor) -> None:
        """A validation: keep the weights if it is the best so far."""
        if not self._better(step, value):
            return
        models = [
            {name: tensor.detach().cpu().clone() for name, tensor in full_state(model).items()}
            for model in predictor.models
        ]
        content = {"step": step, "models": models}
        if self.file is None:
            self._memory = content
            return
        with distributed.together():
            if distributed.rank() == 0:
                with atomic_path(self.file) as part:
                    with open(part, "wb") as out:  # to a path, torch hides why it could not write
                        torch.save(content, out)
                    sealed.seal(part)

    def predictor(self, algorithm: Algorithm) -> Predictor | None:
        """The algorithm's first predictor with the best weights.

        Raises:
            UserError: the file is damaged.
        """
        if self.value is None:
            return None
        file = self.file
        content = self._memory if file is None else distributed.of_first(lambda: _read(file))
        if (
            content is None or content["step"] != self.step
        ):  # on a GPU a repeated stretch may differ
            return None
        last = next(iter(algorithm.predictors().values()))
        of_each = zip(last.models, content["models"], strict=True)
        models = tuple(copy_of(model, state) for model, state in of_each)
        return replace(last, models=models)

    def _better(self, step: int, value: float | None) -> bool:
        self.seen = step
        known = value is not None and math.isfinite(value)
        if known and (self.value is None or value > self.value):  # type: ignore[operator]
            self.step, self.value, self._since = step, value, 0
            return True
        self._since += 1
        return False


def _read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    sealed.check(file, f"delete {file.parent} to start this stage again")
    content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return content
