"""The four stages: what each is given, exact resume, limits, ablations, and one line for every fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import toys
from reteach.data.dataset import Dataset
from reteach.data.loading.stream import Stream
from reteach.engine.algorithm import Algorithm
from reteach.engine.evaluate import scores
from reteach.engine.run import Run
from reteach.engine.setup import Frozen, Setup
from reteach.errors import UserError
from reteach.labels import Single, Soft
from reteach.methods import semi, semi_candidates, semi_finetune, semi_plan, semi_selection
from reteach.methods.supervised import Supervised
from reteach.options.methods import SemiOptions
from reteach.options.shared import Model, Training
from reteach.relabel.selection.topk_numpy import Candidates
from reteach.schedules import Drops, Warmup
from reteach.tables import LabelTable, write_labels

PILE = toys.dataset(120, seed=9)
QUICK = SemiOptions(per_class=20, top=2)


def setup(total: int = 40, **training: Any) -> Setup:
    """40 labelled images, a pile of 120, batches of 8."""

    def build(seed: int, network: str = "student") -> torch.nn.Module:
        built.append(network)
        return toys.network(seed % 1000)

    built: list[str] = []
    training = {"batch_size": 8, "steps": total, "lr": 0.1, **training}
    made = Setup(
        toys.dataset(40), None, build, lambda path, name: frozen(path), Model(), Training(**training),
        None, toys.PREPARE, total, 3, unlabeled=Dataset.unlabeled(PILE.source, toys.CLASSES),
    )  # fmt: skip
    made.build.built = built  # type: ignore[attr-defined]
    return made


def frozen(path: Path) -> Frozen:
    return Frozen(toys.learner(5).predictor("softmax"), None, toys.PREPARE)


def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Algorithm, Stream, int]]:
    """Stage -> (algorithm, stream, steps) of every training from now on."""
    seen: dict[str, tuple[Algorithm, Stream, int]] = {}
    whole = Run.train

    def train(self: Run, name: str, algorithm: Any, stream: Stream, **how: Any) -> Any:
        seen[name] = (algorithm, stream, how["steps"])
        return whole(self, name, algorithm, stream, **how)

    monkeypatch.setattr(Run, "train", train)
    return seen


def test_the_four_stages(monkeypatch):
    seen = watched(monkeypatch)
    made = setup()
    student = semi.train(made, replace(QUICK, teacher="teacher"), Run.memory(3))
    assert {name: steps for name, (_, _, steps) in seen.items()} == {
        "1-teacher": 8, "3-pretrain": 28, "4-finetune": 4,
    }  # fmt: skip
    assert made.build.built == ["teacher", "student", "student"]
    assert seen["1-teacher"][1].dataset is made.train
    assert seen["4-finetune"][1].dataset is made.train
    chosen = seen["3-pretrain"][1].dataset
    assert chosen.labels.counts().tolist() == [20, 20, 20], "every class has exactly K"
    pairs = list(zip(chosen.rows.tolist(), chosen.labels.index.tolist(), strict=True))
    assert len(set(pairs)) == 60
    rates = [seen[name][0].learner.rate for name in ("3-pretrain", "4-finetune")]
    assert rates == [Drops(0.1, 28, 13, 0.5), Drops(0.1 / 400, 4, 3, 0.1)]
    assert list(student.predictors()) == ["student", "pretrained", "teacher"]


def test_the_picks_are_those_of_the_teacher(tmp_path):
    """Stage 2 again, in loops over the teacher's scores."""
    run = Run(tmp_path, 3, quiet=True)
    student = semi.train(setup(), QUICK, run)
    rows, found = scores(student.predictors()["teacher"], toys.scan(PILE))
    items = PILE.items
    wanted = []
    for cls in range(3):
        mine = [
            (-found[n, cls], items[row])
            for n, row in enumerate(rows.tolist())
            if (found[n] > found[n, cls]).sum() + (found[n, :cls] == found[n, cls]).sum() < 2
        ]
        wanted += [(item, cls, k) for k, (_, item) in enumerate(sorted(mine)[:20], 1)]
    table = pq.read_table(tmp_path / "picks.parquet").to_pylist()
    assert [(row["item"], row["class"], row["rank"]) for row in table] == wanted


def test_the_student_is_fine_tuned_from_where_pretraining_ended(monkeypatch):
    seen = watched(monkeypatch)
    student = semi.train(setup(), replace(QUICK, finetune_lr=(1e-30,)), Run.memory(3))
    before = student.predictors()["pretrained"].models[0].state_dict()
    after = student.predictors()["student"].models[0].state_dict()
    for name in before:
        if "running" not in name and "tracked" not in name:
            assert torch.equal(before[name], after[name])
    assert seen["3-pretrain"][0].learner.model is not seen["4-finetune"][0].learner.model


FORMS = {
    "plain": QUICK,
    "averaged": QUICK,
    "two rounds": replace(QUICK, rounds=2),
    "a sweep": replace(QUICK, finetune_lr=(0.001, 0.1), finetune_steps=4),
    "weak": replace(QUICK, tags=Path("tags.parquet"), weak_steps=6),
}


@pytest.mark.parametrize("form", FORMS)
def test_resume_is_exact_in_every_stage(tmp_path, monkeypatch, form):
    monkeypatch.setattr(semi_candidates, "BLOCK", 50)
    monkeypatch.chdir(tmp_path)
    tags = Soft.from_dense(np.eye(3, dtype=np.float32)[PILE.labels.index], toys.CLASSES)
    write_labels("tags.parquet", LabelTable(tuple(PILE.items), tags, "tags"))
    average = 0.9 if form == "averaged" else None

    def trained(folder: Path | None) -> dict[str, torch.Tensor]:
        run = Run(folder, 3, quiet=True, snapshot_seconds=0)
        return toys.weights(semi.train(setup(average=average), FORMS[form], run))

    whole = trained(None)
    count = 0
    batches = Stream.batches

    def counting(self: Stream, start: int, stop: int) -> Any:
        nonlocal count
        for batch in batches(self, start, stop):
            count += 1
            if count == dies:
                raise MemoryError("a crash")
            yield batch

    dies = 0
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "batches", counting)
        trained(None)
        total = count
        for dies in range(2, total, 8):
            folder, count = tmp_path / str(dies), 0
            with pytest.raises(MemoryError):
                trained(folder)
            count = -(10**6)
            assert toys.same(trained(folder), whole), f"stopped before batch {dies} of {total}"


def test_a_finished_run_scores_nothing_again(tmp_path, monkeypatch):
    monkeypatch.setattr(semi_candidates, "BLOCK", 50)
    run = Run(tmp_path, 3, quiet=True)
    first = toys.weights(semi.train(setup(), QUICK, run))
    assert len(list(tmp_path.glob("stages/2-scores-*"))) == 3
    monkeypatch.setattr(semi_candidates, "_scores", lambda *_: pytest.fail("scored again"))
    assert toys.same(toys.weights(semi.train(setup(), QUICK, Run(tmp_path, 3, quiet=True))), first)
    with pytest.raises(UserError, match="top: 2 there, 1 now"):
        semi.train(setup(), replace(QUICK, top=1), Run(tmp_path, 3, quiet=True))


def test_one_class_per_image_and_no_limit_is_pseudo_labelling(monkeypatch):
    """P = 1 and K = M: every image under the teacher's first choice."""
    seen = watched(monkeypatch)
    student = semi.train(setup(), SemiOptions(per_class=120, top=1), Run.memory(3))
    chosen = seen["3-pretrain"][1].dataset
    order = np.argsort(chosen.rows)
    _, found = scores(student.predictors()["teacher"], toys.scan(PILE))
    np.testing.assert_array_equal(chosen.rows[order], np.arange(120))
    np.testing.assert_array_equal(chosen.labels.index[order], found.argmax(-1))


def test_without_fine_tuning_the_pretrained_student_is_the_result(monkeypatch):
    seen = watched(monkeypatch)
    student = semi.train(setup(), replace(QUICK, finetune_steps=0), Run.memory(3))
    assert list(seen) == ["1-teacher", "3-pretrain"]
    assert list(student.predictors()) == ["student", "teacher"]


def test_in_a_second_round_the_student_selects(monkeypatch, tmp_path):
    seen = watched(monkeypatch)
    semi.train(setup(60), replace(QUICK, rounds=2), Run(tmp_path, 3, quiet=True))
    assert list(seen) == ["1-teacher", "3-pretrain", "4-finetune", "6-pretrain", "7-finetune"]
    first = seen["4-finetune"][0].predictors()["model"]
    _, found = scores(first, toys.scan(PILE))
    picks = pq.read_table(tmp_path / "picks-2.parquet").to_pylist()
    best = sorted((-found[n, 0], item) for n, item in enumerate(PILE.items))[0]
    assert picks[0]["item"] == best[1]
    assert not toys.same(toys.weights(seen["3-pretrain"][0]), toys.weights(seen["6-pretrain"][0]))


def test_a_sweep_takes_the_rate_that_is_best_on_held_out_images(monkeypatch, capsys):
    seen = watched(monkeypatch)
    monkeypatch.setattr(
        semi_finetune,
        "_accuracy",
        lambda _, model, held: 1 / (1 + abs(model.learner.rate(0) - 0.01)),
    )
    options = replace(QUICK, finetune_lr=(0.1, 0.01, 0.001), finetune_steps=2)
    semi.train(setup(), options, Run.memory(3))
    assert [n for n in seen if "finetune" in n] == [
        "4-finetune-0.1", "4-finetune-0.01", "4-finetune-0.001", "4-finetune",
    ]  # fmt: skip
    assert seen["3-pretrain"][2] == 40 - 8 - 4 * 2, "the candidates are part of the budget"
    assert seen["4-finetune"][0].learner.rate == Drops(0.01, 2, 3, 0.1)
    assert len(seen["4-finetune-0.1"][1].dataset) == 36
    assert len(seen["4-finetune"][1].dataset) == 40
    assert "rate of fine-tuning: 0.01" in capsys.readouterr().err


def test_a_weak_teacher_learns_from_tags_then_from_labels(monkeypatch, tmp_path):
    seen = watched(monkeypatch)
    tagged = np.zeros((60, 3), np.float32)  # the first half, the first ten twice
    tagged[np.arange(60), PILE.labels.index[:60]] = 1
    tagged[:10, 0] += 3
    tags = LabelTable((*PILE.items[:60], "gone.jpg"), Soft.from_dense(
        np.concatenate([tagged, [[1, 0, 0]]]), toys.CLASSES
    ), "tags")  # fmt: skip
    write_labels(tmp_path / "tags.parquet", tags)
    options = replace(QUICK, tags=tmp_path / "tags.parquet", weak_steps=10)
    semi.train(setup(), options, Run.memory(3))
    assert [(name, steps) for name, (_, _, steps) in seen.items()] == [
        ("0-weak", 10), ("1-teacher", 8), ("3-pretrain", 18), ("4-finetune", 4),
    ]  # fmt: skip
    pile = seen["0-weak"][1].dataset
    np.testing.assert_allclose(pile.labels.array(), tagged / tagged.sum(1, keepdims=True))
    counts = (tagged > 0).sum(0)
    drawn = seen["0-weak"][1].order.probabilities
    rarest = [min(counts[c] for c in np.flatnonzero(row)) for row in tagged]
    np.testing.assert_allclose(drawn, np.array(rarest) ** -0.5 / (np.array(rarest) ** -0.5).sum())
    assert seen["1-teacher"][0].learner.rate == Drops(0.1 / 400, 8, 3, 0.1)


def test_selections_at_random_unbalanced_and_by_logit(monkeypatch, tmp_path):
    seen = watched(monkeypatch)
    tags = LabelTable(tuple(PILE.items), PILE.labels, "tags")
    write_labels(tmp_path / "tags.csv", tags)
    options = SemiOptions(per_class=20, selection="balanced-with-tags", tags=tmp_path / "tags.csv")
    semi.train(setup(), options, Run.memory(3))
    assert list(seen) == ["3-pretrain", "4-finetune"], "chance needs no teacher"
    chosen = seen["3-pretrain"][1].dataset
    assert (chosen.labels.index == PILE.labels.index[chosen.rows]).all()
    assert chosen.labels.counts().tolist() == [20, 20, 20]

    (tmp_path / "f.csv").write_text("class,count\nant,1\nbee,3\ncat,2\n")
    options = replace(QUICK, selection="unbalanced-ranked", frequencies=tmp_path / "f.csv")
    semi.train(setup(), options, Run.memory(3))
    assert seen["3-pretrain"][1].dataset.labels.counts().tolist() == [10, 30, 20]
    semi.train(setup(), replace(QUICK, selection="unbalanced-ranked"), Run.memory(3))
    own = toys.dataset(40).labels.counts()
    np.testing.assert_allclose(seen["3-pretrain"][1].dataset.labels.counts(), 60 * own / 40, atol=1)

    student = semi.train(setup(), replace(QUICK, rank_by="logit", per_class=1), Run.memory(3))
    teacher = student.predictors()["teacher"]
    logits = np.concatenate([teacher.logits(x).numpy() for _, x in toys.scan(PILE)])
    chosen = seen["3-pretrain"][1].dataset
    for row, cls in zip(chosen.rows, chosen.labels.index, strict=True):
        among = logits.argsort(1)[:, 1:] == cls
        assert logits[row, cls] == logits[among.any(1), cls].max()


def test_a_teacher_and_picks_from_elsewhere(monkeypatch, tmp_path):
    seen = watched(monkeypatch)
    run = Run(tmp_path, 3, quiet=True)
    semi.train(setup(), replace(QUICK, teacher_run=Path("a-run")), run)
    assert list(seen) == ["3-pretrain", "4-finetune"]
    assert seen["3-pretrain"][2] == 36, "what a teacher would take is the student's"
    mine = seen["3-pretrain"][1].dataset
    semi.train(setup(), SemiOptions(picks=tmp_path / "picks.parquet"), Run.memory(3))
    again = seen["3-pretrain"][1].dataset
    np.testing.assert_array_equal(again.rows, mine.rows)
    np.testing.assert_array_equal(again.labels.index, mine.labels.index)

    item = mine.items[0]
    (tmp_path / "never.txt").write_text(f"{item}\n")
    options = SemiOptions(picks=tmp_path / "picks.parquet", exclude=(tmp_path / "never.txt",))
    semi.train(setup(), options, Run.memory(3))
    fewer = seen["3-pretrain"][1].dataset
    assert fewer.rows.tolist() == [row for row in mine.rows.tolist() if row != mine.rows[0]]

    second = replace(QUICK, picks=tmp_path / "picks.parquet", rounds=2)
    semi.train(setup(60), second, Run.memory(3))
    counts = seen["6-pretrain"][1].dataset.labels.counts()
    assert counts.max() == 20, "K is for the round in which the student selects"


def test_k_follows_the_pile_by_the_papers_ratio(tmp_path, capsys):
    made = setup()
    semi.train(made, SemiOptions(top=2), Run(tmp_path, 3, quiet=True))
    assert made.derived == {"per_class": 10}, "0.16 · 120 / 3 is 6, below the floor"
    assert "--per-class 10: by the paper's ratio, for 120 unlabelled" in capsys.readouterr().err
    picks = pq.read_table(tmp_path / "picks.parquet")
    assert np.bincount(picks["class"].to_numpy()).tolist() == [10, 10, 10]


def test_picks_in_which_an_image_stands_in_most_classes_are_refused(monkeypatch, tmp_path):
    """A teacher whose every class likes the same images: few images, each in all three lists."""
    monkeypatch.setattr(semi_selection, "candidates", lambda *_: Candidates(
        np.repeat(np.arange(120), 3), np.tile(np.arange(3), 120),
        np.repeat(np.linspace(0, 1, 120, dtype=np.float32), 3), np.zeros(360, np.float32),
    ))  # fmt: skip
    words = "K = 20 per class picks each of 20 images for 3.0 of 3 classes on average; .* 10$"
    seen = watched(monkeypatch)
    with pytest.raises(UserError, match=words):
        semi.train(setup(), replace(QUICK, top=3), Run(tmp_path, 3, quiet=True))
    assert list(seen) == ["1-teacher"]
    assert not (tmp_path / "picks.parquet").exists()


def test_the_schedule_of_pretraining():
    """From 0.1 to 0.1/256·1536 = 0.6, then 13 halvings: 14 equal parts."""
    made = setup(batch_size=1536, lr=None)
    rate = semi_plan.pretraining(made, QUICK, 1400)
    assert rate == Warmup(Drops(made.peak, 1400, 13, 0.5), 70, pytest.approx(0.1))
    assert made.peak == pytest.approx(0.6)
    assert rate(0) == pytest.approx(0.1 + 0.5 / 71)
    assert [rate(100 * part + 99) for part in range(14)] == pytest.approx(
        [0.6 / 2**part for part in range(14)]
    )
    assert semi_plan.make_plan(made, QUICK).rates == pytest.approx((0.0015,))


def test_a_class_without_images_is_named(monkeypatch, tmp_path):
    made = setup()
    options = replace(QUICK, per_class=120, top=1, exclude=(tmp_path / "never.txt",))
    run = Run(tmp_path / "run", 3, quiet=True)
    student = semi.train(made, replace(options, exclude=()), run)
    _, found = scores(student.predictors()["teacher"], toys.scan(PILE))
    first = found.argmax(-1)
    gone = [item for item, cls in zip(PILE.items, first, strict=True) if cls == first[0]]
    (tmp_path / "never.txt").write_text("".join(f"{item}\n" for item in gone))
    made.warnings.clear()
    semi.train(made, options, Run.memory(3))
    name = toys.CLASSES[int(first[0])]
    assert any(
        "no unlabelled image is selected for" in line and repr(name) in line
        for line in made.warnings
    )
    assert any("fewer unlabelled images than asked for" in line for line in made.warnings)
    with pytest.raises(UserError, match="no unlabelled image is selected for any class"):
        semi.train(setup(), replace(QUICK, minimum=2.0), Run.memory(3))


TAGS = {"tags": Path("t.csv")}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"per_class": 0}, "--per-class must be at least 1, got 0"),
        ({"per_class": 121}, "K = 121 per class is more than the 120 unlabelled images; .* 10$"),
        (
            {"per_class": 100, "top": 3},
            "an image would stand in most of them; give --per-class 10$",
        ),
        ({"top": 0}, "--top must be at least 1, got 0"),
        ({"top": 4}, "P, the classes per item, is 4, but there are only 3 classes"),
        ({"rounds": 0}, "--rounds must be at least 1, got 0"),
        ({"teacher_steps": 0}, "--teacher-steps must be at least 1, got 0"),
        ({"finetune_steps": -1}, "--finetune-steps must not be negative, got -1"),
        ({"finetune_steps": 40}, "budget of 40 steps leaves none for pretraining: 8 .* 40 for"),
        ({"finetune_lr": (0.1, 0.1)}, "--finetune-lr names a rate twice"),
        ({"finetune_lr": (0.1, 0.0)}, "--finetune-lr must be positive, got 0"),
        ({"pretrain_warmup": 2.0}, r"--pretrain-warmup must lie in \[0, 1\], got 2"),
        ({"pretrain_warmup": 0.2}, "--pretrain-warmup has no effect with batches of up to 256"),
        ({"weak_steps": 4}, "--weak-steps needs --tags"),
        ({"selection": "balanced-with-tags"}, "balanced-with-tags needs --tags"),
        ({"picks": Path("p"), "teacher_run": Path("r")}, "--teacher-run and --picks exclude"),
        ({"picks": Path("p"), "teacher": "x"}, "with --picks no teacher is trained: leave --teach"),
        (
            {"teacher_run": Path("r"), "weak_steps": 3, **TAGS},
            "with --teacher-run no teacher is trained: leave --weak-steps away",
        ),
        ({"selection": "balanced-with-tags", "rounds": 2, **TAGS}, "has no use for --rounds"),
        (TAGS, "--tags has no effect without --weak-steps"),
        ({"frequencies": Path("f")}, "--frequencies has no effect without --selection unbal"),
        ({"finetune_steps": 0, "finetune_lr": (0.1,)}, "--finetune-lr has no effect with"),
        ({"picks": Path("p")}, "--per-class has no effect with --picks"),
        ({"picks": Path("p"), "per_class": None}, "--top has no effect with --picks"),
        ({"teacher_run": Path("r"), "teacher_steps": 3}, "--teacher-steps has no effect where no"),
        ({"selection": "balanced-with-tags", **TAGS}, "--top has no effect with --selection bal"),
    ],
)
def test_bad_settings_are_named(changed, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labels("t.csv", LabelTable(tuple(PILE.items), PILE.labels, "tags"))
    with pytest.raises(UserError, match=message):
        semi.train(setup(), replace(QUICK, **changed), Run.memory(3))


def test_bad_data_is_named(tmp_path):
    with pytest.raises(UserError, match="semi needs --unlabeled"):
        semi.train(replace(setup(), unlabeled=None), QUICK, Run.memory(3))
    foreign = LabelTable(("x.jpg",), Single(np.array([0]), toys.CLASSES), "tags")
    write_labels(tmp_path / "tags.csv", foreign)
    options = replace(QUICK, tags=tmp_path / "tags.csv", weak_steps=3)
    with pytest.raises(UserError, match="none of its items is an unlabelled image with a tag"):
        semi.train(setup(), options, Run.memory(3))
    made = setup()
    nan = Supervised(toys.learner(), lambda *_: None, "softmax")  # type: ignore[arg-type]
    with torch.no_grad():
        nan.learner.model[6].weight.fill_(float("nan"))
    bad = Frozen(nan.predictors()["model"], None, toys.PREPARE)
    with pytest.raises(UserError, match="scores that are not finite numbers"):
        semi_candidates.candidates(made, made.unlabeled, bad, 2, Run.memory(3), "scores")
