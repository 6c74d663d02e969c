"""The rules of ``reteach advise``: each fires or does not, stands in docs, and gives a valid command."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reteach import cli
from reteach.analysis.advice import (
    COPIES,
    RULES,
    FeatureCommands,
    Given,
    command,
    doubt,
    further,
    gaps,
    matching,
    plain_command,
)
from reteach.analysis.facts import (
    Facts,
    ShareRange,
    confused,
    effective_classes,
    human,
    noise_range,
)
from reteach.analysis.lapse import lapse

DOCS = Path(__file__).resolve().parents[2] / "docs"
ORDINARY = Facts(
    images=4000,
    classes=10,
    sets=False,
    unknown=False,
    smallest=390,
    largest=410,
    effective=10.0,
    repeated=0,
    conflicting=0,
    across=0,
    alike=0,
    alike_conflicting=0,
    alike_across=0,
    unlabelled=0,
    accuracy=ShareRange(0.9, 0.89, 0.91),
    fitted=0.95,
    noise=ShareRange(0.0, 0.0, 0.01),
    per_image=ShareRange(1.0, 1.0, 1.0),
    confused=(),
    told=None,
    mirror=False,
    model="resnet18",
    weights=100_000,
)
MEMORISED = {"fitted": 0.9, "accuracy": ShareRange(0.4, 0.39, 0.41)}
HEAVY = {"noise": ShareRange(0.4, 0.3, 0.5)}
SEVERAL = {"per_image": ShareRange(3.4, 3.3, 3.5)}
FIRES = {
    "leak": {"across": 1},
    "leak-unlabelled": {"leaked": 1},
    "conflict": {"repeated": 1, "conflicting": 1},
    "leak-alike": {"alike_across": 1},
    "conflict-alike": {"alike": 1, "alike_conflicting": 1},
    "mile": MEMORISED | SEVERAL,
    "tags": {"per_image": None, "told": True, "features": True},
    "calibrate": {"per_image": None, "told": True},
    "augment": HEAVY | {"mirror": True},
    "nct": HEAVY | MEMORISED,
    "clean": HEAVY,
    "confidence": {"noise": ShareRange(0.1, 0.03, 0.2)},
    "head": HEAVY | {"features": True},
    "suspects": {"noise": ShareRange(0.1, 0.03, 0.2), "features": True},
    "asl": {"sets": True, "noise": None, "per_image": ShareRange(2.0, 1.9, 2.1)},
    "semi": {"unlabelled": 40_000},
    "rebalance": {"smallest": 10},
    "weights": {"smallest": 10, "features": True},
}
NOT = {
    "tags": HEAVY | {"features": True, "per_image": None},
    "conflict-alike": {"alike": 3},
    "mile": SEVERAL,
    "calibrate": SEVERAL | {"told": False},
    "augment": HEAVY | {"mirror": True, "augmented": True},
    "head": {"noise": ShareRange(0.1, 0.03, 0.2), "features": True},
    "suspects": HEAVY,
    "nct": HEAVY | MEMORISED | {"mirror": True},
    "clean": HEAVY | {"features": True},
    "confidence": HEAVY,
    "semi": {"unlabelled": 39_999},
    "rebalance": {"smallest": 10, "features": True},
    "weights": {"smallest": 10, "features": True, "sets": True},
}


def names(**changes: object) -> list[str]:
    return [rule.name for rule in matching(replace(ORDINARY, **changes))]


def test_ordinary_data_get_no_advice():
    assert names() == []
    assert set(FIRES) == {rule.name for rule in RULES}, "every rule is tried"


@pytest.mark.parametrize("name", FIRES)
def test_each_rule_fires(name):
    assert name in names(**FIRES[name])


@pytest.mark.parametrize("name", NOT)
def test_and_does_not_fire(name):
    assert name not in names(**NOT[name])


def test_the_most_pressing_comes_first():
    assert names(across=1, **HEAVY, **MEMORISED) == ["nct", "clean", "leak"]
    assert names(across=41, **HEAVY, **MEMORISED)[:2] == ["leak", "nct"]
    assert names(alike=1, alike_conflicting=1, **HEAVY, features=True)[:2] == ["head", "suspects"]
    assert names(**HEAVY, **MEMORISED, mirror=True)[0] == "augment"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_finding_has_its_place_in_the_docs(rule):
    lines = (DOCS / rule.page).read_text().splitlines()
    assert not rule.section or f"## {rule.section}" in lines


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_numbers_of_a_finding_stand_on_its_page(rule):
    """Advice that a page has been corrected under would go on with the old number."""
    page = (DOCS / rule.page).read_text()
    number = r"(?<![\d.,])\d+\.\d+(?!\d)"
    missing = set(re.findall(number, rule.finding)) - set(re.findall(number, page))
    assert not missing, f"{missing} of {rule.name} are not on {rule.page}"


@pytest.mark.parametrize("arrays", [True, False])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_command_is_one_that_the_command_line_takes(rule, arrays, monkeypatch):
    facts = replace(ORDINARY, **FIRES[rule.name])
    hostile = "my photos/it's; $(x)"
    tables = (hostile, "the labels.csv", "val set", "val.csv", True)
    given = Given(*tables, hostile, "resnet18", arrays, table=hostile, val_table="val.csv")
    parsed = []

    class Nothing:
        def lines(self) -> list[str]:
            return []

    monkeypatch.setattr(cli, "run", lambda options: (parsed.append(options), Nothing())[1])
    for text in (command(rule, facts, given), plain_command(given, facts)):
        assert hostile in shlex.split(text)
    texts = (command(rule, facts, given), *further(rule, facts, given), plain_command(given, facts))
    for text in texts:
        words = shlex.split(text)
        assert words[0] == "reteach"
        assert cli.main(words[1:]) == 0, text
    assert len(parsed) == len(texts)
    if rule.name in COPIES and rule.name != "leak-unlabelled":  # of a pile nobody has labels
        assert f"--labels {shlex.quote(hostile)}" in texts[0], "who is to look at labels sees them"


def test_one_tag_of_several_has_its_whole_way_first_also_where_nobody_said_so():
    """A head on features contradicts most labels even where it is surest: so it is with street photos."""
    unclear = {"noise": None, "per_image": None, "features": True, "smallest": 5}
    assert names(**unclear) == ["tags"]
    assert names(**unclear, told=False) == ["weights"]
    facts = replace(ORDINARY, **FIRES["tags"])
    frozen = FeatureCommands("advice", None, True)
    given = Given("photos", "one.csv", None, None, False, "more", "linear", False, frozen)
    rule = next(rule for rule in RULES if rule.name == "tags")
    train = command(rule, facts, given)
    assert "--images photos --labels one.csv --pretrained --freeze --resize square" in train
    assert "--val-fraction 0" in train
    run = train.split("--out ")[1]
    asked, predict = further(rule, facts, given)
    assert asked == f"reteach calibrate {run} --folds 5 --label-sets few.csv"
    assert predict == f"reteach predict {run} --images more --out labels.parquet"
    assert "How many of the classes does an image hold?" in str(doubt(facts))
    told = replace(facts, expected=5.6)
    assert further(rule, told, given)[0] == f"reteach calibrate {run} --folds 5 --expected 5.6"
    assert doubt(told) is None


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("mile", "--steps 1500 --schedule constant --k-t 100 --k-s 50"),
        ("nct", "--optimizer adam --epochs 60 --schedule constant"),
        ("augment", "--optimizer adam --epochs 60 --schedule constant"),
        ("clean", "--optimizer adam --epochs 20 --batch-size 64"),
    ],
)
def test_small_images_get_the_settings_that_were_measured(name, measured):
    """MILe lost with others. Photos keep their own passes, which nobody measured."""
    rule = next(rule for rule in RULES if rule.name == name)
    facts = replace(ORDINARY, **FIRES[name])
    small, photos = (
        command(rule, facts, Given("i", "l", None, None, False, None, "m", arrays))
        for arrays in (True, False)
    )
    assert measured in small
    assert "--epochs" not in photos
    assert "adam" not in photos


def test_what_is_not_known_is_said():
    assert any("cannot tell" in text for text in gaps(replace(ORDINARY, per_image=None), "photos"))
    assert any("label sets" in text for text in gaps(replace(ORDINARY, sets=True), "photos"))
    assert any("surest" in text for text in gaps(replace(ORDINARY, noise=None), "photos"))
    assert any(
        "reteach dedup --images 'my photos' --report" in text
        for text in gaps(replace(ORDINARY, alike=None), "my photos")
    )
    assert gaps(ORDINARY, "photos") == []


def test_wrong_labels_and_second_classes_are_told_apart_by_the_user_alone():
    """Asked where the scores cannot tell and labels seem wrong; not once it is answered or seen."""
    unclear = {"per_image": None} | HEAVY
    assert doubt(replace(ORDINARY, **unclear)) is not None
    for known in ({"told": False}, {"told": True}, SEVERAL):
        assert doubt(replace(ORDINARY, **(unclear | known))) is None
    clean = doubt(replace(ORDINARY, per_image=None, noise=ShareRange(0, 0, 0.01)))
    assert clean is not None
    assert "Can an image hold several of the classes?" in clean
    assert doubt(replace(ORDINARY, per_image=None, noise=None)) is not None
    silent = gaps(replace(ORDINARY, per_image=None, told=False), "photos")
    assert not any("Labels per image" in text for text in silent)


def test_confused_classes_are_the_planted_ones():
    """A fifth of a is confidently b; c and d are mixed up less; a rare class is not named for one image."""
    classes = ("a", "b", "c", "d", "rare")
    given = np.repeat(np.arange(5), (500, 500, 500, 500, 3))
    true = given.copy()
    true[:100] = 1
    true[1000:1020] = 3
    true[-1] = 0
    scores = np.full((len(given), 5), 0.01, np.float32)
    scores[np.arange(len(given)), true] = 0.96
    found = confused(scores, given, classes)
    assert [(pair.one, pair.other) for pair in found] == [("a", "b"), ("c", "d")]
    assert (found[0].forth, found[0].back) == (pytest.approx(0.2), 0.0)
    assert found[0].share == pytest.approx(0.1)
    all_of_them = confused(scores, given, classes, least=0)
    assert any("rare" in (pair.one, pair.other) for pair in all_of_them)


def test_the_noise_of_a_sure_model_and_of_a_weak_one():
    """A model that knows the truth finds the planted share; one that guesses claims no noise."""
    generator = np.random.default_rng(0)
    true = generator.integers(0, 5, 4000)
    wrong = generator.random(4000) < 0.3
    given = np.where(wrong, (true + generator.integers(1, 5, 4000)) % 5, true)
    sure = np.full((4000, 5), 0.02, np.float32)
    sure[np.arange(4000), true] = 0.92
    sure += generator.random(sure.shape, np.float32) * 0.01
    assert noise_range(generator.random((4000, 5), np.float32), given) is None
    found = noise_range(sure, given)
    assert found is not None
    assert found.low < wrong.mean() < found.high
    assert found.low > 0.1
    clean = noise_range(sure, true)
    assert clean is not None
    assert (clean.low, clean.high) == (0.0, pytest.approx(0.01))
    assert effective_classes(np.array([5, 5, 0, 5])) == pytest.approx(3)


def test_the_lapse_is_what_even_a_sure_model_contradicts():
    """Planted: a curve that goes to 1, and labels that are wrong whatever the margin."""
    generator = np.random.default_rng(0)
    margin = generator.uniform(0, 8, 3000)
    for planted in (0.0, 0.3):
        right = generator.random(3000) < 1 / (1 + np.exp(1 - 1.5 * margin))
        given = np.where(right & (generator.random(3000) >= planted), 0, 1)
        first = 1 / (1 + np.exp(-margin))
        found = lapse(np.stack([first, 1 - first], 1).astype(np.float32), given)
        assert found.high - found.low < 0.1
        assert abs(found.value - planted) < 0.04


def test_the_range_on_features_is_narrow_and_begins_with_the_lapse():
    generator = np.random.default_rng(0)
    true = generator.integers(0, 5, 3000)
    sure = generator.random((3000, 5), np.float32) ** 4
    sure[np.arange(3000), true] += 1
    sure /= sure.sum(1, keepdims=True)
    for share in (0.0, 0.2, 0.45):
        wrong = generator.random(3000) < share
        given = np.where(wrong, (true + generator.integers(1, 5, 3000)) % 5, true)
        found = noise_range(sure, given, strong=True)
        assert found is not None
        assert found.low <= wrong.mean() <= found.high
        assert found.value == pytest.approx(wrong.mean(), abs=0.06)
        assert found.high - found.low <= 0.15 + 1e-9
    assert noise_range(sure, (true + 1) % 5, strong=True) is None


def weak_head(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a head that errs on hard images, surer than it should be, and the true classes."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, count)
    logits = draw.normal(0, 1.5, (count, classes))
    logits[np.arange(count), true] += draw.gamma(1.0, 2.0, count)
    scores = np.exp(0.15 * logits)
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32), true


@pytest.mark.parametrize(("count", "classes"), [(240, 10), (1000, 50)])
@pytest.mark.parametrize("seed", [0, 1])
def test_heads_on_few_images_of_a_class_claim_no_noise_among_right_labels(count, classes, seed):
    scores, true = weak_head(count, classes, seed)
    found = noise_range(scores, true, strong=True)
    assert found is not None
    assert found.low == 0
    assert found.low <= found.value <= found.high


def test_heads_on_few_images_that_confirm_nearly_all_labels_give_a_narrow_range():
    scores, true = weak_head(240, 4, 0)
    scores[np.arange(240), true] += 0.4
    given = true.copy()
    given[:12] = (given[:12] + 1) % 4
    found = noise_range(scores, given, strong=True)
    assert found is not None
    assert found.low <= 0.05 <= found.high
    assert found.high - found.low <= 0.15


@pytest.mark.parametrize(
    ("likely", "least", "most"), [(0.0, 0.0, 0.15), (0.5, 0.99, 1.0), (1.0, 0.99, 1.0)]
)
def test_mistakes_of_people_are_told_from_random_ones(likely, least, most):
    """Of wrong labels a share is what the model finds second likeliest, the others any class."""
    draw = np.random.default_rng(4)
    true = draw.integers(0, 10, 6000)
    second = (true + draw.integers(1, 10, 6000)) % 10
    scores = draw.dirichlet(np.full(10, 0.3), 6000).astype(np.float32) * 0.05
    scores[np.arange(6000), true] += 0.8
    scores[np.arange(6000), second] += 0.15
    at_random = (true + draw.integers(1, 10, 6000)) % 10
    wrong = np.where(draw.random(6000) < likely, second, at_random)
    given = np.where(draw.random(6000) < 0.3, wrong, true)
    assert least <= human(scores, given) <= most
    assert human(scores[:, :2], np.minimum(given, 1)) == 0, "two classes tell nothing"
    assert human(scores, scores.argmax(1)) == 0, "nothing is contradicted"
