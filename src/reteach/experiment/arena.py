"""Where methods are compared: the same images, labels and judges for each of them.

An arena is a small value that travels to worker processes and opens there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.grids import Grids, compose, sklearn_digits
from ..data.sources import ArraySource, open_source
from ..errors import UserError
from ..labels import Single
from ..options import Data
from .inputs import Inputs, labelled_dataset, open_inputs, set_aside


@final
@dataclass(frozen=True, eq=False)
class Contest:
    """An open arena.

    Args:
        inputs: images to train on, and to tune the threshold on.
        test: images to judge on.
        given: the original single labels of the test images, where ``test`` has label sets.
    """

    inputs: Inputs
    test: Dataset
    given: Single | None


class Arena(Protocol):
    """A frozen, picklable description of a contest."""

    def open(self, seed: int) -> Contest:
        """The data for one seed."""


@final
@dataclass(frozen=True)
class OwnData:
    """The user's images.

    The test images are judged at a threshold that was tuned on the validation images. Without test
    images of their own, half of the validation images take that part.
    """

    data: Data
    test_images: str | None = None
    test_labels: Path | None = None

    def open(self, seed: int) -> Contest:
        # the split is part of the data, not of the chance that seeds are to measure
        inputs = open_inputs(self.data, seed=0)
        if inputs.val is None or not len(inputs.val):
            raise UserError("a comparison needs validation images: --val-… or --val-fraction")
        if self.test_images is None and self.test_labels is None:
            val, test = inputs.val.labelled().split(0.5, seed=0)
        else:
            where = self.test_images or str(self.data.images)
            val, classes = inputs.val, inputs.train.classes
            test = labelled_dataset(open_source(where), self.test_labels, where, classes).labelled()
            test = set_aside(test, inputs.quarantine, self.data)
        if not len(val) or not len(test):
            raise UserError("too few validation images to tune a threshold and to judge")
        return Contest(Inputs(inputs.train, val, inputs.unlabeled, inputs.quarantine), test, None)


@final
@dataclass(frozen=True)
class DigitGrids:
    """Grids of digits under one label each (see :mod:`reteach.data.grids`); digits are never shared.

    Args:
        side: cells per row.
        n_train, n_val, n_test: pictures.
        cells: an ``.npz`` file with ``train_images``, ``train_labels``, ``test_images`` and
            ``test_labels`` of single digits (MNIST); None: scikit-learn's digits, the first half for
            training. Half of the other digits are for validation, half for the test.
    """

    side: int = 2
    n_train: int = 1500
    n_val: int = 500
    n_test: int = 1000
    cells: Path | None = None

    def open(self, seed: int) -> Contest:
        train, val, test = self._digits()
        learn = compose(*train, self.n_train, self.side, seed)
        tune = compose(*val, self.n_val, self.side, seed=1_000_001)
        judge = compose(*test, self.n_test, self.side, seed=1_000_002)
        inputs = Inputs(_dataset(learn, learn.given), _dataset(tune), None)
        return Contest(inputs, _dataset(judge), judge.main)

    def _digits(self) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        if self.cells is None:
            images, classes = sklearn_digits()
            half = len(images) // 2
            learn, rest = (images[:half], classes[:half]), (images[half:], classes[half:])
        else:
            if not self.cells.is_file():
                raise UserError(f"{self.cells} does not exist; it should hold MNIST's digits")
            try:
                with np.load(self.cells, allow_pickle=False) as pack:
                    learn = (pack["train_images"], pack["train_labels"].astype(np.int64))
                    rest = (pack["test_images"], pack["test_labels"].astype(np.int64))
            except (KeyError, ValueError, OSError) as error:
                raise UserError(f"{self.cells}: not a pack of digits ({error})") from None
        mixed = np.random.default_rng(0).permutation(len(rest[0]))
        middle = len(mixed) // 2
        parts = mixed[:middle], mixed[middle:]
        return [learn, *((rest[0][at], rest[1][at]) for at in parts)]


def _dataset(grids: Grids, labels: Single | None = None) -> Dataset:
    return Dataset.of(ArraySource(grids.images), labels if labels is not None else grids.truth)
