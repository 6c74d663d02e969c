"""What a call may be given, as types."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from ..frames import Frame, TableFile

PathLike: TypeAlias = str | os.PathLike[str]
TableLike: TypeAlias = PathLike | Frame | TableFile | Sequence[Any] | NDArray[Any]
"""A table: its file, a data frame, or a result that has one. Labels may be a list, where images are given."""


class MapDataset(Protocol):
    """A data set of PyTorch that knows its length: (image, label) by number."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: int, /) -> Any:
        """An image (PIL, array or tensor) and its label."""


class ImageLike(Protocol):
    """An image of Pillow."""

    def convert(self, mode: str, /) -> Any:
        """The image in another mode."""


Images: TypeAlias = PathLike | NDArray[Any] | MapDataset | Sequence[Any] | ImageLike
"""Images: where they are, the images themselves, or a list of files."""
Network: TypeAlias = Callable[..., Any]
"""Number of classes -> a module of PyTorch."""
Augmentation: TypeAlias = Callable[..., Any]
"""An image -> an image, or (image, seed) -> image."""
Loss: TypeAlias = Callable[..., Any]
"""(logits (B, C), targets) -> (B,)."""
