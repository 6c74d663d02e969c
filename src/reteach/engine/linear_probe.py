"""The linear probe: an output layer at its optimum on the features of a network that stays as it is.

Fine-tuning a fresh head sends random gradients through a good backbone in its first steps; a head that is at
its optimum already does not (Kumar et al. 2022, "Fine-tuning can distort pretrained features": linear
probing, then fine-tuning). The head is logistic regression with an L2 penalty, whose strength is chosen on a
fifth of the images by their *given* labels; the features are standardised for that, and the standardisation
is then folded into the layer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .. import rng, sealed
from ..data.dataset import Dataset
from ..data.loading.stream import Scan
from ..files import atomic_path
from ..labels import LabelSet, Single
from ..losses.standard import sigmoid_bce, softmax_xent
from ..models.heads import classifier_of
from ..models.presence import Link
from ..progress import progress
from . import distributed
from .evaluate import outputs
from .fingerprint import describe

LENGTH = 4.0
"""Typical length of a standardised feature vector, whatever D, so that the penalties suit all backbones."""
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00003)
"""Half the weights' squared norm counts so much beside the mean loss of an image."""
HELD_OUT = 0.2
MOST = 20_000
"""Images that are looked at, at most: the features of all are held in memory."""
ITERATIONS = 100


@final
@dataclass(frozen=True, eq=False)
class Head:
    """An output layer.

    Args:
        weight: (C, D) float32.
        bias: (C,) float32.
        penalty: the L2 penalty that was chosen.
        images: that it was fitted to.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float
    images: int

    @torch.no_grad()
    def put_into(self, model: nn.Module) -> None:
        """Make it the output layer of a network."""
        layer = classifier_of(model)
        layer.weight.copy_(torch.from_numpy(self.weight))
        layer.bias.copy_(torch.from_numpy(self.bias))


def sample(dataset: Dataset, seed: int) -> Dataset:
    """The labelled images that the head is fitted to: all, or a random :data:`MOST` of them."""
    known = np.flatnonzero(dataset.labels.known())
    if len(known) > MOST:
        draw = np.random.default_rng(rng.fold(seed, "linear probe"))
        known = np.sort(draw.choice(known, MOST, replace=False))
    return dataset.subset(known)


def probe(model: nn.Module, scan: Scan, link: Link, seed: int) -> Head:
    """The best output layer on the features of ``model`` in evaluation mode.

    Args:
        model: ends in one linear layer; it is left as it was.
        scan: of the labelled images, not augmented.
        link: softmax for one class per image, sigmoid for each class by itself.
        seed: of the images that are held out to choose the penalty on.
    """
    rows, features = _features(model, scan)
    return fit(features, scan.dataset.labels.take(rows), link, seed)


def kept(model: nn.Module, scan: Scan, link: Link, seed: int, folder: Path | None) -> Head:
    """:func:`probe`, or what an earlier attempt kept of the same in ``folder``."""
    if folder is None:
        return probe(model, scan, link, seed)
    asked = {"link": link, "seed": repr(seed), **describe(scan, "scan")}
    file = folder / f"{_backbone(model)}-{rng.fold(json.dumps(asked, sort_keys=True)):016x}.npz"
    if not distributed.share(file.exists()):
        head = probe(model, scan, link, seed)
        with distributed.together():
            if distributed.rank() == 0:
                with atomic_path(file) as part:
                    with open(part, "wb") as out:
                        np.savez(out, **asdict(head))
                    sealed.seal(part)
    return distributed.of_first(lambda: _read(file))


def _read(file: Path) -> Head:
    sealed.check(file, "delete it, and it is computed again")
    with np.load(file, allow_pickle=False) as found:
        penalty, images = float(found["penalty"]), int(found["images"])
        return Head(found["weight"], found["bias"], penalty, images)


def _backbone(model: nn.Module) -> str:
    """A digest of the weights below the output layer."""
    head = {id(t) for t in classifier_of(model).parameters()}
    found = hashlib.sha256()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in head:
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def _features(model: nn.Module, scan: Scan) -> tuple[NDArray[np.int64], Tensor]:
    """(rows, (N, D) float32 on the CPU): what the output layer sees of every readable image."""
    seen: list[Tensor] = []
    hook = classifier_of(model).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    was = model.training
    model.eval()

    @torch.no_grad()
    def of(x: Tensor) -> Tensor:
        seen.clear()
        model(x)
        return seen[0].float()

    rows, parts, done = [], [], 0
    try:
        with progress("features", len(scan.dataset), distributed.rank() > 0) as on_progress:
            for at, out in outputs(of, scan):
                rows.append(at)
                parts.append(out.cpu())
                on_progress(done := done + len(at))
    finally:
        hook.remove()
        model.train(was)
    return np.concatenate(rows), torch.cat(parts)


def fit(features: Tensor, labels: LabelSet, link: Link, seed: int) -> Head:
    """Penalised logistic regression of labels on features (N, D).

    Of single labels the penalty with the most held-out labels right is taken, else that with the least
    held-out loss; of equal ones the stronger.
    """
    mean, deviation = features.mean(0), features.std(0, correction=0)
    scale = LENGTH * features.shape[1] ** -0.5 / deviation.clamp(min=1e-4)
    x, problem = (features - mean) * scale, _Targets.of(labels, link)
    order = np.random.default_rng(rng.fold(seed, "probe held out")).permutation(len(x))
    cut = int(HELD_OUT * len(x))
    held, rest = torch.from_numpy(order[:cut]), torch.from_numpy(order[cut:])
    penalty, least, w = PENALTIES[2], float("inf"), None
    for candidate in PENALTIES if cut else ():
        w = _minimised(x[rest], problem.take(rest), candidate, w)
        if (found := problem.take(held).error(_logits(w, x[held]))) < least:
            penalty, least = candidate, found
    w = _minimised(x, problem, penalty, w)
    weight = w[:, :-1] * scale
    return Head(weight.numpy(), (w[:, -1] - weight @ mean).numpy(), penalty, len(x))


@final
@dataclass(frozen=True, eq=False)
class _Targets:
    """(N, C) targets, and where they are known."""

    y: Tensor
    known: Tensor | None
    link: Link
    single: bool

    @classmethod
    def of(cls, labels: LabelSet, link: Link) -> _Targets:
        known = labels.known_entries()
        mask = None if known is None else torch.from_numpy(known)
        return cls(labels.dense(), mask, link, isinstance(labels, Single))

    def take(self, rows: Tensor) -> _Targets:
        known = None if self.known is None else self.known[rows]
        return _Targets(self.y[rows], known, self.link, self.single)

    def loss(self, logits: Tensor) -> Tensor:
        """The mean over the images."""
        if self.link == "softmax":
            return softmax_xent(logits, self.y).mean()
        if self.known is None:
            return sigmoid_bce(logits, self.y).mean()
        return sigmoid_bce(logits, self.y, self.known).mean()

    def error(self, logits: Tensor) -> float:
        """How bad held-out logits are."""
        if self.single:
            return float((logits.argmax(1) != self.y.argmax(1)).float().mean())
        return float(self.loss(logits))


def _logits(w: Tensor, x: Tensor) -> Tensor:
    return F.linear(x, w[:, :-1], w[:, -1])


def _minimised(x: Tensor, targets: _Targets, penalty: float, start: Tensor | None) -> Tensor:
    """(C, D + 1) weights and biases of the least penalised loss, by L-BFGS from ``start``, or from 0."""
    classes, width = targets.y.shape[1], x.shape[1] + 1
    w = torch.zeros(classes, width) if start is None else start.clone()
    w.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [w], max_iter=ITERATIONS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        # without biases; of sigmoids the mean over the classes counts, and so does the mean of the weights
        size = w[:, :-1].square().sum() / (1 if targets.link == "softmax" else classes)
        found = targets.loss(_logits(w, x)) + penalty / 2 * size
        found.backward()  # type: ignore[no-untyped-call]
        return found

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return w.detach()
