"""Watching a training for the failures that look like success."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, final

_IN_A_ROW = 3


@final
@dataclass(eq=False)
class CollapseDetector:
    """Notices when a multi-label model drifts to *every class present*, or is taught *no class at all*.

    Many short generations of MILe end there: on images with many objects F1 at a fixed threshold then
    looks best while the ranking is at chance. A log sink: it sees each record and warns once, when a
    teacher's pseudo-labels hold nearly all classes for a while, or when a model that was once better
    predicts nearly all. (An untrained sigmoid network starts there, and is no collapse.) Of many classes the
    opposite happens: none passes ρ, and the student learns that nothing is present. It warns once when most
    images have no pseudo-label for a while.

    Args:
        num_classes: C.
        share: of the C classes per image, above which a model says nothing any more.
        least: pseudo-labels per image, below which at least half of the images have none.
        begin: step before which sparse pseudo-labels are no sign yet: a young teacher is sure of nothing.
        remedies: what may help against empty ones, for the message.
        name: of what is watched, for the message.
    """

    num_classes: int
    share: float = 0.9
    least: float = 0.5
    begin: int = 0
    remedies: str = "--student continuing, --union or a lower --rho"
    name: str = ""
    warnings: list[str] = field(default_factory=list)
    _full: int = field(default=0, init=False)
    _empty: int = field(default=0, init=False)
    _collapsed: bool = field(default=False, init=False)
    _starving: bool = field(default=False, init=False)
    _healthy: set[str] = field(default_factory=set, init=False)

    def __call__(self, record: dict[str, Any]) -> None:
        if record.get("pseudo_labels") is not None:
            self._starved(record["pseudo_labels"], record["step"])
        if self.num_classes < 3 or self._collapsed:
            return
        limit = self.share * self.num_classes
        pseudo, predicted = record.get("pseudo_labels"), record.get("labels_per_image")
        if pseudo is not None:
            self._full = self._full + 1 if pseudo > limit else 0
            if self._full == _IN_A_ROW:
                self._warn(
                    f"{pseudo:.1f} pseudo-labels", record["step"], ". Try a larger k_t or rho"
                )
        elif predicted is not None:
            who = f"{record['stage']} {record['predictor']} {record['data']}"
            if predicted <= limit:
                self._healthy.add(who)
            elif who in self._healthy:
                self._warn(f"{predicted:.1f} predicted labels", record["step"])

    def _starved(self, pseudo: float, step: int) -> None:
        if pseudo >= self.least or step < self.begin:
            self._empty = 0
            return
        self._empty += 1
        if self._empty == _IN_A_ROW and not self._starving:
            self._starving = True
            self._say(
                f"the pseudo-labels are mostly empty: {pseudo:.2g} per image of {self.num_classes} classes "
                f"at step {step}; the student is taught that nothing is present. Try {self.remedies}"
            )

    def _warn(self, count: str, step: int, advice: str = "") -> None:
        self._collapsed = True
        self._say(
            f"collapse to every class present: {count} per image of {self.num_classes} classes at "
            f"step {step}; F1 is no longer to be trusted{advice}"
        )

    def _say(self, warning: str) -> None:
        self.warnings.append(warning)
        name = f"{self.name}: " if self.name else ""
        print(f"warning: {name}{warning}", file=sys.stderr, flush=True)


def watch(num_classes: int, settings: Any, total: int, name: str = "") -> CollapseDetector:
    """The detector for a method's settings and a budget of ``total`` steps."""
    unused = {
        "--student continuing": getattr(settings, "student", None) == "algorithm1",
        "--union": getattr(settings, "union", True) is False,
    }
    help_ = [*(flag for flag, free in unused.items() if free), "a lower --rho"]
    remedies = " or ".join([", ".join(help_[:-1]), help_[-1]] if help_[1:] else help_)
    return CollapseDetector(num_classes, begin=total // 4, remedies=remedies, name=name)
