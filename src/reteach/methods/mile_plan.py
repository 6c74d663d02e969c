"""The cycles and targets of ``mile``, and what is refused or warned of; see :mod:`reteach.methods.mile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import rng
from ..data.dataset import Dataset
from ..engine.log import Record
from ..errors import UserError
from ..labels import Single
from ..losses.standard import sigmoid_bce, sigmoid_bce_sum
from ..options.shared import refuse_unused
from ..relabel.calibration.presence import TRUSTED
from ..schedules import Cycles
from .distill import Targets, make_targets
from .mile_labels import Calibrated, PseudoLabeler, sample_bernoulli

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import MileOptions as Options

CALIBRATED_ON = 2000
"""Images that a teacher is calibrated on, at most: one short scan per cycle."""


def check(options: Options) -> None:
    """Refuse settings that contradict each other, or that nothing would look at."""
    if options.targets != "threshold" and (options.sample or options.union):
        raise UserError("--sample and --union are about label sets: they need --targets threshold")
    if options.targets != "threshold":
        why = f"with --targets {options.targets}, which has no label sets"
        refuse_unused(options, why, "rho", "class_sum")
    if options.targets != "soft":
        refuse_unused(options, "without --targets soft", "temperature")
    if options.sample:
        refuse_unused(options, "with --sample, which has no threshold", "rho")
    if options.student == "continuing":
        why = "with --student continuing, which is one network"
        refuse_unused(options, why, "at_copy", "evaluated_model")


def plan(total: int, k_t: int | None, k_s: int | None) -> Cycles:
    """The cycles of ``total`` steps. What is None is chosen so that whole cycles fill the budget.

    Of two that are given each cycle has just so many steps, and the last one may be cut. One that is given
    holds in every cycle; the student gets a third of the budget, or as near to it as whole cycles come,
    and not less than a quarter, where the given one leaves so much.

    Raises:
        UserError: one of the two would have no step.
    """
    if (k_t is not None and k_t < 1) or (k_s is not None and k_s < 1):
        raise UserError(f"k_t and k_s must be at least 1, got k_t={k_t}, k_s={k_s}")
    if k_t is not None and k_t >= total:
        raise UserError(
            f"the student would never learn: its turn comes after k_t={k_t} teacher steps, and there "
            f"are {total} in all; leave out or lower --k-t, or raise --epochs"
        )
    if k_t is not None and k_s is not None:
        return Cycles.of(k_t, k_s)
    if k_t is not None:
        count = max(1, min(2 * total // (3 * k_t), total // (k_t + 1)))
        return Cycles(total, count, total - count * k_t)
    if k_s is not None:
        if k_s >= total:
            raise UserError(
                f"k_s={k_s} leaves no step of {total} to the teacher: leave out or lower --k-s, or "
                "raise --epochs"
            )
        count = min(max(round(total / (3 * k_s)), -(-total // (4 * k_s))), total // (k_s + 1))
        return Cycles(total, count, count * k_s)
    if total < 2:
        raise UserError("mile needs two steps, one of the teacher and one of the student; got 1")
    return Cycles(total, max(1, min(10, total // 3)), max(1, total // 3))


def wasted(cycles: Cycles, total: int) -> list[str]:
    """What is to be said of a budget that does not go to the student."""
    lines = []
    (_, student), begun = cycles.before(total), cycles.begin(cycles.cycle(total - 1))
    left = total - sum(begun)
    if student == begun[1]:
        lines.append(
            f"the last {left} of {total} steps are a teacher's that no student learns from: leave out "
            "--k-t or --k-s, and whole cycles fill the budget"
        )
    if student < total / 4:
        lines.append(
            f"the student has only {student} of {total} steps: lower --k-t, raise --k-s or leave one "
            "of them out"
        )
    return lines


def warn_if_never_calibrated(calibrated: Calibrated, records: list[Record], setup: Setup) -> None:
    """Warn where it turned out that no teacher was calibrated, in this attempt or an earlier one."""
    steps = [record["calibrated"] for record in records if "calibrated" in record]
    if len(calibrated.images.dataset) >= TRUSTED and steps and not any(steps):
        why = f" (in the last: {calibrated.why})" if calibrated.why else ""
        setup.warn(
            f"--rho mixture could calibrate the teacher of no cycle{why}: all pseudo-labels were cut at "
            f"rho {calibrated.otherwise}"
        )


def make_labeler(setup: Setup, options: Options, everything: Dataset) -> PseudoLabeler:
    """What the student is taught on all images, as the settings say."""
    bce = sigmoid_bce_sum if options.class_sum else sigmoid_bce
    calibrated = None
    if options.rho == "mixture":
        calibrated = _calibrated(setup, options)
        targets = Targets(bce, calibrated, bce, "sigmoid")
    else:
        rho, temperature = _threshold(options), options.temperature
        targets = make_targets(options.targets, rho=rho, temperature=temperature, bce=bce)
    draws = None
    if options.sample:
        targets = Targets(targets.interaction, sample_bernoulli, targets.imitation, targets.link)
        draws = rng.fold(setup.seed, "train", "pseudo-labels")
    images = setup.scan(everything) if options.relabel == "cycle" else None
    return PseudoLabeler(targets, options.union, images, calibrated, draws)


def _threshold(options: Options) -> float:
    """ρ, where it is not ``mixture``, whose settings are refused."""
    assert options.rho != "mixture"
    if options.soft_sets:
        raise UserError("--soft-sets teaches probabilities of presence: it needs --rho mixture")
    return options.rho


def _calibrated(setup: Setup, options: Options) -> Calibrated:
    """Targets by calibration on some of the labelled images; warned of is that they are too few."""
    if options.targets != "threshold" or options.sample:
        raise UserError("--rho mixture makes label sets: it needs --targets threshold, no --sample")
    labels = setup.train.labels
    if not isinstance(labels, Single):
        raise UserError("--rho mixture needs images with one label each, and these have label sets")
    rows = np.flatnonzero(labels.known())
    few = np.random.default_rng(0).permutation(rows)[:CALIBRATED_ON]
    targets = Calibrated(setup.scan(setup.train.subset(np.sort(few))), options.soft_sets)
    if len(few) < TRUSTED:
        setup.warn(
            f"--rho mixture needs {TRUSTED} labelled images to calibrate a teacher on, and these are "
            f"{len(few)}: pseudo-labels are cut at rho {targets.otherwise} in all cycles"
        )
    return targets
