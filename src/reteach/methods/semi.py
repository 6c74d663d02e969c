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
``--teacher-run`` of a run by tag, whose student it is unless ``--teacher-predictor`` names another model).

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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from ..data.dataset import Dataset
from ..data.loading.batch import Batch
from ..data.loading.samplers import WeightedSampler, every
from ..engine.algorithm import Algorithm
from ..engine.learner import Predictor
from ..engine.run import Run
from ..engine.setup import Frozen
from ..errors import UserError
from ..labels import Single
from ..losses.standard import softmax_xent
from ..recorded import recorded
from ..relabel.weak.hashtags import square_root
from ..relabel.weak.weak_labels import WeakLabels
from ..schedules import Drops
from .semi_finetune import finetune
from .semi_plan import StagePlan, make_plan, pretraining
from .semi_selection import select
from .semi_selection_plan import plan_selection
from .supervised import Supervised

if TYPE_CHECKING:
    from ..engine.setup import Setup
    from ..options.methods import SemiOptions as Options


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


@recorded("train-semi")
def train(setup: Setup, options: Options, run: Run) -> Student:
    """The four stages, once or for several rounds."""
    if setup.unlabeled is None:
        raise UserError("semi needs --unlabeled: images without labels to pick from")
    unlabeled, plan = setup.unlabeled, make_plan(setup, options)
    selection = plan_selection(setup, options, unlabeled)
    teacher, earlier = _teacher(setup, options, plan, unlabeled, selection.weak, run)  # 1
    for number in range(options.rounds):
        after, stage = f"-{number + 1}" if number else "", 3 * number + 2
        picks = select(
            setup, selection, unlabeled, teacher, run, f"{stage}-scores", f"picks{after}"
        )  # 2
        chosen = unlabeled.take(Single(picks.cls, unlabeled.classes), picks.row)
        rate = pretraining(setup, options, plan.pretrain)
        student = Supervised(setup.learner(f"student{after}", rate=rate), softmax_xent, "softmax")
        order = setup.passes(chosen, every(len(chosen)), f"pretrain{after}")
        stream = setup.stream(f"pretrain{after}", dataset=chosen, order=order)
        run.train(f"{stage + 1}-pretrain", student, stream, **_budget(setup, plan.pretrain))  # 3
        if plan.finetune:
            pretrained = student.predictors()["model"]
            student = finetune(setup, plan, pretrained, run, f"{stage + 2}-finetune")  # 4
            earlier = {"pretrained": pretrained, **earlier}
        teacher = Frozen(
            student.predictors()["model"], setup.image_size, setup.prepare, setup.frames
        )
    return Student(student, earlier)


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
        return setup.frozen(options.teacher_run, options.teacher_predictor), {}
    if not plan.teacher:
        return None, {}
    rate, start = None, None
    if plan.weak:
        assert weak is not None
        rising = pretraining(setup, options, plan.weak)
        learner = setup.learner(rate=rising, network=options.teacher)
        first = Supervised(learner, softmax_xent, "softmax")
        tagged = unlabeled.take(weak.shares(), weak.rows)
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


def _budget(setup: Setup, steps: int) -> dict[str, Any]:
    return setup.budget() | {"steps": steps}
