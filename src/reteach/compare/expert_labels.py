"""What labels of unsure experts teach: hard, soft and partly wrong ones, judged on held-out photos.

The experts gave a probability of the second class to each photo. Three heads learn from it on the same
folds with the same settings: *hard* (the likelier class), *soft* (the probability itself) and *noisy*
(hard, of which a share was made wrong). The noisy ones show what finding wrong labels is worth, because
there it is known which are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import final, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ..analysis.expert_doubt import (
    ExpertAgreement,
    Probability,
    RuleFound,
    Spread,
    agreement,
    is_sure,
    levels,
)
from ..data.dataset import Dataset
from ..data.sources.base import Source
from ..engine.run import Run
from ..errors import UserError
from ..labels import LabelSet, Rows, Single, Soft
from ..methods.clean import held_out_scores
from ..options.methods import METHODS, SoftmaxOptions
from ..options.shared import Data, Model, Training
from ..progress import progress
from ..relabel.noise import clean as rules
from ..relabel.noise.folds import stratified_folds
from ..relabel.noise.transition import by_matrix, symmetric
from ..runs.config import Config
from ..runs.inputs import Inputs
from ..runs.setup import load_recipe, make_setup

HARD, SOFT, NOISY = "hard labels", "soft labels", "noisy labels"
TAUGHT = (HARD, SOFT, NOISY)
DOUBTED = 100
"""So many of the most doubtful labels are held against the experts' doubt."""
Scores = NDArray[np.float32]
HEAD = Training(lr=0.05, weight_decay=1e-4)
"""Fixed: rates that are chosen by labels would be chosen by those of the held-out photos too."""


@final
@dataclass(frozen=True, eq=False)
class ExpertPhotos:
    """N photos that experts judged.

    Args:
        source: their features, or the photos themselves.
        group: (N,) copies of one photo share a number, and stay in one fold.
        probability: (N,) of the second class, by the experts.
        classes: the two.
    """

    source: Source
    group: Rows
    probability: Probability
    classes: tuple[str, str]

    def hard(self) -> Single:
        """The likelier class."""
        return Single((self.probability >= 0.5).astype(np.int64), self.classes)

    def soft(self) -> Soft:
        """Both classes with the experts' probabilities."""
        p = self.probability
        return Soft.from_dense(np.stack([1 - p, p], 1), self.classes)


@final
@dataclass(frozen=True, eq=False)
class SeedOutcome:
    """One seed.

    Args:
        scores: by what was taught, (N, 2), of models that have not seen the photo.
        noisy: the labels of which a share is wrong.
        wrong: (N,) where they are.
    """

    scores: dict[str, Scores]
    noisy: Single
    wrong: NDArray[np.bool_]

    def kept(self, rule: rules.Rule) -> NDArray[np.bool_]:
        """(N,) the noisy labels that a rule does not suspect."""
        return rules.keep_rule(rule, self.scores[NOISY], self.noisy.index)


@final
@dataclass(frozen=True, eq=False)
class ExpertStudy:
    """All seeds.

    Args:
        photos: what was judged.
        seeds: one outcome each.
    """

    photos: ExpertPhotos
    seeds: list[SeedOutcome]

    def agreements(self, taught: str) -> list[ExpertAgreement]:
        """The values of the seeds."""
        return [agreement(s.scores[taught][:, 1], self.photos.probability) for s in self.seeds]

    def spreads(self, taught: str) -> dict[str, Spread]:
        """Each number of :class:`ExpertAgreement` over the seeds."""
        found = self.agreements(taught)
        names = ("accuracy", "auc", "brier", "log_loss", "calibration_error")
        return {name: Spread.of([getattr(one, name) for one in found]) for name in names}

    def mean_scores(self, taught: str) -> list[Spread]:
        """The mean score at each of the experts' probabilities."""
        each = zip(*(one.mean_scores for one in self.agreements(taught)), strict=True)
        return [Spread.of(values) for values in each]

    def by_rule(self) -> dict[str, RuleFound]:
        """What each rule finds of the labels that were made wrong."""
        return {rule: self._rule(rule) for rule in get_args(rules.Rule)}

    def _rule(self, rule: rules.Rule) -> RuleFound:
        kept = [seed.kept(rule) for seed in self.seeds]
        found = [rules.detection(k, s.wrong) for k, s in zip(kept, self.seeds, strict=True)]
        return RuleFound(
            Spread.of([float(1 - k.mean()) for k in kept]),
            Spread.of([d.precision for d in found]),
            Spread.of([d.recall for d in found]),
            Spread.of([d.f1 for d in found]),
        )

    def doubted(self, seed: int = 0) -> Rows:
        """The rows of the most doubtful hard labels, nothing put in, the most doubtful first."""
        given = self.photos.hard().index
        doubt = rules.suspicion(self.seeds[seed].scores[HARD], given)
        return np.argsort(-doubt, kind="stable")[: min(DOUBTED, len(given))]

    def unsure_among_doubted(self) -> Spread:
        """The share of photos on which the experts were unsure among the most doubtful labels."""
        unsure = ~is_sure(self.photos.probability)
        return Spread.of([float(unsure[self.doubted(s)].mean()) for s in range(len(self.seeds))])


def expert_study(
    photos: ExpertPhotos,
    *,
    folds: int,
    seeds: int,
    noise: float,
    model: Model | None = None,
    training: Training | None = None,
) -> ExpertStudy:
    """Teach and judge with every seed.

    Args:
        noise: share of each class's hard labels that is made wrong.
        model: the head; by default a linear one.
        training: its budget; by default :data:`HEAD`.

    Raises:
        UserError: probabilities outside of [0, 1], one class alone, or fewer photos than folds.
    """
    _check(photos)
    outcomes = []
    with _one_thread(), progress("teaching", seeds * len(TAUGHT)) as on_progress:
        on_progress(0)
        for seed in range(seeds):
            fold = _folds(photos, folds, seed)
            noisy = by_matrix(photos.hard(), symmetric(2, noise), seed)
            labels = {HARD: photos.hard(), SOFT: photos.soft(), NOISY: noisy}
            scores = {}
            for taught in TAUGHT:
                scores[taught] = _held_out(
                    photos.source, labels[taught], fold, seed, model, training
                )
                on_progress(seed * len(TAUGHT) + len(scores), taught)
            wrong = noisy.index != photos.hard().index
            outcomes.append(SeedOutcome(scores, noisy, wrong))
    return ExpertStudy(photos, outcomes)


def _check(photos: ExpertPhotos) -> None:
    p = photos.probability
    if not ((p >= 0) & (p <= 1)).all():  # also refuses NaN
        raise UserError("the experts' probabilities must lie in [0, 1]")
    if len(set((p >= 0.5).tolist())) < 2:
        raise UserError("the experts name one class alone; there is nothing to tell apart")


def _folds(photos: ExpertPhotos, folds: int, seed: int) -> Rows:
    """(N,) with equal shares of each of the experts' probabilities."""
    level = np.searchsorted(levels(photos.probability), photos.probability)
    return stratified_folds(level, photos.group, folds, seed)


def _held_out(
    source: Source,
    labels: LabelSet,
    fold: Rows,
    seed: int,
    model: Model | None,
    training: Training | None,
) -> Scores:
    """(N, 2) scores of the models that have not seen the photo."""
    config = Config(
        "softmax",
        SoftmaxOptions(),
        data=Data(val_fraction=0.0, workers=0),
        model=model or Model("linear", device="cpu"),
        training=replace(training or HEAD, seed=seed),
    )
    inputs = Inputs(Dataset.of(source, labels), None, None)
    setup = make_setup(config, inputs, torch.device("cpu"))
    recipe = load_recipe(METHODS["softmax"].recipe)
    return held_out_scores(setup, recipe, config.settings, fold, Run.memory(seed))


@contextmanager
def _one_thread() -> Iterator[None]:
    """A linear head loses more to a second thread than it gains."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
