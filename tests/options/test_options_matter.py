"""No option that is accepted may be without effect.

Every setting of every method, and every shared one, is changed on a tiny training: the weights, the
predictions or the evaluations differ, or it is refused in one line. So it is in each of the contexts below,
which are where a setting could get lost; and in one of them at least it has to differ. A new setting fails
here until OTHERS says what else it could be.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource
from reteach.engine import setup as engine_setup
from reteach.engine.log import Log
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.labels import LabelSet, Multi, Single
from reteach.models import small
from reteach.options import shared as options
from reteach.options.methods import METHODS
from reteach.relabel.partition import cut
from reteach.runs.checks import check_unlabeled
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import load_recipe, make_setup

CLASSES = ("a", "b", "c", "d")

NO_EFFECT = {
    "on_error": "of unreadable images, and arrays have none: test_quarantine",
    "cache": "speed",
    "resident": "speed",
    "workers": "speed: the batches are a function of the step",
    "channels_last": "speed: the layout in memory",
    "compile": "speed, and it takes long",
    "device": "where, not what",
    "parallel": "speed: the teachers are the same side by side",
    "features_cache": "where, not what",
    "out": "where, not what",
    "snapshot_seconds": "how much a crash may cost",
    "tensorboard": "one more place for the numbers",
    "wandb": "one more place for the numbers",
    "mlflow": "one more place for the numbers",
}
"""Settings that must not change a result, with the reason."""

ELSEWHERE = {
    **dict.fromkeys(
        (
            *("images", "labels", "kind", "classes", "fraction"),
            *("val_images", "val_labels", "val_kind", "val_empty", "val_fraction", "also_val"),
        ),
        "which images there are is decided before a method: test_cli_runs",
    ),
    **dict.fromkeys(("augmentation", "loss", "loss_targets"), "objects: test_hooks"),
    "frames": "of videos: test_video_runs",
    "freeze": "needs weights: test_freeze",
    "init": "a file: test_models_weights",
    "pretrained": "a download: test_models_zoo",
    "vectors": "a file: test_tokens",
    "probe_first": "of weights to start from: test_fine_tuning",
    "freeze_until": "of weights to start from: test_fine_tuning",
    "batch_norm": "of weights to start from: test_fine_tuning",
    "layer_decay": "of layers that timm knows: test_fine_tuning",
    "patience": "needs a validation that does not get better: test_best_model",
    "partition": "a file: test_cpsd",
    "partition_method": "of few classes the same cut: test_cpsd",
    "teacher_run": "a run: test_semi",
    "teacher_predictor": "a run: test_train_semi",
    "milestones": "with a schedule that cannot be without them: test_schedules",
    "picks": "a file: test_semi",
    "tags": "a file: test_semi",
    "weak_steps": "needs tags: test_semi",
    "frequencies": "a file: test_semi",
    "exclude": "a file: test_semi",
    "drop_path": "of timm's architectures, which others than they refuse: test_baselines",
    "shuffle_shards": "of tar shards: test_shard_epochs",
    "soft_sets": "needs a teacher that can be calibrated: test_mile",
}
"""Settings whose effect other tests look at; here it only counts that none is forgotten."""

SHARED = (options.Data, options.Model, options.Training, options.Output)

OTHERS: dict[str, Any] = {
    # shared
    "unlabeled": "more",
    "rebalance": 1.0,
    "balanced_epoch": 2,
    "model": "reteach_small",
    "image_size": 7,
    "resize": "square",
    "precision": "bf16",
    "epochs": 3.0,
    "steps": 5,
    "batch_size": 4,
    "accumulate": 2,
    "optimizer": "adam",
    "lr": 0.3,
    "weight_decay": 0.3,
    "schedule": "constant",
    "drop_at": 0.4,
    "warmup": 0.9,
    "head_lr_scale": 3.0,
    "min_crop": 0.9,
    "clip": 0.01,
    "average": 0.5,
    "augment": "none",
    "randaugment": 5,
    "cutout": 0.5,
    "mixup": 0.4,
    "cutmix": 1.0,
    "class_weights": "balanced",
    "seed": 1,
    "eval_every": 2,
    # of methods
    "smoothing": 0.2,
    "beta": 0.1,
    "lam": 1.0,
    "k_t": 2,
    "k_s": 1,
    "rho": 0.49,
    "temperature": 3.0,
    "expected": 2.5,
    "estimates_lr": 0.5,
    "alpha": 0.3,
    "negatives": 0.5,
    "undecided": 0.2,
    "rounds": 2,
    "share": 0.3,
    "teacher": "reteach_small",
    "generations": 2,
    "noise": 3,
    "dropout": 0.6,
    "drop_path": 0.2,
    "least": 0.3,
    "per_class": 2,
    "top": 1,
    "semi.student": "reteach_small",
    "minimum": 0.27,
    "teacher_steps": 3,
    "finetune_steps": 2,
    "finetune_lr": (0.1,),
    "pretrain_warmup": 0.5,
    "target_variability": 0.9,
    "least_variability": 0.25,
    "quiet_epochs": 0.2,
    "ramp": 0.3,
    "peer_model": "reteach_small",
    "gamma_neg": 2.0,
    "gamma_pos": 1.0,
    "shift": 0.2,
    "subsets": 1,
    "tau": 8.0,
    "teacher_share": 0.3,
    "teacher_epochs": 1.33,
    "imitation_weight": 3.0,
    "forget": 0.6,
    "forget_epochs": 0.4,
    "disagreement": 0.0,
    "plain_share": 0.1,
    "balance": 0.2,
    "threshold": 1.0,
    "sharpness": 0.9,
    "divide-mix.unlabeled_weight": 3.0,
    "unlabeled_epochs": 1.0,
}
"""Another value of a setting; of switches and choices all of them are tried."""

BASE: dict[str, dict[str, Any]] = {
    "mile": {"optimizer": "adam", "lr": 0.2, "k_t": 3, "k_s": 2, "steps": 10},
    "nct": {"batch_size": 24, "steps": 12},
    "variability": {"batch_size": 24, "steps": 12},
    "co-teaching": {"batch_size": 12, "steps": 20},
    "divide-mix": {"batch_size": 12, "steps": 20},
    "epr": {"expected": 1.5},
    "role": {"expected": 1.5},
    "semi": {"per_class": 3, "unlabeled": "more", "steps": 20, "finetune_steps": 3},
    "cpsd": {"subsets": 2},
}
"""What a method has to be told."""

CONTEXTS: dict[str, list[dict[str, Any]]] = {
    "elr": [{"lam": 0.0}],
    "mile": [
        {"student": "continuing"},
        {"targets": "soft"},
        {"targets": "hard"},
        {"sample": True},
        {"unlabeled": "more"},
    ],
    "em-apl": [{"rounds": 0}, {"negatives": 0.0}],
    "large-loss": [{"share": 0.0}, {"share": 0.3}],
    "distill": [
        {"target": "threshold"},
        {"target": "hard"},
        {"teacher": Path("run")},
        {"teacher": Path("run"), "target": "threshold"},
    ],
    "noisy-student": [{"generations": 1}, {"unlabeled": "more"}, {"augment": "crop"}],
    "semi": [
        {"finetune_steps": 0},
        {"teacher_run": Path("run")},
        {"batch_size": 260, "steps": 6, "finetune_steps": 1},
    ],
    "nct": [{"target_variability": 0.0}, {"balancing": "constant"}, {"alpha": 0.0}],
    "dml": [{"alpha": 0.0}],
    "co-teaching": [{"forget": 0.0}],
    "m-correction": [{"plain_share": 1.0}],
    "divide-mix": [{"unlabeled_weight": 0.0}, {"plain_share": 1.0}],
    "variability": [{"target_variability": 0.0}],
    "asl": [{"gamma_neg": 0.0}],
    "cpsd": [
        {"subsets": 0},
        {"subsets": 1},
        {"subsets": 1, "twins": True},
        {"sides": "random"},
        {"imitation": "kl"},
        {"imitation_weight": 0.0},
    ],
    "softmax": [
        {"schedule": "drop"},
        {"augment": "crop"},
        {"augment": "flip"},
        {"optimizer": "adam"},
        {"image_size": 12, "augment": "auto"},
    ],
}
"""Other settings beside which each setting is tried as well."""


@pytest.fixture(autouse=True)
def networks_that_take_a_millisecond(monkeypatch):
    """One convolution of another width for each name."""
    build = small._build

    def smaller(name, stages, *more):
        return build(name, ((len(name) + 16, 4, 3),), *more)

    monkeypatch.setattr(small, "_build", smaller)
    monkeypatch.setattr(cut, "ROUNDS", 3)  # and no long search for subsets


@dataclass(frozen=True)
class Seen:
    """What a training shows to the outside."""

    values: dict[str, torch.Tensor]
    names: tuple[str, ...]

    def differs(self, other: Seen) -> bool:
        """Whether anything does."""
        if self.names != other.names:
            return True
        pairs = ((self.values[name], other.values[name]) for name in self.names)
        return not all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


@cache
def data(sets: bool) -> Dataset:
    """Small pictures with a stripe per class; more of some classes than of others."""
    draw = np.random.default_rng(0)
    if sets:
        present = draw.random((24, 6)) < (0.2, 0.3, 0.4, 0.5, 0.6, 0.3)
        present[:, 1] |= present[:, 0]
        present[::5] = False
        labels: LabelSet = Multi.from_dense(present, (*CLASSES, "e", "f"))
    else:
        index = draw.choice(4, 24, p=(0.1, 0.2, 0.3, 0.4))
        present, labels = np.eye(4, dtype=bool)[index], Single(index, CLASSES)
    images = draw.integers(0, 90, (24, 8, 8, 1))
    images[:, :, : present.shape[1]] += 120 * present[:, None, :, None]
    return Dataset.of(ArraySource(images.astype(np.uint8)), labels)


@cache
def more() -> Dataset:
    """Images without labels."""
    images = np.random.default_rng(1).integers(0, 200, (16, 8, 8, 1)).astype(np.uint8)
    return Dataset.unlabeled(ArraySource(images), CLASSES)


def trained(method: str, given: dict[str, Any]) -> Seen:
    """Every predictor and specialist after a few steps, and the evaluations on the way."""
    kind = METHODS[method]
    usual = {"steps": 8, "batch_size": 6, "lr": 0.1, "augment": "crop-flip"}
    given = usual | {"model": "reteach_tiny", "device": "cpu"} | BASE.get(method, {}) | given
    own = {f.name for f in fields(kind.settings)}
    parts = [
        cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given and f.name not in own})
        for cls in SHARED
    ]
    settings = kind.settings(**{name: given[name] for name in own if name in given})
    config = Config(method, settings, *parts)
    check_unlabeled(method, config.data)
    labelled = data(kind.labels == "sets")
    inputs = Inputs(labelled, labelled, more() if config.data.unlabeled else None)
    setup = make_setup(config, inputs, torch.device("cpu"))
    if config.output.eval_every is None:
        setup = replace(setup, judge=None)
    setup = replace(
        setup, frozen=lambda path, name: teacher(setup, getattr(settings, "target", "soft"))
    )
    run = Run(None, config.training.seed, Log(), quiet=True)
    algorithm = load_recipe(kind.recipe)(setup, settings, run)
    return seen(algorithm, run, config.model.precision)


def teacher(setup: Any, target: str) -> engine_setup.Frozen:
    """The model of another run."""
    link: Any = "sigmoid" if target == "threshold" else "softmax"
    predictor = setup.learner("frozen").predictor(link)
    return engine_setup.Frozen(predictor, setup.image_size, setup.prepare)


def seen(algorithm: Any, run: Run, precision: str) -> Seen:
    values = {"precision": torch.tensor([ord(c) for c in precision])}
    for name, predictor in algorithm.predictors().items():
        for i, model in enumerate(predictor.models):
            for key, tensor in model.state_dict().items():
                values[f"{name} {i} {key}"] = tensor
    for name, special in algorithm.specialists().items():
        values |= {f"{name} {k}": v for k, v in special.predictor.models[0].state_dict().items()}
    evaluations = [r for r in run.log.records if r["kind"] == "eval"]
    values["evaluations"] = torch.tensor([r["step"] for r in evaluations])
    return Seen(values, tuple(values))


def alternatives(method: str, name: str, hint: Any, now: Any) -> list[Any]:
    """What else a setting could be."""
    name = f"{method}.{name}" if f"{method}.{name}" in OTHERS else name
    if name == "unlabeled" and now:
        return []
    if name in OTHERS and not (name == "teacher" and now is not None):
        return [OTHERS[name]]
    if hint is bool:
        return [not now]
    if typing.get_origin(hint) is typing.Literal:
        return [value for value in typing.get_args(hint) if value != now]
    raise AssertionError(f"a new setting, {name}: what else could it be? Add it to OTHERS")


def test_every_exception_is_a_setting():
    """The tables name nothing that no longer exists."""
    known = {f.name for cls in SHARED for f in fields(cls)}
    known |= {f.name for method in METHODS.values() for f in fields(method.settings)}
    assert (NO_EFFECT.keys() | ELSEWHERE.keys() | {name.split(".")[-1] for name in OTHERS}) <= known


def settings_of(method: str, context: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, type, value now) of what is to be changed beside a context."""
    own = METHODS[method].settings
    known = BASE.get(method, {}) | context
    found = {}
    for cls in (*SHARED, own):
        hints = typing.get_type_hints(cls)
        for f in fields(cls):
            by_method = f.name in BY_METHOD and (not context or context.keys() & APART)
            shared = method == "softmax" and (not context or "optimizer" in context)
            if cls is own or by_method or shared:
                found[f.name] = (f.name, hints[f.name], known.get(f.name, f.default))
    left_out = NO_EFFECT.keys() | ELSEWHERE.keys() | context.keys()
    return [entry for name, entry in found.items() if name not in left_out]


BY_METHOD = (
    *("unlabeled", "rebalance", "balanced_epoch", "schedule", "warmup", "accumulate", "seed"),
    *("mixup", "cutmix", "class_weights"),
)
"""Shared settings that a method could lose by itself, tried with each; what all methods get from the same
place is tried with softmax."""
APART = {"unlabeled", "teacher", "teacher_run", "generations"}
"""Contexts in which other images are learned from, or in other stages: there too."""


@pytest.mark.parametrize("method", METHODS)
def test_no_setting_is_without_effect(method):
    silent, refused, mattered = [], set(), set()
    for context in [{}, *CONTEXTS.get(method, [])]:
        base = trained(method, context)
        for name, hint, now in settings_of(method, context):
            for value in alternatives(method, name, hint, now):
                try:
                    different = trained(method, {**context, name: value}).differs(base)
                except UserError as error:
                    refused.add((name, str(error)))
                    continue
                mattered.add(name)
                if not different:
                    silent.append(f"{context} {name}={value}")
    assert not silent, "accepted, without effect:\n" + "\n".join(silent)
    assert not any("\n" in said for _, said in refused)
    own = {f.name for f in fields(METHODS[method].settings)}
    assert own & {name for name, _ in refused} <= mattered  # it has a use somewhere
