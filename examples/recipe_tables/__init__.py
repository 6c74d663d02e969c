"""The papers' full-size settings, one file per paper; :mod:`recipes` lists and trains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Settings = dict[str, tuple[object, str]]
"""Flag -> (value, source)."""

IMAGENET = 1_281_167
"""Training images of ILSVRC-2012."""


@dataclass(frozen=True)
class Recipe:
    """A command, how many images it is meant for, and its settings.

    Args:
        command: of reteach, e.g. "train mile".
        images: labelled ones that it learns from.
        settings: flag -> (value, source).
        needs: flag -> what to give there: files and folders that only the user has.
        shows: the table or figure of the paper.
        unlabeled: images without labels that its epochs pass over too.
    """

    command: str
    images: int
    settings: Settings
    shows: str
    needs: dict[str, str] = field(default_factory=dict)
    unlabeled: int = 0

    @property
    def method(self) -> str:
        """The method of "train METHOD"; empty for another command."""
        return self.command.removeprefix("train ") if self.command.startswith("train ") else ""

    def value(self, name: str, default: Any = None) -> Any:
        """A setting, or the default where the recipe is silent."""
        return self.settings.get(name, (default, ""))[0]

    def seen(self) -> int:
        """Images that it learns from: all, or the fraction of them."""
        return round(self.images * self.value("fraction", 1.0))

    def steps(self) -> int:
        """Backward passes of all models together, as reteach counts them."""
        if (steps := self.value("steps")) is not None:
            return int(steps)
        images = self.seen() + self.unlabeled
        per_epoch = self.value("balanced-epoch") or images / self.value("batch-size")
        return round(self.value("epochs") * per_epoch)


FINETUNE: Settings = {
    "probe-first": (False, "ours; the paper is silent"),
    "batch-norm": ("update", "ours, as from scratch; the paper is silent"),
    "warmup": (0.0, "ours, as from scratch; the paper is silent"),
    "clip": (0, "ours, as from scratch; the paper is silent"),
}
"""What reteach would choose for pretrained weights, and the papers do not speak of."""
