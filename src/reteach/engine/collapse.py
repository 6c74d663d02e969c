"""Trainings that fail while their numbers look good: the drift to *every class present*.

Many short generations of MILe end there: on images with many objects F1 at a fixed threshold then looks best
while the ranking is at chance. A stage that has drifted stops, and goes back to the weights of its best
validation before the drift; where none was healthy, it ends with :class:`Collapsed`. Of many classes the
opposite happens too: none passes ρ, and the student learns that nothing is present. That is warned of only,
since such students can rank far better than chance. But one that has learned from pseudo-labels alone, and
from first to last was given none, has learned nothing: that training has failed as well.

What was seen is a function of the log, which is cut back to the snapshot where a run goes on, and the same in
all processes: so a resumed run stops where the undisturbed one does, with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from .. import sealed
from ..errors import UserError
from ..files import atomic_path
from ..records.runs import Measurement
from . import distributed
from .algorithm import Algorithm
from .sharding import full_state, load_full

_IN_A_ROW = 3
YOUNG = 100
"""Steps before which no training has collapsed: it has not begun to learn."""
KIND = "collapse"
"""The kind of the line in the log that says where a stage was given up."""


@final
@dataclass(frozen=True)
class CollapseRule:
    """When a training of label sets counts as collapsed, and what then happens.

    Args:
        num_classes: C.
        given: labels per image among those that are learned from.
        metric: of validation, by which the model to go back to is the best; more is better.
        stop: end the stage; else only warn.
        remedies: what may help against empty pseudo-labels, for the message.
        advice: what may help against full ones, for the message.
        taught_itself: the model learns from pseudo-labels alone.
        share: of the C classes per image, above which a model says nothing any more.
        least: pseudo-labels per image, below which at least half of the images have none.
        none: pseudo-labels per image, below which hardly an image has one.
    """

    num_classes: int
    given: float = 1.0
    metric: str = "accuracy"
    stop: bool = True
    remedies: str = "--student continuing, --union or a lower --rho"
    advice: str = "a lower --lr"
    taught_itself: bool = False
    share: float = 0.9
    least: float = 0.5
    none: float = 0.01

    @property
    def limit(self) -> float:
        """Labels per image that are nearly all, where not nearly all are given."""
        limit = self.share * self.num_classes
        return limit if self.num_classes >= 3 and self.given <= limit else math.inf


class Collapsed(UserError):
    """A stage that drifted to every class present, and of which no validation was healthy before.

    Args:
        algorithm: as it was when it was given up.
    """

    def __init__(self, message: str, algorithm: Algorithm) -> None:
        super().__init__(message)
        self.algorithm = algorithm

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes the message alone, as any error of a user's."""
        return UserError, (str(self),)


@final
@dataclass(eq=False)
class CollapseDetector:
    """Notices when a multi-label model drifts to *every class present*, or is taught *no class at all*.

    It sees each record of a stage. Nearly all are present when a teacher's pseudo-labels say so for a while,
    or when the model, once better, predicts so on the first validation set. (An untrained sigmoid network
    starts there, and is no collapse.)

    Args:
        rule: what counts.
        begin: step before which sparse pseudo-labels are no sign yet: a young teacher is sure of nothing.
        young: steps in which full ones are only warned of.
        warnings: what was noticed, each once.
        sign: what is wrong now, and since which step; empty: nothing.
    """

    rule: CollapseRule
    begin: int = 0
    young: int = 0
    warnings: list[str] = field(default_factory=list)
    sign: str = field(default="", init=False)
    _full: int = field(default=0, init=False)
    _empty: int = field(default=0, init=False)
    _all: int = field(default=0, init=False)
    _who: tuple[Any, Any] | None = field(default=None, init=False)
    _better: bool = field(default=False, init=False)
    _most: float = field(default=0.0, init=False)
    _told: set[str] = field(default_factory=set, init=False)

    def __call__(self, record: Mapping[str, Any]) -> bool:
        """Take a record in; whether the training has collapsed by now, for long enough."""
        pseudo, predicted = _number(record, "pseudo_labels"), _number(record, "labels_per_image")
        if pseudo is not None:
            self._taught(pseudo, record["step"])
        elif predicted is not None and self._watched(record):
            self._predicted(predicted, record["step"])
        self.sign = self.sign if self._full >= _IN_A_ROW or self._all else ""
        return max(self._full, self._all) >= _IN_A_ROW and record["step"] >= self.young

    def healthy(self, record: Mapping[str, Any]) -> bool:
        """Whether a validation is of a model that has learned something and does not say that nearly all is
        present."""
        return not self.untaught and (_number(record, "labels_per_image") or 0) <= self.rule.limit

    @property
    def untaught(self) -> bool:
        """Whether the model learns from pseudo-labels alone, and there were none so far."""
        return self.rule.taught_itself and self._most < self.rule.none

    def _watched(self, record: Mapping[str, Any]) -> bool:
        """Whether this is of the first predictor, on the first of the data sets."""
        who = record.get("predictor"), record.get("data")
        self._who = self._who or who
        true = _number(record, "true_labels_per_image") or 0.0
        return who == self._who and true <= self.rule.limit

    def _taught(self, pseudo: float, step: int) -> None:
        self._most = max(self._most, pseudo)
        self._full = self._full + 1 if pseudo > self.rule.limit else 0
        if self._full == _IN_A_ROW:
            self._fell(f"{pseudo:.1f} pseudo-labels", step)
        hungry = pseudo < self.rule.least and step >= self.begin
        self._empty = self._empty + 1 if hungry else 0
        if self._empty == _IN_A_ROW:
            self._tell(
                "empty",
                f"the pseudo-labels are mostly empty: {pseudo:.2g} per image of {self.rule.num_classes} "
                f"classes at step {step}; the student is taught that nothing is present. Try "
                f"{self.rule.remedies}",
            )

    def _predicted(self, predicted: float, step: int) -> None:
        if predicted <= self.rule.limit:
            self._better, self._all = True, 0
        elif self._better:
            self._all += 1
            if self._all == 1:
                self._fell(f"{predicted:.1f} predicted labels", step)

    def _fell(self, count: str, step: int) -> None:
        self.sign = (
            f"collapse to every class present: {count} per image of {self.rule.num_classes} classes at "
            f"step {step}"
        )
        self._tell("full", f"{self.sign}; F1 is no longer to be trusted. Try {self.rule.advice}")

    def _tell(self, what: str, warning: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.warnings.append(warning)


@final
@dataclass(eq=False)
class CollapseWatch:
    """The detector of one stage, and the weights of its best healthy validation.

    Args:
        rule: what counts.
        stage: its name.
        steps: of its budget.
        folder: of the stage, where the weights are kept; None: in memory alone.
        step: of the best healthy validation; of equal ones the first counts.
        value: its number; None: there was none.
        seen: the step of the last validation.
        ended: the step at which the stage was given up; None: it was not.
    """

    rule: CollapseRule
    stage: str
    steps: int
    folder: Path | None
    step: int = field(default=0, init=False)
    value: float | None = field(default=None, init=False)
    seen: int = field(default=0, init=False)
    ended: int | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)
    _memory: dict[str, Any] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.detector = CollapseDetector(self.rule, self.steps // 4, max(YOUNG, self.steps // 4))

    def replay(self, records: Iterable[Mapping[str, Any]]) -> None:
        """See again what an earlier attempt logged of the stage."""
        for record in records:
            if record.get("stage") == self.stage:
                if record.get("kind") == KIND:
                    self.ended = int(record["step"])
                self._take(record)

    def see(self, record: Mapping[str, Any], algorithm: Algorithm) -> list[str]:
        """A new record: keep the weights of the best healthy validation so far; returns new warnings."""
        before = len(self.detector.warnings)
        better, fallen = self._take(record)
        if better and self.rule.stop:
            self._memory = {"step": self.step, "models": _copies(algorithm)}
        if fallen and self.rule.stop:
            self.ended = int(record["step"])
        return self.detector.warnings[before:]

    def last(self, step: int) -> None:
        """The stage is over: a model that says nothing is not handed over, however lately it fell."""
        self._over = True
        failed = self.detector.sign or self.detector.untaught
        if self.rule.stop and failed and step >= self.detector.young:
            self.ended = step

    def _take(self, record: Mapping[str, Any]) -> tuple[bool, bool]:
        """Whether a validation is the best so far, and whether the training has collapsed."""
        fallen = self.detector(record)
        if (
            record.get("kind") != "eval" or self.seen == record["step"]
        ):  # the first one of a step counts
            return False, fallen
        self.seen = int(record["step"])
        value = _number(record, self.rule.metric)
        if value is None or not self.detector.healthy(record):
            return False, fallen
        if self.value is not None and value <= self.value:
            return False, fallen
        self.step, self.value = self.seen, value
        return True, fallen

    def line(self) -> dict[str, Any]:
        """What the log keeps of the end."""
        assert self.ended is not None
        kept = {} if self.value is None else {"kept": float(self.step)}
        return Measurement(self.stage, self.ended, KIND, kept).line()

    def keep(self) -> None:
        """Write the weights that a snapshot's log speaks of, before that snapshot."""
        if self.folder is None or self._memory is None or (file := self._file(self.step)).exists():
            return
        with atomic_path(file) as part:
            with open(part, "wb") as out:  # to a path, torch hides why it could not write
                torch.save(self._memory, out)
            sealed.seal(part)

    def tidy(self) -> None:
        """Remove weights that no snapshot's log speaks of any more; all where the stage ended well."""
        if self.folder is None:
            return
        well = self._over and self.ended is None
        for file in self.folder.glob("healthy-*.pt"):
            if well or file != self._file(self.step):
                file.unlink(missing_ok=True)

    def fall_back(self, algorithm: Algorithm) -> None:
        """Put the weights of the best healthy validation into the algorithm.

        Raises:
            Collapsed: there is none.
            UserError: the file is damaged.
        """
        content = self._memory
        if self.value is not None and (content is None or content["step"] != self.step):
            kept = None if self.folder is None else self._file(self.step)
            content = None if kept is None else distributed.of_first(lambda: _read(kept))
        if content is None:
            raise Collapsed(self.message(), algorithm)
        for model, state in zip(_models(algorithm), content["models"], strict=True):
            load_full(model, state)

    def message(self) -> str:
        """What happened, and the next step."""
        sign, advice = self.detector.sign, self.rule.advice
        if self.detector.untaught:
            sign, advice = "not one image in a hundred had a pseudo-label", self.rule.remedies
        where = f"{sign}; {self.stage!r} stopped at step {self.ended} of {self.steps}"
        if self.value is None:
            kept = "no validation before it was healthy, and no model is kept"
        else:
            kept = (
                f"the model is that of the best validation before it, at step {self.step} "
                f"({self.rule.metric} {self.value:.3f})"
            )
        return f"{where}: {kept}. Try {advice}; --on-collapse warn trains to the end"

    def _file(self, step: int) -> Path:
        assert self.folder is not None
        return self.folder / f"healthy-{step}.pt"


def _number(record: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a record."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _models(algorithm: Algorithm) -> list[nn.Module]:
    """All networks that predict, each once."""
    every = (model for one in algorithm.predictors().values() for model in one.models)
    return list({id(model): model for model in every}.values())


def _copies(algorithm: Algorithm) -> list[dict[str, Any]]:
    return [
        {name: tensor.detach().cpu().clone() for name, tensor in full_state(model).items()}
        for model in _models(algorithm)
    ]


def _read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    sealed.check(file, f"delete {file.parent} to start this stage again")
    content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return content


def rule_for(
    num_classes: int, given: float, metric: str, stop: bool, settings: Any
) -> CollapseRule:
    """The rule for a method's settings; see :class:`CollapseRule`."""
    unused = {
        "--student continuing": getattr(settings, "student", None) == "algorithm1",
        "--union": getattr(settings, "union", True) is False,
    }
    help_ = [*(flag for flag, free in unused.items() if free), "a lower --rho"]
    remedies = " or ".join([", ".join(help_[:-1]), help_[-1]] if help_[1:] else help_)
    advice = "fewer and longer generations (--k-t), a larger --rho or a lower --lr"
    advice = advice if hasattr(settings, "k_t") else CollapseRule.advice
    # other targets name one class an image, and no number of labels is logged
    sets = getattr(settings, "targets", "") == "threshold"
    alone = unused["--student continuing"] and settings.evaluated_model == "student" and sets
    return CollapseRule(num_classes, given, metric, stop, remedies, advice, alone)
