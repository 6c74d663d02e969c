"""Images that are odd, whatever their labels: dark, bright, blurry, of odd shape, grey among colour.

Five simple measures of the decoded pixels, each with a fixed threshold; the kinds are those that users of
cleanvision know, the implementation and the thresholds are our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..data.loading.measure import measure_images
from ..data.sources.base import Source
from ..labels import Rows

SIDE = 64
"""Longer side in pixels at which blur is looked at: what is sharp there is sharp enough for a network."""
FLAT = 4.0
"""Deviation of grey values (0 to 255) below which there is nothing to be blurry."""
GREY = 1
"""Mean difference of the colour channels (0 to 255) up to which a picture is grey."""
MOSTLY = 0.5
"""Grey pictures are odd only where fewer than this share are grey."""
Values = NDArray[np.float64]


@final
@dataclass(frozen=True)
class IssueKind:
    """One way for an image to be odd.

    Args:
        name: for people.
        rule: what is measured, and from where on it counts.
        measure: column of :func:`measured`.
        odd: of the measured values (N,): the odd ones.
        worst: the sign by which the oddest come first.
    """

    name: str
    rule: str
    measure: int
    odd: Callable[[Values], NDArray[np.bool_]]
    worst: int


KINDS = (
    IssueKind("dark", "99% of the pixels are below 80 of 255", 0, lambda v: v < 80, 1),
    IssueKind("bright", "95% of the pixels are above 240 of 255", 1, lambda v: v > 240, -1),
    IssueKind(
        "blurry",
        f"at {SIDE} pixels, neighbours differ by less than 11% of the deviation of all",
        2,
        lambda v: v < 0.11,
        1,
    ),
    IssueKind("odd shape", "one side is more than three times the other", 3, lambda v: v > 3, -1),
    IssueKind(
        "grey among colour",
        f"the channels differ by {GREY} of 255 or less, and most images have colours",
        4,
        lambda v: (v <= GREY) & (np.count_nonzero(v <= GREY) < MOSTLY * len(v)),
        1,
    ),
)


@final
@dataclass(frozen=True, eq=False)
class ImageIssue:
    """The images that are odd in one way.

    Args:
        name, rule: of the kind.
        rows: of the source, the oddest first.
    """

    name: str
    rule: str
    rows: Rows


def image_issues(source: Source, workers: int | None = None) -> list[ImageIssue]:
    """Each kind with its images, perhaps none; what cannot be read is in no kind."""
    values = measured(source, workers)
    found = []
    for kind in KINDS:
        column = values[:, kind.measure]
        known = np.flatnonzero(np.isfinite(column))
        rows = known[kind.odd(column[known])]
        order = np.argsort(kind.worst * column[rows], kind="stable")
        found.append(ImageIssue(kind.name, kind.rule, rows[order]))
    return found


def measured(source: Source, workers: int | None = None) -> Values:
    """(N, 5): 99th and 5th percentile of grey, sharpness, longer by shorter side, difference of channels.

    NaN where an image cannot be read, for the sharpness of a flat one, and for the colours of a grey array.
    """
    out = np.full((len(source), len(KINDS)), np.nan)
    measure_images("image issues", source, measures, out, 2 * SIDE, workers)
    return out


def measures(pixels: NDArray[np.uint8]) -> list[float]:
    """(H, W, 1 or 3) uint8 -> the five measures, see :func:`measured`."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    grey = image.convert("L")
    low, high = np.percentile(np.asarray(grey), (5, 99))
    sides = sorted(image.size)
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return [
        high,
        low,
        _sharpness(np.asarray(grey, np.float64)),
        sides[1] / sides[0],
        _colour(pixels),
    ]


def _sharpness(grey: Values) -> float:
    """Mean difference of neighbouring pixels by the deviation of all: a number without a unit."""
    deviation = float(grey.std())
    if deviation < FLAT or min(grey.shape) < 2:
        return float("nan")
    steps = (np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1))
    return float(sum(steps)) / 2 / deviation


def _colour(pixels: NDArray[np.uint8]) -> float:
    """Mean over the pixels of the largest channel less the smallest."""
    if pixels.shape[-1] == 1:
        return float("nan")
    return float((pixels.max(-1).astype(np.int64) - pixels.min(-1)).mean())
