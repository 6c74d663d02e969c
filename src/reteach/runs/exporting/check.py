"""An exported model held against the run's on photos, by the very script that is shipped with it."""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...data.dataset import Dataset
from ...data.loading.decode import ImageError
from ...data.loading.stream import Scan
from ...data.sources.base import Source, SubsetSource, is_video, open_source
from ...data.sources.folders import FolderSource
from ...engine.evaluate import scores
from ...errors import UserError
from ...progress import progress
from .. import config as configs
from .write import Export

TOLERANCE = {"timm": 1e-3, "safetensors": 1e-3, "onnx": 1e-4, "torch-export": 1e-4}
"""The largest difference of a probability: timm's own transform rounds in between, a graph does not."""
_TIE = 1e-6
_AT_ONCE = 32


@final
@dataclass(frozen=True)
class ExportCheck:
    """What was found.

    Args:
        images: that were looked at.
        agree: of them those with the same first choice.
        largest: difference of a probability.
        tolerance: what it may be.
    """

    images: int
    agree: int
    largest: float
    tolerance: float

    def words(self) -> str:
        """In one line."""
        return (
            f"{self.agree:,} of {self.images:,} images have the run's first choice, probabilities differ by "
            f"at most {self.largest:.1e}"
        )


def check(export: Export, folder: Path, images: str | None, most: int) -> ExportCheck:
    """Hold ``predict.py`` of a folder against the run, on photos at their full size.

    Args:
        images: what they are read from; None: the run's own.
        most: how many.

    Raises:
        UserError: no photo can be read, or the two differ.
    """
    source = _spread(_opened(export, images), most)
    data = Dataset.unlabeled(source, export.saved.classes)
    seen = export.saved.seen
    seen.check(source)
    scan = Scan(data, seen.view(is_video(source)), seen.prepare, _AT_ONCE, 0)
    rows, expected = scores(export.predictor, scan)
    if not len(rows):
        raise UserError(f"none of the {len(source)} photos can be read: name others with --images")
    found = _predicted(folder, source, rows.tolist())
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise UserError("the exported model gives numbers that are not finite: nothing is written")
    tolerance = TOLERANCE[export.target]
    # of two classes that are as likely, rounding chooses one
    same = expected[np.arange(len(rows)), found.argmax(1)] >= expected.max(1) - _TIE
    checked = ExportCheck(
        len(rows), int(same.sum()), float(np.abs(found - expected).max()), tolerance
    )
    if checked.agree < checked.images or checked.largest > tolerance:
        raise UserError(
            f"the exported model is not the run's: {checked.words()}, {tolerance:g} is allowed; nothing is "
            "written"
        )
    return checked


def _opened(export: Export, images: str | None) -> Source:
    if images is not None:
        return open_source(images)
    data = configs.load(export.run / "config.yaml").data
    where = data.val_images or data.images
    try:
        return open_source(str(where))
    except UserError as error:
        raise UserError(
            f"{error}; name photos to check the exported model on with --images"
        ) from None


def _spread(source: Source, most: int) -> Source:
    rows = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(np.int64))
    return SubsetSource(source, rows)


def _predicted(folder: Path, source: Source, rows: Sequence[int]) -> NDArray[Any]:
    """(N, C) probabilities by the folder's own script, of files."""
    predict = runpy.run_path(str(folder / "predict.py"), run_name="exported")["predict"]
    found = []
    with tempfile.TemporaryDirectory() as scratch, progress("checking", len(rows)) as on_progress:
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            found.append(predict([_file(source, row, Path(scratch)) for row in some]))
            on_progress(start + len(some))
    return np.concatenate(found)


def _file(source: Source, row: int, scratch: Path) -> Path:
    """The file of an image, or its pixels as one."""
    inner: Any = source
    at = row
    while isinstance(inner, SubsetSource):
        inner, at = inner.source, int(inner.rows[at])
    if isinstance(inner, FolderSource):
        return Path(inner.path(at))
    file = scratch / f"{row}.png"
    if not file.exists():
        try:
            Image.fromarray(source.read(row).squeeze()).save(file)
        except ImageError as error:
            raise UserError(f"{source.items[row]}: {error}") from None
    return file
