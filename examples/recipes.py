"""The full-size settings of the five papers, as command lines for those who have the data and the GPUs.

    python examples/recipes.py                              # list them
    python examples/recipes.py imagenet-r50-mile --sources   # where its numbers come from; steps, cycles
    python examples/recipes.py imagenet-r50-mile --images train/ --val-images val/
    python examples/recipes.py imagenet-r50-mile --smoke     # eight generated photos, a few steps, on a CPU

No paper and no code settles a whole training, so every setting names its source: the paper's section, the
authors' code, another's, or us. Whatever follows a recipe's name wins over it. Run one under `torchrun
--nproc-per-node 8 examples/recipes.py …` for several GPUs: the batch size is that of all processes together.
The tables themselves are in recipe_tables/, one file per paper.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from recipe_tables import Recipe, cpsd, mile, nct, real, semi

from reteach.cli import main

RECIPES: dict[str, Recipe] = (
    mile.RECIPES | real.RECIPES | semi.RECIPES | cpsd.RECIPES | nct.RECIPES | nct.RIVALS
)


def flags(settings: dict[str, object]) -> list[str]:
    """Settings as command-line flags."""
    out: list[str] = []
    for name, value in settings.items():
        off = value is False
        words = value if isinstance(value, tuple) else (value,)
        out += [f"--{'no-' * off}{name}", *([] if isinstance(value, bool) else map(str, words))]
    return out


def line(name: str) -> str:
    """A recipe as a command line, what only the user has in capitals."""
    recipe = RECIPES[name]
    given = [f"--{flag} {flag.upper()}" if flag else "RUN" for flag in recipe.needs]
    own = flags({flag: value for flag, (value, _) in recipe.settings.items()})
    return " ".join(["reteach", recipe.command, *given, *own])


def sources(name: str) -> str:
    """Where each number of a recipe comes from, and what they amount to."""
    recipe = RECIPES[name]
    lines = [f"{name}: reteach {recipe.command}, {recipe.shows}"]
    lines += [f"  --{flag}: {what}" if flag else f"  {what}" for flag, what in recipe.needs.items()]
    lines += [f"  --{flag} {value}: {source}" for flag, (value, source) in recipe.settings.items()]
    total = f"  {recipe.seen():,} images"
    if recipe.value("epochs") or recipe.value("steps"):
        total += f", {recipe.steps():,} steps"
    if cycle := recipe.value("k-t", 0) + recipe.value("k-s", 0):
        passes = cycle * recipe.value("batch-size") / recipe.seen()
        total += f", {recipe.steps() / cycle:.1f} cycles of {passes:.2f} passes over the images"
    return "\n".join([*lines, total])


SMALL: dict[str, dict[str, object]] = {
    "mile": {"k-t": 1, "k-s": 1, "steps": 2},
    "semi": {"per-class": 2, "top": 1, "steps": 6, "finetune-steps": 1, "teacher-steps": 1},
    "cpsd": {"subsets": 2, "teacher-epochs": 0.5, "steps": 8, "augment": "flip"},
    "asl": {"augment": "flip"},
    "nct": {"quiet-epochs": 0.1, "steps": 8},
}
"""What shrinks a method beside the flags for all; without --steps there are two."""
WEIGHTS = ("pretrained", "probe-first", "batch-norm", "fraction", "balanced-epoch", "frames")
"""Settings of weights, classes and videos that generated photos have not."""


def shrunk(recipe: Recipe, folder: Path) -> dict[str, object]:
    """The settings of a recipe, shrunk to a few steps on generated photos."""
    noise = np.random.default_rng(0)
    sets = recipe.method in ("cpsd", "asl")
    table = ["item,labels,kind"]
    for row in range(8):
        name = ("cat", "dog", "cat;dog")[row % (3 if sets else 2)]
        file = folder / "photos" / f"{row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (48, 64, 3), np.uint8)).save(file)
        table.append(f"{row}.jpg,{name},{'multi' if sets else 'single'}")
    (folder / "labels.csv").write_text("\n".join(table))
    settings = {flag: value for flag, (value, _) in recipe.settings.items() if flag not in WEIGHTS}
    small: dict[str, object] = {
        "images": str(folder / "photos"),
        "labels": str(folder / "labels.csv"),
    }
    small |= {"out": str(folder / "run"), "model": "resnet10t", "image-size": 32, "steps": 2}
    small |= {
        "batch-size": 4,
        "workers": 0,
        "device": "cpu",
        "val-fraction": 0.25,
        "precision": "fp32",
    }
    small |= SMALL.get(recipe.method, {})
    if "unlabeled" in recipe.needs:
        small["unlabeled"] = str(folder / "photos")
    if "tags" in recipe.needs:
        small["tags"] = str(folder / "labels.csv")
    if "weak-steps" in settings:
        small |= {"weak-steps": 1, "teacher": small["model"]}
    elif "tags" in recipe.needs:
        del small["top"], small["teacher-steps"]
    if "frequencies" in recipe.needs:
        small["frequencies"] = str(folder / "counts.csv")
        (folder / "counts.csv").write_text("class,count\ncat,3\ndog,1\n")
    settings |= small
    settings.pop("epochs", None)
    if settings.get("augment") == "flip":
        for flag in ("min-crop", "cutout", "randaugment"):
            settings.pop(flag)
    if settings.get("schedule") == "drop" and settings.get("target-variability") == 0.0:
        settings.pop("quiet-epochs", None)
    return settings  # fmt: skip


def run(name: str, rest: list[str]) -> int:
    """Train one, or say where its numbers come from."""
    if name not in RECIPES:
        print(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    if rest == ["--sources"]:
        print(sources(name))
        return 0
    recipe = RECIPES[name]
    settings: dict[str, object] = {flag: value for flag, (value, _) in recipe.settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        if rest == ["--smoke"]:
            if not recipe.method:
                print(f"{name} needs a run: reteach {recipe.command} --help", file=sys.stderr)
                return 2
            rest, settings = [], shrunk(recipe, Path(folder))
        file = Path(folder) / "recipe.yaml"
        file.write_text(yaml.safe_dump(settings))
        return main([*recipe.command.split(), "--config", str(file), *rest])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name in RECIPES:
            print(f"{name:30} {line(name)}")
        sys.exit(0)
    sys.exit(run(sys.argv[1], sys.argv[2:]))
