"""What a method needs to start: learners, streams and scans for this data, network and budget."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import torch
from torch import nn

from .. import rng
from ..data.dataset import Dataset
from ..data.loading.balanced import BalancedEpochs
from ..data.loading.batch import Normalize
from ..data.loading.clips import at_once, evaluation
from ..data.loading.mixing import Mix
from ..data.loading.reader import Augment
from ..data.loading.samplers import Epochs, Sampler, TiledSampler, WeightedSampler
from ..data.loading.shard_epochs import ShardEpochs, shard_by_shard
from ..data.loading.stream import Scan, Stream
from ..data.loading.views import FirstView
from ..data.sources.base import views_of
from ..data.sources.blocks import has_shards
from ..data.sources.concat import with_unlabeled
from ..errors import UserError
from ..features.frozen import FrozenBackbone
from ..labels import LabelSet, Rows, Single, Soft, rebalanced
from ..losses.class_weights import Weights, class_weights
from ..losses.own import OwnLoss
from ..models.blocks import freeze_until
from ..models.heads import set_prior_bias
from ..models.presence import Link
from ..options import shared as options
from ..own import find
from ..progress import about_what
from ..schedules import Schedule
from . import distributed, linear_probe, sharding
from .augmentation import Augmentation
from .best_model import Patience
from .collapse import CollapseRule
from .learner import Learner, Predictor, Statistics
from .optimizer import optimizer_of, peak_of, schedule_of

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
        frozen: run folder, name of a model (None: the first) -> that model, which must be of the same
            classes.
        image_size: side of the input; None where the images already have one size.
        frames: of a clip, where the images are videos.
        resize: how photos become squares, in training and evaluation.
        prepare: normalisation for this network.
        total: steps of the whole budget: backward passes, all models and stages together.
        seed: of the run.
        rebalance: draw images by their class's frequency to the power of minus this; 0: shuffled epochs.
        balanced_epoch: batches of an epoch with every class equally often; None: epochs are passes.
        shuffle_shards: tar shards that a pass reads at a time; None: it shuffles all images.
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
        tune: (some of the images, steps) -> the settings for a training on them; None: ``training``.
        trial: how many trainings are tried side by side, which say nothing; ``train`` stands as often behind
            itself. None: this is the training.
        collapse: when a stage has failed, of methods that learn label sets.
    """

    train: Dataset
    judge: Evaluator | None
    build: Callable[..., nn.Module]
    frozen: Callable[[Path, str | None], Frozen]
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
    shuffle_shards: int | None = None
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
    tune: Callable[[Dataset, int], options.Training] | None = None
    trial: int | None = None
    collapse: CollapseRule | None = None

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
        return self.frames is None and self._augmentation.kind in ("crop", "flip")

    @property
    def crops(self) -> bool:
        """Whether random crops of photos are trained on."""
        return self.frames is None and self._augmentation.kind == "crop"

    @property
    def peak(self) -> float:
        """The highest learning rate of a training from scratch."""
        return peak_of(self.training)

    def warn(self, text: str) -> None:
        """Say what the user should know, and keep it for the run folder."""
        if self.trial is not None:
            return
        self.warnings.append(text)
        if distributed.rank() == 0:
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def derive(self, name: str, value: Number, why: str) -> Number:
        """Take a value for a setting that was left open, say it, and keep it for the run folder."""
        self.derived[name] = value
        if distributed.rank() == 0:
            whose = f"{about_what()}: " if about_what() else ""
            flag = name.replace("_", "-")
            print(f"{whose}--{flag} {value:g}: {why}", file=sys.stderr, flush=True)
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
            model.load_state_dict(sharding.full_state(start.models[0]))
        elif self.probe is not None:
            self._probed(model, self.probe)
        optimizer = optimizer_of(model, self.training)
        return Learner(
            model,
            optimizer,
            rate or schedule_of(self.training, self._steps(steps)),
            self.training.clip or None,
            self.training.average,
            self.model.precision,
            self.model.compile,
            self.batch_norm,
            self.model.norm_over,
            self.model.shard_model,
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
            self._mix(name),
            distributed.reverse,
        )

    def _mix(self, name: str) -> Mix | None:
        """How the batches of a stream are mixed; None: not."""
        mixup, cutmix = self.training.mixup, self.training.cutmix
        return Mix(mixup, cutmix, self.seed, name) if mixup or cutmix else None

    def class_weights(self, link: Link) -> Weights | None:
        """(C,) weights of the classes in the loss; None: all weigh the same."""
        asked = self.training.class_weights
        return None if asked is None else class_weights(asked, self.train.labels, link)

    def own_loss(self, link: Link) -> OwnLoss | None:
        """The loss of the user's own in place of a method's; None: there is none.

        Raises:
            UserError: settings that change the targets or weigh them otherwise, or no such object.
        """
        asked = self.training
        if asked.loss is None:
            return None
        targets = asked.loss_targets or ("integer" if link == "softmax" else "one-hot")
        options.refuse_unused(asked, "with a loss of your own", "class_weights")
        if targets == "integer":
            options.refuse_unused(asked, "where a loss is given class numbers", "mixup", "cutmix")
            if not isinstance(self.train.labels, Single):
                raise UserError("loss_targets='integer' needs one label per image: give 'one-hot'")
        return OwnLoss(asked.loss, targets, find("loss", asked.loss))

    def order(self, dataset: Dataset, name: str) -> Sampler:
        """Which labelled images come when: in shuffled epochs, or every class equally often.

        Of soft labels the most likely class counts in class-balanced epochs.
        """
        if self.trial is not None:
            first = dataset.subset(slice(len(dataset) // self.trial))
            return TiledSampler(
                replace(self, trial=None).order(first, name), self.trial, len(first)
            )
        labels = dataset.labels
        if self.balanced_epoch is not None:
            one = labels.argmax() if isinstance(labels, Soft) else labels
            assert isinstance(one, Single)
            return BalancedEpochs(one, self.balanced_epoch, self.seed, name)
        if self.rebalance:
            return WeightedSampler(rebalanced(labels, self.rebalance), self.seed, name)
        return self.passes(dataset, np.flatnonzero(labels.known()), name)

    def passes(self, dataset: Dataset, of: Rows | range, name: str) -> Sampler:
        """Shuffled passes over some rows: over all of them at random, or shard by shard."""
        if self.shuffle_shards is None or not has_shards(dataset.source):
            return Epochs(of, self.seed, name)
        rows, starts = shard_by_shard(dataset, of)
        return ShardEpochs(rows, starts, self.shuffle_shards, self.seed, name)

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
        """The training augmentation, with another magnitude of RandAugment where given."""
        return self._augmentation.of(self.train, randaugment)

    @property
    def _augmentation(self) -> Augmentation:
        return Augmentation(
            self.training,
            self.image_size,
            self.frames,
            self.resize,
            self.prepare.interpolation,
            self.views,
        )

    def budget(self, share: float = 1.0) -> dict[str, Any]:
        """How long to train and when to evaluate: the keyword arguments of ``Run.train``."""
        return {
            "steps": self._steps(share),
            "judge": self.judge,
            "eval_every": self.eval_every,
            "parts": self.training.accumulate,
            "patience": self._patience(),
            "collapse": self.collapse,
        }

    def _patience(self) -> Patience | None:
        if self.training.patience is None:
            return None
        return Patience(self.training.patience, validated_by(self.train.labels))

    def _steps(self, share: float) -> int:
        return max(1, round(self.total * share))


def validated_by(labels: LabelSet) -> str:
    """The metric by which one validation is better than another."""
    return "accuracy" if isinstance(labels, Single) else "map"
