"""What the images go through in training: crops, flips, clips, as the settings and the images ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data.loading.augment import CropFlip, Flip, Then, Train
from ..data.loading.clips import EvalClips, TrainClip, evaluation
from ..data.loading.reader import Augment
from ..data.loading.views import DrawnView, FirstView
from ..errors import UserError

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from .setup import Setup


def kind_of(setup: Setup) -> str:
    """``--augment``, without *auto*."""
    if setup.training.augment != "auto":
        return setup.training.augment
    if setup.image_size is None:
        return "none"
    return "flip" if setup.resize == "square" else "crop"


def training(setup: Setup, randaugment: int | None = None) -> Augment:
    """The training augmentation, with another magnitude of RandAugment where given.

    RandAugment is for RGB images; where the images are kept small and plain it stays off, and so it
    does for videos, of which a clip is taken.
    """
    kind, size = kind_of(setup), setup.image_size
    if setup.frames is not None:
        assert size is not None
        if setup.training.augment == "none":
            return EvalClips(size, setup.frames, clips=1)
        return TrainClip(size, setup.frames)
    magnitude = setup.training.randaugment if randaugment is None else randaugment
    by = setup.prepare.interpolation
    view = evaluation(size, None, setup.resize, by)
    if setup.views > 1:
        return DrawnView() if setup.training.augment == "auto" else FirstView()
    if kind == "none":
        return view
    if kind == "flip":
        flip = Flip(magnitude, setup.training.cutout)
        return flip if size is None else Then(view, flip)
    if size is None:
        height, width, *_ = setup.train.source.read(int(setup.train.rows[0])).shape
        if height != width:
            raise UserError(f"images of {height}×{width} need an --image-size to be cropped")
        size = height
    if kind == "crop-flip":
        crop = CropFlip(size, interpolation=by)
        return Then(view, crop) if setup.resize == "square" else crop
    least = setup.training.min_crop or 0.08
    return Train(
        size,
        (least, 1.0),
        randaugment=magnitude,
        cutout=setup.training.cutout,
        interpolation=by,
    )
