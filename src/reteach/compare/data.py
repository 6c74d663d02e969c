"""Where methods are compared: the same images, labels and judges for each of them.

An arena is a small value that travels to worker processes and opens there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, open_source
from ..data.synthetic import Grids, compose, sklearn_digits
from ..engine.fingerprint import describe
from ..errors import UserError
from ..item_index import rows_among
from ..labels import Single
from ..options.shared import Data
from ..progress import note
from ..runs.inputs import Inputs, labelled, labelled_dataset, open_inputs, set_aside, without_empty
from ..sealed import digest
from ..tables import LabelTable, read_labels

REAL = "real_accuracy"
"""How often the first choice is among the reassessed labels."""


@final
@dataclass(frozen=True, eq=False)
class ComparisonData:
    """An open arena.

    Args:
        inputs: images to train on, and to tune the threshold on.
        test: images to judge on.
        given: the original single labels of the test images, where ``test`` has label sets.
        clean: the true labels of the training images, where they are known.
        data: how the images are to be read and drawn.
        also: metrics that the comparison is about beside the usual ones.
    """

    inputs: Inputs
    test: Dataset
    given: Single | None
    clean: Single | None = None
    data: Data = field(default_factory=Data)
    also: tuple[str, ...] = ()


class ComparisonSpec(Protocol):
    """A frozen, picklable description of a contest."""

    def open(self, seed: int) -> ComparisonData:
        """The data for one seed."""

    def content(self) -> str:
        """A digest of all images and labels; empty where they are made from the arena's own settings."""


@final
@dataclass(frozen=True)
class OwnData:
    """The user's images.

    The test images are judged at a threshold that was tuned on the validation images. Without test
    images of their own, half of the validation images take that part.

    Args:
        clean: label table of true labels. Those of the test images are judged by, those of the
            training images are only watched: nobody learns or tunes with them.
        test_original: label table of the original single labels of the test images, whose labels are
            reassessed sets: accuracy is against these then, and ReaL accuracy against the sets.
        unreadable: collects item -> reason of what cannot be read, when the images are opened.
    """

    data: Data
    test_images: str | None = None
    test_labels: Path | None = None
    clean: Path | None = None
    test_original: Path | None = None
    unreadable: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def content(self) -> str:
        contest = self.open(0)
        found = describe(contest.inputs) | describe(contest.test, "test")
        found |= describe(contest.given, "given") | describe(contest.clean, "clean")
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:32]

    def open(self, seed: int) -> ComparisonData:
        # the split is part of the data, not of the chance that seeds are to measure
        inputs = open_inputs(replace(self.data, val_empty="none"), seed=0)
        if inputs.val is None or not len(inputs.val):
            raise UserError("a comparison needs validation images: --val-… or --val-fraction")
        if self.test_images is None and self.test_labels is None:
            (whole,) = without_empty(self.data, inputs.val)
            assert whole is not None
            val, test = whole.labelled().split(0.5, seed=0)
        else:
            where = self.test_images or str(self.data.images)
            classes = inputs.train.classes
            test = labelled_dataset(
                open_source(where), self.test_labels, where, classes, kind=self.data.val_kind
            )
            test = labelled(test, "the test")
            test = set_aside(test, inputs.quarantine, self.data)
            if where == str(self.data.images):
                inputs = _without(inputs, test)
            assert inputs.val is not None
            val, test = self._known(inputs.val, test)
        if not len(val) or not len(test):
            raise UserError("too few validation images to tune a threshold and to judge")
        self.unreadable.update(inputs.quarantine)
        parts = Inputs(inputs.train, val, inputs.unlabeled, inputs.quarantine)
        if self.test_original is not None:
            if self.clean is not None:
                raise UserError("--clean and --test-original both say what to judge by: name one")
            table = read_labels(self.test_original, kind="single", classes=test.classes)
            return ComparisonData(
                parts,
                test,
                _of(table, test, "original", f"--test-original {self.test_original}"),
                data=self.data,
                also=(REAL,),
            )
        if self.clean is None:
            return ComparisonData(parts, test, None, data=self.data)
        if not isinstance(inputs.train.labels, Single):
            raise UserError(
                "--clean tells right labels from wrong ones: it needs one label per image"
            )
        table = read_labels(self.clean, kind="single", classes=test.classes)
        if self.test_images is None and self.test_labels is None:
            test = test.with_labels(_of(table, test, "true", f"--clean {self.clean}"))
        true = _of(table, inputs.train, "true", f"--clean {self.clean}")
        return ComparisonData(parts, test, None, true, self.data)

    def _known(self, val: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
        """What is judged by; test images of an empty set count for accuracy beside original labels."""
        if self.test_original is not None:
            (val_known,) = without_empty(self.data, val)
            assert val_known is not None
            return val_known, test
        val_known, test_known = without_empty(self.data, val, test)
        assert val_known is not None
        assert test_known is not None
        return val_known, test_known


def _without(inputs: Inputs, test: Dataset) -> Inputs:
    """What is learned and tuned with, without test images that stand among it.

    Raises:
        UserError: nothing is left to learn from.
    """
    judged = np.array(sorted(set(test.items)))

    def rest(part: Dataset) -> Dataset:
        return part.subset(np.flatnonzero(~np.isin(np.array(part.items), judged)))

    train = rest(inputs.train)
    if not len(train):
        raise UserError("all labelled images are test images: none is left to train on")
    if taken := len(inputs.train) - len(train):
        note(f"{taken:,} of the labelled images are test images: they are taken out of training")
    val = None if inputs.val is None else rest(inputs.val)
    return replace(inputs, train=train, val=val)


def relabelled(contest: ComparisonData, file: Path) -> ComparisonData:
    """The same contest for one who learns from another label table.

    The images to learn from are those training images that the table labels. What is set aside to
    validate and to judge stays as it is, whatever the table says of it.

    Raises:
        UserError: the table cannot be read, has other classes, or labels no training image.
    """
    train = contest.inputs.train
    table = read_labels(file, classes=train.classes)
    at = rows_among(train.items, table.items)
    known = at >= 0
    known[known] = table.labels.known()[at[known]]
    picks = np.flatnonzero(known)
    if not len(picks):
        raise UserError(f"{file}: none of the training images has a label there")
    if left_out := len(known) - len(picks):
        note(
            f"{file}: {left_out:,} of {len(known):,} training images have no label there; left out"
        )
    learn = train.subset(picks).with_labels(table.labels.take(at[picks]))
    clean = None if contest.clean is None else contest.clean.take(picks)
    return replace(contest, inputs=replace(contest.inputs, train=learn), clean=clean)


def _of(table: LabelTable, data: Dataset, kind: str, where: str) -> Single:
    """The single labels of all items of a data set; the table may hold others too."""
    rows = rows_among(data.items, table.items)
    if (rows < 0).any():
        missing = data.items[int(np.flatnonzero(rows < 0)[0])]
        raise UserError(
            f"{where}: {int((rows < 0).sum())} of {len(rows)} items have no {kind} label there, "
            f"first: {missing!r}"
        )
    assert isinstance(table.labels, Single)
    return table.labels.take(rows)


@final
@dataclass(frozen=True)
class DigitGrids:
    """Grids of digits under one label each (see :mod:`reteach.data.synthetic`); digits are never shared.

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

    def content(self) -> str:
        return "" if self.cells is None else digest(self.cells)

    def open(self, seed: int) -> ComparisonData:
        train, val, test = self._digits()
        learn = compose(*train, self.n_train, self.side, seed)
        tune = compose(*val, self.n_val, self.side, seed=1_000_001)
        judge = compose(*test, self.n_test, self.side, seed=1_000_002)
        inputs = Inputs(_dataset(learn, learn.given), _dataset(tune), None)
        return ComparisonData(inputs, _dataset(judge), judge.main)

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
