"""Trainings of one method for a whole grid of rates and weight decays at once, by the method's own recipe.

For methods whose loss is their own (ELR's memory, NCT's peers): what is searched is what will be trained.
The data set stands G times behind itself, once for each point of the grid, and a batch holds the same images
for every point. Its "pictures" are row numbers, and the network looks their features up: one layer of G·C
outputs, so that a batch costs one product of matrices. As losses are per example and a batch's loss is
their mean, a point's gradient is a G-th of what it would be alone; a hook on the weights gives it back, adds
the point's weight decay and multiplies by the point's rate. SGD is linear in its gradients, momentum
included, so this is SGD with that rate and decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.sources.base import ArraySource
from ..labels import Rows
from ..models.feature_heads import LENGTH
from ..options import shared as options
from ..recorded import recorded
from . import distributed
from .recipe import Recipe
from .run import Run
from .setup import Setup

Pair = tuple[float, float]
"""A rate and a weight decay."""


@final
@recorded("grid-net")
class GridNet(nn.Module):
    """G linear layers side by side.

    In training a batch is G times the same rows, one point of the grid after the other; in evaluation any.

    Args:
        z: (N, D) standardised features, which row numbers stand for.
        grid: rate and weight decay of each point.
        classes: C.
        seed: of the weights, which are the same for all points.
        drop_rate: of the dropout before the linear layer.
        others: of an architecture, without meaning for a linear layer.
    """

    def __init__(
        self,
        z: Tensor,
        grid: Sequence[Pair],
        classes: int,
        seed: int,
        drop_rate: float = 0.0,
        **others: Any,
    ) -> None:
        super().__init__()
        self.z, self.points, self.classes, self.drop_rate = z, len(grid), classes, drop_rate
        draw, bound = torch.Generator().manual_seed(seed), z.shape[1] ** -0.5
        first = (torch.rand((classes, z.shape[1]), generator=draw) * 2 - 1) * bound
        self.weight = nn.Parameter(first.repeat(len(grid), 1))
        self.bias = nn.Parameter(torch.zeros(len(grid) * classes))
        rate, decay = torch.tensor(grid).repeat_interleave(classes, 0).unbind(1)
        own, points = self.weight, len(grid)
        hook: Any = own.register_hook
        hook(lambda g: rate[:, None] * (points * g + decay[:, None] * own.detach()))
        hook = self.bias.register_hook
        hook(lambda g: rate * points * g)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures of the numbers g·N + row, (B, 3, 1, 1), to the logits (B, C) of point g."""
        point, row = numbers(x).div(len(self.z), rounding_mode="floor"), numbers(x) % len(self.z)
        if self.training:
            each = len(row) // self.points
            seen = F.dropout(self.z[row[:each]], self.drop_rate)
            out = F.linear(seen, self.weight, self.bias).view(each, self.points, self.classes)
            return out.transpose(0, 1).reshape(len(row), self.classes)
        found = torch.empty(len(row), self.classes)
        for number in set(point.tolist()):
            mine, at = point == number, slice(number * self.classes, (number + 1) * self.classes)
            found[mine] = F.linear(self.z[row[mine]], self.weight[at], self.bias[at])
        return found


def pictures(count: int) -> ArraySource:
    """The numbers below ``count`` as pictures of one pixel: three bytes each."""
    number = np.arange(count)
    pixels = np.stack([number >> shift & 255 for shift in (0, 8, 16)], -1)
    return ArraySource(pixels.astype(np.uint8).reshape(count, 1, 1, 3))


def numbers(x: Tensor) -> Tensor:
    """(B,) what the pictures (B, 3, 1, 1) stand for."""
    return (x.flatten(1).long() * torch.tensor([1, 256, 65536])).sum(1)


def trained_grid(
    recipe: Recipe,
    settings: Any,
    data: Dataset,
    x: Tensor,
    learn: Rows,
    grid: Sequence[Pair],
    training: options.Training,
    steps: int,
    rebalance: float = 0.0,
    balanced_epoch: int | None = None,
) -> Tensor:
    """(G, M, C) logits of the images that are not learned from, in their order, for each point of the grid.

    Args:
        data: N labelled images.
        x: (N, D) their features.
        learn: (L,) rows to learn from.
        training: batch size, schedule, momentum and seed.
        steps: of the training.
        rebalance, balanced_epoch: how often classes are drawn, as in :class:`~reteach.options.shared.Data`.
    """
    count, points = len(x), len(grid)
    mean, var = x[learn].mean(0), x[learn].var(0, correction=0)
    z = (x - mean) * (LENGTH * x.shape[1] ** -0.5 / (var + 1e-5).sqrt())
    starts = np.arange(points)[:, None] * count
    rows = (starts + learn).ravel()
    source = pictures(points * count)
    tiled = Dataset(source, data.labels.take(rows % count), rows)
    each = min(training.batch_size, len(learn))
    setup = Setup(
        train=tiled,
        judge=None,
        build=partial(_build, z, grid, data.labels.num_classes),
        frozen=_none,
        model=options.Model("linear"),
        training=replace(
            training,
            lr=1.0,
            weight_decay=0.0,
            batch_size=each * points,
            clip=None,
            average=None,
            accumulate=1,
            patience=None,
            mixup=0.0,
            cutmix=0.0,
            augment="none",
        ),
        image_size=None,
        prepare=Normalize((0.0,) * 3, (1 / 255,) * 3),
        total=steps,
        seed=training.seed,
        rebalance=rebalance,
        balanced_epoch=balanced_epoch,
        trial=points,
    )
    with distributed.alone():
        predictor = next(
            iter(recipe(setup, settings, Run.memory(training.seed)).predictors().values())
        )
    held = np.setdiff1d(np.arange(count), learn)
    seen = torch.from_numpy(source.batch((starts + held).ravel())).permute(0, 3, 1, 2)
    return predictor.logits(seen).view(points, len(held), -1)


def _build(
    z: Tensor, grid: Sequence[Pair], classes: int, seed: int, network: None = None, **others: Any
) -> GridNet:
    return GridNet(z, grid, classes, seed, **others)


def _none(path: Path, predictor: str | None) -> NoReturn:
    raise AssertionError(f"a linear layer learns from no other run, and not from {path}")
