"""Labels as batches take them: dense rows, made once where a data set's all fit."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ...labels import LabelSet, Rows

ENTRIES = 2**24
"""The most entries N · C that are kept dense: 64 MB. Above, each batch has its own made."""


@final
class DenseLabels:
    """The targets of some rows of a label set, on a device.

    Args:
        labels: N items over C classes.
        device: where the targets go.
    """

    def __init__(self, labels: LabelSet, device: str | torch.device) -> None:
        self._labels, self._device = labels, torch.device(device)
        small = len(labels) * labels.num_classes <= ENTRIES
        self._all = self._made(labels) if small else None

    def of(self, rows: Rows, at: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, C) float32 targets, and (B, C) bool where they are known; None: everywhere.

        Args:
            rows: (B,) of the data set.
            at: the same on the device.
        """
        if self._all is None:
            return self._made(self._labels.take(rows))
        y, known = self._all
        return y.index_select(0, at), None if known is None else known.index_select(0, at)

    def _made(self, labels: LabelSet) -> tuple[Tensor, Tensor | None]:
        known = labels.known_entries()
        entries = None if known is None else torch.from_numpy(known).to(self._device)
        return labels.dense(self._device), entries
