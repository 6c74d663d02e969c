"""What the images go through in training: crops, flips, clips, as the settings and the images ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ..data.dataset import Dataset
from ..data.loading.augment import CropFlip, Flip, Then, Train
from ..data.loading.clips import EvalClips, TrainClip, evaluation
from ..data.loading.own_augment import OwnAugment
from ..data.loading.reader import Augment
from ..data.loading.views import DrawnView, FirstView
from ..errors import UserError
from ..options.shared import Interpolation, Resize, Training
from ..own import find


@final
@dataclass(frozen=True, eq=False)
class Augmentation:
    """The augmentation of a training.

    Args:
        settings: what was asked for.
        image_size: side of the input; None: images keep their size.
        frames: of a clip, where the images are videos.
        resize, interpolation: how photos become squares.
        views: the most feature vectors that stand for one image; 1 of images.
    """

    settings: Training
    image_size: int | None
    frames: int | None
    resize: Resize
    interpolation: Interpolation
    views: int

    @property
    def kind(self) -> str:
        """``--augment``, without *auto*."""
        if self.settings.augmentation is not None:
            return "own"
        if self.settings.augment != "auto":
            return self.settings.augment
        if self.image_size is None:
            return "none"
        return "flip" if self.resize == "square" else "crop"

    def of(self, dataset: Dataset, randaugment: int | None = None) -> Augment:
        """For these images, with another magnitude of RandAugment where given.

        RandAugment is for RGB images; where the images are kept small and plain it stays off, and so it
        does for videos, of which a clip is taken.
        """
        if self.settings.augmentation is not None and (self.frames is not None or self.views > 1):
            raise UserError("augmentation is for still images; leave it out")
        if self.frames is not None:
            return self._of_videos(self.frames)
        if self.views > 1:
            return DrawnView() if self.settings.augment == "auto" else FirstView()
        asked = self.settings.randaugment
        return self._of_images(dataset, asked if randaugment is None else randaugment)

    def _of_videos(self, frames: int) -> Augment:
        assert self.image_size is not None
        if self.settings.augment == "none":
            return EvalClips(self.image_size, frames, clips=1)
        return TrainClip(self.image_size, frames)

    def _of_images(self, dataset: Dataset, magnitude: int) -> Augment:
        size, by, settings = self.image_size, self.interpolation, self.settings
        view = evaluation(size, None, self.resize, by)
        if settings.augmentation is not None:
            function = find("augmentation", settings.augmentation)
            return OwnAugment(settings.augmentation, view, function)
        if self.kind == "none":
            return view
        if self.kind == "flip":
            flip = Flip(magnitude, settings.cutout)
            return flip if size is None else Then(view, flip)
        size = _side(dataset) if size is None else size
        if self.kind == "crop-flip":
            crop = CropFlip(size, interpolation=by)
            return Then(view, crop) if self.resize == "square" else crop
        return Train(
            size,
            (settings.min_crop or 0.08, 1.0),
            randaugment=magnitude,
            cutout=settings.cutout,
            interpolation=by,
        )


def _side(dataset: Dataset) -> int:
    """The side of square images that keep their size."""
    height, width, *_ = dataset.source.read(int(dataset.rows[0])).shape
    if height != width:
        raise UserError(f"images of {height}×{width} need an --image-size to be cropped")
    return int(height)
