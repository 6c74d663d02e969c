"""CPSD against its equations, its limits and bad input."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import toys
from reteach.data.dataset import Dataset
from reteach.data.loading.samplers import Epochs, SubsetSampler
from reteach.data.loading.stream import Stream
from reteach.data.sources.base import ArraySource
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.losses.asymmetric import Asymmetric
from reteach.losses.standard import bernoulli_kl, mean_squared_error, squared_error
from reteach.methods import cpsd
from reteach.methods.cpsd_plan import plan_sides, plan_teachers, student_share
from reteach.methods.cpsd_teachers import Merged
from reteach.methods.supervised import Supervised, train_asl
from reteach.options import shared as options
from reteach.options.methods import AslOptions, CpsdOptions
from reteach.relabel.partition.class_subsets import partition
from reteach.relabel.partition.cooccurrence import Cooccurrence
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup

CLASSES = ("a", "b", "c", "d", "e", "f")


def photos(n: int = 60, unknown: bool = False) -> Dataset:
    """Pictures with a stripe per class; a goes with b, c with d."""
    draw = np.random.default_rng(0)
    present = draw.random((n, 6)) < 0.3
    present[:, 1] |= present[:, 0] & (draw.random(n) < 0.8)
    present[:, 3] |= present[:, 2] & (draw.random(n) < 0.8)
    images = draw.integers(0, 90, (n, 12, 12, 1))
    images[:, :, ::2] += 120 * np.repeat(present, 2, 1)[:, :, None, None]
    known = draw.random((n, 6)) < 0.7 if unknown else None
    return Dataset.of(
        ArraySource(images.astype(np.uint8)), Multi.from_dense(present, CLASSES, known)
    )


def setup(settings: AslOptions, data: Dataset | None = None, **training):
    """Twelve backward passes over sixty pictures."""
    told = {"steps": 12, "batch_size": 10, "optimizer": "adam", "augment": "crop-flip"} | training
    method = "cpsd" if isinstance(settings, CpsdOptions) else "asl"
    config = Config(
        method,
        settings,
        model=options.Model("reteach_tiny", device="cpu"),
        training=options.Training(**told),
    )
    return make_setup(config, Inputs(data or photos(), None, None), torch.device("cpu"))


def trained(settings: CpsdOptions, run: Run | None = None, **training) -> cpsd.Cpsd:
    return cpsd.train(setup(settings, **training), settings, run or Run.memory())


def student(algorithm: cpsd.Cpsd) -> dict[str, torch.Tensor]:
    return algorithm.student.model.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Constant(nn.Module):
    """A network that always says the same."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(x), -1)


# the equations


def test_merged_logits_stand_in_class_order():
    subsets = (("e", "a", "c"), ("f",), ("b", "d"))
    teachers = [Constant(5, 1, 3), Constant(6), Constant(2, 4)]
    merged = Merged(teachers, subsets, CLASSES)
    assert merged(torch.zeros(2, 1, 4, 4)).tolist() == [[1, 2, 3, 4, 5, 6]] * 2


@pytest.mark.parametrize("subsets", [(("a", "b"), ("b", "c")), (("a",), ("c",))])
def test_a_class_without_its_one_teacher_is_refused(subsets):
    with pytest.raises(ValueError, match="one teacher per side"):
        Merged([Constant(0), Constant(0)], subsets, ("a", "b", "c"))


def slow_asl(x: float, y: float) -> float:
    p = 1 / (1 + math.exp(-x))
    q = max(p - 0.05, 0)
    return -math.log(p) if y else -(q**4) * math.log(1 - q)


def slow_kl(s: float, t: float, tau: float) -> float:
    p, q = (1 / (1 + math.exp(-v / tau)) for v in (t, s))
    return tau**2 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))


def test_losses_are_their_equations():
    draw = np.random.default_rng(1)
    s, t = draw.normal(0, 3, (2, 5, 7))
    squares = [
        sum((a - b) ** 2 for a, b in zip(*row, strict=True)) for row in zip(s, t, strict=True)
    ]
    pair = torch.from_numpy(s), torch.from_numpy(t)
    assert squared_error(*pair).tolist() == pytest.approx(squares, rel=1e-5)
    assert mean_squared_error(*pair).tolist() == pytest.approx([v / 7 for v in squares], rel=1e-5)
    for tau in (1.0, 2.5):
        slow = [
            sum(slow_kl(a, b, tau) for a, b in zip(*row, strict=True))
            for row in zip(s, t, strict=True)
        ]
        assert bernoulli_kl(*pair, temperature=tau).tolist() == pytest.approx(slow, rel=1e-4)
    assert bernoulli_kl(pair[0], pair[0]).tolist() == [0] * 5
    huge = torch.full((1, 2), 300.0)
    assert torch.isfinite(bernoulli_kl(huge, -huge)).all()


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_a_step_is_equations_4_to_7(weight, monkeypatch):
    """The student's loss in float64 loops, over the first steps."""
    algorithm = toys.cpsd(weight=weight)
    minimised: list[float] = []
    update = algorithm.student.update

    def note(loss, batch):
        minimised.append(loss.item())
        update(loss, batch)

    monkeypatch.setattr(algorithm.student, "update", note)
    for batch in toys.stream().batches(0, 4):
        state = {k: v.clone() for k, v in algorithm.student.model.state_dict().items()}
        with torch.no_grad():
            z = algorithm.student(batch.x).double().tolist()
        algorithm.student.model.load_state_dict(state)  # the running statistics moved
        few = [m.eval()(batch.x).double().tolist() for m in algorithm.sides[0].models[0].teachers]
        co = [[pair[1], bee[0], pair[0]] for pair, bee in zip(*few, strict=True)]  # ant, bee, cat
        dis = algorithm.sides[1].models[0].eval()(batch.x).double().tolist()
        cls = sum(slow_asl(z[i][c], float(batch.y[i, c])) for i in range(8) for c in range(3)) / 8
        kd = sum(
            (z[i][c] - side[i][c]) ** 2 for side in (co, dis) for i in range(8) for c in range(3)
        ) / (2 * 3 * 8)
        found = algorithm.step(batch)
        assert found["loss"].item() == pytest.approx(cls, rel=1e-4)
        assert found["imitation"].item() == pytest.approx(kd, rel=1e-4)
        assert minimised[-1] == pytest.approx(cls + weight * kd, rel=1e-4)


# the limits


def test_no_teachers_is_the_baseline():
    none = trained(CpsdOptions(subsets=0))
    baseline = train_asl(setup(AslOptions()), AslOptions(), Run.memory())
    assert none.sides == ()
    assert equal(student(none), baseline.learner.model.state_dict())


def test_teacher_epochs_are_those_of_each_teacher():
    """The paper's 20 and 80 epochs: of 280 for ten teachers of all images, five per side."""
    settings = CpsdOptions(subsets=2, teacher_epochs=20)
    whole = setup(settings)
    passes = whole.total * whole.training.batch_size / len(whole.train)
    few = CpsdOptions(subsets=2, teacher_epochs=passes / 8)  # four teachers, half of the budget
    plans, _ = plan_teachers(whole, few, plan_sides(whole, few, Run.memory()))
    assert [plan.steps for plan in plans] == [round(whole.total / 8)] * len(plans)
    assert student_share(whole, few, plans) == pytest.approx(
        1 - len(plans) * round(whole.total / 8) / whole.total
    )
    with pytest.raises(UserError, match="none of 12 for the student: raise --epochs"):
        trained(settings)


@pytest.mark.parametrize("augment", ["crop-flip", "none"])
def test_one_subset_is_self_distillation(augment):
    """The whole method with k = 1 against a teacher and a student written out."""
    settings = CpsdOptions(subsets=1, teacher_share=0.25)
    found = trained(settings, augment=augment)
    (specialist,) = found.specialists().values()
    assert specialist.classes == CLASSES

    whole = setup(settings, augment=augment)
    teacher = Supervised(whole.learner("co-1", steps=0.25), Asymmetric(), "sigmoid")
    run = Run.memory()
    run.train("co-1", teacher, whole.stream("teachers"), steps=3)
    assert equal(specialist.predictor.models[0].state_dict(), teacher.learner.model.state_dict())
    learner, loss_of = whole.learner(steps=0.75), Asymmetric()
    for batch in whole.stream().batches(0, 9):
        z = learner(batch.x)
        with torch.no_grad():
            t = teacher.learner.model.eval()(batch.x)
        learner.update((loss_of(z, batch.y) + (z - t).square().sum(1)).mean(), batch)
    mine, theirs = student(found), learner.model.state_dict()
    assert all(torch.allclose(mine[n], theirs[n], atol=1e-5) for n in mine)


def test_unknown_entries_teach_nothing():
    data = photos(unknown=True)
    assert isinstance(data.labels, Multi)
    assert data.labels.unknown is not None
    present = data.labels.present()
    filled = present | ~data.labels.known_entries()  # the other way to fill the gaps
    other = data.with_labels(Multi.from_dense(filled, CLASSES, data.labels.known_entries()))
    settings = CpsdOptions(subsets=2, partition=None)
    one, two = (
        cpsd.train(setup(settings, data=each), settings, Run.memory()) for each in (data, other)
    )
    assert equal(student(one), student(two))
    blind = data.with_labels(data.labels.with_unknown(None))
    taken_for_absent = cpsd.train(setup(settings, data=blind), settings, Run.memory())
    assert not equal(student(one), student(taken_for_absent))


# partitions and teachers


@pytest.mark.parametrize("sides", ["both", "co", "dis", "random", "two-random"])
def test_each_class_has_one_teacher_per_side(sides):
    found = trained(CpsdOptions(subsets=2, sides=sides))
    number = 2 if sides in ("both", "two-random") else 1
    assert len(found.sides) == number
    teachers = found.specialists()
    names = [name.rsplit("-", 1)[0] for name in teachers]
    for side in set(names):
        mine = [t.classes for n, t in teachers.items() if n.startswith(f"{side}-")]
        assert sorted(c for subset in mine for c in subset) == list(CLASSES)
        assert all(list(subset) == sorted(subset) for subset in mine)
    assert all(t.predictor.models[0].num_classes == len(t.classes) for t in teachers.values())


def test_classes_that_go_together_share_a_co_teacher_and_no_dis_teacher():
    data = photos()
    pairs = np.repeat(np.eye(3, dtype=np.bool_), 2, 1)  # a with b, c with d, e with f
    present = pairs[np.arange(60) % 3]
    present[::7, 0] = present[1::7, 3] = True
    data = data.with_labels(Multi.from_dense(present, CLASSES))
    settings = CpsdOptions(subsets=3, teacher_images="all")
    teachers = cpsd.train(setup(settings, data), settings, Run.memory()).specialists()
    home = {
        side: {c: n for n, t in teachers.items() if n.startswith(side) for c in t.classes}
        for side in ("co", "dis")
    }
    for one, other in (("a", "b"), ("c", "d"), ("e", "f")):
        assert home["co"][one] == home["co"][other]
        assert home["dis"][one] != home["dis"][other]


def test_the_partition_can_be_the_papers_spectral_one():
    seen = Cooccurrence.of(photos().labels)
    found = trained(CpsdOptions(subsets=3, partition_method="spectral"))
    teachers = [t.classes for name, t in found.specialists().items() if name.startswith("co")]
    assert tuple(teachers) == partition(seen, 3, "co", how="spectral").subsets
    assert tuple(teachers) != partition(seen, 3, "co").subsets


def test_one_subset_has_one_teacher_unless_twins_are_wanted():
    assert list(trained(CpsdOptions(subsets=1)).specialists()) == ["co-1"]
    twins = trained(CpsdOptions(subsets=1, twins=True)).specialists()
    assert list(twins) == ["co-1", "dis-1"]
    states = [t.predictor.models[0].state_dict() for t in twins.values()]
    assert not equal(*states)


def test_defaults_are_those_of_the_authors_code():
    """Summed squares, teachers of all images, focusing factors held fixed (dis_B_cpsd.py)."""
    told = CpsdOptions()
    assert (told.imitation, told.teacher_images, told.focus_gradient) == ("sum", "all", False)
    assert cpsd._imitation(told) is squared_error
    assert AslOptions().focus_gradient is Asymmetric().focus_gradient is False


def alone(folder: Path) -> Path:
    """A partition with a subset of one class, as the authors' of COCO has ``person``."""
    file = folder / "alone.json"
    file.write_text(json.dumps({"co": [["b", "c", "d", "e", "f"], ["a"]], "dis": [list(CLASSES)]}))
    return file


def test_a_subset_of_one_class_trains(tmp_path):
    """Its teacher sees images without the class too, one after the other and side by side."""
    settings = CpsdOptions(partition=alone(tmp_path))
    one = trained(settings, Run(tmp_path / "one", quiet=True), steps=40)
    teacher = one.specialists()["co-2"]
    assert teacher.classes == ("a",)
    assert teacher.predictor.scores(torch.zeros(3, 1, 12, 12)).shape == (3, 1)
    assert one.sides[0].logits(torch.zeros(3, 1, 12, 12)).shape == (3, 6)
    both = replace(settings, parallel=2)
    two = trained(both, Run(tmp_path / "two", quiet=True), steps=40)
    assert equal(student(one), student(two))


def test_teachers_see_all_images_or_those_of_their_classes(monkeypatch):
    seen: dict[str, set[int]] = {}
    learned = Run.train

    def note(self, name, algorithm, stream, **more):
        seen[name] = set(stream.dataset.rows.tolist())
        return learned(self, name, algorithm, stream, **more)

    monkeypatch.setattr(Run, "train", note)
    found = trained(CpsdOptions(subsets=2, teacher_images="theirs"))
    present = photos().labels.present()
    for name, teacher in found.specialists().items():
        columns = [CLASSES.index(c) for c in teacher.classes]
        assert seen[name] == set(np.flatnonzero(present[:, columns].any(1)).tolist())
    assert len(seen["train"]) == 60
    trained(CpsdOptions(subsets=2))
    assert {len(rows) for rows in seen.values()} == {60}


def test_the_budget_is_shared(monkeypatch):
    steps: dict[str, int] = {}
    learned = Run.train

    def note(self, name, algorithm, stream, **more):
        steps[name] = more["steps"]
        return learned(self, name, algorithm, stream, **more)

    monkeypatch.setattr(Run, "train", note)
    trained(CpsdOptions(subsets=2, teacher_share=0.4), steps=100)
    assert steps.pop("train") == 60
    assert sum(steps.values()) == pytest.approx(40, abs=2)


def test_subsets_come_from_a_file(tmp_path):
    file = tmp_path / "partition.json"
    sides = {"co": [["b", "a", "f"], ["c", "d", "e"]], "dis": [["a", "c"], ["b", "d"], ["e", "f"]]}
    file.write_text(json.dumps(sides))
    folder = Run(tmp_path / "run", quiet=True)
    settings = CpsdOptions(partition=file)
    found = trained(settings, folder)
    names = {name: teacher.classes for name, teacher in found.specialists().items()}
    assert names["co-1"] == ("a", "b", "f")
    assert names["dis-2"] == ("b", "d")
    assert len(names) == 5
    file.unlink()  # what was read is kept
    again = trained(settings, Run(tmp_path / "run", quiet=True))
    assert equal(student(found), student(again))


def test_teachers_logits_are_computed_once_where_images_do_not_vary(monkeypatch):
    settings = CpsdOptions(subsets=2)
    once = trained(settings, augment="none")
    assert once._known is not None
    assert trained(settings)._known is None
    monkeypatch.setattr(cpsd, "fixed_logits", lambda *told: None)
    each = trained(settings, augment="none")
    mine, theirs = student(once), student(each)
    assert all(torch.allclose(mine[n].float(), theirs[n].float(), atol=1e-4) for n in mine)


def test_kinds_of_imitation():
    kinds = [CpsdOptions(subsets=2, imitation=kind) for kind in ("mean", "sum", "kl")]
    found = [trained(settings) for settings in kinds]
    teachers = [one.specialists()["co-1"].predictor.models[0].state_dict() for one in found]
    assert all(equal(teachers[0], other) for other in teachers[1:])
    states = [student(one) for one in found]
    assert not equal(states[0], states[1])
    assert not equal(states[0], states[2])
    weighted = trained(CpsdOptions(subsets=2, imitation="sum", imitation_weight=1 / 6))
    mine, theirs = student(weighted), states[0]  # six classes
    assert all(torch.allclose(mine[n], theirs[n], atol=1e-5) for n in mine)
    nothing = trained(CpsdOptions(subsets=2, imitation_weight=0, teacher_share=0.5), steps=12)
    alone = train_asl(setup(AslOptions(), steps=6), AslOptions(), Run.memory())
    assert equal(student(nothing), alone.learner.model.state_dict())


def test_averaged_weights_teach_and_predict():
    found = trained(CpsdOptions(subsets=2), average=0.5)
    raw = trained(CpsdOptions(subsets=2))
    teacher, other = (f.specialists()["co-1"].predictor.models[0] for f in (found, raw))
    assert not equal(teacher.state_dict(), other.state_dict())
    assert found.sides[0].models[0].teachers[0] is teacher
    assert found.predictors()["student"].models[0] is found.student.averaged


# streams of parts


def test_a_part_passes_through_the_images_in_step_with_the_whole():
    whole = Epochs(np.arange(30), seed=4, name="teachers")
    members = np.array([1, 5, 6, 11, 20, 29])
    part = SubsetSampler(whole, members)
    rows = np.concatenate([part.rows(step, 4) for step in range(6)])
    places = np.concatenate([part.places(step, 4) for step in range(6)])
    sequence = np.concatenate([whole.rows(step, 30) for step in range(4)])
    assert (sequence[places] == members[rows]).all()
    assert (np.diff(places) > 0).all()
    assert [sorted(rows[i : i + 6]) for i in range(0, 24, 6)] == [list(range(6))] * 4
    assert (places // 30 == np.repeat(np.arange(4), 6)).all()
    everything = SubsetSampler(whole, np.arange(30))
    for step in range(9):
        assert (everything.rows(step, 7) == whole.rows(step, 7)).all()
        assert (everything.places(step, 7) == whole.places(step, 7)).all()


def test_a_part_gets_the_pixels_of_the_whole():
    data = toys.dataset(20)
    whole = Epochs(np.arange(20), 0)
    members = np.arange(0, 20, 3)
    part = toys.stream(data.subset(members), batch_size=7, order=SubsetSampler(whole, members))
    (mine,) = part.batches(0, 1)
    pixels = {}
    for batch in toys.stream(data, batch_size=10, order=whole).batches(0, 2):
        pixels |= dict(zip(batch.rows.tolist(), batch.x, strict=True))
    for row, x in zip(mine.rows.tolist(), mine.x, strict=True):
        assert torch.equal(x, pixels[int(members[row])])


# resuming


def test_a_run_that_is_stopped_anywhere_ends_the_same(tmp_path):
    settings = CpsdOptions(subsets=2)
    whole = student(trained(settings))
    batches = Stream.batches

    def dying(after: int, self, start, stop):
        for batch in batches(self, start, stop):
            count[0] += 1
            if count[0] == after:
                raise MemoryError
            yield batch

    folder = tmp_path / "run"
    for after in (2, 1, 3, 2, 4):  # in one teacher after another, and in the student
        count = [0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stream, "batches", lambda *told, n=after: dying(n, *told))
            with pytest.raises(MemoryError):
                trained(settings, Run(folder, quiet=True, snapshot_seconds=0))
    again = trained(settings, Run(folder, quiet=True, snapshot_seconds=0))
    assert equal(student(again), whole)


def test_other_settings_are_refused_on_resume(tmp_path):
    trained(CpsdOptions(subsets=2), Run(tmp_path, quiet=True))
    with pytest.raises(UserError, match="begun with another configuration"):
        trained(CpsdOptions(subsets=2, gamma_neg=2), Run(tmp_path, quiet=True))
    with pytest.raises(UserError, match="'partition'"):
        trained(CpsdOptions(subsets=3), Run(tmp_path, quiet=True))


# bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subsets": -1}, "--subsets must not be negative, got -1"),
        ({"subsets": 7}, "--subsets 7 is more than the 6 classes: take 6 or fewer"),
        ({"sides": "random", "subsets": 7}, "--subsets 7 is more than the 6 classes"),
        ({"teacher_share": 1}, r"--teacher-share must lie in \(0, 1\), got 1"),
        (
            {"teacher_share": 0.3, "teacher_epochs": 2.0},
            "--teacher-share has no effect with --teacher-epochs",
        ),
        ({"teacher_epochs": 0}, "--teacher-epochs must be positive"),
        ({"imitation_weight": -1}, "--imitation-weight must not be negative"),
        (
            {"partition_method": "spectral", "sides": "random"},
            "--partition-method .*which are drawn",
        ),
        (
            {"partition_method": "spectral", "partition": Path("p.json")},
            "--partition-method .*has the subsets",
        ),
        ({"temperature": 0}, "--temperature must be positive"),
        ({"tau": 0}, "--tau must be positive, got 0"),
        ({"gamma_neg": -1}, "--gamma-neg must not be negative"),
        ({"shift": 1}, r"--shift must lie in \[0, 1\), got 1"),
        (
            {"subsets": 6, "teacher_images": "theirs"},
            "subset co-1 is class 'a' alone: .* use fewer --subsets, or --teacher-images all",
        ),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        trained(CpsdOptions(**settings))


def test_a_subset_without_images_is_named(tmp_path):
    data = photos()
    present = data.labels.present()
    present[:, 4:] = False
    data = data.with_labels(Multi.from_dense(present, CLASSES))
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"co": [["a", "b", "c", "d"], ["e", "f"]], "dis": [list(CLASSES)]}))
    settings = CpsdOptions(partition=file, teacher_images="theirs")
    with pytest.raises(UserError, match=r"subset co-2 \('e', 'f'\) has no image to learn from"):
        cpsd.train(setup(settings, data), settings, Run.memory())
    cut = CpsdOptions(subsets=2)  # the search deals such classes out
    cpsd.train(setup(cut, data), cut, Run.memory())


def test_teachers_side_by_side_are_those_of_one_after_the_other(tmp_path):
    settings = CpsdOptions(subsets=2, sides="co")
    one = trained(settings, Run(tmp_path / "one", quiet=True))
    two = trained(CpsdOptions(subsets=2, sides="co", parallel=2), Run(tmp_path / "two", quiet=True))
    assert equal(student(one), student(two))
    for name, teacher in one.specialists().items():
        states = [t.predictor.models[0].state_dict() for t in (teacher, two.specialists()[name])]
        assert equal(*states)
    again = trained(settings, Run(tmp_path / "two", quiet=True))  # goes on with either
    assert equal(student(again), student(two))


@dataclass(frozen=True)
class Drawn:
    """Pictures that note in a file that they were asked for."""

    images: np.ndarray
    notes: Path
    class_of = None

    @property
    def items(self) -> list[str]:
        return [str(row) for row in range(len(self.images))]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> np.ndarray:
        with open(self.notes, "a") as file:
            file.write(f"{row}\n")
        return self.images[row].repeat(3, -1)


@pytest.mark.parametrize("workers", [0, 2])
def test_teachers_side_by_side_share_the_decoded_images(tmp_path, workers):
    data = photos()
    found = []
    for parallel in (1, 2):
        source = Drawn(data.source.images, tmp_path / f"notes-{parallel}")
        settings = CpsdOptions(subsets=2, sides="co", parallel=parallel)
        given = replace(setup(settings, replace(data, source=source)), workers=workers)
        source.notes.unlink(missing_ok=True)
        run = Run(tmp_path / str(parallel), quiet=True)
        found.append(student(cpsd.train(given, settings, run)))
        seen = source.notes.read_text().split()
        assert (len(seen) > len(set(seen))) == (parallel == 1)
    assert equal(*found)


def test_side_by_side_needs_a_folder():
    with pytest.raises(UserError, match="--parallel is for a single process with a run folder"):
        trained(CpsdOptions(subsets=2, parallel=2))
