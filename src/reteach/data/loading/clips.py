"""Clips out of videos: uint8 frames to uint8 frames, a pure function of (video, seed), as augmentation is.

Yalniz et al. (2019), Section 5.1 and supplement 4.2, after Tran et al. (2018): frames of 128 × 171
pixels, a random square of 112 of them; temporal jitter, that is, a clip from anywhere in the video; at
test time ten clips, spaced uniformly over it. Where they are silent: a clip is of consecutive frames;
all its frames are cut at the same place; half of the clips are flipped; the shorter side is 8/7 of the
square (128 for 112) and the longer one in proportion; at test time the centre is cut out; a video
shorter than a clip is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import rng
from ...errors import UserError
from ...options.shared import Interpolation, Resize
from ...recorded import recorded
from .augment import Eval, OneByOne, Plain, Square, resized
from .reader import Augment

CLIPS = 10
"""Clips of a video that are judged together."""


@final
@recorded("train-clip")
@dataclass(frozen=True)
class TrainClip(OneByOne):
    """One clip from anywhere in the video, a random square of its frames, perhaps flipped.

    Args:
        size: side S of the result.
        frames: L, its length.
        flip: probability of a left-right flip.
    """

    size: int
    frames: int
    flip: float = 0.5

    def __post_init__(self) -> None:
        _check(self.size, self.frames)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, T, H, W) -> (C, L, S, S)."""
        # one draw per purpose, each a hash of the seed
        when, top, left, flip = (
            float(rng.uniform(key, np.array([seed], np.int64))[0]) for key in range(4)
        )
        length = image.shape[1]
        clip = _frames(image, [int(when * max(1, length - self.frames + 1))], self.frames)
        clip = _small(clip, self.size)
        height, width = clip.shape[-2:]
        y, x = int(top * (height - self.size + 1)), int(left * (width - self.size + 1))
        clip = clip[..., y : y + self.size, x : x + self.size]
        return (clip.flip(-1) if flip < self.flip else clip).contiguous()


@final
@recorded("eval-clips")
@dataclass(frozen=True)
class EvalClips:
    """Clips spaced uniformly from the first frame to the last, one after the other in time.

    Args:
        size: side S of the result, the centre of the frames.
        frames: L, the length of a clip.
        clips: V, how many.
    """

    size: int
    frames: int
    clips: int = CLIPS

    def __post_init__(self) -> None:
        _check(self.size, self.frames)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, T, H, W) -> (C, V · L, S, S); ``seed`` plays no part."""
        last = max(0, image.shape[1] - self.frames)
        # a single clip is the middle one
        spread = [last / 2] if self.clips == 1 else np.linspace(0, last, self.clips).tolist()
        clips = _small(_frames(image, [round(start) for start in spread], self.frames), self.size)
        top, left = ((side - self.size) // 2 for side in clips.shape[-2:])
        return clips[..., top : top + self.size, left : left + self.size].contiguous()

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, T, H, W) -> (B, C, V · L, S, S)."""
        return torch.stack([self(video, 0) for video in images])


def evaluation(
    size: int | None,
    frames: int | None,
    resize: Resize = "shorter",
    interpolation: Interpolation = "bilinear",
) -> Augment:
    """How images are seen when nothing is random: ``frames`` of a clip, where they are videos."""
    if frames is not None:
        assert size is not None
        return EvalClips(size, frames)
    if size is None:
        return Plain()
    if resize == "square":
        return Square(size, interpolation)
    return Eval(size, interpolation=interpolation)


def at_once(batch_size: int, frames: int | None) -> int:
    """How many videos to look at together in place of ``batch_size`` images."""
    return batch_size if frames is None else max(1, batch_size // frames)


def _frames(video: Tensor, starts: list[int], length: int) -> Tensor:
    """(C, T, H, W) -> (C, len(starts) · length, H, W); a video that is too short begins again."""
    rows = (torch.tensor(starts)[:, None] + torch.arange(length)).flatten()
    return video[:, rows % video.shape[1]]


def _small(clip: Tensor, size: int) -> Tensor:
    """(C, L, H, W) with the shorter side at 8/7 of ``size``."""
    return resized(clip.transpose(0, 1), size * 8 // 7).transpose(0, 1)


def _check(size: int, frames: int) -> None:
    if size < 1:
        raise UserError(f"--image-size must be at least 1, got {size}")
    if frames < 1:
        raise UserError(f"--frames must be at least 1, got {frames}")
