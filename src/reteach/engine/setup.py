"""What a method needs to start: learners, streams and scans for this data, network and budget."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import torch
from torch import nn

from .. import rng
from ..data.dataset import Dataset
from ..data.loading.augment import CropFlip, Flip, Then, Train
from ..data.loading.balanced import BalancedEpochs
from ..data.loading.batch import Normalize
from ..data.loading.clips import EvalClips, TrainClip, at_once, evaluation
from ..data.loading.reader import Augment
from ..data.loading.samplers import Epochs, Sampler, WeightedSampler
from ..data.loading.stream import Scan, Stream
from ..data.loading.views import DrawnView, FirstView
from ..data.sources.base import views_of
from ..data.sources.concat import with_unlabeled
from ..errors import UserError
from ..features.frozen import FrozenBackbone
from ..labels import Single, Soft, rebalanced
from ..models.blocks import freeze_until, rate_scales
from ..models.heads import classifier_of, set_prior_bias
from ..models.presence import Link
from ..options import shared as options
from ..schedules import Constant, Cosine, Drop, Drops, Schedule, Warmup, linear_scaling
from . import distributed, linear_probe
from .best_model import Patience
from .learner import Learner, Predictor, Statistics

if TYPE_CHECKING:
    from .evaluate import Evaluator

Number = TypeVar("Number", int, float)


@final
@dataclass(frozen=True, eq=False)
class Frozen:
    """A model of another run, and how images reach it.

    Args:
        predictor: the model.
        image_size: side of its input; None: images keep their size.
        prepare: its normalisation.
        frames: of a clip, of a model of videos.
        resize: how photos become squares.
    """

    predictor: Predictor
    image_size: int | None
    prepare: Normalize
    frames: int | None = None
    resize: options.Resize = "shorter"


@final
@dataclass(frozen=True, eq=False)
class Setup:
    """The setup of one training run; methods ask it for parts and never see the command line.

    Args:
        train: the labelled images.
        unlabeled: more images, none of them labelled.
        judge: of the predictors during training.
        build: (seed, options of the architecture) -> a fresh network, on the device; the option
            ``classes`` names those it is for, in place of all.
        frozen: run folder -> the model it holds, which must be of the same classes.
        image_size: side of the input; None where the images already have one size.
        frames: of a clip, where the images are videos.
        resize: how photos become squares, in training and evaluation.
        prepare: normalisation for this network.
        total: steps of the whole budget: backward passes, all models and stages together.
        seed: of the run.
        rebalance: draw images by their class's frequency to the power of minus this; 0: shuffled epochs.
        balanced_epoch: batches of an epoch with every class equally often; None: epochs are passes.
        eval_every: steps between evaluations.
        workers: decoding processes.
        broken: collects item -> reason for images that could not be read.
        backbone: whose features ``train`` and ``unlabeled`` hold, where only a head on them is trained.
        warnings: collects what the user should know, for the run folder.
        derived: collects settings that were left open and follow from the data, for the run folder.
        given: the training settings before those that were left open were filled in.
        batch_norm: what becomes of its running statistics.
        probe: how logits become scores in the linear probe before training; None: no probe.
        keep: folder in which the probe is kept; None: nowhere.
    """

    train: Dataset
    judge: Evaluator | None
    build: Callable[..., nn.Module]
    frozen: Callable[[Path], Frozen]
    model: options.Model
    training: options.Training
    image_size: int | None
    prepare: Normalize
    total: int
    seed: int
    unlabeled: Dataset | None = None
    frames: int | None = None
    resize: options.Resize = "shorter"
    rebalance: float = 0.0
    balanced_epoch: int | None = None
    eval_every: int | None = None
    workers: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    backbone: FrozenBackbone | None = None
    warnings: list[str] = field(default_factory=list)
    derived: dict[str, float] = field(default_factory=dict)
    given: options.Training = field(default_factory=options.Training)
    batch_norm: Statistics = "update"
    probe: Link | None = None
    keep: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return torch.device(self.prepare.device)

    @property
    def per_epoch(self) -> int:
        """Images that are learned from in an epoch."""
        if self.balanced_epoch is None:
            return len(self.train)
        return self.balanced_epoch * self.training.batch_size

    @property
    def views(self) -> int:
        """The most feature vectors that stand for one training image; 1 of images."""
        unlabeled = None if self.unlabeled is None else self.unlabeled.source
        return max(views_of(self.train.source), views_of(unlabeled))

    @property
    def changes(self) -> bool:
        """Whether the training images are augmented in a way that RandAugment and cutout go with."""
        return self.frames is None and self._augmentation() in ("crop", "flip")

    @property
    def crops(self) -> bool:
        """Whether random crops of photos are trained on."""
        return self.frames is None and self._augmentation() == "crop"

    def _augmentation(self) -> str:
        """``--augment``, without *auto*."""
        if self.training.augment != "auto":
            return self.training.augment
        if self.image_size is None:
            return "none"
        return "flip" if self.resize == "square" else "crop"

    @property
    def peak(self) -> float:
        """The highest learning rate of a training from scratch."""
        return peak_of(self.training)

    def warn(self, text: str) -> None:
        """Say what the user should know, and keep it for the run folder."""
        self.warnings.append(text)
        if distributed.rank() == 0:
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def derive(self, name: str, value: Number, why: str) -> Number:
        """Take a value for a setting that was left open, say it, and keep it for the run folder."""
        self.derived[name] = value
        if distributed.rank() == 0:
            print(f"--{name.replace('_', '-')} {value:g}: {why}", file=sys.stderr, flush=True)
        return value

    def choose(self, what: str, values: dict[str, float]) -> None:
        """Take values for settings of fine-tuning that were left open, and say them in one line."""
        self.derived.update(values)
        if distributed.rank() == 0:
            words = " ".join(f"--{k.replace('_', '-')} {v:.3g}" for k, v in values.items())
            print(f"fine-tuning ({what}): {words}", file=sys.stderr, flush=True)

    def everything(self) -> Dataset:
        """Labelled and unlabelled images as one data set, in which nothing is known of the latter."""
        return self.train if self.unlabeled is None else with_unlabeled(self.train, self.unlabeled)

    def learner(
        self,
        name: str = "model",
        *,
        steps: float = 1.0,
        prior_bias: bool = False,
        rate: Schedule | None = None,
        start: Predictor | None = None,
        **architecture: Any,
    ) -> Learner:
        """A fresh learner for the classes of ``train``.

        Args:
            name: learners of one name start from the same weights, in every method of a comparison.
            steps: the share of the budget that its rate schedule spans.
            prior_bias: start the output bias at the class frequencies.
            rate: another schedule than that of the settings.
            start: begin with the weights of this model, which must have the same architecture.
            architecture: more options for the network, such as ``drop_rate``, and ``network``: its
                name, by default --model.
        """
        given = {key: value for key, value in architecture.items() if value}
        model = self.build(rng.fold(self.seed, "weights", name), **given)
        if self.model.freeze_until is not None:
            freeze_until(model, self.model.freeze_until)
        if prior_bias and self.probe is not None:
            raise UserError(
                "--prior-bias has no effect with --probe-first, which sets the whole output layer: leave "
                "it out, or give --no-probe-first"
            )
        if prior_bias:
            set_prior_bias(model, self.train.labels.counts() / len(self.train))
        if start is not None:
            model.load_state_dict(start.models[0].state_dict())
        elif self.probe is not None:
            self._probed(model, self.probe)
        optimizer = _optimizer(model, self.training)
        return Learner(
            model,
            optimizer,
            rate or schedule_of(self.training, self._steps(steps)),
            self.training.clip or None,
            self.training.average,
            self.model.precision,
            self.model.compile,
            self.batch_norm,
        )

    def _probed(self, model: nn.Module, link: Link) -> None:
        """Bring the output layer to its optimum on the features of the network."""
        scan = self.scan(linear_probe.sample(self.train, self.seed))
        head = linear_probe.kept(model, scan, link, self.seed, self.keep)
        head.put_into(model)
        self.derived.update(probe_penalty=head.penalty, probe_images=head.images)

    def stream(
        self,
        name: str = "train",
        *,
        dataset: Dataset | None = None,
        order: Sampler | None = None,
        augment: Augment | None = None,
    ) -> Stream:
        """Training batches; by default of the labelled images, in the order of :meth:`order`."""
        dataset = self.train if dataset is None else dataset
        return Stream(
            dataset,
            order or self.order(dataset, name),
            self.training.batch_size,
            augment or self.augment(),
            self.prepare,
            self.seed,
            name,
            self.workers,
            distributed.rank(),
            distributed.world(),
            self.broken,
        )

    def order(self, dataset: Dataset, name: str) -> Sampler:
        """Which labelled images come when: in shuffled epochs, or every class equally often.

        Of soft labels the most likely class counts in class-balanced epochs.
        """
        labels = dataset.labels
        if self.balanced_epoch is not None:
            one = labels.argmax() if isinstance(labels, Soft) else labels
            assert isinstance(one, Single)
            return BalancedEpochs(one, self.balanced_epoch, self.seed, name)
        if self.rebalance:
            return WeightedSampler(rebalanced(labels, self.rebalance), self.seed, name)
        return Epochs(np.flatnonzero(labels.known()), self.seed, name)

    def scan(self, dataset: Dataset, of: Frozen | None = None) -> Scan:
        """One un-augmented pass over a data set, as the networks here see it, or as ``of`` does."""
        if of is None and self.backbone is not None:
            dataset = self.backbone.features(dataset)
        seen = self if of is None else of
        view = evaluation(seen.image_size, seen.frames, seen.resize, seen.prepare.interpolation)
        if self.views > 1 or views_of(dataset.source) > 1:
            view = FirstView()
        batch_size = at_once(max(256, self.training.batch_size), seen.frames)
        return Scan(dataset, view, seen.prepare, batch_size, self.workers, self.broken)

    def augment(self, randaugment: int | None = None) -> Augment:
        """The training augmentation, with another magnitude of RandAugment where given.

        RandAugment is for RGB images; where the images are kept small and plain it stays off, and so it
        does for videos, of which a clip is taken.
        """
        kind, size = self._augmentation(), self.image_size
        if self.frames is not None:
            assert size is not None
            if self.training.augment == "none":
                return EvalClips(size, self.frames, clips=1)
            return TrainClip(size, self.frames)
        magnitude = self.training.randaugment if randaugment is None else randaugment
        by = self.prepare.interpolation
        view = evaluation(size, None, self.resize, by)
        if self.views > 1:
            return DrawnView() if self.training.augment == "auto" else FirstView()
        if kind == "none":
            return view
        if kind == "flip":
            flip = Flip(magnitude, self.training.cutout)
            return flip if size is None else Then(view, flip)
        if size is None:
            height, width, *_ = self.train.source.read(int(self.train.rows[0])).shape
            if height != width:
                raise UserError(f"images of {height}×{width} need an --image-size to be cropped")
            size = height
        if kind == "crop-flip":
            crop = CropFlip(size, interpolation=by)
            return Then(view, crop) if self.resize == "square" else crop
        least = self.training.min_crop or 0.08
        return Train(
            size,
            (least, 1.0),
            randaugment=magnitude,
            cutout=self.training.cutout,
            interpolation=by,
        )

    def budget(self, share: float = 1.0) -> dict[str, Any]:
        """How long to train and when to evaluate: the keyword arguments of ``Run.train``."""
        return {
            "steps": self._steps(share),
            "judge": self.judge,
            "eval_every": self.eval_every,
            "parts": self.training.accumulate,
            "patience": self._patience(),
        }

    def _patience(self) -> Patience | None:
        if self.training.patience is None:
            return None
        single = isinstance(self.train.labels, Single)
        return Patience(self.training.patience, "accuracy" if single else "map")

    def _steps(self, share: float) -> int:
        return max(1, round(self.total * share))


def _optimizer(model: nn.Module, training: options.Training) -> torch.optim.Optimizer:
    """The optimiser, without weight decay on biases and normalisation; the head in its own groups."""
    decay = weight_decay_of(training)
    head: set[int] = set()
    of_head = 1.0 if training.head_lr_scale is None else training.head_lr_scale
    if of_head != 1:
        head = {id(p) for p in classifier_of(model).parameters()}
    scales = (
        rate_scales(model, training.layer_decay) if training.layer_decay not in (None, 1) else {}
    )
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = scales.get(name, 1.0) * (of_head if id(parameter) in head else 1.0)
            groups.setdefault((parameter.dim() > 1, scale), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "weight_decay": decay if wide else 0.0,
            "lr_scale": scale,
        }
        for (wide, scale), parameters in groups.items()
    ]
    if training.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=0.1, momentum=0.9, nesterov=training.nesterov)
    adam = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
    return adam(settings, lr=1e-3)


def weight_decay_of(training: options.Training) -> float:
    """``--weight-decay``, or what suits the optimiser."""
    if training.weight_decay is not None:
        return training.weight_decay
    return {"sgd": 1e-4, "adam": 0.0, "adamw": 0.05}[training.optimizer]


def peak_of(training: options.Training) -> float:
    """The highest learning rate: ``--lr``, or what suits optimiser and batch."""
    peak = training.lr
    if peak is None:
        peak = 1e-3
        if training.optimizer == "sgd":
            peak = linear_scaling(0.1, training.batch_size)
    return peak


def schedule_of(training: options.Training, steps: int) -> Schedule:
    """The learning rate over ``steps`` steps."""
    peak = peak_of(training)
    schedule: Schedule
    if training.schedule == "constant":
        schedule = Constant(peak)
    elif training.schedule == "cosine":
        schedule = Cosine(peak, steps)
    elif training.schedule == "drop":
        schedule = Drop(peak, round(training.drop_at * steps))
    elif training.schedule == "drops":
        schedule = Drops(peak, steps, 3, 0.1)
    else:
        schedule = Drops(peak, steps, 13, 0.5)
    rise = round((training.warmup or 0.0) * steps)
    return Warmup(schedule, rise) if rise else schedule
