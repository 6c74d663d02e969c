"""The full-size recipes as they are, unshrunk: what they amount to against the paper's figures."""

from __future__ import annotations

import dataclasses
import importlib.util
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
from reteach.engine.setup import Setup
from reteach.labels import Single
from reteach.methods.mile_plan import plan
from reteach.options import shared as options
from reteach.options.methods import METHODS, MileOptions
from reteach.runs.config import Config
from reteach.runs.inputs import Inputs
from reteach.runs.setup import make_setup

FILE = Path(__file__).resolve().parents[2] / "examples" / "recipes.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipes", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recipes"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


recipes = loaded()
NAMES = list(recipes.RECIPES)
OF_MILE = [name for name in NAMES if recipes.RECIPES[name].method == "mile"]
OF_SIGMOIDS = [name for name in NAMES if recipes.RECIPES[name].method in ("mile", "sigmoid")]


def config(name: str) -> Config:
    """The recipe's own settings, sorted into their groups by name; one that nobody knows is an error."""
    recipe = recipes.RECIPES[name]
    left = {flag.replace("-", "_"): value for flag, (value, _) in recipe.settings.items()}
    groups: list[Any] = []
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
    if told.data.fraction < 1:
        data = data.subset(np.arange(round(told.data.fraction * recipe.images)))
    training = dataclasses.replace(told.training, min_crop=None)  # arrays are not cropped
    told = dataclasses.replace(told, model=small, training=training)
    return make_setup(told, Inputs(data, None, None), torch.device("cpu"))


@pytest.mark.parametrize("name", NAMES)
def test_unshrunk_steps_rate_and_batch_of_every_recipe(name):
    recipe, made = recipes.RECIPES[name], setup(name)
    counts = {"imagenet": 1_281_167, "webvision": 2_439_574, "finetune": 1_281_167}
    kind = name.split("-")[0]
    fraction = float(name.split("-")[1]) if kind == "finetune" else 1.0
    seen = round(fraction * counts[kind])
    epochs = {"imagenet": 100, "webvision": 90, "finetune": 20}[kind]
    assert len(made.train) == recipe.seen() == seen
    assert made.training.batch_size == 256
    assert made.total == recipe.steps() == round(epochs * seen / 256)
    assert made.peak == (0.01 if kind == "finetune" else 0.1)
    assert made.training.optimizer == "sgd"
    assert made.training.schedule == "cosine"


def test_the_papers_own_figures():
    """Table 1: 100 epochs. Section 3: k_s + k_t = 10K at 256 is a pass of the teacher every 2.1 epochs."""
    assert setup("imagenet-r50-softmax").total == 500_456
    box = config("imagenet-r50-mile-algorithm1").settings
    assert box.k_t + box.k_s == 10_000
    passes = [10_000 * 256 / images for images in (1.2e6, recipes.IMAGENET)]
    assert passes == pytest.approx([2.1, 2.0], abs=0.05)  # the paper reckons with 1.2M images
    assert recipes.WEBVISION > 2_400_000


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
        expected = {"imagenet": 126, "webvision": 215, "finetune": 26}  # the last one is cut
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


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source(name):
    said = recipes.sources(name)
    page = (FILE.parents[1] / "docs" / "recipes.md").read_text()
    for flag, (_, source) in recipes.RECIPES[name].settings.items():
        assert source.startswith(("paper", "the authors' code", "ours", "MoPro's code"))
        assert f"--{flag}" in said
        assert f"`--{flag}`" in page
    assert f"{recipes.RECIPES[name].steps():,}" in said
    assert f"`{name}`" in page
