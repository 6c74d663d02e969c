"""Scores over a data set, shared by all processes, and the summary of a predictor on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.loading.stream import Scan
from ..labels import LabelSet, Rows, Single
from ..metrics.summary import Summary
from . import distributed, sharding
from .learner import Predictor, one_view


def outputs(of: Callable[[Tensor], Tensor], scan: Scan) -> Iterator[tuple[Rows, Tensor]]:
    """``of(x)`` (B, C) for every readable image, as (rows, outputs); the same in every process.

    Of several processes each reads and computes every so many-th batch, and after each round they exchange
    what they have: no image is decoded twice, and the batches, and so the numbers, are those of a single
    process. An image is left out where the process that reads it cannot: so all have the same rows.
    """
    of = in_pieces(of)
    if distributed.world() == 1:
        for rows, x in scan:
            yield rows, of(x)
        return
    own = _own_batches(scan, distributed.rank(), distributed.world())
    ahead: tuple[int, Rows, Tensor] | None = None
    batches = -(-len(scan.dataset) // scan.batch_size)
    for first in range(0, batches, distributed.world()):
        ahead = ahead or next(own, None)
        have: list[Tensor] = []
        if sharding.in_step():
            _along(of, scan, ahead, first)
        if ahead is not None and ahead[0] == first + distributed.rank():
            _, rows, x = ahead
            have, ahead = [torch.from_numpy(rows), of(x)], None
        for found in distributed.gather_tensors(have):
            if found:
                yield found[0].numpy(), found[1]


PIECE = 8 * 224 * 224
"""Pixels that up to 15 threads of a processor take at once. What a layer gives for many more is too
large for the allocator to keep, and is fetched from the system anew each time."""


def in_pieces(of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same function of images, on a processor some of them at a time."""

    def whole(x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.ndim < 4:
            return of(x)
        most = PIECE * max(1, torch.get_num_threads() // 8)
        count = max(1, most // max(1, x[0, 0].numel())) if len(x) else 1
        return of(x) if len(x) <= count else torch.cat([of(part) for part in torch.split(x, count)])

    return whole


def _along(
    of: Callable[[Tensor], Tensor], scan: Scan, ahead: tuple[int, Rows, Tensor] | None, first: int
) -> None:
    """Make the forward pass of a round without images of one's own: of a model that is shared out, the others
    could not make theirs."""
    mine = ahead is not None and ahead[0] == first + distributed.rank()
    own = [torch.tensor(ahead[2].shape)] if mine and ahead is not None else []
    shapes = [each[0].tolist() for each in distributed.gather_tensors(own) if each]
    if shapes and not mine:
        of(torch.zeros(shapes[0], device=scan.prepare.device))


def _own_batches(scan: Scan, rank: int, world: int) -> Iterator[tuple[int, Rows, Tensor]]:
    """(number, rows, x) of every so many-th batch; those of which no image can be read are not among them."""
    every, size = np.arange(len(scan.dataset)), scan.batch_size
    mine = every[every // size % world == rank]
    for at, x in replace(scan, dataset=scan.dataset.subset(mine)):
        yield int(mine[at[0]]) // size, mine[at], x


def scores(predictor: Predictor, scan: Scan) -> tuple[Rows, NDArray[np.float32]]:
    """(rows (M,), probabilities (M, C)) of all readable images: for data sets whose N·C fits."""
    found = [(rows, out.cpu().numpy()) for rows, out in outputs(predictor.scores, scan)]
    if not found:
        width = scan.dataset.labels.num_classes
        return np.zeros(0, np.int64), np.zeros((0, width), np.float32)
    return np.concatenate([r for r, _ in found]), np.concatenate([s for _, s in found])


def top_classes(predictor: Predictor, top: int) -> Callable[[Tensor], Tensor]:
    """x -> (B, P, 3): class, score and logit of the P = ``top`` best classes of each image, best first.

    Equal scores go by class index, which float32 holds exactly up to 2²⁴.
    """

    def of(x: Tensor) -> Tensor:
        out = predictor.outputs(x)
        score, cls = predictor.probabilities(out).sort(dim=-1, descending=True, stable=True)
        score, cls = score[:, :top], cls[:, :top]
        return torch.stack([cls.float(), score, one_view(out).gather(-1, cls)], -1)

    return of


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """A labelled data set to judge predictors on.

    Args:
        name: "val", "test" …; where the numbers are filed.
        scan: the images with their true labels (``Single`` or ``Multi``).
        given: the original single labels where ``scan`` carries reassessed sets; accuracy is against
            these and everything else, such as ReaL accuracy, against the sets.
        empty: what an empty set says. ``none``: the image is known to have none of the classes, as a
            photo without any tag; it counts, and is right where nothing is predicted. ``unknown``:
            nobody could say, as in ReaL (Beyer et al. 2020, Section 4); the image counts only for what
            is measured against given labels. By default unknown with ``given``, else none.
    """

    name: str
    scan: Scan
    given: Single | None = None
    empty: Literal["none", "unknown"] | None = None

    def __call__(
        self,
        predictor: Predictor,
        tuned: float | None = None,
        see: Callable[[Rows, NDArray[np.float32]], None] | None = None,
    ) -> Summary:
        """Judge a predictor.

        Args:
            tuned: a threshold that was chosen on other data.
            see: is told the scores of the readable images, also of those that no number is over, batch by
                batch: (rows (B,), probabilities (B, C)).
        """
        labels: LabelSet = self.scan.dataset.labels
        summary = Summary(labels.classes, tuned=tuned)
        judged, counts = self.judged(), self.counts()
        for rows, out in outputs(predictor.scores, self.scan):
            use, values = counts[rows], out.cpu().numpy()
            if see is not None:
                see(rows, values)
            rows, values = rows[use], values[use]
            truth = labels.take(rows)
            summary.update(
                values,
                truth.present(),
                None if self.given is None else self.given.index[rows],
                truth.known_entries(),
                judged[rows],
            )
        return summary

    def counts(self) -> NDArray[np.bool_]:
        """(N,) the images that some number is over."""
        return self.judged() if self.given is None else self.judged() | self.given.known()

    def narrowed(self) -> Evaluation:
        """The same without the images that no number is over, which need not be decoded."""
        rows = np.flatnonzero(self.counts())
        scan = replace(self.scan, dataset=self.scan.dataset.subset(rows))
        return replace(self, scan=scan, given=None if self.given is None else self.given.take(rows))

    def judged(self) -> NDArray[np.bool_]:
        """(N,) the images whose label set is known."""
        labels = self.scan.dataset.labels
        if (self.empty or ("none" if self.given is None else "unknown")) == "none":
            return labels.known()
        return labels.known() & labels.any_present()


class EvalResult(Protocol):
    """What was found of a predictor on one data set."""

    def compute(self) -> dict[str, float]:
        """Numbers by name."""


@final
@dataclass(frozen=True, eq=False)
class Evaluator:
    """Judges predictors on one or several data sets.

    The threshold of F1 is tuned on the first and used on the others, so that none of the later numbers
    is tuned on its own data. ``monitors`` look at something else, such as the training images.
    """

    evaluations: tuple[Evaluation, ...]
    monitors: tuple[Callable[[Predictor], Mapping[str, EvalResult]], ...] = ()

    def __call__(self, predictor: Predictor) -> dict[str, EvalResult]:
        found: dict[str, EvalResult] = {}
        tuned: float | None = None
        for evaluation in self.evaluations:
            summary = evaluation(predictor, tuned)
            found[evaluation.name] = summary
            if tuned is None:
                tuned = summary.tuned_threshold()
        for monitor in self.monitors:
            found |= monitor(predictor)
        return found
