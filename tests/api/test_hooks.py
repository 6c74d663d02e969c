"""A user's own data set, network, augmentation, loss and method: the worked examples, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

import reteach as rt
from reteach import own
from reteach.cli import main as command_line
from reteach.data.loading.own_augment import OwnAugment, takes_seed
from reteach.data.loading.reader import read
from reteach.data.sources.arrays import ArraySource
from reteach.data.sources.own import DatasetSource, pixels_of
from reteach.models.own import refuse_outputs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
QUICK = {"model": "reteach_tiny", "image_size": 16, "steps": 4, "batch_size": 8, "workers": 0}
BLOCK = re.compile(r"```python\n(.*?)```", re.S)


def example(title: str) -> list[str]:
    section = PAGE.read_text().split(f"### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return BLOCK.findall(section)


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def names():
    """What the examples define, with the page's own names of the modules."""
    found = {"rt": rt, "torch": torch, "np": np, "nn": nn, "v2": v2, "Image": Image}
    code = example("A data set")[0].split("\n\nmodel = ")[0]
    exec(compile(code, "<squares>", "exec"), found)
    return found


@pytest.mark.parametrize("title", ["A data set", "A network", "An augmentation", "A loss"])
def test_the_worked_example_runs_and_is_short(title, names, monkeypatch):
    (code,) = example(title)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    found = dict(names)
    exec(
        compile(code.replace("steps=30", "steps=4, batch_size=8, workers=0"), title, "exec"), found
    )
    if "model" in found:
        assert found["model"].classes == ("dark", "light")
    if title == "A network":
        scores = [found[m].scores(found["Squares"]())["light"] for m in ("model", "again")]
        assert scores[0] == scores[1]


def grey(image, seed):
    return image


def twice(image, seed):
    return image // 2


def tiny(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, num_classes))


def other(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, num_classes, bias=False))


def xent(logits, targets):
    return nn.functional.cross_entropy(logits, targets, reduction="none")


def test_a_run_goes_on_with_the_same_objects_alone(names, capsys):
    """The command line says what to pass; another object is refused, the same one gives the same model."""
    squares = names["Squares"]
    given = {"images": squares(), "network": tiny, "augmentation": grey, "loss": xent}
    more = {"image_size": 16, "batch_size": 8, "steps": 4, "workers": 0, "out": "run"}
    whole = rt.train("softmax", **given, **more)
    for name in ("network", "augmentation", "loss"):
        changed = {"network": other, "augmentation": twice, "loss": lambda z, y: xent(z, y)}
        with pytest.raises(rt.UserError, match="another configuration"):
            rt.train("softmax", **{**given, name: changed[name]}, **more)
        with pytest.raises(rt.UserError, match=f"{name} was .* when this run was begun"):
            rt.resume("run", **{**given, name: changed[name]})
    with pytest.raises(rt.UserError, match="network was own_tiny"):
        rt.load("run", network=other)
    capsys.readouterr()
    assert command_line(["resume", "run"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("reteach:")]
    assert "rt.resume(FOLDER, images=…)" in line
    again = rt.resume("run", **given)
    assert again.scores(squares())["light"] == whole.scores(squares())["light"]


def test_a_digest_changes_with_the_source_and_what_it_uses():
    def made(width):
        return lambda n: nn.Linear(width, n)

    assert own.digest(tiny) == own.digest(tiny) != own.digest(other)
    assert own.digest(made(3)) != own.digest(made(4))
    assert own.digest(v2.ColorJitter(0.1)) != own.digest(v2.ColorJitter(0.2))
    one, two = ({"helper": 1}, {"helper": 2})
    for space in (one, two):
        exec("def f(n):\n    return n + helper", space)
    assert own.digest(one["f"]) != own.digest(two["f"])


def batches(augment, workers):
    draw = np.random.default_rng(0)
    source = ArraySource(draw.integers(0, 255, (12, 16, 16, 3)).astype(np.uint8))
    jobs = [(np.arange(i, i + 4), np.arange(i, i + 4) * 7 + 1) for i in (0, 4, 8)]
    return torch.cat([found for found, _ in read(source, augment, jobs, workers)])


def transforms():
    from timm.data.auto_augment import rand_augment_transform

    yield v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4)])
    yield rand_augment_transform("rand-m9-n2", {})
    try:
        import albumentations
    except ImportError:
        return
    yield albumentations.Compose([albumentations.RandomBrightnessContrast(p=1.0)])


@pytest.mark.parametrize("transform", transforms(), ids=lambda t: type(t).__module__.split(".")[0])
def test_an_augmentation_is_a_function_of_image_and_seed(transform):
    """With workers or without, twice the same, in any order; the global generators are as they were."""
    augment = OwnAugment("x", None, transform)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    here = batches(augment, 0)
    assert torch.equal(here, batches(augment, 0))
    assert torch.equal(here, batches(augment, 2))
    assert (here.float().var() > 0).item()
    image = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    image[:, :, :8] = 30
    found = {augment(image, seed).numpy().tobytes() for seed in range(12)}
    assert len(found) > 1
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_a_function_of_image_and_seed_is_told_from_others():
    assert takes_seed(grey)
    assert not takes_seed(v2.RandomHorizontalFlip())
    assert not takes_seed(lambda image: image)


def test_the_loss_is_what_the_weights_are_learned_by(names):
    """Cross-entropy of class numbers gives the weights of the built-in one, bit by bit or nearly."""
    squares = names["Squares"]
    usual = rt.train("softmax", images=squares(), out="a", **QUICK).scores(squares())["light"]
    for number, more in enumerate(({}, {"loss_targets": "one-hot"})):
        mine = rt.train("softmax", images=squares(), loss=xent, out=f"b{number}", **more, **QUICK)
        np.testing.assert_allclose(mine.scores(squares())["light"], usual, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"loss": lambda z, y: xent(z, y).mean()}, "one number each"),
        ({"loss": xent, "mixup": 0.2}, "mixup has no effect where a loss is given class numbers"),
        ({"loss": xent, "class_weights": "balanced"}, "class_weights has no effect"),
        (
            {"augmentation": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)])},
            "pixels of uint8",
        ),
        ({"augmentation": grey, "augment": "flip"}, "augment has no effect with augmentation"),
        ({"augmentation": grey, "min_crop": 0.5}, "min_crop has no effect"),
        ({"network": tiny}, "model has no effect beside network"),
        ({"loss_targets": "one-hot"}, "loss_targets has no effect without loss"),
        ({"model": "auto", "network": lambda n: tiny(n + 5)}, "network gives (2, 7) for images"),
        (
            {"model": "auto", "network": lambda n: 3},
            "network cannot be made: network gives a int, not a module",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(more, said, names):
    with pytest.raises(rt.UserError) as found:
        rt.train("softmax", images=names["Squares"](), **{**QUICK, **more})
    assert said in str(found.value)


def test_looking_at_what_a_network_gives_leaves_it_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refuse_outputs(model, 2, (2, 3, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_is_for_methods_that_take_one(names):
    with pytest.raises(rt.UserError, match="loss has no effect with mile"):
        rt.train("mile", images=names["Squares"](), loss=xent, **QUICK)


def test_images_of_a_data_set_come_in_every_usual_form():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    forms = (
        Image.fromarray(pixels),
        pixels,
        torch.from_numpy(pixels).movedim(-1, 0),
        torch.from_numpy(pixels).movedim(-1, 0).float() / 255,
    )
    for form in forms:
        np.testing.assert_array_equal(pixels_of(form), pixels)
    assert pixels_of(pixels[..., 0]).shape == (4, 4, 3)
    with pytest.raises(rt.UserError, match="leave Normalize"):
        pixels_of(torch.from_numpy(pixels).movedim(-1, 0).float() / 255 - 0.5)


def test_labels_and_items_of_a_data_set_are_its_own():
    plain = [(np.zeros((2, 2, 3), np.uint8), i % 3) for i in range(11)]
    source = DatasetSource(plain)
    assert source.items[:2] == ["00", "01"]
    assert source.class_of[:4] == ["0", "1", "2", "0"]
    with pytest.raises(rt.UserError, match="label -1"):
        _ = DatasetSource([(plain[0][0], -1)]).class_of


def test_arrays_are_images_with_a_list_of_labels():
    draw = np.random.default_rng(0)
    kind = np.arange(24) % 2
    images = (draw.integers(0, 90, (24, 8, 8, 3)) + 150 * kind[:, None, None, None]).astype(
        np.uint8
    )
    labels = np.array(["dark", "light"])[kind]
    quick = {**QUICK, "image_size": 8}
    model = rt.train("softmax", images=images, labels=labels, **quick)
    assert model.classes == ("dark", "light")
    assert len(model.predict(images)) == 24


def test_a_method_of_another_package_is_one_of_ours(tmp_path):
    """Registered by entry point: on the command line, in a comparison, on its page."""
    for code in example("A method"):
        if code.startswith("# "):
            (tmp_path / code.splitlines()[0][2:]).write_text(code)
            assert len([x for x in code.splitlines() if x.strip()]) <= 20
    info = tmp_path / "warm-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: warm\nVersion: 1.0\n")
    lines = ["[reteach.methods]", "warm = warm_settings:METHOD", "mile = warm_settings:METHOD"]
    (info / "entry_points.txt").write_text("\n".join([*lines, "gone = nowhere:METHOD", ""]))
    draw = np.random.default_rng(0)
    kind = np.arange(24) % 2
    images = draw.integers(0, 90, (24, 8, 8, 1)) + 150 * kind[:, None, None, None]
    np.savez(tmp_path / "x.npz", images=images.astype(np.uint8), labels=kind)
    code = (
        "import sys; from reteach.cli import main\n"
        "quick = '--images x.npz --model reteach_tiny --steps 4 --batch-size 8 --workers 0'.split()\n"
        "assert main(['train', 'warm', *quick, '--temperature', '1.5', '--out', 'run']) == 0\n"
        "more = '--seeds 1 --processes 1 --set warm.temperature=3 --out both'.split()\n"
        "assert main(['compare', 'softmax', 'warm', *quick, *more]) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "'mile' (warm_settings:METHOD) cannot be used: reteach has a method" in done.stderr
    assert "'gone' (nowhere:METHOD) cannot be used: ModuleNotFoundError" in done.stderr
    assert "Warm softmax" in (tmp_path / "run" / "report.html").read_text()
    assert "warm" in (tmp_path / "both" / "report.html").read_text()
