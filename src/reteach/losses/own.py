"""A loss of the user's: from logits and integer or one-hot targets to a loss per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from ..errors import UserError
from ..recorded import recorded

Targets = Literal["integer", "one-hot"]


@final
@recorded("own-loss")
@dataclass(frozen=True)
class OwnLoss:
    """(logits (B, C), targets (B, C)) -> (B,), by a function of the user's.

    Args:
        name: its qualified name and a digest of its source.
        targets: what it is given: (B,) class numbers, or (B, C) as they are.
    """

    name: str
    targets: Targets
    _function: Any = None

    def __call__(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """The loss of each image.

        Raises:
            UserError: unknown classes, targets that are not one class each, or another shape.
        """
        if known is not None:
            raise UserError(
                "a loss of your own cannot leave unknown classes out: use one of reteach's"
            )
        if self.targets == "integer":
            if not ((targets.max(-1).values == 1) & (targets.sum(-1) <= 1)).all():
                raise UserError(
                    "these targets are not one class each, as class numbers are: give loss_targets='one-hot'"
                )
            targets = targets.argmax(-1)
        loss = self._function(logits.float(), targets)
        if not isinstance(loss, torch.Tensor) or loss.shape != logits.shape[:1]:
            shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise UserError(
                f"loss gives {shape} for {len(logits)} images: it must give one number each "
                "(reduction='none', and of a loss per class .mean(-1))"
            )
        return loss
