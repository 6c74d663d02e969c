"""The full-size settings of the MILe paper, as command lines for those who have the data and the GPUs.

    python examples/recipes.py                            # list them
    python examples/recipes.py imagenet-r50-mile --sources # where its numbers come from, and steps and cycles
    python examples/recipes.py imagenet-r50-mile --images train/ --val-images val/
    python examples/recipes.py imagenet-r50-mile --smoke   # eight generated photos, two steps, on a CPU

Neither the paper nor its code settles a whole training, so every setting here names its source: the
paper's section, the authors' code, another's, or us. Whatever follows a recipe's name wins over it. Run
one under `torchrun --nproc-per-node 8 examples/recipes.py …` for several GPUs: the batch size is that of
all processes together.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from reteach.cli import main

Settings = dict[str, tuple[object, str]]
"""Flag -> (value, source)."""

IMAGENET = 1_281_167
WEBVISION = 2_439_574
"""Training images; "more than 2.4 million" in the paper's Section 4.1."""

CODE = "the authors' code"
STEPS: Settings = {
    "batch-size": (256, "paper, Section 3, cost (the authors' code: 164)"),
    "lr": (0.1, f"{CODE}: 0.1 per 256 images; the paper is silent"),
    "precision": ("bf16", "ours, for speed"),
}
HUNDRED: Settings = {"epochs": (100, "paper, Table 1")}
SIGMOID: Settings = {
    "class-sum": (
        True,
        f"{CODE}; Eq. 1 averages over the classes, which at this rate stays at chance",
    ),
    "prior-bias": (True, f"{CODE}; the paper is silent"),
}
RHO: Settings = {"rho": (0.25, "paper, Section 3")}
CONTINUING: Settings = (
    {"student": ("continuing", f"{CODE}: one network runs on, its teacher is a frozen copy")}
    | RHO
    | SIGMOID
)
CYCLE: Settings = {"k-t": (2000, CODE), "k-s": (2000, CODE)}
ALGORITHM1: Settings = (
    {
        "student": ("algorithm1", "paper, Algorithm 1"),
        "k-t": (5000, "ours: half of k_t + k_s = 10,000 (paper, Section 3, cost)"),
        "k-s": (5000, "ours: the other half; the paper asks for k_s ≤ k_t"),
        "union": (
            True,
            "ours (an option of the authors' code): without it few pseudo-labels pass ρ",
        ),
    }
    | RHO
    | SIGMOID
)
TUNE: Settings = {
    "epochs": (20, "ours; the paper is silent"),
    "batch-size": (256, "ours; the paper is silent"),
    "lr": (0.01, "ours; the paper is silent"),
    "head-lr-scale": (10, "ours; the paper is silent"),
    "probe-first": (False, "ours; the paper is silent"),
    "batch-norm": ("update", "ours, as from scratch; the paper is silent"),
    "warmup": (0.0, "ours, as from scratch; the paper is silent"),
    "clip": (0, "ours, as from scratch; the paper is silent"),
    "min-crop": (0.08, "ours, as from scratch; the paper is silent"),
    "precision": ("bf16", "ours, for speed"),
}
WEB: Settings = {
    "epochs": (90, "MoPro's code, whose baselines the paper compares with; the paper is silent"),
    "rebalance": (
        0.5,
        "MoPro's code, whose strategy the paper says it has (Section 4.1); MoPro itself weighs so only where "
        "it retrains the classifier",
    ),
}


@dataclass(frozen=True)
class Recipe:
    """A method, how many images it is meant for, and its settings."""

    method: str
    images: int
    settings: Settings

    def flags(self) -> list[str]:
        """The settings as command-line flags."""
        return flags({name: value for name, (value, _) in self.settings.items()})

    def value(self, name: str, default: Any = None) -> Any:
        """A setting, or the default where the recipe is silent."""
        return self.settings.get(name, (default, ""))[0]

    def seen(self) -> int:
        """Images that it learns from: all, or the fraction of them."""
        return round(self.images * self.value("fraction", 1.0))

    def steps(self) -> int:
        """Backward passes of all models together, as `reteach train` counts them."""
        return round(self.value("epochs") * self.seen() / self.value("batch-size"))


def _model(name: str) -> Settings:
    return {"model": (name, "paper, Section 4.1")}


IMAGENET_METHODS: dict[str, tuple[str, Settings]] = {
    "softmax": ("softmax", {}),
    "sigmoid": ("sigmoid", SIGMOID),
    "elr": ("elr", {}),
    "mile": ("mile", CONTINUING | CYCLE),
    "mile-algorithm1": ("mile", ALGORITHM1),
}

RECIPES: dict[str, Recipe] = (
    {
        f"imagenet-{short}-{name}": Recipe(
            method, IMAGENET, _model(model) | HUNDRED | STEPS | settings
        )
        for short, model in (("r18", "resnet18"), ("r50", "resnet50"))
        for name, (method, settings) in IMAGENET_METHODS.items()
    }
    | {
        f"webvision-{short}-{name}": Recipe(
            method, WEBVISION, _model(model) | STEPS | WEB | settings
        )
        for short, model in (("r50", "resnet50"), ("r50d", "resnet50d"))
        for name, method, settings in (
            ("sigmoid", "sigmoid", SIGMOID),
            ("mile", "mile", CONTINUING | CYCLE),
        )
    }
    | {
        f"finetune-{fraction:g}-{name}": Recipe(
            method,
            IMAGENET,
            {"model": ("resnet50", "paper, Section 4.2"), "fraction": (fraction, "paper, Table 3")}
            | TUNE
            | settings,
        )
        for fraction in (0.01, 0.1, 1.0)
        for name, method, settings in (
            ("softmax", "softmax", {}),
            ("sigmoid", "sigmoid", SIGMOID),
            # 1% has 1,001 steps in 20 epochs, no room for 2,000 + 2,000: cycles by default
            ("mile", "mile", CONTINUING | (CYCLE if fraction == 1 else {})),
        )
    }
)
"""By name. Fine-tuning starts from --init: MoCo-v2, SimCLR, BYOL or SwAV weights."""


def flags(settings: dict[str, object]) -> list[str]:
    """Settings as command-line flags."""
    out: list[str] = []
    for name, value in settings.items():
        out += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return out


def sources(name: str) -> str:
    """Where each number of a recipe comes from, and what they amount to."""
    recipe = RECIPES[name]
    lines = [f"{name}: reteach train {recipe.method}"]
    lines += [f"  --{flag} {value}: {source}" for flag, (value, source) in recipe.settings.items()]
    total = f"  {recipe.seen():,} images, {recipe.steps():,} steps"
    if cycle := recipe.value("k-t", 0) + recipe.value("k-s", 0):
        passes = cycle * recipe.value("batch-size") / recipe.seen()
        total += f", {recipe.steps() / cycle:.1f} cycles of {passes:.2f} passes over the images"
    return "\n".join([*lines, total])


def smoke(folder: Path, mile: bool) -> list[str]:
    """Flags that shrink any recipe to two steps on generated photos."""
    noise = np.random.default_rng(0)
    for row in range(8):
        file = folder / "photos" / ("cat", "dog")[row % 2] / f"{row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (48, 64, 3), np.uint8)).save(file)
    small = {"images": folder / "photos", "out": folder / "run", "model": "resnet10t", "steps": 2}
    small |= {"batch-size": 4, "image-size": 32, "workers": 0, "device": "cpu", "fraction": 1.0}
    cycle = ["--k-t", "1", "--k-s", "1"] if mile else []
    return [*flags(small), *cycle, "--val-fraction", "0.25", "--precision", "fp32"]


def run(name: str, rest: list[str]) -> int:
    """Train one, or say where its numbers come from."""
    if name not in RECIPES:
        print(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    if rest == ["--sources"]:
        print(sources(name))
        return 0
    recipe = RECIPES[name]
    settings = {name: value for name, (value, _) in recipe.settings.items()}
    with tempfile.TemporaryDirectory() as folder:
        extra = rest
        if rest == ["--smoke"]:
            extra = smoke(Path(folder), recipe.method == "mile")
            del settings["epochs"]
            settings.pop("probe-first", None)  # there are no weights to begin with
        file = Path(folder) / "recipe.yaml"
        file.write_text(yaml.safe_dump(settings))
        return main(["train", recipe.method, "--config", str(file), *extra])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name, recipe in RECIPES.items():
            print(f"{name:28} reteach train {recipe.method} {' '.join(recipe.flags())}")
        sys.exit(0)
    sys.exit(run(sys.argv[1], sys.argv[2:]))
