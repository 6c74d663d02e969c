"""The full-size settings of the MILe paper, as command lines for those who have the data and the GPUs.

    python examples/recipes.py                          # list them
    python examples/recipes.py imagenet-r50-mile --images train/ --val-images val/
    python examples/recipes.py imagenet-r50-mile --smoke # eight generated photos, two steps, on a CPU

A recipe is a dictionary of the settings that `reteach train` takes; whatever follows wins over it. Run
one under `torchrun --nproc-per-node 8 examples/recipes.py …` for several GPUs: the batch size is that of
all processes together.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from reteach.cli import main

IMAGENET = {"epochs": 100, "batch-size": 256, "lr": 0.1, "precision": "bf16"}
MILE = {"k-t": 2000, "k-s": 2000, "rho": 0.25, "prior-bias": True, "class-sum": True}
"""The authors' code: k_t = k_s = 2000, loss summed over classes, output bias at the class prior."""
TUNE = {"epochs": 20, "batch-size": 256, "lr": 0.01, "head-lr-scale": 10, "precision": "bf16"}

RECIPES: dict[str, tuple[str, dict[str, object]]] = (
    {
        f"imagenet-{short}-{method}": (method, {"model": model} | IMAGENET | settings)
        for short, model in (("r18", "resnet18"), ("r50", "resnet50"))
        for method, settings in (("softmax", {}), ("sigmoid", {}), ("elr", {}), ("mile", MILE))
    }
    | {
        f"webvision-{short}-mile": (
            "mile",
            {"model": model, "rebalance": True} | IMAGENET | {"epochs": 90} | MILE,
        )
        for short, model in (("r50", "resnet50"), ("r50d", "resnet50d"))
    }
    | {
        f"finetune-{fraction:g}-{method}": (
            method,
            {"model": "resnet50", "fraction": fraction} | TUNE | settings,
        )
        for fraction in (0.01, 0.1, 1.0)
        for method, settings in (("softmax", {}), ("mile", MILE))
    }
)
"""Name -> (method, settings). Fine-tuning starts from --init: MoCo-v2, SimCLR, BYOL or SwAV weights."""


def flags(settings: dict[str, object]) -> list[str]:
    """Settings as command-line flags."""
    out: list[str] = []
    for name, value in settings.items():
        out += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return out


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


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name, (method, settings) in RECIPES.items():
            print(f"{name:24} reteach train {method} {' '.join(flags(settings))}")
        sys.exit(0)
    name, *rest = sys.argv[1:]
    if name not in RECIPES:
        sys.exit(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}")
    method, settings = RECIPES[name]
    with tempfile.TemporaryDirectory() as folder:
        extra = rest
        if rest == ["--smoke"]:
            extra = smoke(Path(folder), method == "mile")
            settings = {name: value for name, value in settings.items() if name != "epochs"}
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(settings))
        sys.exit(main(["train", method, "--config", str(recipe), *extra]))
