"""The teachers of ``cpsd``, trained and put together (Eqs. 3-5); see :mod:`reteach.methods.cpsd`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from torch import Tensor, nn

from ..data.loading.samplers import Epochs, SubsetSampler
from ..engine.algorithm import Specialist
from ..engine.learner import Predictor
from ..engine.log import Sink
from ..engine.run import Run
from ..relabel.partition.class_subsets import Subsets
from .cpsd_plan import TeacherPlan, narrowed
from .supervised import Supervised, asymmetric_loss

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import CpsdOptions as Options


def teach(plan: TeacherPlan, options: Options, setup: Setup, run: Run, *sinks: Sink) -> Supervised:
    """Eq. 3: a teacher, trained now, resumed or loaded."""
    data = narrowed(setup.train, plan.classes).subset(plan.rows)
    own = replace(setup, train=data, total=plan.steps, judge=None)
    learner = own.learner(plan.name, prior_bias=options.prior_bias, classes=plan.classes)
    order = None
    if not setup.rebalance:
        whole = Epochs(np.arange(len(setup.train)), setup.seed, "teachers")
        order = SubsetSampler(whole, plan.rows)
    stream = own.stream("teachers", order=order)
    algorithm = Supervised(learner, asymmetric_loss(options), "sigmoid")
    return run.branch(plan.name, *sinks).train(plan.name, algorithm, stream, **own.budget())


@final
class Merged(nn.Module):
    """ρ of Eq. 5: the teachers of one side as one network for all classes.

    Args:
        teachers: for some of the classes each.
        subsets: their classes; together they hold each of ``classes`` once.
        classes: the order of the outputs.
    """

    def __init__(
        self, teachers: Sequence[nn.Module], subsets: Subsets, classes: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        place = {name: i for i, name in enumerate(name for subset in subsets for name in subset)}
        if len(place) != len(classes) or sum(map(len, subsets)) != len(classes):
            raise ValueError("each class needs one teacher per side")
        self.order = [place[name] for name in classes]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> logits (B, C)."""
        return torch.cat([teacher(x) for teacher in self.teachers], -1)[:, self.order]


def merge(teachers: list[Specialist], setup: Setup) -> Predictor:
    """Eq. 5: the teachers of one side as one model."""
    models = [teacher.predictor.models[0] for teacher in teachers]
    subsets = tuple(teacher.classes for teacher in teachers)
    model = Merged(models, subsets, setup.train.classes)
    return Predictor((model,), "sigmoid", setup.model.precision)
