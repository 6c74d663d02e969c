"""What a training comes to: the result of ``reteach train``, ``resume`` and ``transfer``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from ..features.preprocessing import embed_command
from ..inline import InNotebook
from ..records.runs import EVALUATION, MODELS, Number
from ..unreadable import Unreadable
from .lines import metric_lines


@final
@dataclass(frozen=True)
class TrainResult(InNotebook):
    """A finished run.

    Args:
        folder: the run folder.
        report: its page.
        metrics: model -> metric -> its value on the validation images; empty without such images.
        unreadable: what could not be read, of all images.
        also: the same on each of --also-val, by its name.
    """

    folder: Path
    report: Path
    metrics: dict[str, dict[str, Number]]
    unreadable: Unreadable
    also: dict[str, dict[str, dict[str, Number]]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> TrainResult:
        """What stands in the folder of a finished run; under torchrun the first process writes it."""
        judged = {
            data: {name: evaluation.metrics for name, evaluation in found.items()}
            for data, found in (EVALUATION.read(folder) or {}).items()
        }
        lost = Unreadable.read(folder / "quarantine.csv")
        return cls(folder, folder / "report.html", judged.pop("val", {}), lost, judged)

    def lines(self) -> Iterator[str]:
        """How good the run is, where it is, and what to do next."""
        if self.metrics:
            yield from metric_lines(self.metrics, "validation")
        for data, metrics in self.also.items():
            yield from metric_lines(metrics, data)
        yield f"report: {self.report}"
        yield from next_lines(self.folder)


def next_lines(folder: Path) -> Iterator[str]:
    """How to predict with the run; of a model of features, how those of further images are made."""
    index = MODELS.read(folder)
    features = None if index is None else index.features
    if features is not None:
        yield f"next:   {embed_command(features)}"
    begin, images = ("next:   ", "FOLDER") if features is None else (" " * 8, "more.features")
    yield f"{begin}reteach predict {folder} --images {images} --out labels.parquet"
