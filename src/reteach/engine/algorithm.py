"""An algorithm: what happens to a batch, and what predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import Tensor

from ..recorded import recorded
from .learner import Predictor

if TYPE_CHECKING:
    from ..data.loading.batch import Batch


@recorded("specialist")
@final
@recorded("specialist")
@dataclass(frozen=True, eq=False)
class Specialist:
    """A model for some of the classes only.

    Args:
        predictor: its outputs are ``classes``.
        classes: in the order of the outputs.
    """

    predictor: Predictor
    classes: tuple[str, ...]


class Algorithm(ABC):
    """The whole interface between a method and the engine.

    Subclasses are final dataclasses. Their fields are their learners, memories (tensors) and settings;
    a snapshot finds the first two by itself. Nothing else may change from step to step: phases, rates
    and random choices are functions of the step.
    """

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Learn from one batch; return named scalars to log (detached, on the device)."""

    @abstractmethod
    def predictors(self) -> dict[str, Predictor]:
        """What can be evaluated, by name; the first one is *the* model."""

    def specialists(self) -> dict[str, Specialist]:
        """Models for some of the classes, to be kept with the run, by name; most methods have none."""
        return {}
