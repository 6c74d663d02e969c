"""NCT: Tiny-ImageNet, Clothing1M, WebVision-50; CIFAR is `examples/nct_gpu.py`."""

from __future__ import annotations

from . import FINETUNE, Recipe, Settings

TINY = 100_000
CLOTHING = 1_000_000
"""Training images, "one million" (Section 4)."""
WEBVISION50 = 66_000
"""Of the first 50 classes of Google's part: ours, the paper does not say."""
SECTION = "paper, Section 4"

COMMON: Settings = {
    "optimizer": ("sgd", SECTION),
    "nesterov": (False, f"{SECTION}: momentum 0.9"),
    "weight-decay": (1e-5, SECTION),
    "schedule": ("drop", SECTION),
    "temperature": (4.0, SECTION),
    "alpha": (0.9, SECTION),
    "beta": (0.65, f"{SECTION}, whose sign is a misprint"),
    "ramp": (0.9, SECTION),
    "quiet-epochs": (1.0, SECTION),
    "precision": ("bf16", "ours, for speed"),
}


def _tiny(r_max: float, said: str) -> Settings:
    return COMMON | {
        "model": ("preact_resnet18", SECTION),
        "epochs": (400, f"{SECTION}: 200 for each network"),
        "batch-size": (128, SECTION),
        "lr": (0.02, SECTION),
        "drop-at": (140 / 200, f"{SECTION}: after 140"),
        "augment": ("crop-flip", SECTION),
        "target-variability": (r_max, said),
    }


CHOOSE = "ours: choose it on validation images from 0, 0.1, 0.3, 0.5, 0.7, 0.9, as the paper did"
RECIPES: dict[str, Recipe] = {
    f"nct-tiny-{noise}": Recipe("train nct", TINY, _tiny(rate, CHOOSE), "Tables 2 and 6")
    for noise, rate in (("clean", 0.1), ("sym20", 0.3), ("sym50", 0.5), ("asym45", 0.5))
} | {
    "nct-clothing1m": Recipe(
        "train nct",
        CLOTHING,
        COMMON
        | FINETUNE
        | {
            "model": ("resnet50", SECTION),
            "pretrained": (True, f"{SECTION}: ImageNet weights"),
            "epochs": (400, f"{SECTION}: 200 for each network"),
            "balanced-epoch": (1000, f"{SECTION}: 1,000 batches, labels balanced"),
            "batch-size": (32, SECTION),
            "lr": (0.002, SECTION),
            "drop-at": (180 / 200, f"{SECTION}: after 180"),
            "target-variability": (0.5, SECTION),
        },
        "Table 4",
    ),
    "nct-webvision50": Recipe(
        "train nct",
        WEBVISION50,
        {name: value for name, value in COMMON.items() if name != "quiet-epochs"}
        | {
            "model": ("inception_resnet_v2", SECTION),
            "epochs": (200, f"{SECTION}: 100 for each network"),
            "batch-size": (32, "ours; the paper is silent"),
            "lr": (0.01, SECTION),
            "drop-at": (90 / 100, f"{SECTION}: after 90"),
            "target-variability": (0.0, SECTION),
        },
        "Table 3",
    ),
}
"""By name. Noise is put into the labels with `reteach noise --kind symmetric` and `--kind pair`."""
