"""A model's logits of *being named* as logits of *being present*: the map that a calibration leaves behind.

:mod:`reteach.relabel.calibration.presence` makes it; a predictor that has one puts it behind its networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import sealed
from ..errors import UserError

Link = Literal["softmax", "sigmoid"]


def odds(logits: Tensor, link: Link) -> Tensor:
    """(B, C) log p/(1 - p) of the probabilities that ``link`` makes of logits, in float32.

    For softmax that is z_c - log Σ_{k≠c} exp z_k.
    """
    if link == "sigmoid":
        return logits.float()
    p = logits.double().log_softmax(-1)
    return (p - torch.log1p(-p.exp().clamp_max(1 - 1e-15))).float()


def mapped(z: Tensor, table: Tensor, low: float, step: float) -> Tensor:
    """Log-odds (B, C) through the piecewise linear maps of ``table`` (C or 1, G); see :class:`Presence`."""
    at = (z - low) / step
    left = at.floor().clamp(0, table.shape[1] - 2)
    index = left.long().T
    if len(table) == 1:
        a, b = table[0][index].T, table[0][index + 1].T
    else:
        a, b = table.gather(1, index).T, table.gather(1, index + 1).T
    return a + (at - left) * (b - a)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Presence:
    """A piecewise linear, strictly rising map for each class, or one for all.

    Args:
        classes: (C,) names.
        link: how the networks' own logits become probabilities.
        low, step: the knots are at low, low + step, …
        table: (C or 1, G) float32, calibrated logits at the knots; the outer pieces go on beyond them.
    """

    classes: tuple[str, ...]
    link: Link
    low: float
    step: float
    table: NDArray[np.float32]

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, C) logits of the networks to calibrated logits."""
        return self.of_odds(odds(logits, self.link))

    def of_odds(self, z: Tensor) -> Tensor:
        """The same from log-odds (B, C)."""
        return mapped(z, torch.from_numpy(self.table).to(z.device), self.low, self.step)

    def plain(self) -> dict[str, object]:
        """As JSON allows."""
        return {
            "classes": self.classes,
            "link": self.link,
            "low": self.low,
            "step": self.step,
            "table": [[round(float(v), 5) for v in row] for row in self.table],
        }


def load_presence(file: Path, classes: tuple[str, ...]) -> Presence:
    """The map in a file.

    Raises:
        UserError: a damaged file, or a map for another class list.
    """
    try:
        content = sealed.read_json(file, "calibrate again, or delete it")
        table = np.array(content["table"], np.float32)
        found = Presence(
            tuple(content["classes"]),
            content["link"],
            float(content["low"]),
            float(content["step"]),
            table,
        )
        sound = (
            found.link in ("softmax", "sigmoid")
            and table.ndim == 2
            and table.shape[1] >= 2
            and len(table) in (1, len(found.classes))
            and bool(np.isfinite(table).all())
            and found.step > 0
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}): calibrate again, or delete it") from None
    if not sound:
        raise UserError(f"{file} is damaged: calibrate again, or delete it")
    if found.classes != classes:
        other = next((c for c in found.classes if c not in classes), found.classes[0])
        raise UserError(
            f"{file} is a calibration of another class list ({len(found.classes)} classes, {other!r} "
            f"among them; the model has {len(classes)}): calibrate again, or delete it"
        )
    return found
