"""Billion-scale semi-supervised learning (Yalniz, Jégou, Chen, Paluri, Mahajan; 2019).

D: N labelled images; U: M ≫ N unlabelled ones; D̂: images picked out of U, with inferred labels.

1. Train a teacher on D.
2. Run it over U. Of each image the P classes of highest softmax score count; for each class the images
   rank by that score, and the first K become its positives in D̂. An image may be picked for several
   classes and is then repeated. (The selection is :mod:`reteach.relabel.selection.topk_numpy`;
   ``reteach score`` and ``reteach select`` do the same for billions, and ``--picks`` takes their result.)
3. Pretrain a student on D̂ with the softmax loss.
4. Fine-tune it on D: "crucial to achieve good performance" (Table 2).

Rates: pretraining warms up from 0.1 to 0.1/256·B and halves 13 times at equal distances; fine-tuning
starts at 0.00025/256·B and drops three times by 0.1. SGD, weight decay 0.0001.

Ablations: no fine-tuning (``--finetune-steps 0``); self-training (no ``--teacher``); a second round
(``--rounds 2``); a sweep of the fine-tuning rate (several ``--finetune-lr``); iterations (``--steps``,
with ``--teacher-steps`` and ``--finetune-steps`` fixed); ranking by logit (``--rank-by``); D̂ balanced,
unbalanced or at random by tag (``--selection``); a weakly supervised teacher (``--weak-steps``, or
``--teacher-run`` of one).

What the paper leaves open, and what we do:

* How long the stages are in proportion. One budget of backward passes for all, as everywhere here:
  a fifth for the teacher, a tenth for fine-tuning, the rest for pretraining.
* The length of the warm-up: a twentieth of the pretraining. It starts at the rate of 256 images, so
  that batches of up to 256 need none. With Adam or another ``--lr`` both rates keep their ratio of 400,
  which is meant for SGD: sweep it.
* The teacher's training: like that of any softmax model, by the shared settings.
* Equal scores: by class index within an image, by item id within a class, so that D̂ is repeatable.
* Which rate a sweep takes: the best on a held-out tenth of D, before a last fine-tuning on all of D.
* The student of a second round starts from fresh weights; its teacher is the fine-tuned student.
* Weak labels: an image with several classes has their shares (by multiplicity) as its target, and is
  drawn with the square-root resampling of Mahajan et al. (2018); pretrained and fine-tuned at the
  rates above. The output layer is kept, since tags are matched to the classes themselves.
* The sizes of ``unbalanced-ranked`` follow Instagram's hashtags; here ``--frequencies``, or D's own.
* K for other numbers of images and classes: :func:`reteach.relabel.selection.quotas.paper_ratio`. Picks in
  which an image stands in most classes are refused: a student that is to give each image every class
  learns none.
* A class for which nothing is picked is named, and the student meets it in fine-tuning only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import Dataset
from ..data.loading.stream import Batch, Epochs, WeightedSampler
from ..engine import distributed
from ..engine.algorithm import Algorithm
from ..engine.evaluate import outputs, scores, top_classes
from ..engine.learner import Predictor
from ..engine.run import Arrays, Run
from ..engine.setup import Frozen
from ..errors import UserError
from ..labels import Single
from ..losses.standard import softmax_xent
from ..recorded import recorded
from ..relabel.selection.item_lists import read_exclusions
from ..relabel.selection.quotas import (
    align,
    balanced,
    check_per_class,
    check_picks,
    paper_ratio,
    proportional,
    read_frequencies,
)
from ..relabel.selection.topk import RankingRule
from ..relabel.selection.topk_numpy import (
    Candidates,
    Picks,
    best,
    draw,
    read_picks,
    without,
    write_picks,
)
from ..relabel.weak.hashtags import square_root
from ..relabel.weak.weak_labels import WeakLabels, weak_labels
from ..schedules import Drops
from .semi_plan import StagePlan, make_plan, pretraining
from .supervised import Supervised

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import SemiOptions as Options

BLOCK = 2**16
"""Unlabelled images that are scored at once: what a crash may cost."""
HELD_OUT = 0.1
"""Share of the labelled images that judges the rates of a sweep."""


@final
@recorded("semi-student")
@dataclass(eq=False)
class Student(Algorithm):
    """The student of the last stage, and beside it the models that it came from.

    Args:
        last: the student.
        earlier: the student as it was pretrained, and the teacher, where they were trained here.
    """

    last: Supervised
    earlier: dict[str, Predictor]

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return self.last.step(batch)

    def predictors(self) -> dict[str, Predictor]:
        return {"student": self.last.predictors()["model"], **self.earlier}


@final
@dataclass(frozen=True, eq=False)
class Selection:
    """What stage 2 goes by; all files are read before anything is trained.

    Args:
        rule: K, P and what ranks.
        quotas: (C,) how many images each class is to have.
        never: items that are not to be picked.
        weak: tags of the unlabelled images, to draw from or to pretrain a teacher on.
        given: picks that were made elsewhere.
    """

    rule: RankingRule
    quotas: NDArray[np.int64]
    never: Sequence[str]
    weak: WeakLabels | None
    given: Picks | None


@recorded("train-semi")
def train(setup: Setup, options: Options, run: Run) -> Student:
    """The four stages, once or for several rounds."""
    if setup.unlabeled is None:
        raise UserError("semi needs --unlabeled: images without labels to pick from")
    unlabeled, plan = setup.unlabeled, make_plan(setup, options)
    selection = _selection(setup, options, unlabeled)
    teacher, earlier = _teacher(setup, options, plan, unlabeled, selection.weak, run)  # 1
    for number in range(options.rounds):
        after, stage = f"-{number + 1}" if number else "", 3 * number + 2
        picks = _select(
            setup, selection, unlabeled, teacher, run, f"{stage}-scores", f"picks{after}"
        )  # 2
        chosen = unlabeled.take(Single(picks.cls, unlabeled.classes), picks.row)
        rate = pretraining(setup, options, plan.pretrain)
        student = Supervised(setup.learner(f"student{after}", rate=rate), softmax_xent, "softmax")
        order = Epochs(np.arange(len(chosen)), setup.seed, f"pretrain{after}")
        stream = setup.stream(f"pretrain{after}", dataset=chosen, order=order)
        run.train(f"{stage + 1}-pretrain", student, stream, **_budget(setup, plan.pretrain))  # 3
        if plan.finetune:
            pretrained = student.predictors()["model"]
            student = _finetune(setup, plan, pretrained, run, f"{stage + 2}-finetune")  # 4
            earlier = {"pretrained": pretrained, **earlier}
        teacher = Frozen(
            student.predictors()["model"], setup.image_size, setup.prepare, setup.frames
        )
    return Student(student, earlier)


def _selection(setup: Setup, options: Options, unlabeled: Dataset) -> Selection:
    """What stage 2 goes by, out of the settings and the files that they name."""
    classes, items = unlabeled.classes, unlabeled.items
    k = _per_class(setup, options, unlabeled)
    rule = RankingRule(k, by="random", seed=setup.seed)
    if options.selection != "balanced-with-tags":
        top = min(10, len(classes)) if options.top is None else options.top
        rule = RankingRule(k, top, options.rank_by, options.minimum)
    rule.check(len(classes))
    if options.picks is None or options.rounds > 1:
        check_per_class(k, len(unlabeled), len(classes), rule.top)
    quotas = balanced(k, len(classes))
    if options.selection == "unbalanced-ranked":
        counts = setup.train.labels.counts()
        if options.frequencies is not None:
            read = read_frequencies(options.frequencies)
            counts = align(read, classes, str(options.frequencies))
        quotas = proportional(k, counts)
    given = None
    if options.picks is not None:
        given, others = read_picks(options.picks, items, classes)
        if others:
            setup.warn(f"{others} picks of {options.picks} are not among the unlabelled images")
    never = _never(setup, options, items)
    return Selection(
        rule,
        quotas,
        never,
        None if options.tags is None else weak_labels(options.tags, items, classes),
        None if given is None else without(given, items, never),
    )


def _never(setup: Setup, options: Options, items: Sequence[str]) -> list[str]:
    """The items of all exclude lists; said is how many of them there are, where not all are.

    Raises:
        UserError: a list that excludes nothing.
    """
    exclude = read_exclusions(options.exclude)
    there = set(items)
    for line in exclude.found(there, "the unlabelled images", next(iter(items), None)):
        if not there.issuperset(exclude.items):
            setup.warn(f"--exclude {line}")
    return exclude.items


def _per_class(setup: Setup, options: Options, unlabeled: Dataset) -> int:
    """K: as given, or by the paper's ratio; picks of elsewhere need none."""
    if options.per_class is not None:
        return options.per_class
    k = paper_ratio(len(unlabeled), len(unlabeled.classes))
    if options.picks is not None and options.rounds == 1:
        return k
    images, classes = len(unlabeled), len(unlabeled.classes)
    why = f"by the paper's ratio, for {images:,} unlabelled images and {classes} classes"
    return setup.derive("per_class", k, why)


def _teacher(
    setup: Setup,
    options: Options,
    plan: StagePlan,
    unlabeled: Dataset,
    weak: WeakLabels | None,
    run: Run,
) -> tuple[Frozen | None, dict[str, Predictor]]:
    """Stage 1: the teacher, if one is needed, and it by name if it was trained here."""
    if options.teacher_run is not None:
        return setup.frozen(options.teacher_run), {}
    if not plan.teacher:
        return None, {}
    rate, start = None, None
    if plan.weak:
        assert weak is not None
        rising = pretraining(setup, options, plan.weak)
        learner = setup.learner(rate=rising, network=options.teacher)
        first = Supervised(learner, softmax_xent, "softmax")
        tagged = unlabeled.subset(weak.rows).with_labels(weak.shares())
        order = WeightedSampler(square_root(weak.labels), setup.seed, "weak")
        stream = setup.stream("weak", dataset=tagged, order=order)
        run.train("0-weak", first, stream, **_budget(setup, plan.weak))
        rate, start = Drops(plan.rates[0], plan.teacher, 3, 0.1), first.predictors()["model"]
    share = plan.teacher / setup.total
    learner = setup.learner(steps=share, rate=rate, start=start, network=options.teacher)
    teacher = Supervised(learner, softmax_xent, "softmax")
    run.train("1-teacher", teacher, setup.stream("teacher"), **_budget(setup, plan.teacher))
    predictor = teacher.predictors()["model"]
    return Frozen(predictor, setup.image_size, setup.prepare, setup.frames, setup.resize), {
        "teacher": predictor
    }


def _select(
    setup: Setup,
    selection: Selection,
    unlabeled: Dataset,
    teacher: Frozen | None,
    run: Run,
    stage: str,
    name: str,
) -> Picks:
    """Stage 2: D̂, also as the table ``name`` in the run folder."""
    rule, quotas, items, given = selection.rule, selection.quotas, unlabeled.items, selection.given
    if teacher is not None:
        found = _candidates(setup, unlabeled, teacher, rule.top or 1, run, stage)
        picks = best(found, items, quotas, rule, selection.never)
    elif given is not None:
        picks = given
    else:
        assert selection.weak is not None
        weak = selection.weak
        picks = draw(weak.labels, weak.rows, items, quotas, rule, selection.never)
    if not len(picks):
        raise UserError(
            "no unlabelled image is selected for any class: look at --minimum, --exclude"
        )
    k = int(np.bincount(picks.cls).max() if picks is given else quotas.mean())
    check_picks(len(picks), len(np.unique(picks.row)), k, len(unlabeled), len(unlabeled.classes))
    _say_what_is_missing(setup, picks, np.ones_like(quotas) if picks is given else quotas)
    if run.folder is not None and picks is not given and distributed.rank() == 0:
        write_picks(run.folder / f"{name}.parquet", picks, items, unlabeled.classes, quotas, rule)
    return picks


def _candidates(
    setup: Setup, unlabeled: Dataset, teacher: Frozen, top: int, run: Run, stage: str
) -> Candidates:
    """The teacher's P best classes of every unlabelled image, block by block."""
    parts = []
    for number, start in enumerate(range(0, len(unlabeled), BLOCK)):
        block = unlabeled.subset(slice(start, start + BLOCK))
        compute = partial(_scores, setup, teacher, top, block)
        found = run.once(
            f"{stage}-{number:05d}", compute, teacher=teacher.predictor, images=block, top=top
        )
        parts.append({**found, "row": found["row"] + start})
    row, cls, score, logit = (
        np.concatenate([part[name] for part in parts]) for name in ("row", "cls", "score", "logit")
    )
    return Candidates(row, cls, score, logit)


def _scores(setup: Setup, teacher: Frozen, top: int, block: Dataset) -> Arrays:
    """The fields of :class:`Candidates`, (B · P,) each, for the readable images of a block."""
    of = top_classes(teacher.predictor, top)
    rows, values = [], []
    for at, out in outputs(of, setup.scan(block, teacher)):
        rows.append(np.repeat(at, top))
        values.append(out.cpu().numpy().reshape(-1, 3))
    if not rows:
        raise UserError("none of the unlabelled images can be read")
    table = np.concatenate(values)
    if not np.isfinite(table).all():
        raise UserError("the teacher gives scores that are not finite numbers")
    cls = table[:, 0].astype(np.int64)
    return {"row": np.concatenate(rows), "cls": cls, "score": table[:, 1], "logit": table[:, 2]}


def _finetune(
    setup: Setup, plan: StagePlan, pretrained: Predictor, run: Run, stage: str
) -> Supervised:
    """Stage 4: on the labelled images, at the given rate or the best of several."""
    rate = plan.rates[0]
    if len(plan.rates) > 1:
        learn, held = setup.train.split(HELD_OUT, setup.seed)
        right = [
            _accuracy(setup, _tuned(setup, plan, pretrained, run, f"{stage}-{r:g}", r, learn), held)
            for r in plan.rates
        ]
        rate = plan.rates[int(np.argmax(right))]
        if distributed.rank() == 0:
            shown = ", ".join(
                f"{r:g}: {100 * a:.1f}%" for r, a in zip(plan.rates, right, strict=True)
            )
            print(f"rate of fine-tuning: {rate:g} (on held-out images {shown})", file=sys.stderr)
    return _tuned(setup, plan, pretrained, run, stage, rate, None)


def _tuned(
    setup: Setup,
    plan: StagePlan,
    pretrained: Predictor,
    run: Run,
    stage: str,
    rate: float,
    part: Dataset | None,
) -> Supervised:
    """The student after fine-tuning on all labelled images, or on a part of them without judging."""
    schedule = Drops(rate, plan.finetune, 3, 0.1)
    learner = setup.learner("student", rate=schedule, start=pretrained)
    budget = _budget(setup, plan.finetune) | ({} if part is None else {"judge": None})
    algorithm = Supervised(learner, softmax_xent, "softmax")
    return run.train(stage, algorithm, setup.stream("finetune", dataset=part), **budget)


def _accuracy(setup: Setup, model: Supervised, held: Dataset) -> float:
    rows, found = scores(model.predictors()["model"], setup.scan(held))
    assert isinstance(held.labels, Single)
    return float((found.argmax(-1) == held.labels.index[rows]).mean())


def _say_what_is_missing(setup: Setup, picks: Picks, quotas: NDArray[np.int64]) -> None:
    counts = np.bincount(picks.cls, minlength=len(quotas))
    empty = np.flatnonzero((counts == 0) & (quotas > 0))
    if len(empty):
        names = ", ".join(repr(setup.train.classes[c]) for c in empty[:10])
        more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
        setup.warn(f"no unlabelled image is selected for {len(empty)} classes: {names}{more}")
    short = int(((counts < quotas) & (counts > 0)).sum())
    if short:
        setup.warn(f"classes with fewer unlabelled images than asked for: {short}")


def _budget(setup: Setup, steps: int) -> dict[str, Any]:
    return setup.budget() | {"steps": steps}
