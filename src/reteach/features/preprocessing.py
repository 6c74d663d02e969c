"""Images as a trained model sees them: the same for every command that only looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from ..data.dataset import Dataset
from ..data.loading.batch import Normalize
from ..data.loading.clips import at_once, evaluation
from ..data.loading.reader import Augment
from ..data.loading.stream import Scan
from ..data.loading.views import FirstView
from ..data.sources.base import Source, features_of, is_video, shrunk
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
        features: how they were made, of a model of features; None: it takes images.
    """

    image_size: int | None
    frames: int | None
    prepare: Normalize
    resize: Resize = "shorter"
    whose: str = "the model"
    features: Mapping[str, Any] | None = None

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
        if self.features is not None:
            return FirstView()
        return evaluation(self.image_size, self.frames, self.resize, self.prepare.interpolation)

    def check(self, source: Source | None) -> None:
        """Refuse features where the model takes images, the other way round, and features of another making.

        Args:
            source: None: images that are opened later, in tar shards.

        Raises:
            UserError: one of these.
        """
        made = features_of(source)
        if (made is None) != (self.features is None):
            if self.features is None:
                raise UserError(f"{self.whose} takes images, and these are features")
            raise UserError(
                f"{self.whose} takes features, and these are images: {embed_command(self.features)} "
                "makes theirs (of other weights than timm's: with the run or --init FILE that made "
                "the features it learned from)"
            )
        if made and self.features and (told := differing(self.features, made)):
            raise UserError(f"{self.whose} takes other features than these ({told})")

    def scan(self, dataset: Dataset, batch_size: int, workers: int) -> Scan:
        """A pass over images; see :meth:`view`.

        Args:
            batch_size: images at a time; of videos, fewer.
            workers: processes that decode.
        """
        self.check(dataset.source)
        augment = self.view(is_video(dataset.source))
        if self.at_least is not None:
            dataset = replace(dataset, source=shrunk(dataset.source, self.at_least))
        batch_size = at_once(batch_size, self.frames)
        return Scan(dataset, augment, self.prepare, batch_size, workers)


def embed_command(features: Mapping[str, Any]) -> str:
    """What makes such features of further images, if the weights are timm's: a table does not tell that."""
    words = ["reteach embed --images FOLDER --pretrained", f"--model {features['backbone']}"]
    for key in ("image_size", "resize"):
        if features.get(key) is not None:
            words.append(f"--{key.replace('_', '-')} {features[key]}")
    return " ".join([*words, "--out more.features"])


NO_MATTER = ("block", "backend", "batch_size", "dtype", "views", "seed")
"""Settings of feature tables that change the first view by rounding at most."""


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first setting in which two kinds of features differ, in words; "": they are of one kind."""
    for key in one:
        if key not in NO_MATTER and one[key] != other.get(key):
            return f"{key}: {one[key]} there, {other.get(key)} now"
    return ""
