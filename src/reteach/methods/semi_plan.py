"""How the budget of ``semi`` is cut into its stages, and at which rates: see :mod:`reteach.methods.semi`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ..errors import UserError
from ..options.shared import refuse_unused
from ..schedules import Drops, Schedule, Warmup

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import SemiOptions as Options


@final
@dataclass(frozen=True)
class StagePlan:
    """How many steps each stage has, and the rates that fine-tuning is tried at."""

    weak: int
    teacher: int
    pretrain: int
    finetune: int
    rates: tuple[float, ...]


def make_plan(setup: Setup, options: Options) -> StagePlan:
    """The budget, cut into stages.

    Raises:
        UserError: a setting that is out of range, contradicts another, or leaves nothing.
    """
    _check(options)
    _refuse_unused(setup, options)
    total, rates = setup.total, options.finetune_lr or (setup.peak / 400,)
    tunings = options.rounds * (len(rates) + 1 if len(rates) > 1 else 1)
    teacher = max(1, total // 5) if options.teacher_steps is None else options.teacher_steps
    if not _trains_teacher(options):
        teacher = 0
    finetune = options.finetune_steps
    if finetune is None:
        finetune = max(1, total // (10 * tunings))
    left = total - options.weak_steps - teacher - tunings * finetune
    if left < options.rounds:
        raise UserError(
            f"the budget of {total} steps leaves none for pretraining: {options.weak_steps + teacher} "
            f"are the teacher's, {tunings * finetune} for fine-tuning; raise --steps or --epochs"
        )
    return StagePlan(options.weak_steps, teacher, left // options.rounds, finetune, tuple(rates))


def pretraining(setup: Setup, options: Options, steps: int) -> Schedule:
    """Warm-up from the rate of 256 images to that of the batch; 13 halvings at equal distances."""
    schedule = Drops(setup.peak, steps, 13, 0.5)
    start = setup.peak * min(1.0, 256 / setup.training.batch_size)
    rise = round(options.pretrain_warmup * steps)
    return Warmup(schedule, rise, start) if rise and start < setup.peak else schedule


def _trains_teacher(options: Options) -> bool:
    ranks = options.picks is None and options.selection != "balanced-with-tags"
    return ranks and options.teacher_run is None


def _refuse_unused(setup: Setup, options: Options) -> None:
    """Refuse settings that no stage looks at."""
    if setup.training.batch_size <= 256:
        why = "with batches of up to 256 images, which start at their full rate"
        refuse_unused(options, why, "pretrain_warmup")
    if options.finetune_steps == 0 and not options.weak_steps:
        refuse_unused(options, "with --finetune-steps 0", "finetune_lr")
    if options.selection != "unbalanced-ranked":
        refuse_unused(options, "without --selection unbalanced-ranked", "frequencies")
    if options.selection == "balanced-with-tags":
        why = "with --selection balanced-with-tags: no model ranks"
        refuse_unused(options, why, "top", "rank_by", "minimum")
    elif not options.weak_steps:
        why = "without --weak-steps or --selection balanced-with-tags"
        refuse_unused(options, why, "tags")
    if options.picks is not None and options.rounds == 1:
        names = ("per_class", "top", "selection", "rank_by", "minimum", "frequencies")
        refuse_unused(options, "with --picks, which are selected already", *names)
    if not _trains_teacher(options):
        refuse_unused(options, "where no teacher is trained", "teacher_steps")
    if not _trains_teacher(options) or options.weak_steps:
        why = (
            "in semi where no teacher is trained by it: pretraining and fine-tuning have their own"
        )
        refuse_unused(setup.given, why, "schedule", "drop_at", "milestones", "warmup")
    if not _trains_teacher(options) and options.finetune_steps == 0 and _balances(setup):
        raise UserError(
            "--rebalance and --balanced-epoch have no effect where nothing learns from the labelled "
            "images; leave them out"
        )


def _balances(setup: Setup) -> bool:
    return setup.rebalance > 0 or setup.balanced_epoch is not None


def _check(options: Options) -> None:
    """Refuse settings that contradict each other."""
    if len(set(options.finetune_lr)) < len(options.finetune_lr):
        raise UserError("--finetune-lr names a rate twice: each is tried once")
    tags = options.selection == "balanced-with-tags"
    if options.tags is None and (tags or options.weak_steps):
        what = "--selection balanced-with-tags" if tags else "--weak-steps"
        raise UserError(f"{what} needs --tags: a label table of the unlabelled images")
    given = {"--teacher-run": options.teacher_run, "--picks": options.picks}
    instead = [name for name, value in given.items() if value is not None]
    instead += ["--selection balanced-with-tags"] if tags else []
    if len(instead) > 1:
        raise UserError(f"{instead[0]} and {instead[1]} exclude each other: use one of them")
    if instead and (options.teacher is not None or options.weak_steps):
        what = "--teacher" if options.teacher is not None else "--weak-steps"
        raise UserError(f"with {instead[0]} no teacher is trained: leave {what} away")
    if tags and options.rounds > 1:
        raise UserError("--selection balanced-with-tags has no use for --rounds: no model selects")
