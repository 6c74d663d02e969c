"""A learner: a model with its optimiser and its rate, and nothing that a resumed run could miss."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..models.presence import Link, Presence
from ..recorded import recorded
from ..schedules import Schedule
from . import distributed, sharding
from .batch_norm import NormOver, batch_norm_over
from .gradients import parallel

if TYPE_CHECKING:
    from ..data.loading.batch import Batch

Precision = Literal["fp32", "bf16", "fp16"]
Statistics = Literal["keep", "update"]
_DTYPE = {"bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter is."""
    return next(model.parameters()).device


def autocast(device: torch.device, precision: Precision) -> Any:
    """Mixed precision; a context that does nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _DTYPE[precision])


@final
@dataclass(frozen=True, eq=False)
class Predictor:
    """What is evaluated and kept: the mean of the logits of one or several models.

    ``link`` says how logits become scores: one class of C (softmax), or each present or not (sigmoid).
    With a ``presence`` the logits are calibrated ones, whatever the networks learned, and the link is
    sigmoid.
    """

    models: tuple[nn.Module, ...]
    link: Link
    precision: Precision = "fp32"
    presence: Presence | None = None

    def __post_init__(self) -> None:
        if self.presence is not None and self.link != "sigmoid":
            raise ValueError("a calibrated predictor says of each class whether it is present")

    def logits(self, x: Tensor) -> Tensor:
        """(B, C), in evaluation mode and without gradient."""
        return one_view(self.outputs(x))

    def scores(self, x: Tensor) -> Tensor:
        """(B, C) probabilities."""
        return self.probabilities(self.outputs(x))

    def probabilities(self, out: Tensor) -> Tensor:
        """Logits (B, C) as the probabilities (B, C) that they stand for; of V views (B, V, C) their mean."""
        return one_view(out.softmax(-1) if self.link == "softmax" else out.sigmoid())

    def outputs(self, x: Tensor) -> Tensor:
        """Logits (B, C), or (B, V, C) of a network that looks at V views of each input, such as the
        clips of a video."""
        outs = []
        for model in self.models:
            if model.training:
                model.eval()
            with torch.no_grad(), autocast(x.device, self.precision):
                outs.append(model(x).float())
        logits = outs[0] if len(outs) == 1 else torch.stack(outs).mean(0)
        return logits if self.presence is None else self.presence(one_view(logits))


def one_view(out: Tensor) -> Tensor:
    """(B, C) as it is; (B, V, C) averaged over the V views."""
    return out if out.dim() == 2 else out.mean(1)


@final
@recorded(
    "learner",
    free={"averaged", "compiled", "scaler"},
    since={"batch_norm": "update", "norm_over": "all", "shared_out": False},
)
@dataclass(eq=False)
class Learner:
    """A model that can be trained: ``learner(x)``, ``learner.update(loss, batch)``.

    Args:
        model: maps images (B, channels, H, W) to logits (B, C); it is moved nowhere.
        optimizer: over the model's parameters. A group's ``lr_scale`` multiplies the rate.
        rate: step -> learning rate.
        clip: largest gradient norm.
        average: decay of an exponential moving average of the weights, which then predicts.
        precision: of the forward pass; ``fp16`` scales the loss.
        compiled: use ``torch.compile`` for the training forward pass.
        batch_norm: keep the running statistics of batch normalisation, and normalise by them; or update
            them. Layers whose own weights are frozen keep theirs in any case.
        norm_over: where several processes train, batches of all are normalised together, or each process's.
        shared_out: each of several processes keeps a part of the weights (:mod:`.sharding`).
    """

    model: nn.Module
    optimizer: Optimizer
    rate: Schedule
    clip: float | None = None
    average: float | None = None
    precision: Precision = "fp32"
    compiled: bool = False
    batch_norm: Statistics = "update"
    norm_over: NormOver = "all"
    shared_out: bool = False
    averaged: nn.Module | None = field(default=None, init=False)
    scaler: torch.amp.GradScaler | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        device = device_of(self.model)
        if self.average is not None:
            self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(device.type)
        self._kept = _kept_statistics(self.model, self.batch_norm)
        for layer in self._kept:
            layer.eval()
        if self.shared_out and distributed.world() > 1:
            module = sharding.share_out(self.model, self.optimizer)
            if self.averaged is not None:
                sharding.share_out(self.averaged)
        else:
            module = parallel(self.model, device)
        self._forward = torch.compile(module) if self.compiled else module

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (B, C) for training: train mode, with gradient."""
        if not self.model.training:
            self.model.train()
            for layer in self._kept:
                layer.eval()
        with autocast(x.device, self.precision), batch_norm_over(self.norm_over):
            return self._forward(x)  # type: ignore[no-any-return]

    def infer(self, x: Tensor) -> Tensor:
        """Logits (B, C) of the present weights: evaluation mode, no gradient."""
        return Predictor((self.model,), "softmax", self.precision).logits(x)

    def predictor(self, link: Link) -> Predictor:
        """What this learner predicts with: its averaged weights if it keeps them."""
        return Predictor((self.averaged or self.model,), link, self.precision)

    def update(self, loss: Tensor, batch: Batch) -> None:
        """One step down ``loss``, at the rate of ``batch.step``.

        Of a batch that comes in several parts (gradient accumulation) only the last part moves the
        weights; each counts by its share.
        """
        if batch.parts > 1:
            loss = loss / batch.parts
        (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]
        if batch.part < batch.parts - 1:
            return
        rate = self.rate(batch.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        if self.clip is not None:
            if self.scaler:
                self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None and self.average is not None:
            _lerp(self.averaged, self.model, 1 - self.average)

    @torch.no_grad()
    def copy_from(
        self, other: Learner, optimizer: Literal["keep", "copy", "reset"] = "keep"
    ) -> None:
        """Take the weights and buffers of ``other``, and do with the optimiser's state as told."""
        theirs = other.model.state_dict()
        for name, mine in self.model.state_dict().items():
            mine.copy_(theirs[name])
        if optimizer == "reset":
            self.optimizer.state.clear()
        elif optimizer == "copy":
            self.optimizer.load_state_dict(copy.deepcopy(other.optimizer.state_dict()))


def _kept_statistics(model: nn.Module, batch_norm: Statistics) -> list[nn.Module]:
    """The layers of batch normalisation that stay in evaluation mode while the others are trained."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if batch_norm == "keep":
        return list(layers)
    return [m for m in layers if m.weight is not None and not m.weight.requires_grad]


@torch.no_grad()
def _lerp(average: nn.Module, model: nn.Module, weight: float) -> None:
    """Move the averaged parameters towards the model's; buffers (running statistics) are copied."""
    pairs = zip(average.parameters(), model.parameters(), strict=True)
    mine, theirs = map(list, zip(*pairs, strict=True))
    torch._foreach_lerp_(mine, theirs, weight)
    for kept, new in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(new)
