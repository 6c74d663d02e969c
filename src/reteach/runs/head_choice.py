"""The rate and the weight decay of a linear layer on features, chosen on held-out *given* labels.

One rate does not suit every loss: the mean of C sigmoids moves C times slower than a softmax. Where neither
is given, a grid of rates, then of weight decays at the best, then of higher rates at the best of these, is
trained with the loss, the batch size and the schedule of the run on two thirds of the training images and
judged by the mean loss on the last third, three times over. The usual values stay unless others are better by
two standard errors of the paired difference and by 0.2% of the loss. Labels of validation or test images have
no say.

A method with a loss of its own is trained by itself (:mod:`reteach.engine.head_trials`) and judged by first
choices, at a grid of rates and of weight decays; see :class:`_OwnLoss`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import rng, sealed
from ..data.dataset import Dataset
from ..data.sources.base import features_of
from ..engine import distributed
from ..engine.head_trials import Pair, trained_grid
from ..engine.optimizer import peak_of, schedule_of, weight_decay_of
from ..engine.recipe import Recipe
from ..engine.setup import Setup
from ..labels import Single, Soft
from ..models.feature_heads import LENGTH
from ..options import shared as options
from ..options.methods import METHODS
from ..progress import Progress, progress
from .config import Config

FILE = "head.json"
RATES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Multiples of the usual rate; of a mean over C classes of C times it."""
HIGHER = (3.0, 10.0)
"""Multiples of the best of them, at the weight decay that is chosen for it."""
DECAYS = (1e-3, 3e-3, 1e-2, 3e-2)
"""Beside the usual one; of a mean over C classes a C-th of them."""
FOLDS = 3
IMAGES, STEPS = 6_000, 4_000
"""The most images and steps of a fold's training."""
SURE = 2.0
"""Standard errors by which others must be better than the usual values, and"""
LEAST = 0.002
"""the share of the loss."""


@final
@dataclass(frozen=True)
class HeadChoice:
    """What was chosen.

    Args:
        lr: rate.
        weight_decay: of the weights.
        loss: rate and weight decay, as "lr 0.05, weight decay 0.0001" -> mean loss on held-out given labels.
        images: that had a say.
    """

    lr: float
    weight_decay: float
    loss: dict[str, float]
    images: int

    def tell(self, setup: Setup, given: options.Training) -> None:
        """Say what was chosen, and keep it in the run's record.

        Args:
            given: the settings, of which those are told that were left open.
        """
        why = f"chosen on held-out given labels of {self.images:,} training images ({FILE})"
        for name in ("lr", "weight_decay"):
            if getattr(given, name) is None:
                setup.derive(name, getattr(self, name), why)


def choice_for(
    config: Config, train: Dataset, total: int, folder: Path | None, recipe: Recipe
) -> HeadChoice | None:
    """The choice for a training, that of the folder where one was made; None: nothing is left open.

    Args:
        total: steps.
        folder: of the run, which keeps the choice; None: nowhere.
        recipe: what trains the method.
    """
    training, method = config.training, METHODS[config.method]
    open_ = training.lr is None or training.weight_decay is None
    linear = features_of(train.source) is not None and config.model.model == "linear"
    if method.head_loss is None or not open_ or not linear or training.optimizer != "sgd":
        return None
    if isinstance(train.labels, Soft) or len(train) < 2 * FOLDS:
        return None
    file = None if folder is None else folder / FILE
    if distributed.share(file is not None and file.is_file()):
        assert file is not None
        return distributed.of_first(lambda: _read(file))
    if method.head_loss == "own":
        own = partial(
            trained_grid,
            recipe,
            config.settings,
            rebalance=config.data.rebalance,
            balanced_epoch=config.data.balanced_epoch,
        )
        found = _chosen(_OwnLoss.of(train, training, total, own), training, 1.0)
    else:
        summed = bool(getattr(config.settings, "class_sum", False))
        steps = max(1, total // method.networks)
        found = choose(train, training, method.head_loss, steps, summed)
    found = distributed.share(found)
    if file is not None and distributed.rank() == 0:
        sealed.write_json(file, asdict(found))
    return found


def _read(file: Path) -> HeadChoice:
    return HeadChoice(**sealed.read_json(file, "train again with another --out", old=False))


def choose(
    train: Dataset,
    training: options.Training,
    loss: Literal["softmax", "sigmoid"],
    total: int,
    summed: bool = False,
) -> HeadChoice:
    """Search the rate, then the weight decay at that rate; see the module.

    Args:
        train: features.
        loss: softmax cross-entropy, or the binary one of each class.
        total: steps of the training.
        summed: the binary ones are summed over the classes, not averaged.
    """
    slow = 1.0 if loss == "softmax" or summed else 1 / len(train.classes)
    return _chosen(_Search.of(train, training, loss, total, summed), training, slow)


def _chosen(search: _Search | _OwnLoss, training: options.Training, slow: float) -> HeadChoice:
    """The rate, then the weight decay at that rate.

    Args:
        slow: how fast the loss moves beside a softmax.
    """
    usual = (peak_of(training), weight_decay_of(training))
    rates = [usual[0]] if training.lr is not None else [usual[0] * m / slow for m in RATES]
    decays = [usual[1]]
    if training.weight_decay is None:
        decays = sorted({usual[1] * slow, usual[1], *(decay * slow for decay in DECAYS)})
    seen: dict[Pair, NDArray[np.float64]] = {}
    stages = 3 if search.higher and training.lr is None else 2
    with progress("rate and weight decay", stages * FOLDS) as on_progress:
        best = _best(search, [usual, *((rate, usual[1]) for rate in rates)], seen, on_progress, 0)
        best = _best(search, [(best[0], decay) for decay in decays], seen, on_progress, 1)
        if stages == 3:  # with more decay a higher rate does no harm, and comes further
            best = _best(search, [(best[0] * m, best[1]) for m in HIGHER], seen, on_progress, 2)
    gain = seen[usual] - seen[best]
    least = max(LEAST * float(seen[usual].mean()), SURE * float(gain.std()) / len(gain) ** 0.5)
    if search.stays and gain.mean() <= least:
        best = usual
    said = {f"lr {r:g}, weight decay {d:g}": float(v.mean()) for (r, d), v in sorted(seen.items())}
    return HeadChoice(best[0], best[1], said, len(search.y))


def _best(
    search: _Search | _OwnLoss,
    grid: Sequence[Pair],
    seen: dict[Pair, NDArray[np.float64]],
    on_progress: Progress,
    number: int,
) -> Pair:
    """The best of the grid of this number and of what was seen before; adds the grid to that."""
    new = [pair for pair in dict.fromkeys(grid) if pair not in seen]
    if new:
        losses = search.losses(new, lambda done: on_progress(number * FOLDS + done))
        seen |= dict(zip(new, losses, strict=True))
    return min(seen, key=lambda pair: float(seen[pair].mean()))


@final
@dataclass(frozen=True, eq=False)
class _Search:
    """The trainings of a grid, all at once.

    Args:
        x: (N, D) features, float32.
        y: (N, C) 1 present, 0 absent.
        known: (N, C) 0: unknown.
        fold: (N,).
    """

    x: Tensor
    y: Tensor
    known: Tensor
    fold: NDArray[np.int64]
    training: options.Training
    loss: str
    steps: int
    scale: float
    stays: ClassVar[bool] = True
    """The usual values stay unless others are surely better."""
    higher: ClassVar[bool] = True
    """Whether higher rates are tried at the weight decay that was chosen."""

    @staticmethod
    def of(
        train: Dataset, training: options.Training, loss: str, total: int, summed: bool
    ) -> _Search:
        few, x, fold = _sample(train, training.seed)
        y = torch.from_numpy(few.labels.present().astype(np.float32))
        entries = few.labels.known_entries()
        known = torch.ones_like(y)
        if entries is not None and not isinstance(few.labels, Single):
            known = torch.from_numpy(np.broadcast_to(entries, y.shape).astype(np.float32).copy())
        steps = _steps(total, few, train)
        scale = 1.0 if loss == "softmax" or summed else 1 / y.shape[1]
        return _Search(x, y, known, fold, training, loss, steps, scale)

    def losses(
        self, grid: list[Pair], on_progress: Callable[[int], None]
    ) -> list[NDArray[np.float64]]:
        """The held-out loss (N,) of each image for each (rate, weight decay)."""
        found = np.zeros((len(grid), len(self.y)))
        for number in range(FOLDS):
            held = torch.from_numpy(self.fold == number)
            z = self._fit(~held, grid, number)(self.x[held])
            found[:, held.numpy()] = self._loss(z, self.y[held], self.known[held]).numpy()
            on_progress(number + 1)
        return list(found)

    def _loss(self, z: Tensor, y: Tensor, known: Tensor) -> Tensor:
        """(G, N, C) logits -> (G, N)."""
        if self.loss == "softmax":
            return -(z.log_softmax(-1) * y).sum(-1)
        return ((torch.nn.functional.softplus(z) - z * y) * known).sum(-1)

    def _fit(self, rows: Tensor, grid: list[Pair], number: int) -> Callable[[Tensor], Tensor]:
        """Train a linear layer for each point of the grid, on the same batches; returns x -> logits."""
        x, y, known = self.x[rows], self.y[rows], self.known[rows]
        mean, scale = (
            x.mean(0),
            LENGTH * x.shape[1] ** -0.5 / (x.var(0, correction=0) + 1e-5).sqrt(),
        )
        z = (x - mean) * scale
        draw = torch.Generator().manual_seed(rng.fold(self.training.seed, "head choice", number))
        rates = torch.tensor([rate for rate, _ in grid])[:, None, None]
        decay = torch.tensor([each for _, each in grid])[:, None, None]
        bound = x.shape[1] ** -0.5
        w = (torch.rand((y.shape[1], x.shape[1]), generator=draw) * 2 - 1) * bound
        w = w.repeat(len(grid), 1, 1)
        b = torch.zeros(len(grid), 1, y.shape[1])
        moved, moved_b = torch.zeros_like(w), torch.zeros_like(b)
        steps, size = self.steps, min(self.training.batch_size, len(x))
        rate = schedule_of(replace(self.training, lr=1.0), steps)
        order = torch.zeros(0, dtype=torch.int64)
        ahead = 0.9 if self.training.nesterov else 0.0
        for step in range(steps):
            if len(order) < size:
                order = torch.cat([order, torch.randperm(len(x), generator=draw)])
            batch, order = order[:size], order[size:]
            logits = z[batch] @ w.transpose(1, 2) + b
            wrong = logits.softmax(-1) if self.loss == "softmax" else logits.sigmoid()
            wrong = (wrong - y[batch]) * known[batch] * (self.scale / size)
            slope, slope_b = wrong.transpose(1, 2) @ z[batch] + decay * w, wrong.sum(1, True)
            moved, moved_b = 0.9 * moved + slope, 0.9 * moved_b + slope_b
            now = rates * rate(step)
            w -= now * (slope + ahead * moved if ahead else moved)
            b -= now * (slope_b + ahead * moved_b if ahead else moved_b)
        return lambda new: (new - mean) * scale @ w.transpose(1, 2) + b


@final
@dataclass(frozen=True, eq=False)
class _OwnLoss:
    """The trainings of a method whose loss is its own, judged by the labels that its first choice misses.

    Not by the loss on given labels: what resists noise is surer than noisy labels are, by design, and a
    proper loss of these punishes it for that. First choices are what is wanted of it.

    Args:
        data: N labelled images.
        x: (N, D) their features, float32.
        fold: (N,).
        train: :func:`~reteach.engine.head_trials.trained_grid` of the method.
    """

    data: Dataset
    x: Tensor
    fold: NDArray[np.int64]
    training: options.Training
    steps: int
    train: Callable[..., Tensor]
    stays: ClassVar[bool] = False
    higher: ClassVar[bool] = False
    """The usual values are those of a softmax, so nothing speaks for them."""

    @staticmethod
    def of(
        train: Dataset, training: options.Training, total: int, own: Callable[..., Tensor]
    ) -> _OwnLoss:
        few, x, fold = _sample(train.labelled(), training.seed)
        return _OwnLoss(few, x, fold, training, _steps(total, few, train), own)

    @property
    def y(self) -> NDArray[np.int64]:
        """(N,) the given labels."""
        assert isinstance(self.data.labels, Single)
        return self.data.labels.index

    def losses(
        self, grid: list[Pair], on_progress: Callable[[int], None]
    ) -> list[NDArray[np.float64]]:
        """(N,) 1 where the given label is not the first choice, for each (rate, weight decay)."""
        found = np.zeros((len(grid), len(self.y)))
        for number in range(FOLDS):
            learn, held = (np.flatnonzero(self.fold != number), np.flatnonzero(self.fold == number))
            z = self.train(self.data, self.x, learn, grid, training=self.training, steps=self.steps)
            found[:, held] = z.argmax(-1).numpy() != self.y[held]
            on_progress(number + 1)
        return list(found)


def _sample(train: Dataset, seed: int) -> tuple[Dataset, Tensor, NDArray[np.int64]]:
    """At most so many images, their features (N, D), and the fold of each (N,)."""
    draw = np.random.default_rng(rng.fold(seed, "head choice"))
    few = train.subset(np.sort(draw.permutation(len(train))[:IMAGES]))
    return few, torch.from_numpy(_features(few)), draw.permutation(len(few)) % FOLDS


def _steps(total: int, few: Dataset, train: Dataset) -> int:
    return max(1, min(STEPS, round(total * len(few) / len(train))))


def _features(data: Dataset) -> NDArray[np.float32]:
    """(N, D) of the first view."""
    source: Any = data.source
    found = [source.read(row)[0, 0] for row in data.rows.tolist()]
    return np.asarray(found, np.float32)
