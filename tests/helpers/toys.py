"""Small worlds for tests: random images, a tiny network, every method over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from reteach.data.dataset import Dataset
from reteach.data.loading.augment import CropFlip, Plain
from reteach.data.loading.batch import Batch, Normalize
from reteach.data.loading.mixing import Mix
from reteach.data.loading.samplers import AlternatingSampler, Epochs
from reteach.data.loading.stream import Scan, Stream
from reteach.data.sources.base import ArraySource
from reteach.engine.algorithm import Algorithm
from reteach.engine.learner import Learner, Predictor
from reteach.labels import Single
from reteach.losses.asymmetric import Asymmetric
from reteach.losses.standard import mean_squared_error, sigmoid_bce, softmax_xent
from reteach.methods.assume_negative import Smoothed, weak
from reteach.methods.co_teaching import CoTeaching, Forgetting
from reteach.methods.cpsd import Cpsd
from reteach.methods.cpsd_teachers import Merged
from reteach.methods.distill import Distill, Targets, make_targets
from reteach.methods.divide_mix import DivideMix, LinearEpochs
from reteach.methods.elr import Elr
from reteach.methods.entropy_max import UNKNOWN, EntropyMaximisation, Rounds
from reteach.methods.expected_positive import ExpectedPositive
from reteach.methods.large_loss import From, LargeLoss, Rising, Surprise
from reteach.methods.m_correction import MCorrection
from reteach.methods.mile import ContinuingMile, Mile
from reteach.methods.mile_labels import Calibrated, PseudoLabeler, sample_bernoulli
from reteach.methods.nct import Nct
from reteach.methods.nct_schedules import Balancing, TargetVariability
from reteach.methods.role import Estimates, Role
from reteach.methods.semi import Student
from reteach.methods.supervised import Supervised
from reteach.schedules import ByEpoch, Constant, Cosine, Cycles, EveryEpoch, Schedule

CLASSES = ("ant", "bee", "cat")
PREPARE = Normalize((0.5,), (0.25,), channels=1)


def dataset(n: int = 40, seed: int = 0, size: int = 8) -> Dataset:
    """Random grey images with random labels; the mean brightness follows the label a little."""
    generator = np.random.default_rng(seed)
    index = generator.integers(0, 3, n)
    noise = generator.integers(0, 150, (n, size, size, 1))
    images = (noise + 40 * index[:, None, None, None]).astype(np.uint8)
    return Dataset.of(ArraySource(images), Single(index, CLASSES))


def network(seed: int, dropout: float = 0.0, classes: int = 3) -> nn.Module:
    """A convolution with batch normalisation, and perhaps dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(6, classes),
        )


def learner(
    seed: int = 0,
    *,
    rate: Schedule | None = None,
    adam: bool = False,
    dropout: float = 0.0,
    **more: Any,
) -> Learner:
    """A learner on the tiny network."""
    model = network(seed, dropout)
    optimizer: torch.optim.Optimizer
    if adam:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Learner(model, optimizer, rate or Cosine(0.1, 30), **more)


def stream(data: Dataset | None = None, batch_size: int = 8, seed: int = 0, **more: Any) -> Stream:
    """Augmented batches."""
    data = data or dataset()
    order = more.pop("order", Epochs(np.arange(len(data)), seed))
    augment = more.pop("augment", CropFlip(8, padding=2))
    return Stream(data, order, batch_size, augment, PREPARE, seed, **more)


def given(batch: Batch) -> list[int]:
    """The labels of a batch of :func:`dataset`, as that has them."""
    index: list[int] = dataset().labels.index[batch.rows.numpy()].tolist()
    return index


def scan(data: Dataset | None = None) -> Scan:
    """One pass without augmentation."""
    return Scan(data or dataset(), Plain(), PREPARE, batch_size=16)


def mile(relabel: str = "batch", k_t: int = 3, k_s: int = 2, **more: Any) -> Mile:
    passing = {name: more.pop(name) for name in ("union", "sample") if name in more}
    return Mile(learner(1), learner(2), passed(relabel, **passing), Cycles.of(k_t, k_s), **more)


def continuing(relabel: str = "batch", **more: Any) -> ContinuingMile:
    teacher = network(1).requires_grad_(False)
    passing = passed(relabel, **{"union": True} | more)
    return ContinuingMile(learner(1), teacher, passing, Cycles.of(3, 2))


def passed(relabel: str, union: bool = False, sample: bool = False) -> PseudoLabeler:
    """Label sets above a threshold or drawn, perhaps with the given label."""
    what = make_targets("threshold", rho=0.3)
    if sample:
        what = Targets(what.interaction, sample_bernoulli, what.imitation, what.link)
    images = scan() if relabel == "cycle" else None
    return PseudoLabeler(what, union, images, draws=7 if sample else None)


def half_labelled() -> Dataset:
    """The data set, with no label known of its second half."""
    data = dataset()
    return data.with_labels(Single(np.where(np.arange(40) < 20, data.labels.index, -1), CLASSES))


def half_unlabelled(cycles: Cycles) -> Stream:
    """What MILe sees of labelled and unlabelled images."""
    turns = AlternatingSampler(
        Epochs(np.arange(20), 0, "labelled"), Epochs(np.arange(40), 0, "all"), cycles
    )
    return stream(half_labelled(), order=turns)


def mile_mixture(soft: bool) -> Mile:
    """MILe whose teacher is calibrated; random labels tell nothing, so that ρ stands in."""
    sets = Calibrated(scan(), soft, otherwise=0.3)
    what = Targets(sigmoid_bce, sets, sigmoid_bce, "sigmoid")
    return Mile(learner(1), learner(2), PseudoLabeler(what, calibrated=sets), Cycles.of(3, 2))


def nct(**more: Any) -> Nct:
    """Two peers over twelve steps of two and a half epochs, labels changed from the start."""
    alpha = ByEpoch(Balancing(0.9, 0.65, 2.0), 40, 8)
    rate = ByEpoch(TargetVariability(0.2, 0.5, -1.0, 3.0), 40, 8)
    return Nct(learner(1), learner(2), alpha, rate, **more)


def co_teaching(**more: Any) -> CoTeaching:
    """Two networks; in the end each leaves out 30% of a batch."""
    forgotten = ByEpoch(Forgetting(0.3, 1.0), 40, 8)
    return CoTeaching(learner(1), learner(2), forgotten, **more)


def m_correction(first: int = 4, balance: float = 1.0) -> MCorrection:
    """Labels are corrected from a step on; a pass is five steps."""
    mixture = torch.zeros(8, dtype=torch.float64)
    mix = Mix(32.0, 0.0, 5, "m-correction")
    return MCorrection(learner(1), scan(), mixture, EveryEpoch(first, 5), mix, balance)


def divide_mix(first: int = 4) -> DivideMix:
    """Labels are doubted from a step on; a pass is five steps."""
    mixes = Mix(4.0, 0.0, 5, "first"), Mix(4.0, 0.0, 5, "second")
    weight = ByEpoch(LinearEpochs(25.0, 0.0, 2.0), 40, 8)
    right = torch.zeros(2, 40)
    return DivideMix(learner(1), learner(2), scan(), right, EveryEpoch(first, 5), mixes, weight)


def role() -> Role:
    """ROLE, expecting 1.5 classes in an image."""
    estimates = Estimates(torch.from_numpy(dataset().labels.present()), seed=5)
    optimizer = torch.optim.Adam(estimates.parameters(), lr=0.05)
    return Role(learner(), Learner(estimates, optimizer, Constant(0.05)), 1.5)


def em_apl(count: int = 3) -> EntropyMaximisation:
    """Entropy maximisation over twelve steps with pseudo-labels at steps 4, 6 and 9."""
    memory = torch.full((40, 3), UNKNOWN)
    rounds = Rounds(4, 12, count)
    return EntropyMaximisation(learner(), memory, scan(), rounds, 0.3, alpha=0.1, beta=0.4)


def large_loss(surprise: Surprise, share: Schedule) -> LargeLoss:
    """Doubts about random labels, remembered where they are for good."""
    size = 40 if surprise == "permanent" else 0
    return LargeLoss(learner(), share, surprise, torch.zeros(size, 3, dtype=torch.bool))


def cpsd(**more: Any) -> Cpsd:
    """A student of two sides: one of two teachers, out of class order, and one of a whole one."""
    few = Merged(
        [network(3, classes=2), network(4, classes=1)], (("cat", "ant"), ("bee",)), CLASSES
    )
    sides = (Predictor((few,), "sigmoid"), learner(5).predictor("sigmoid"))
    return Cpsd(learner(2), sides, Asymmetric(), mean_squared_error, **more)


ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "softmax": lambda: Supervised(learner(dropout=0.3), softmax_xent, "softmax", 0.1),
    "sigmoid": lambda: Supervised(learner(adam=True, average=0.9), sigmoid_bce, "sigmoid"),
    "clipped": lambda: Supervised(learner(clip=0.1), softmax_xent, "softmax"),
    "elr": lambda: Elr(learner(), torch.zeros(40, 3)),
    "mile": mile,
    "mile cycle": lambda: mile("cycle"),
    "mile union": lambda: mile(union=True),
    "mile sample": lambda: mile(sample=True),
    "mile sample cycle": lambda: mile("cycle", sample=True),
    "mile unlabelled": lambda: mile(),
    "mile unlabelled sample cycle": lambda: mile("cycle", sample=True, union=True),
    "mile copy": lambda: mile(at_copy="copy"),
    "mile reset": lambda: mile(at_copy="reset"),
    "mile uneven": lambda: Mile(learner(1), learner(2), passed("cycle"), Cycles(12, 5, 4)),
    "mile soft": lambda: Mile(
        learner(1), learner(2), PseudoLabeler(make_targets("soft")), Cycles.of(3, 2)
    ),
    "mile mixture": lambda: mile_mixture(soft=False),
    "mile mixture soft": lambda: mile_mixture(soft=True),
    "mile continuing": continuing,
    "mile continuing cycle": lambda: continuing("cycle"),
    "mile continuing sample cycle": lambda: continuing("cycle", sample=True),
    "mile continuing sets": lambda: continuing(union=False),
    "an-ls": lambda: Supervised(learner(), Smoothed(0.1), "sigmoid"),
    "wan": lambda: Supervised(learner(), weak, "sigmoid"),
    "epr": lambda: ExpectedPositive(learner(), 1.5),
    "role": role,
    "em-apl": em_apl,
    "large-loss reject": lambda: large_loss("reject", Rising(0.3, 12)),
    "large-loss correct": lambda: large_loss("correct", Rising(0.3, 12)),
    "large-loss permanent": lambda: large_loss("permanent", From(0.05, 3)),
    "distill soft": lambda: Distill(
        learner(2), learner(1).predictor("softmax"), make_targets("soft", temperature=2.0)
    ),
    "distill hard": lambda: Distill(
        learner(2), learner(1).predictor("softmax"), make_targets("hard")
    ),
    "distill sets": lambda: Distill(
        learner(2), learner(1).predictor("sigmoid"), make_targets("threshold", rho=0.3)
    ),
    "nct": nct,
    "nct any first": lambda: nct(flip="any", evaluated_model="first"),
    "co-teaching": lambda: co_teaching(),
    "co-teaching+": lambda: co_teaching(apart_from=4, evaluated_model="second"),
    "m-correction": m_correction,
    "divide-mix": divide_mix,
    "asl": lambda: Supervised(learner(), Asymmetric(), "sigmoid"),
    "cpsd": cpsd,
    "cpsd kept": lambda: cpsd(_known=torch.linspace(-2, 2, 240).reshape(2, 40, 3)),
    "semi": lambda: Student(
        Supervised(learner(2), softmax_xent, "softmax"),
        {"teacher": learner(1).predictor("softmax")},
    ),
    "dml": lambda: Nct(
        learner(1, dropout=0.3), learner(2, adam=True), Constant(0.5), Constant(0), 1.0
    ),
}
"""Every step method in every form that has state of its own: the rows of the contract."""

STREAMS: dict[str, Callable[[], Stream]] = {
    name: lambda: half_unlabelled(Cycles.of(3, 2)) for name in ALGORITHMS if "unlabelled" in name
}
"""What some of them learn from; the others from :func:`stream`."""


def weights(algorithm: Algorithm) -> dict[str, torch.Tensor]:
    """All state of an algorithm, copied."""
    from reteach.engine.snapshot import leaves

    return {path: leaf.clone() for path, leaf in leaves(algorithm).items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether two states agree: bit for bit, or to a tolerance."""
    assert a.keys() == b.keys()
    if tolerance == 0:
        return all(torch.equal(a[path], b[path]) for path in a)
    return all(torch.allclose(a[p].float(), b[p].float(), atol=tolerance) for p in a)
