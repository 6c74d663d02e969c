"""Mixup and cutmix of whole batches, as timm defines them (``timm.data.Mixup``, mode *batch*).

Zhang et al., *mixup: Beyond Empirical Risk Minimization* (ICLR 2018); Yun et al., *CutMix* (ICCV 2019). With
λ ~ Beta(α, α), one for the batch, each image is mixed with the one that stands opposite (the batch in
reverse), and so are the targets:

    mixup    x ← λ x + (1 - λ) x'
    cutmix   a box of √(1 - λ) of each side comes from x'; its centre is anywhere, what falls outside is
             cut off, and λ becomes the share of x that is left
    both     y ← λ y + (1 - λ) y'

Of both, each batch draws one. timm draws from numpy's global generator; here the draw is a function of
(seed, stream, step), so that a resumed run mixes alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
from torch import Tensor

from ... import rng
from ...recorded import recorded
from .batch import Batch


class Box(NamedTuple):
    """Rows and columns of pixels, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


Reverse = Callable[[Tensor], Tensor]


def flipped(part: Tensor) -> Tensor:
    """A whole batch in reverse."""
    return part.flip(0)


@final
@recorded("mix")
@dataclass(frozen=True)
class Mix:
    """Batch -> mixed batch.

    Args:
        mixup, cutmix: α of each; 0: never.
        seed, name: of the run and the stream.
    """

    mixup: float
    cutmix: float
    seed: int
    name: str

    def draw(self, step: int, height: int, width: int) -> tuple[float, Box | None]:
        """λ of a step, and the box of cutmix; None: mixup."""
        chance = np.random.default_rng(rng.fold(self.seed, self.name, "mix", step))
        cut = chance.random() < 0.5 if self.mixup and self.cutmix else bool(self.cutmix)
        alpha = self.cutmix if cut else self.mixup
        lam = float(chance.beta(alpha, alpha))
        if not cut:
            return lam, None
        side = np.sqrt(1 - lam)
        box = Box(
            *_span(int(height * side), int(chance.integers(height)), height),
            *_span(int(width * side), int(chance.integers(width)), width),
        )
        return 1 - (box.bottom - box.top) * (box.right - box.left) / (height * width), box

    def __call__(self, batch: Batch, reverse: Reverse = flipped) -> Batch:
        """The batch, mixed with its reverse; what was not read in one of the two adds nothing.

        Args:
            reverse: part of a batch -> the same part of the whole batch in reverse.
        """
        lam, box = self.draw(batch.step, *batch.x.shape[-2:])
        other = reverse(batch.x)
        if box is None:
            x = _mean(batch.x, other, lam)
        else:
            at = (..., slice(box.top, box.bottom), slice(box.left, box.right))
            x = batch.x.clone()
            x[at] = other[at]
        known = None if batch.known is None else batch.known & reverse(batch.known)
        y = _mean(batch.y, reverse(batch.y), lam)
        readable = batch.readable * reverse(batch.readable)
        return replace(batch, x=x, y=y, known=known, readable=readable)


def _span(length: int, centre: int, side: int) -> tuple[int, int]:
    start, stop = np.clip((centre - length // 2, centre + (length + 1) // 2), 0, side).tolist()
    return start, stop


def _mean(one: Tensor, other: Tensor, lam: float) -> Tensor:
    return one * lam + other * (1 - lam)
