"""The full-size recipes as they are, unshrunk: what they amount to against the paper's figures."""

from __future__ import annotations

import dataclasses
import importlib.util
import shlex
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from reteach.data.dataset import Dataset
from reteach.data.sources.base import ArraySource
from reteach.engine.optimizer import schedule_of
from reteach.engine.setup import Setup
from reteach.labels import Single, as_multi
from reteach.methods.cpsd_plan import plan_teachers, student_share
from reteach.methods.mile_plan import plan
from reteach.methods.nct_schedules import balancing, variability
from reteach.methods.semi_plan import make_plan, pretraining
from reteach.options import shared as options
from reteach.options.methods import METHODS, MileOptions
from reteach.options.transfer import paper_training
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup

FILE = Path(__file__).resolve().parents[2] / "examples" / "recipes.py"


def loaded() -> ModuleType:
    if str(FILE.parent) not in sys.path:
        sys.path.append(str(FILE.parent))  # its tables
    spec = importlib.util.spec_from_file_location("recipes", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recipes"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


recipes = loaded()
NAMES = list(recipes.RECIPES)
OF_THE_PAPER_MILE = list(recipes.mile.RECIPES)
TRAINED = [name for name in NAMES if recipes.RECIPES[name].method]
OF_MILE = [name for name in NAMES if recipes.RECIPES[name].method == "mile"]
OF_SIGMOIDS = [
    name for name in OF_THE_PAPER_MILE if recipes.RECIPES[name].method in ("mile", "sigmoid")
]


def config(name: str) -> Config:
    """The recipe's own settings, sorted into their groups by name; one that nobody knows is an error."""
    recipe = recipes.RECIPES[name]
    left = {flag.replace("-", "_"): value for flag, (value, _) in recipe.settings.items()}
    groups: list[Any] = []
    if recipe.method == "semi":
        left["finetune_lr"] = (left["finetune_lr"],)
        # who ranks is the user's: a run, or the tags
        left |= {"tags": FILE} if "tags" in recipe.needs else {"teacher_run": FILE}
    for group in (METHODS[recipe.method].settings, options.Data, options.Training):
        known = {field.name for field in dataclasses.fields(group)}
        groups.append(group(**{key: left.pop(key) for key in known & left.keys()}))
    if "probe_first" in left:
        left["init"] = Path("weights")  # which the user gives
    of_model = {field.name for field in dataclasses.fields(options.Model)}
    model = options.Model(**{key: left.pop(key) for key in of_model & left.keys()})
    assert not left
    return Config(recipe.method, groups[0], groups[1], model, groups[2])


@cache
def images(count: int) -> Dataset:
    """One picture of 8 × 8 pixels that stands for all, of two classes in turn."""
    pixels = np.broadcast_to(np.zeros((1, 8, 8, 3), np.uint8), (count, 8, 8, 3))
    return Dataset.of(ArraySource(pixels), Single(np.arange(count) % 2, ("even", "odd")))


def setup(name: str) -> Setup:
    """What `reteach train` makes of it, on as many images."""
    told, recipe = config(name), recipes.RECIPES[name]
    small = options.Model("reteach_tiny", device="cpu")
    data = images(recipe.images)
    if recipe.method in ("cpsd", "asl"):
        data = data.with_labels(as_multi(data.labels))
    if told.data.fraction < 1:
        data = data.subset(np.arange(round(told.data.fraction * recipe.images)))
    cropped = {"min_crop": None, "cutout": 0.0, "randaugment": 0}  # arrays are not
    if told.training.augment == "crop":
        cropped["augment"] = "flip"
    training = dataclasses.replace(told.training, **cropped)
    told = dataclasses.replace(told, model=small, training=training)
    more = images(recipe.unlabeled) if recipe.unlabeled else None
    return make_setup(told, Inputs(data, None, more), torch.device("cpu"))


@pytest.mark.parametrize("name", OF_THE_PAPER_MILE)
def test_unshrunk_steps_rate_and_batch_of_every_recipe(name):
    recipe, made = recipes.RECIPES[name], setup(name)
    kind = name.split("-")[0]
    images = 2_439_574 if kind == "webvision" else 1_281_167
    tuned = kind in ("finetune", "selfsup")
    seen = round((float(name.split("-")[1]) if tuned else 1.0) * images)
    epochs = {"imagenet": 100, "webvision": 90}.get(kind, 20)
    assert len(made.train) == recipe.seen() == seen
    assert made.training.batch_size == 256
    passed = seen + (images if kind == "selfsup" else 0)  # Table 4 counts the unlabelled images too
    assert made.total == recipe.steps() == round(epochs * passed / 256)
    assert made.peak == (0.01 if tuned else 0.1)
    assert made.training.optimizer == "sgd"
    assert made.training.schedule == "cosine"


@pytest.mark.parametrize(
    ("fraction", "steps", "cycles"), [(0.01, 5005, 1.3), (0.05, 25_023, 6.3), (0.1, 50_046, 12.5)]
)
def test_unshrunk_fractions_of_table_1(fraction, steps, cycles):
    """100 epochs of a part of ImageNet, and how often the authors' k fits in."""
    recipe = recipes.RECIPES["imagenet-r50-mile"]
    part = dataclasses.replace(
        recipe, settings=recipe.settings | {"fraction": (fraction, "Table 1")}
    )
    assert part.steps() == steps
    assert part.steps() / 4000 == pytest.approx(cycles, abs=0.05)
    page = (FILE.parents[1] / "docs" / "recipes.md").read_text()
    assert f"{steps:,}" in page
    assert f"{cycles:g}" in page


def test_the_papers_own_figures():
    """Table 1: 100 epochs. Section 3: k_s + k_t = 10K at 256 is a pass of the teacher every 2.1 epochs."""
    assert setup("imagenet-r50-softmax").total == 500_456
    box = config("imagenet-r50-mile-algorithm1").settings
    assert box.k_t + box.k_s == 10_000
    passes = [10_000 * 256 / images for images in (1.2e6, recipes.mile.IMAGENET)]
    assert passes == pytest.approx([2.1, 2.0], abs=0.05)  # the paper reckons with 1.2M images
    assert recipes.mile.WEBVISION > 2_400_000


@pytest.mark.parametrize("name", OF_MILE)
def test_unshrunk_cycles_of_every_mile_recipe(name):
    told = config(name).settings
    assert isinstance(told, MileOptions)
    total = recipes.RECIPES[name].steps()
    made = plan(total, told.k_t, told.k_s)
    teacher, student = made.before(total)
    assert teacher + student == total
    assert student >= total / 4
    assert student <= teacher
    cycles = made.cycle(total - 1) + 1
    expected = {"algorithm1": 51} if name.endswith("algorithm1") else {}
    if told.k_t == 2000:
        # the last one is cut
        expected = {"imagenet": 126, "webvision": 215, "finetune": 26}
        expected |= {"selfsup": 26 if "0.01" in name else 28}
    if expected:
        key = "algorithm1" if name.endswith("algorithm1") else name.split("-")[0]
        assert cycles == expected[key]
        assert total / (told.k_t + told.k_s) == pytest.approx(cycles - 0.5, abs=0.5)
    else:
        assert cycles == 10  # whole ones


@pytest.mark.parametrize("name", OF_MILE)
def test_a_mile_recipe_is_of_one_kind(name):
    """The authors' k belongs to their continuing network, 10K steps a cycle to Algorithm 1."""
    told = config(name).settings
    if name.endswith("algorithm1"):
        assert (told.student, told.k_t, told.k_s) == ("algorithm1", 5000, 5000)
    else:
        assert told.student == "continuing"
        assert (told.k_t, told.k_s) in ((2000, 2000), (None, None))
    assert told.rho == 0.25


@pytest.mark.parametrize("name", OF_SIGMOIDS)
def test_sigmoid_rows_leave_chance(name):
    """Eq. 1's mean over 1,000 classes at the rate of a sum, from scores of a half, stays there."""
    told = config(name).settings
    assert told.class_sum
    assert told.prior_bias


@pytest.mark.parametrize("name", list(recipes.real.RECIPES))
def test_unshrunk_schedules_of_reassessed_labels(name):
    """Table 2: 90, 270 and 900 epochs."""
    made, epochs = setup(name), int(name.split("-")[-1])
    assert made.total == round(epochs * 1_281_167 / 256)
    assert made.peak == 0.1


def test_unshrunk_stages_of_billion_scale():
    """Section 4.1: 1B images in batches of 1,536, from 0.1 to 0.6, 13 halvings; 30 epochs from 0.0015."""
    for name in (
        "semi-r50",
        "semi-r50-balanced-with-tags",
        "semi-weakly-rx101-16",
        "self-r50-twice",
    ):
        made, told = setup(name), config(name).settings
        stages = make_plan(made, told)
        weakly = "weakly" in name
        assert (stages.weak, stages.teacher) == ((651_042, 25_023) if weakly else (0, 0))
        assert stages.pretrain == pytest.approx(1e9 / 1536, abs=1)
        assert stages.finetune == pytest.approx(30 * 1_281_167 / 1536, abs=1)
        assert stages.rates == (0.0015,)
        rate = pretraining(made, told, stages.pretrain)
        assert rate(0) == pytest.approx(0.1, rel=1e-3)
        assert rate(round(0.05 * stages.pretrain)) == pytest.approx(0.6)
        assert rate(stages.pretrain - 1) == pytest.approx(0.6 / 2**13)
        part = stages.pretrain / 14  # "equally spaced steps": 13 of them
        assert [rate(round(n * part) + 1) for n in range(1, 14)] == pytest.approx(
            [0.6 / 2**n for n in range(1, 14)]
        )
    sizes = {n: recipes.RECIPES[n].value("per-class") for n in recipes.semi.RECIPES}
    assert {sizes[f"semi-{short}"] for short in recipes.semi.STUDENTS} == {16_000}  # Table 2
    assert sizes["semi-r50-unbalanced-ranked"] * 1000 == 8_000_000  # Table 5
    assert sizes["semi-weakly-r50"] == 64_000  # Table 6
    twice = make_plan(setup("semi-weakly-r50-2b"), config("semi-weakly-r50-2b").settings)
    assert twice.pretrain == pytest.approx(2e9 / 1536, abs=1)  # Table 6, †
    assert (sizes["video-18-8"], recipes.RECIPES["video-18-8"].value("top")) == (4000, 4)


def test_what_a_billion_scale_recipe_asks_the_user_for():
    """Table 4: a teacher like the student. Table 5: sizes by hashtags' counts. Tables 5 and 6: hashtags.

    A run with --weak-steps is no --teacher-run: what a semi run gives to others is its student.
    """
    needs = {name: recipes.RECIPES[name].needs for name in recipes.semi.RECIPES}
    for name, asked in needs.items():
        if name.startswith("self-"):
            assert "same network" in asked["teacher-run"]
        elif name.startswith("semi-weakly") or name.endswith("with-tags"):
            assert set(asked) == {"unlabeled", "tags"}
        elif name.startswith(("semi-", "video-1", "video-3")):
            assert "teacher-run" in asked
        assert ("frequencies" in asked) == name.endswith("unbalanced-ranked")


@pytest.mark.parametrize("name", [n for n in recipes.semi.RECIPES if n.startswith("video-super")])
def test_unshrunk_supervised_videos(name):
    """Table 12: 180 epochs, 40 of them rising, from 1.28 of which 1/256·B is 0.16 or 0.32."""
    recipe, made = recipes.RECIPES[name], setup(name)
    batch, rate = (1024, 0.32) if name.endswith("32") else (2048, 0.16)
    assert recipe.value("model") == f"r2plus1d_{name.split('-')[2]}"
    assert recipe.value("batch-size") == batch
    assert made.peak == pytest.approx(rate / 256 * batch) == pytest.approx(1.28)
    assert made.total == round(180 * 246_000 / batch)
    assert recipe.value("warmup") * 180 == pytest.approx(40)
    rate, epoch = schedule_of(made.training, made.total), made.total / 180
    assert rate(round(40 * epoch)) == pytest.approx(1.28)
    for number, at in enumerate((80, 120, 160), 1):
        assert rate(round(at * epoch) - 1) == pytest.approx(1.28 / 10 ** (number - 1))
        assert rate(round(at * epoch)) == pytest.approx(1.28 / 10**number)


@pytest.mark.parametrize(
    ("name", "batch"), [("video-18-8", 2048), ("video-18-32", 1024), ("video-34-8", 2048)]
)
def test_unshrunk_stages_of_videos(name, batch):
    """Tables 11 and 12: 490M videos at 0.064/256·B; 72 epochs of 246k from 0.00384."""
    recipe = recipes.RECIPES[name]
    assert recipe.value("batch-size") == batch
    assert recipe.value("lr") == pytest.approx(0.064 / 256 * batch)
    assert recipe.value("finetune-lr") == pytest.approx(0.00384)
    assert recipe.value("finetune-steps") == pytest.approx(72 * 246_000 / batch, abs=1)
    assert recipe.steps() - recipe.value("finetune-steps") == pytest.approx(490e6 / batch, abs=1)


def test_unshrunk_transfer_is_table_13():
    recipe = recipes.RECIPES["cub-full-ft"]
    assert recipe.steps() == round(300 * 5994 / 768)
    assert recipe.value("lr") == pytest.approx(0.0025 / 256 * 768)
    assert paper_training().weight_decay == recipe.value("weight-decay") == 0.001
    training = options.Training(
        **{name: recipe.value(name) for name in ("lr", "schedule", "milestones")}
    )
    rate, epoch = schedule_of(training, recipe.steps()), recipe.steps() / 300
    assert [rate(round(at * epoch)) for at in (0, 99, 100, 199, 200, 299)] == pytest.approx(
        [0.0075, 0.0075, 0.00075, 0.00075, 0.000075, 0.000075]
    )


@pytest.mark.parametrize("name", [n for n in recipes.cpsd.RECIPES if n.startswith("cpsd")])
def test_unshrunk_teachers_and_student_of_cpsd(name):
    """Section 4.1: 20 epochs for each of 2 × 5 teachers, 80 for the student, batches of 32."""
    recipe = recipes.RECIPES[name]
    images = {"coco": 82_081, "nus": 125_449}[name.split("-")[1]]
    assert recipe.images == images
    epoch = images / 32
    teachers = 10 * round(recipe.value("teacher-epochs") * epoch)
    assert 2 * recipe.value("subsets") == 10
    assert recipe.steps() - teachers == pytest.approx(80 * epoch, abs=10)
    made = setup(name)
    assert made.total == recipe.steps()
    assert made.peak == 1e-5
    few = dataclasses.replace(config(name).settings, subsets=1, teacher_epochs=100)
    plans, _ = plan_teachers(made, few, {"co": (made.train.classes,)})
    assert [plan.steps for plan in plans] == [round(100 * epoch)]
    assert student_share(made, few, plans) == pytest.approx(180 / 280, abs=1e-5)


@pytest.mark.parametrize("name", list(recipes.nct.RECIPES))
def test_unshrunk_epochs_and_drops_of_nct(name):
    """Section 4: α is 0.9 after 90% of the epochs, r is r_max in the last, the rate falls by 0.1."""
    made, told, recipe = setup(name), config(name), recipes.RECIPES[name]
    epochs, drop, r_max = {
        "tiny": (200, 140, 0.1),
        "clothing1m": (200, 180, 0.5),
        "webvision50": (100, 90, 0),
    }[name.split("-")[1]]
    assert told.settings.target_variability == r_max
    per_epoch = 1000 if name == "nct-clothing1m" else recipe.images / recipe.value("batch-size")
    assert made.total == pytest.approx(2 * epochs * per_epoch, abs=1)
    own = made.total // 2
    assert told.training.schedule == "drop"
    assert told.training.drop_at * epochs == pytest.approx(drop)
    alpha = balancing(made, told.settings)
    assert alpha(0) == pytest.approx(0.9 * np.exp(-0.65))
    assert alpha(round(0.9 * own) + 1) == pytest.approx(0.9, abs=1e-4)
    rate = variability(made, told.settings)
    assert rate(own - 1) == pytest.approx(told.settings.target_variability, abs=0.01)


@pytest.mark.parametrize("name", list(recipes.nct.RIVALS))
def test_unshrunk_epochs_and_starts_of_the_rivals_of_nct(name):
    """Epochs of each network, when the rate falls, and when labels begin to be doubted."""
    made, told, recipe = setup(name), config(name), recipes.RECIPES[name]
    per_epoch = recipe.value("balanced-epoch") or recipe.images / recipe.value("batch-size")
    kind = name.split("-", 3 if "tiny" in name else 2)[-1]
    data = name.split("-")[1]
    networks, epochs = {
        ("m-correction", "tiny"): (1, 300),
        ("co-teaching-plus", "tiny"): (2, 200),
        ("divide-mix", "clothing1m"): (2, 80),
        ("divide-mix", "webvision50"): (2, 100),
    }[kind, data]
    assert made.total == pytest.approx(networks * epochs * per_epoch, abs=1)
    own, settings = made.total / networks, told.settings
    if kind == "m-correction":
        assert [at * epochs for at in told.training.milestones] == pytest.approx([100, 250])
        assert settings.plain_share * own == pytest.approx(105 * per_epoch)
    elif kind == "divide-mix":
        assert told.training.drop_at == 0.5
        assert settings.plain_share * own == pytest.approx(per_epoch, rel=1e-6)
    else:
        assert settings.forget == {"sym20": 0.2, "sym50": 0.5, "asym45": 0.45}[name.split("-")[2]]
        assert (settings.forget_epochs, settings.disagreement) == (10, 20)


def test_a_recipe_of_each_kind_is_a_command(monkeypatch):
    """Its line parses as it is printed; recipes of a kind differ in numbers alone."""
    parsed = []
    monkeypatch.setattr("reteach.cli.run", lambda told: parsed.append(told) or NoLines())
    kinds = {
        (recipe.command, *recipe.settings, *recipe.needs): n
        for n, recipe in recipes.RECIPES.items()
    }
    for name in kinds.values():
        assert recipes.main(shlex.split(recipes.line(name))[1:]) == 0, name
    assert len(parsed) == len(kinds)


class NoLines:
    def lines(self):
        return iter(())


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source(name):
    said = recipes.sources(name)
    page = (FILE.parents[1] / "docs" / "recipes.md").read_text()
    for flag, (_, source) in recipes.RECIPES[name].settings.items():
        assert source.startswith(("paper", "the authors' code", "ours", "MoPro's code"))
        assert f"--{flag}" in said
        assert f"`--{flag}`" in page
    if name != "cub-fc-only":
        assert f"{recipes.RECIPES[name].steps():,}" in said
    assert f"`{name}`" in page
