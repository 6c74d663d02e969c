"""MILe's pseudo-labels: by threshold, drawn, or by calibration; per batch or once per cycle.

See :mod:`reteach.methods.mile` for what the paper says of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor

from .. import rng
from ..data.loading.batch import Batch
from ..data.loading.stream import Scan
from ..engine import distributed
from ..engine.evaluate import outputs
from ..errors import UserError
from ..labels import Rows, Single
from ..models.presence import Presence
from ..recorded import recorded
from ..relabel.calibration.logit_histogram import LogitHistogram
from ..relabel.calibration.presence import calibrate
from .distill import Targets


@recorded("sample-bernoulli")
def sample_bernoulli(logits: Tensor) -> Tensor:
    """ỹ ~ Bernoulli(σ(logits)), (B, C) bool: the authors' alternative to the threshold."""
    p = logits.sigmoid()
    if distributed.world() == 1:
        return torch.bernoulli(p).bool()
    drawn = torch.Generator(p.device).manual_seed(distributed.common_seed())
    return distributed.own_slice(torch.bernoulli(distributed.gather(p), generator=drawn)).bool()


@final
@recorded("calibrated-targets")
@dataclass(eq=False)
class Calibrated:
    """ỹ by calibration of the teacher, made anew in each cycle; without one, σ(logits) > ``otherwise``.

    Args:
        images: what the teacher is calibrated on, with one label each.
        soft: pass on the probabilities of presence instead of the sets.
        otherwise: the threshold where the scores cannot tell.
        why: it was the threshold in the last cycle; empty where the teacher could be calibrated.
    """

    images: Scan
    soft: bool = False
    otherwise: float = 0.25
    why: str = field(default="", init=False)
    _presence: Presence | None = field(default=None, init=False)
    _begun: bool = field(default=False, init=False)

    def begin(self, teacher: Callable[[Tensor], Tensor], fresh: bool) -> None:
        """Calibrate a teacher: a ``fresh`` one, or after a run was resumed the one that was at work."""
        if self._begun and not fresh:
            return
        histogram = LogitHistogram(self.images.dataset.classes, bins=512)
        labels = self.images.dataset.labels
        assert isinstance(labels, Single)
        for rows, z in outputs(teacher, self.images):
            histogram.add(z.cpu().numpy(), labels.index[rows])
        self._presence, self._begun = None, True
        try:
            found = calibrate(histogram, "sigmoid")
        except UserError as error:  # too few images, or scores that are all the same
            self.why = str(error)
            return
        self.why = "; ".join(found.warnings)
        self._presence = None if found.warnings else found.presence

    def works(self) -> bool:
        """Whether the teacher at work could be calibrated."""
        return self._presence is not None

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, C) targets."""
        if self._presence is None:
            return logits.sigmoid() > self.otherwise
        p = self._presence(logits).sigmoid()
        return p if self.soft else p > 0.5


@final
@recorded("pseudo-labeler")
@dataclass(eq=False)
class PseudoLabeler:
    """What passes from a teacher to its student: ``labeler(teacher, batch, cycle, fresh)``.

    Args:
        targets: logits -> ỹ, and the losses of both phases.
        union: add the given label to each pseudo-label set.
        images: scan the data set once per cycle for the targets, instead of labelling each batch.
        calibrated: the targets, where they are made by calibration.
        draws: seed of the pseudo-labels of a cycle, where they are drawn; those of a batch are drawn with
            the step's own random numbers.
    """

    targets: Targets
    union: bool = False
    images: Scan | None = None
    calibrated: Calibrated | None = None
    draws: int | None = None
    _memory: Tensor | None = field(default=None, init=False)

    def __call__(
        self, teacher: Callable[[Tensor], Tensor], batch: Batch, cycle: int, fresh: bool
    ) -> Tensor:
        """ỹ of the batch, (B, C) (line 10); ``fresh`` at the first step of a teacher."""
        if self.calibrated is not None:
            self.calibrated.begin(teacher, fresh)
        if self.images is None:
            return self.label(teacher, batch)
        if self._memory is None or fresh:
            self._memory = self.label_all(teacher, cycle)
        return self._with_given(self._memory[batch.rows], batch)

    def label(self, teacher: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """(B, C) targets for this very batch."""
        return self._with_given(self.targets.of(teacher(batch.x)), batch)

    def _with_given(self, targets: Tensor, batch: Batch) -> Tensor:
        return torch.maximum(targets.float(), batch.y) if self.union else targets.float()

    def label_all(self, teacher: Callable[[Tensor], Tensor], cycle: int) -> Tensor:
        """(N, C) targets of the whole data set, in their own type (bool for label sets).

        They are a function of the teacher and the cycle, so that a resumed run makes the same again.
        """
        assert self.images is not None
        draws = None if self.draws is None else rng.fold(self.draws, "cycle", cycle)
        say = self.targets.of if draws is None else torch.sigmoid
        memory: Tensor | None = None
        for rows, found in outputs(lambda x: say(teacher(x)), self.images):
            if draws is not None:
                found = found > _chances(draws, rows, found)
            if memory is None:
                n = len(self.images.dataset)
                memory = torch.zeros(n, found.shape[-1], dtype=found.dtype, device=found.device)
            memory[torch.from_numpy(rows)] = found.to(memory.device)
        if memory is None:
            raise UserError("no image could be read for the pseudo-labels of a cycle")
        return memory.to(self.images.prepare.device)

    def counted(self, targets: Tensor) -> dict[str, Tensor]:
        """Labels per image, where targets are sets; and whether they were made by calibration."""
        found = {"pseudo_labels": targets.sum(-1).mean()} if self.targets.link == "sigmoid" else {}
        if self.calibrated is not None:
            found["calibrated"] = torch.tensor(
                float(self.calibrated.works()), device=targets.device
            )
        return found


def _chances(seed: int, rows: Rows, like: Tensor) -> Tensor:
    """A number in [0, 1) for each of the rows and classes of ``like`` (B, C), where that is."""
    places = rows[:, None] * like.shape[-1] + np.arange(like.shape[-1])
    return torch.from_numpy(rng.uniform(seed, places)).to(like)
