"""Augmentation: uint8 pixels to uint8 pixels, a pure function of (image, seed).

The seed is all the randomness there is, so batch *t* is the same for 0 or 4 workers, before or after a
resume. Each transform is a frozen value; its repr says exactly what it does. ``batch`` gives what the
single calls give, image by image, and is vectorised where that pays.

A 1-channel image stays 1-channel; images of any size, 1 pixel wide ones too, come out as (C, S, S).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ... import rng
from ...errors import UserError
from ...options.shared import Interpolation
from ...recorded import recorded

_GREY = 128
"""What is painted over erased pixels: near the mean of photos."""


class OneByOne:
    """A transform that sees one image at a time."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """One image."""
        raise NotImplementedError

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, …) -> (B, …), one after the other."""
        pairs = zip(images, seeds.tolist(), strict=True)
        return torch.stack([self(image, seed) for image, seed in pairs])


@final
@recorded("view-plain")
@dataclass(frozen=True)
class Plain:
    """Nothing; the images must already have one size."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """The image itself."""
        return image

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """The images themselves."""
        return images


@final
@recorded("view-eval", since={"interpolation": "bilinear"})
@dataclass(frozen=True)
class Eval:
    """Shorter side to ``resize`` pixels (antialiased), then the centre.

    Args:
        size: side S of the result.
        resize: by default ``size · 256 / 224``, the usual choice for ImageNet.
        interpolation: of the resizing.
    """

    size: int
    resize: int | None = None
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.resize is not None and self.resize < self.size:
            raise UserError(
                f"cannot crop {self.size} pixels out of images resized to {self.resize}"
            )

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S)."""
        return self.batch(image[None], np.empty(0, np.int64))[0]

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> (B, C, S, S); ``seeds`` play no part."""
        images = resized(images, self._short, _PILLOW[self.interpolation])
        # rounded as torchvision's CenterCrop does it, so that timm sees what we see
        top, left = (round((side - self.size) / 2) for side in images.shape[-2:])
        return images[..., top : top + self.size, left : left + self.size].contiguous()

    def share(self) -> float:
        """The side of the square that is seen, as a share of an image's shorter side; it is in the middle."""
        return self.size / self._short

    @property
    def _short(self) -> int:
        return self.resize or self.size * 256 // 224


@final
@recorded("view-square", since={"interpolation": "bilinear"})
@dataclass(frozen=True)
class Square:
    """The whole image, its sides squeezed to ``size`` pixels each (antialiased)."""

    size: int
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_size(self.size)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S)."""
        return self.batch(image[None], np.empty(0, np.int64))[0]

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> (B, C, S, S); ``seeds`` play no part."""
        shape = (self.size, self.size)
        if images.shape[-2:] == shape:
            return images
        return _PILLOW[self.interpolation](images, shape)


@final
@recorded("augment-then")
@dataclass(frozen=True)
class Then:
    """One transform after another; what the first gives has one size."""

    first: Any
    second: Any

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> whatever the second gives."""
        out: Tensor = self.second(self.first(image, seed), seed)
        return out

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> whatever the second gives."""
        out: Tensor = self.second.batch(self.first.batch(images, seeds), seeds)
        return out


@final
@recorded("augment-flip")
@dataclass(frozen=True)
class Flip(OneByOne):
    """Left-right flip half of the time, RandAugment, cutout; nothing is cropped.

    Args:
        randaugment, cutout: as :class:`Train` has them.
    """

    randaugment: int = 0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        _check_changes(self.randaugment, self.cutout)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, H, W)."""
        with _seeded(seed):
            out: Tensor = _changes(0.5, self.randaugment)(image)
            return _erased(out, self.cutout) if self.cutout else out


@final
@recorded("augment-crop-flip", since={"interpolation": "bilinear"})
@dataclass(frozen=True)
class CropFlip:
    """For small images: shift by up to ``padding`` pixels, flip left-right half of the time.

    The shorter side is first brought to ``size``, where it differs; then the image is padded on all
    sides and a square is cut out anywhere.

    Args:
        size: side S of the result.
        padding: pixels added on each side.
        mode: padded with zeros, or with the reflected image.
        interpolation: where the size differs.
    """

    size: int
    padding: int = 4
    mode: Literal["zero", "reflect"] = "zero"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.padding < 0 or (self.mode == "reflect" and self.padding >= self.size):
            raise UserError(f"images of {self.size} pixels cannot be padded by {self.padding}")

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S)."""
        return self.batch(image[None], np.array([seed], np.int64))[0]

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> (B, C, S, S), where the images are."""
        images = resized(images, self.size, partial(_fast, mode=self.interpolation))
        b, c, height, width = images.shape
        # one draw per image and purpose, each a hash of the seed: no generator, so no loop
        top, left = (
            (rng.uniform(key, seeds) * (side + 2 * self.padding - self.size + 1)).astype(np.int64)
            for key, side in ((1, height), (2, width))
        )
        along = np.arange(self.size) - self.padding
        rows, columns = top[:, None] + along, left[:, None] + along
        flipped = rng.uniform(3, seeds) < 0.5
        columns[flipped] = columns[flipped, ::-1]
        # (B, S) numbers travel to where the images are, and only there become (B, S·S) places
        i, j = (
            torch.from_numpy(places).to(images.device, non_blocking=True)
            for places in (self._within(rows, height), self._within(columns, width))
        )
        at = (i[:, :, None] * width + j[:, None, :]).view(b, 1, -1).expand(b, c, -1)
        out = images.reshape(b, c, -1).gather(2, at).view(b, c, self.size, self.size)
        if self.mode == "zero" and self.padding:
            there = [
                torch.from_numpy((places >= 0) & (places < side)).to(out.device, non_blocking=True)
                for places, side in ((rows, height), (columns, width))
            ]
            out *= (there[0][:, :, None] & there[1][:, None, :])[:, None]
        return out

    def _within(self, places: NDArray[np.int64], side: int) -> NDArray[np.int64]:
        """Places outside of the image, by up to the padding, as the places whose pixels they show."""
        if self.mode == "zero":
            return places.clip(0, side - 1)
        return (side - 1) - abs((side - 1) - abs(places))


@final
@recorded("augment-crop", since={"interpolation": "bilinear"})
@dataclass(frozen=True)
class Train(OneByOne):
    """For photos: random resized crop, flip, RandAugment, cutout, with torchvision's v2 transforms.

    Args:
        size: side S of the result.
        scale: share of the image's area that the crop covers, least and most.
        flip: probability of a left-right flip.
        randaugment: magnitude, 0 to 30, of two random operations (Cubuk et al. 2020); 0: none.
        cutout: side of the erased square as a share of S (DeVries and Taylor 2017); its centre is
            anywhere, so that a part may fall outside; 0: none.
        interpolation: of the resizing.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5
    randaugment: int = 0
    cutout: float = 0.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"the crop's share of the image must lie in (0, 1], got {self.scale}")
        if not 0 <= self.flip <= 1:
            raise UserError(f"the flip probability must lie in [0, 1], got {self.flip}")
        _check_changes(self.randaugment, self.cutout)

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S)."""
        with _seeded(seed):
            how = (self.size, self.scale, self.flip, self.randaugment, self.interpolation)
            out: Tensor = _pipeline(*how)(image)
            return _erased(out, self.cutout) if self.cutout else out


def _erased(image: Tensor, cutout: float) -> Tensor:
    """(C, S, S) with a grey square of ``cutout`` times the side, its centre anywhere."""
    size = image.shape[-1]
    side = round(cutout * size)
    top, left = (torch.randint(size, (2,)) - side // 2).tolist()
    image = image.clone()
    image[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = _GREY
    return image


def _check_changes(randaugment: int, cutout: float) -> None:
    if not 0 <= randaugment <= 30:
        raise UserError(f"--randaugment must lie in 0 … 30, got {randaugment}")
    if not 0 <= cutout <= 1:
        raise UserError(f"--cutout must lie in [0, 1], got {cutout}")


@cache
def _pipeline(
    size: int,
    scale: tuple[float, float],
    flip: float,
    randaugment: int,
    interpolation: Interpolation,
) -> Any:
    from torchvision.transforms import v2  # takes seconds, and small images need none of it

    by = v2.InterpolationMode(interpolation)
    crop = v2.RandomResizedCrop(size, scale=scale, interpolation=by, antialias=True)
    return v2.Compose([crop, *_changes(flip, randaugment).transforms])


@cache
def _changes(flip: float, randaugment: int) -> Any:
    from torchvision.transforms import v2

    steps = [v2.RandomHorizontalFlip(flip)]
    if randaugment:
        steps.append(v2.RandAugment(num_ops=2, magnitude=randaugment))
    return v2.Compose(steps)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let torch's CPU generator, torchvision's only source of chance, start from ``seed`` for a while.

    ``torch.random.fork_rng`` and ``torch.manual_seed`` would do the same at a hundred times the cost,
    because they also see to all GPUs.
    """
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


def _fast(images: Tensor, shape: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """(B, C, H, W) uint8 -> (B, C, *shape), antialiased."""
    return interpolate(images, shape, mode=mode, antialias=True)


def _as_pillow(
    images: Tensor, shape: tuple[int, int], by: Image.Resampling = Image.Resampling.BILINEAR
) -> Tensor:
    """The same by Pillow, to the last bit: timm and torchvision see files so, and torch's own rounding
    differs by a level here and there."""
    size = shape[::-1]
    out = [
        [np.asarray(Image.fromarray(plane).resize(size, by)) for plane in image]
        for image in images.cpu().numpy()
    ]
    return torch.from_numpy(np.asarray(out)).to(images.device)


_PILLOW: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "bilinear": _as_pillow,
    "bicubic": partial(_as_pillow, by=Image.Resampling.BICUBIC),
}


def resized(
    images: Tensor, short: int, by: Callable[[Tensor, tuple[int, int]], Tensor] | None = None
) -> Tensor:
    """(B, C, H, W) uint8 with the shorter side at ``short`` pixels, the longer one in proportion."""
    height, width = images.shape[-2:]
    least = min(height, width)
    if least == short:
        return images
    if max(height, width) > 8 * least and least < short:
        # enlarging a thin strip as a whole could take any amount of memory; its middle will do
        top, left = max(0, (height - 8 * least) // 2), max(0, (width - 8 * least) // 2)
        images = images[..., top : top + 8 * least, left : left + 8 * least]
        height, width = images.shape[-2:]
    shape = (int(short * height / least), int(short * width / least))
    return (by or _fast)(images, shape)


def _check_size(size: int) -> None:
    if size < 1:
        raise UserError(f"--image-size must be at least 1, got {size}")
