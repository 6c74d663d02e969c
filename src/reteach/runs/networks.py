"""Fresh networks for the classes of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch

from ..models import zoo
from ..options import shared as options


@final
@dataclass(frozen=True, eq=False)
class Networks:
    """Fresh networks for the classes of a training, on its device; can go to another process.

    Args:
        model: as it was asked for.
        classes: of the labels.
        channels: of the images.
        image_size: side of the input, where it is fixed.
        frames: of a clip, where the images are videos.
        device: where the networks go.
        vectors: (C, V) word vectors of the classes, or None.
    """

    model: options.Model
    classes: tuple[str, ...]
    channels: int
    image_size: int | None
    frames: int | None
    device: str
    vectors: torch.Tensor | None = None

    def __call__(
        self,
        seed: int,
        network: str | None = None,
        classes: tuple[str, ...] | None = None,
        **architecture: Any,
    ) -> torch.nn.Module:
        """A network; another architecture, or for some of the classes only, where asked for."""
        model, vectors = self.model, self.vectors
        names = self.classes if classes is None else classes
        if vectors is not None:
            vectors = vectors[[self.classes.index(name) for name in names]]
        if self.frames is not None:
            architecture["frames"] = self.frames
        made = zoo.create(
            network or model.model,
            len(names),
            in_chans=self.channels,
            image_size=self.image_size,
            pretrained=model.pretrained,
            init=model.init,
            vectors=vectors,
            seed=seed,
            **architecture,
        )
        layout = torch.contiguous_format
        if model.channels_last:
            layout = torch.channels_last if self.frames is None else torch.channels_last_3d
        return made.to(self.device, memory_format=layout)  # type: ignore[call-overload,no-any-return]
