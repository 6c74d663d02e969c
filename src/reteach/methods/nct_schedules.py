"""How α and r rise over the epochs (Eqs. 4-5), and their settings; see :mod:`reteach.methods.nct`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, final

from ..errors import UserError
from ..options.shared import refuse_unused
from ..recorded import recorded
from ..schedules import ByEpoch, Constant, Schedule

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import NctOptions, VariabilityOptions


@final
@recorded("nct-balancing")
@dataclass(frozen=True)
class Balancing:
    """Eq. 4: epoch -> α, rising to ``alpha_max`` at epoch ``e_r`` > 0."""

    alpha_max: float
    beta: float
    e_r: float

    def __call__(self, e: float) -> float:
        return self.alpha_max * exp(-self.beta * (1 - min(e, self.e_r) / self.e_r) ** 2)


@final
@recorded("nct-target-variability")
@dataclass(frozen=True)
class TargetVariability:
    """Eq. 5: epoch -> the share r of labels that are changed."""

    r_min: float
    r_max: float
    e_w: float
    e_max: float

    def __call__(self, e: float) -> float:
        if e <= self.e_w + 1 or self.e_max <= self.e_w + 1:
            return self.r_min
        ramp = log(e - self.e_w) / log(self.e_max - self.e_w)
        return self.r_min + (self.r_max - self.r_min) * min(ramp, 1.0)


def balancing(setup: Setup, options: NctOptions) -> Schedule:
    """Step -> α."""
    if options.alpha == 0:
        why = "with --alpha 0: the peers do not see each other"
        refuse_unused(options, why, "balancing", "beta", "ramp", "temperature")
    elif options.balancing == "constant":
        refuse_unused(options, "with --balancing constant", "beta", "ramp")
    if options.balancing == "constant":
        return Constant(options.alpha)
    return _by_epoch(setup, Balancing(options.alpha, options.beta, options.ramp * _epochs(setup)))


def variability(setup: Setup, options: NctOptions | VariabilityOptions) -> Schedule:
    """Step -> r; warned of is a training that is too short for it to rise."""
    epochs = _epochs(setup)
    low, high = options.least_variability, options.target_variability
    if high < low:
        raise UserError(f"--target-variability {high} is below --least-variability {low}")
    if high == 0:
        refuse_unused(options, "with --target-variability 0", "quiet_epochs")
        return Constant(0.0)
    rate = _by_epoch(setup, TargetVariability(low, high, options.quiet_epochs, epochs))
    if low < high and rate(_last(setup)) == low:
        why = (
            f"in {epochs:.3g} epochs of each network, {options.quiet_epochs:g} of them quiet: the share "
            f"of changed labels stays {low:g}"
        )
        setup.warn(f"--target-variability has no effect {why}; raise --epochs")
    return rate


def _last(setup: Setup) -> int:
    """The last step of the training."""
    return int(setup.budget(0.5)["steps"]) - 1


def _epochs(setup: Setup) -> float:
    """e_max: epochs that each network makes."""
    return setup.total / 2 * setup.training.batch_size / setup.per_epoch


def _by_epoch(setup: Setup, of: Callable[[float], float]) -> ByEpoch:
    return ByEpoch(of, setup.per_epoch, setup.training.batch_size)
