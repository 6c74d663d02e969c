"""MILe against its algorithm box, written again as plainly as it is printed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import toys
from reteach.data.dataset import Dataset
from reteach.data.loading.augment import Plain
from reteach.data.loading.samplers import AlternatingSampler, Epochs
from reteach.data.loading.stream import Scan
from reteach.data.sources.base import ArraySource
from reteach.engine.evaluate import outputs
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.labels import Single
from reteach.losses.standard import sigmoid_bce
from reteach.methods.distill import Distill, exceeding, make_targets, most_likely
from reteach.methods.mile import Mile
from reteach.methods.mile_labels import Calibrated, PseudoLabeler, sample_bernoulli
from reteach.methods.mile_plan import plan, warn_if_never_calibrated, wasted
from reteach.methods.supervised import Supervised
from reteach.schedules import Constant, Cycles

RHO, K_T, K_S, STEPS, RATE = 0.3, 3, 2, 13, 0.1


def algorithm_1(relabel: str) -> tuple[nn.Module, nn.Module]:
    """Algorithm 1 of the paper, line by line, with its own SGD; returns (teacher, student)."""
    stream = toys.stream()
    batches = iter(stream.batches(0, STEPS))
    student = toys.network(2)
    teacher = toys.network(1)
    momentum = {id(p): torch.zeros_like(p) for m in (student, teacher) for p in m.parameters()}

    def descend(model: nn.Module, x, target) -> None:
        model.train()
        y_hat = torch.sigmoid(model(x))
        b, c = y_hat.shape
        loss = torch.zeros(())
        for i in range(b):  # Eq. 1
            for j in range(c):
                p = y_hat[i, j].clamp(1e-7, 1 - 1e-7)
                y = target[i, j]
                loss = loss - (y * p.log() + (1 - y) * (1 - p).log()) / b / c
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                m = momentum[id(p)]
                m.mul_(0.9).add_(g)
                p.sub_(RATE * m)

    step = 0
    while True:  # line 1
        with torch.no_grad():  # line 2
            for mine, theirs in zip(
                teacher.state_dict().values(), student.state_dict().values(), strict=True
            ):
                mine.copy_(theirs)
        for _ in range(K_T):  # lines 3-7
            if step == STEPS:
                return teacher, student
            batch = next(batches)
            descend(teacher, batch.x, torch.eye(3)[toys.given(batch)])
            step += 1
        if relabel == "cycle":
            with torch.no_grad():
                every = [F.sigmoid(teacher.eval()(x)) > RHO for _, x in toys.scan()]
            memory = torch.cat(every)
        for _ in range(K_S):  # lines 8-13
            if step == STEPS:
                return teacher, student
            batch = next(batches)
            if relabel == "cycle":
                pseudo = memory[batch.rows]
            else:
                with torch.no_grad():
                    pseudo = F.sigmoid(teacher.eval()(batch.x)) > RHO  # line 10
            descend(student, batch.x, pseudo.float())
            step += 1


@pytest.mark.parametrize("relabel", ["batch", "cycle"])
def test_equals_the_algorithm_box(relabel):
    images = toys.scan() if relabel == "cycle" else None
    labeler = PseudoLabeler(make_targets("threshold", rho=RHO), images=images)
    rate = Constant(RATE)
    mile = Mile(
        toys.learner(1, rate=rate), toys.learner(2, rate=rate), labeler, Cycles.of(K_T, K_S)
    )
    Run.memory().train("train", mile, toys.stream(), steps=STEPS)
    teacher, student = algorithm_1(relabel)
    for ours, literal in ((mile.teacher.model, teacher), (mile.student.model, student)):
        for (name, a), b in zip(
            ours.state_dict().items(), literal.state_dict().values(), strict=True
        ):
            assert torch.allclose(a.float(), b.float(), atol=1e-5), name


def test_the_first_interaction_is_the_sigmoid_baseline():
    mile = toys.mile(k_t=100, k_s=1)
    mile.student.copy_from(start := toys.learner(5))
    Run.memory().train("train", mile, toys.stream(), steps=9)
    baseline = Supervised(toys.learner(5), sigmoid_bce, "sigmoid")
    Run.memory().train("train", baseline, toys.stream(), steps=9)
    a, b = mile.teacher.model.state_dict(), baseline.learner.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    untouched, fresh = mile.student.model.state_dict(), start.model.state_dict()
    assert all(torch.equal(untouched[name], fresh[name]) for name in fresh)


def test_continuing_student_goes_on_from_the_teachers_weights():
    """The authors' variant: through the first k_t steps it is the sigmoid baseline, then it is it too
    where the pseudo-labels happen to be the labels."""
    algorithm = toys.continuing()
    algorithm.cycles = Cycles.of(9, 2)
    Run.memory().train("train", algorithm, toys.stream(), steps=9)
    baseline = Supervised(toys.learner(1), sigmoid_bce, "sigmoid")
    Run.memory().train("train", baseline, toys.stream(), steps=9)
    a, b = algorithm.student.model.state_dict(), baseline.learner.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    (batch,) = toys.stream().batches(9, 10)
    before = copy.deepcopy(algorithm.student.model.state_dict())
    algorithm.step(batch)
    teacher = algorithm.teacher.state_dict()
    assert all(torch.equal(teacher[name], before[name]) for name in teacher)


def test_union_keeps_the_given_label():
    (batch,) = toys.stream().batches(0, 1)
    nothing = PseudoLabeler(make_targets("threshold", rho=0.5), union=True)
    targets = nothing.label(lambda x: torch.full((len(x), 3), -9.0), batch)
    assert torch.equal(targets, batch.y)
    everything = nothing.label(lambda x: torch.full((len(x), 3), 9.0), batch)
    assert torch.equal(everything, torch.ones(8, 3))


def test_lessons():
    logits = torch.tensor([[2.0, -1.0, 0.0], [-3.0, -2.0, -2.5]])
    assert exceeding(logits, 0.4).tolist() == [[True, False, True], [False, False, False]]
    assert most_likely(logits).tolist() == [[True, False, False], [False, True, False]]
    torch.manual_seed(0)
    share = torch.stack([sample_bernoulli(logits) for _ in range(4000)]).float().mean(0)
    assert torch.allclose(share, logits.sigmoid(), atol=0.03)


def test_pseudo_labels_of_a_cycle_come_from_the_un_augmented_images():
    mile = toys.mile("cycle", k_t=1, k_s=30)
    Run.memory().train("train", mile, toys.stream(), steps=2)
    assert mile.labeler._memory is not None
    assert mile.labeler._memory.dtype == torch.bool
    found = torch.cat([out for _, out in outputs(mile.teacher.infer, toys.scan())])
    assert torch.equal(mile.labeler._memory, found.sigmoid() > 0.3)


def test_unlabelled_images_reach_the_student_alone():
    data = toys.dataset(40)
    index = data.labels.index.copy()
    index[20:] = -1
    data = data.with_labels(Single(index, toys.CLASSES))
    order = AlternatingSampler(
        Epochs(np.arange(20), 0, "labelled"), Epochs(np.arange(40), 0, "all"), Cycles.of(3, 2)
    )
    stream = toys.stream(data, order=order, augment=Plain())
    seen = {"teacher": set(), "student": set()}
    for batch in stream.batches(0, 25):
        seen["teacher" if batch.step % 5 < 3 else "student"] |= set(batch.rows.tolist())
    assert seen["teacher"] == set(range(20))
    assert seen["student"] == set(range(40))
    algorithm = toys.mile()
    Run.memory().train("train", algorithm, stream, steps=10)


def test_one_generation_from_a_frozen_teacher_is_distillation():
    """MILe's imitation phase, and nothing else, is distillation of sets."""
    mile = toys.mile(k_t=1, k_s=8)
    run = Run.memory()
    run.train("train", mile, toys.stream(), steps=1)
    frozen = toys.learner(1)
    frozen.copy_from(mile.teacher)
    student = toys.learner(2)
    distill = Distill(student, frozen.predictor("sigmoid"), make_targets("threshold", rho=0.3))
    for batch in toys.stream().batches(1, 7):
        mile.step(batch)
        distill.step(batch)
    a, b = mile.student.model.state_dict(), student.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def _speaking(n: int = 400) -> tuple[Scan, Callable[[torch.Tensor], torch.Tensor], np.ndarray]:
    """Images whose pixels are a teacher's logits of eight classes, that teacher, and the truth."""
    generator = np.random.default_rng(0)
    truth = generator.random((n, 8)) < 0.3
    truth[~truth.any(1), 0] = True
    z = generator.normal(-5, 0.7, (n, 8)) + 3.5 * truth
    named = np.array([generator.choice(np.flatnonzero(row)) for row in truth])
    pixels = np.clip((z + 10) * 15, 0, 255).astype(np.uint8)[:, None, :, None]
    data = Dataset.of(ArraySource(pixels), Single(named, tuple("abcdefgh")))

    def teacher(x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) * 0.25 + 0.5) * 255 / 15 - 10

    return Scan(data, Plain(), toys.PREPARE, batch_size=64), teacher, truth


def test_calibrated_pseudo_labels_are_the_classes_present():
    images, teacher, truth = _speaking()
    x = torch.cat([x for _, x in images])
    hard, soft = Calibrated(images), Calibrated(images, soft=True)
    # ρ = 0.25 until the teacher is calibrated
    assert torch.equal(hard(teacher(x)), teacher(x).sigmoid() > 0.25)
    for sets in (hard, soft):
        sets.begin(teacher, fresh=True)
    found = hard(teacher(x))
    assert (found.numpy() == truth).mean() > 0.97
    told = PseudoLabeler(make_targets("threshold"), calibrated=hard).counted(found.float())
    assert told["calibrated"] == 1, "the log says that it was no threshold"
    p = soft(teacher(x))
    assert torch.equal(p > 0.5, found)
    assert ((p > 0.01) & (p < 0.99)).any()


def test_a_teacher_is_calibrated_once_per_cycle_and_after_a_resume():
    images, teacher, _ = _speaking(100)
    asked = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return teacher(x)

    sets = Calibrated(images)
    sets.begin(counted, fresh=False)  # resumed in the middle of the imitation
    assert sum(asked) == 100
    sets.begin(counted, fresh=False)
    assert sum(asked) == 100
    sets.begin(counted, fresh=True)
    assert sum(asked) == 200


def test_scores_that_tell_nothing_leave_the_papers_threshold():
    images, _, _ = _speaking(100)
    sets = Calibrated(images, otherwise=0.25)
    sets.begin(lambda x: torch.zeros(len(x), 8), fresh=True)
    targets = sets(torch.tensor([[0.0, -2.0]]))
    assert targets.tolist() == [[True, False]]
    assert "all but constant" in sets.why
    told = PseudoLabeler(make_targets("threshold"), calibrated=sets).counted(targets.float())
    assert told["calibrated"] == 0


@pytest.mark.parametrize(
    ("logged", "warned"), [([0.0, 0.0], 1), ([0.0, 0.4], 0), ([1.0], 0), ([], 0)]
)
def test_only_a_teacher_of_no_cycle_is_warned_of(logged, warned):
    """At first the scores tell nothing: that is as it should be."""
    images, _, _ = _speaking(100)
    records = [{"stage": "train", "step": 1}, *({"calibrated": share} for share in logged)]
    said: list[str] = []
    warn_if_never_calibrated(Calibrated(images), records, SimpleNamespace(warn=said.append))
    assert len(said) == warned


def _walk(cycles: Cycles, total: int) -> list[tuple[int, int]]:
    """(k_t, k_s) of each cycle, counted step by step; the last one may be cut."""
    found: list[list[int]] = []
    seen = [0, 0]
    for step in range(total):
        turn = cycles(step)
        side = 0 if turn.first else 1
        begins = turn.begins
        if turn.first and begins:
            found.append([0, 0])
        assert begins == (found[-1][side] == 0)
        assert turn.cycle == len(found) - 1
        assert turn.first <= (found[-1][1] == 0)  # the teacher first
        assert turn.number == seen[side]
        seen[side] += 1
        found[-1][side] += 1
        assert cycles.before(step + 1) == tuple(seen)
    return [(k_t, k_s) for k_t, k_s in found]


BUDGETS = [*range(2, 60), 97, 100, 150, 300, 1001, 1500, 2003, 5004]


def test_whole_cycles_fill_every_budget():
    """What is left open: no step is thrown away, no cycle is without its student."""
    for total in BUDGETS:
        for k_t, k_s in [(None, None), *((k, None) for k in (1, 2, 7, 66, 2000))] + [
            (None, k) for k in (1, 2, 7, 66, 2000)
        ]:
            if (k_t or 0) >= total or (k_s or 0) >= total:
                continue
            found = _walk(plan(total, k_t, k_s), total)
            assert sum(map(sum, found)) == total
            assert min(map(min, found)) >= 1, (total, k_t, k_s)
            assert k_t is None or {t for t, _ in found} == {k_t}
            assert k_s is None or {s for _, s in found} == {k_s}
            students = sum(s for _, s in found)
            if k_t is None and total > 7:
                assert students >= total / 4, (total, k_s)
            for side in zip(*found, strict=True):
                assert max(side) - min(side) <= 2
            if k_t is k_s is None and total >= 30:
                assert len(found) == 10
                assert abs(students - total / 3) < 1


def test_schedules_that_are_given_hold():
    assert _walk(plan(13, 3, 2), 13) == [(3, 2), (3, 2), (3, 0)]
    assert _walk(plan(1500, None, None), 1500) == [(100, 50)] * 10
    assert _walk(plan(5004, 2000, None), 5004) == [(2000, 3004)]
    for total, k_t, k_s in ((1001, 2000, None), (1001, None, 2000), (1, None, None), (9, 0, 1)):
        with pytest.raises(UserError):
            plan(total, k_t, k_s)


@pytest.mark.parametrize(
    ("total", "k_t", "k_s", "words"),
    [
        (5004, 2000, 2000, ["last 1004 of 5004 steps"]),
        (5004, 2000, 1000, ["only 1004 of 5004 steps"]),
        (1000, 90, 10, ["only 100 of 1000 steps"]),
        (1001, 900, None, ["only 101 of 1001 steps"]),
        (1500, 100, 50, []),
        (1001, None, None, []),
    ],
)
def test_a_budget_that_the_student_does_not_get_is_told(total, k_t, k_s, words):
    said = wasted(plan(total, k_t, k_s), total)
    assert all(any(word in line for line in said) for word in words)
    assert bool(said) == bool(words)


@pytest.mark.parametrize("parts", [1, 4])
def test_the_teacher_is_copied_once_per_cycle_however_many_parts(parts):
    mile = toys.mile(k_t=3, k_s=2)
    Run.memory().train("train", mile, toys.stream(), steps=3, parts=parts)
    assert int(mile.teacher.model[1].num_batches_tracked) == 3 * parts


def test_drawn_pseudo_labels_of_a_cycle_are_its_own():
    teacher = toys.learner(1).infer
    passed = toys.passed("cycle", sample=True)
    first, again, other = (passed.label_all(teacher, cycle) for cycle in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.bool
    p = torch.cat([teacher(x) for _, x in toys.scan()]).sigmoid()
    many = torch.stack([passed.label_all(teacher, cycle) for cycle in range(300)]).float().mean(0)
    assert torch.allclose(many, p, atol=0.13)  # 4.5 standard deviations


def test_only_sets_are_counted_as_pseudo_labels():
    """Logits that are passed on softly are no labels per image."""
    for name, counted in (("mile", True), ("mile soft", False)):
        algorithm = toys.ALGORITHMS[name]()
        said = [algorithm.step(batch) for batch in toys.stream().batches(0, 5)]
        assert any("pseudo_labels" in told for told in said) == counted
