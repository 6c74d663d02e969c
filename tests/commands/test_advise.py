"""``reteach advise`` as a user meets it: real digits, planted noise, copies, grids, a kill, bad input."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reteach.cli import main
from reteach.data.synthetic import compose, sklearn_digits

NAMES = np.array([f"digit {i}" for i in range(9)] + ['<b onclick="x">'])


def table(file: Path, labels: np.ndarray) -> None:
    lines = [f'{i},"{name.replace(chr(34), 2 * chr(34))}"' for i, name in enumerate(labels)]
    file.write_text("\n".join(["item,labels", *lines]) + "\n")


def changed(images: np.ndarray) -> np.ndarray:
    """A little noise, as a second compression makes it."""
    noise = np.random.default_rng(1).integers(-4, 5, images.shape)
    return np.clip(images.astype(np.int64) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """1,000 digits, ten of them twice, once each under another label, and ten slightly changed; 40% of the
    labels wrong, or none."""
    folder = tmp_path_factory.mktemp("my digits")
    images, true = sklearn_digits()
    images, true = images[:1000], true[:1000]
    generator = np.random.default_rng(0)
    wrong = generator.random(1000) < 0.4
    noisy = np.where(wrong, (true + generator.integers(1, 10, 1000)) % 10, true)
    np.savez(folder / "clean.npz", images=images)
    table(folder / "clean.csv", NAMES[true])
    again = noisy[:20].copy()
    again[:13] = (again[:13] + 1) % 10
    np.savez(
        folder / "noisy.npz", images=np.concatenate([images, images[:10], changed(images[10:20])])
    )
    table(folder / "noisy.csv", NAMES[np.concatenate([noisy, again])])
    np.savez(folder / "val.npz", images=np.concatenate([images[990:], changed(images[980:985])]))
    grids = compose(*sklearn_digits(), 2000, 2, 0)
    np.savez(folder / "grids.npz", images=grids.images)
    table(folder / "grids.csv", NAMES[grids.given.index])
    return folder


def advise(folder: Path, name: str, *more: str) -> tuple[int, Path]:
    out = folder / f"{name}.html"
    given = ["--images", f"{folder}/{name}.npz", "--labels", f"{folder}/{name}.csv"]
    steps = () if "--steps" in more else ("--steps", "150")
    return main(["advise", *given, *steps, "--out", str(out), *more]), out


def test_wrong_labels_and_copies_are_found(world, capsys):
    code, out = advise(world, "noisy", "--val-images", f"{world}/val.npz")
    assert code == 0
    said = capsys.readouterr().out
    found = json.loads(out.with_suffix(".json").read_text())
    facts = found["facts"]
    assert facts["repeated"] == facts["conflicting"] == facts["across"] == 10
    assert (facts["alike"], facts["alike_conflicting"], facts["alike_across"]) == (10, 3, 5)
    assert 1 <= len(facts["confused"]) <= 3
    assert facts["confused"][0]["share"] >= facts["confused"][-1]["share"] > 0
    assert facts["noise"]["low"] < 0.4 < facts["noise"]["high"]
    assert facts["noise"]["low"] > 0.1
    titles = [piece["title"] for piece in found["advice"]]
    assert titles[0].startswith("Take the validation images out")
    assert any("held-out models do not confirm" in title for title in titles)
    assert found["advice"][0]["command"] in said
    page = out.read_text()
    assert '<b onclick="x">' not in page
    assert "data:image/png" in page
    for words in (
        "Of validation images",
        "Within the images",
        "labels differ",
        "Classes that are confused",
    ):
        assert words in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_right_labels_get_no_cure(world):
    code, out = advise(world, "clean")
    assert code == 0
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["facts"]["noise"]["low"] == 0
    assert found["advice"] == []
    per_image = found["facts"]["per_image"]
    assert per_image is None or per_image["value"] < 1.5


def test_grids_hold_several_digits(world):
    code, out = advise(world, "grids", "--steps", "400")
    assert code == 0
    found = json.loads(out.with_suffix(".json").read_text())
    assert 2 < found["facts"]["per_image"]["value"] < 5
    assert found["advice"][-1]["command"].startswith("reteach train sigmoid")


def test_the_user_may_know_that_images_hold_several_classes(world, capsys):
    """600 grids are too few to tell; asked, and told so, the advice is another."""
    grids = compose(*sklearn_digits(), 600, 2, 1)
    np.savez(world / "few.npz", images=grids.images)
    table(world / "few.csv", NAMES[grids.given.index])
    found = {}
    for told in ("auto", "yes", "no"):
        code, out = advise(world, "few", "--multi-label", told)
        assert code == 0
        found[told] = json.loads(out.with_suffix(".json").read_text())
        said, page = capsys.readouterr().out, out.read_text().lower()
        asked = "give --multi-label yes" in said
        several = "labels per image" in said or "labels per image" in page
        assert several == (told != "no"), "who says that there is one is told of no others"
        assert asked == ("Look first" in out.read_text()) == (told == "auto")
    commands = {told: [p["command"] for p in f["advice"]] for told, f in found.items()}
    assert any("train sigmoid" in text for text in commands["yes"])
    assert not any("relabel clean" in text for text in commands["yes"])
    assert any("relabel clean" in text for text in commands["no"])
    assert not any("train sigmoid" in text for text in commands["no"])


def short(command: str) -> list[str]:
    """The words of an advised command, for three steps in place of its epochs."""
    words = shlex.split(command)[1:]
    at = words.index("--epochs")
    return [*words[:at], "--steps", "3", *words[at + 2 :]]


def test_the_first_command_runs(world, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    advise(world, "noisy")
    found = json.loads((world / "noisy.json").read_text())
    text = next(p["command"] for p in found["advice"] if "dedup" not in p["command"])
    assert main(short(text)) == 0


def test_validation_images_without_labels_are_in_no_training(world, monkeypatch, tmp_path):
    """They serve to look for copies; the plain command would fail on them."""
    monkeypatch.chdir(tmp_path)
    advise(world, "noisy", "--val-images", f"{world}/val.npz")
    found = json.loads((world / "noisy.json").read_text())
    assert f"--against '{world}/val.npz'" in found["advice"][0]["command"]
    assert "--val-images" not in found["plain"]
    assert main(short(found["plain"])) == 0


def test_killed_it_goes_on_with_the_same_result(world):
    """kill -9 once the second fold trains; the same command then ends with the numbers of a whole run."""
    code = (
        "import os, signal, sys\n"
        "from reteach.cli import main\n"
        "from reteach.methods import clean\n"
        "whole = clean._held_out\n"
        "def held_out(setup, recipe, settings, fold, number, *more):\n"
        "    if number == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(setup, recipe, settings, fold, number, *more)\n"
        "clean._held_out = held_out\n"
        "main(sys.argv[1:])\n"
    )
    given = ["--images", f"{world}/clean.npz", "--labels", f"{world}/clean.csv", "--steps", "150"]
    asked = ["advise", *given, "--out", f"{world}/killed.html"]
    done = subprocess.run([sys.executable, "-c", code, *asked], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (world / "killed.json").exists()
    assert main(asked) == 0
    advise(world, "clean")
    whole, killed = (json.loads((world / f"{n}.json").read_text()) for n in ("clean", "killed"))
    assert whole == killed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "no class folders, so --labels is needed"),
        (("--labels", "one.csv"), "there is only one class"),
        (
            ("--labels", "few.csv"),
            "12 labelled images are too few to hold out 4 folds of 4 classes",
        ),
        (("--labels", "few.csv", "--folds", "1"), "--folds must be at least 2"),
        (("--labels", "few.csv", "--out", "advice.txt"), "the page is an .html file"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    np.savez(
        "few.npz", images=np.random.default_rng(0).integers(0, 255, (12, 8, 8)).astype(np.uint8)
    )
    table(tmp_path / "one.csv", np.full(12, "a"))
    table(tmp_path / "few.csv", np.array(list("abcd") * 3))
    assert main(["advise", "--images", "few.npz", *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
