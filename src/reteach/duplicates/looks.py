"""What images are compared by: grey thumbnails, or where there are no pixels the features of a table."""

from __future__ import annotations

from ..data.sources.base import ArraySource, Source, SubsetSource, features_of
from . import thumbnails
from .neighbours import Features, normalised

ALIKE = 0.08
"""Distance of two features of length 1 up to which images are taken for copies (a cosine of 0.9968): what it
finds is in ``docs/photos.md``."""
DEFINITION = f"equal features; at length 1 within {ALIKE:g}"


def definition(source: Source) -> str:
    """What a copy is among these images, for the record of what was made by it."""
    return thumbnails.DEFINITION if features_of(source) is None else DEFINITION


def alike_distance(source: Source) -> float:
    """Up to which images are taken for copies."""
    return thumbnails.ALIKE if features_of(source) is None else ALIKE


def looks(source: Source, broken: dict[int, str], workers: int | None = None) -> Features:
    """(N, D) vectors of length 1, or zeros where there is nothing to compare.

    Args:
        broken: collects row -> reason of images that cannot be read.
    """
    if features_of(source) is None:
        return thumbnails.thumbnails(source, broken, workers)
    return normalised(_vectors(source))


def _vectors(source: Source) -> Features:
    if isinstance(source, SubsetSource):
        return _vectors(source.source)[source.rows]
    assert isinstance(source, ArraySource)
    return source.images[:, 0, 0].astype("float32")
