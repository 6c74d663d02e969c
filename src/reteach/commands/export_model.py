"""``reteach export``: a run's model for programs that do not know reteach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..files import new_folder
from ..options.export import ModelExportOptions
from ..runs.checkpoint import load_models
from ..runs.exporting.check import check
from ..runs.exporting.write import Export


@final
@dataclass(frozen=True)
class ModelExportResult:
    """A folder that was written and checked.

    Args:
        out: the folder.
        to: for whom.
        calibrated: whether its probabilities are calibrated ones.
        images: on which it was held against the run.
        agree: of them those with the same first choice.
        largest: difference of a probability.
        tolerance: what it may be.
    """

    out: Path
    to: str
    calibrated: bool
    images: int
    agree: int
    largest: float
    tolerance: float

    def lines(self) -> Iterator[str]:
        """What was checked, and how to use it."""
        calibrated = ", calibrated" if self.calibrated else ""
        yield f"{self.out}: {self.to}{calibrated}"
        yield (
            f"checked: {self.agree:,} of {self.images:,} images have the run's first choice, probabilities "
            f"differ by at most {self.largest:.1e}"
        )
        yield f"to use it: python {self.out / 'predict.py'} photo.jpg"


def export_model(options: ModelExportOptions) -> ModelExportResult:
    """Write the model of a run, hold it against the run, and only then let the folder stand.

    Raises:
        UserError: no such run or model, one that the target cannot hold, a package that is missing, photos
            that are gone, or an exported model that gives other answers.
    """
    saved = load_models(options.run_folder, "cpu")
    name, predictor = saved.named(options.predictor)
    export = Export(options.run_folder, saved, name, predictor, options.to)
    export.check()
    out = options.out or options.run_folder / "exported" / options.to
    with new_folder(out) as folder:
        export.write(folder)
        checked = check(export, folder, options.images, options.check)
        export.write_card(folder, checked.words())
    return ModelExportResult(
        out,
        options.to,
        predictor.presence is not None,
        checked.images,
        checked.agree,
        checked.largest,
        checked.tolerance,
    )
