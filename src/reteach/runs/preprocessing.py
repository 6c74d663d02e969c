"""Images as a trained model sees them: the same for every command that only looks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.loading.clips import at_once, evaluation
from ..data.loading.reader import Augment
from ..data.loading.stream import Scan
from ..data.sources.base import is_video, shrunk
from ..errors import UserError
from ..options.shared import Resize


@final
@dataclass(frozen=True, eq=False)
class Preprocessing:
    """What a model takes.

    Args:
        image_size: side of the input, None: images keep their size.
        frames: of a clip, of a model of videos; None: still images.
        prepare: normalisation.
        resize: how photos become squares.
        whose: the model, in words.
    """

    image_size: int | None
    frames: int | None
    prepare: Normalize
    resize: Resize = "shorter"
    whose: str = "the model"

    @property
    def at_least(self) -> int | None:
        """To what shorter side large images may be reduced while they are decoded, as in training."""
        return None if self.image_size is None else 2 * self.image_size

    def view(self, videos: bool) -> Augment:
        """How images reach the model.

        Raises:
            UserError: they are videos and it takes still images, or the other way round.
        """
        if videos != (self.frames is not None):
            takes, given = ("still images", "videos")[:: 1 if self.frames is None else -1]
            raise UserError(f"{self.whose} takes {takes}, and these are {given}")
        return evaluation(self.image_size, self.frames, self.resize, self.prepare.interpolation)

    def scan(self, dataset: Dataset, batch_size: int, workers: int) -> Scan:
        """A pass over images; see :meth:`view`.

        Args:
            batch_size: images at a time; of videos, fewer.
            workers: processes that decode.
        """
        augment = self.view(is_video(dataset.source))
        if self.at_least is not None:
            dataset = replace(dataset, source=shrunk(dataset.source, self.at_least))
        batch_size = at_once(batch_size, self.frames)
        return Scan(dataset, augment, self.prepare, batch_size, workers)
