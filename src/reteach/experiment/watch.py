"""Watching a training for the failure that looks like success."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, final

_IN_A_ROW = 3


@final
@dataclass(eq=False)
class CollapseWatch:
    """Notices when a multi-label model drifts to *every class present*.

    Many short generations of MILe end there: on images with many objects F1 at a fixed threshold then
    looks best while the ranking is at chance. A log sink: it sees each record and warns once, when a
    teacher's pseudo-labels hold nearly all classes for a while, or when a model that was once better
    predicts nearly all. (An untrained sigmoid network starts there, and is no collapse.)

    Args:
        num_classes: C.
        share: of the C classes per image, above which a model says nothing any more.
        name: of what is watched, for the message.
    """

    num_classes: int
    share: float = 0.9
    name: str = ""
    warnings: list[str] = field(default_factory=list)
    _full: int = field(default=0, init=False)
    _healthy: set[str] = field(default_factory=set, init=False)

    def __call__(self, record: dict[str, Any]) -> None:
        if self.num_classes < 3 or self.warnings:
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

    def _warn(self, count: str, step: int, advice: str = "") -> None:
        self.warnings.append(
            f"collapse to every class present: {count} per image of {self.num_classes} classes at "
            f"step {step}; F1 is no longer to be trusted{advice}"
        )
        name = f"{self.name}: " if self.name else ""
        print(f"warning: {name}{self.warnings[-1]}", file=sys.stderr, flush=True)
