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


TINY_SETTINGS = COMMON | {
    "model": ("preact_resnet18", SECTION),
    "epochs": (400, f"{SECTION}: 200 for each network"),
    "batch-size": (128, SECTION),
    "lr": (0.02, SECTION),
    "drop-at": (140 / 200, f"{SECTION}: after 140"),
    "augment": ("crop-flip", SECTION),
    "target-variability": (0.1, f"{SECTION}: whatever the noise"),
}
ILSVRC = {"also-val": "imagenet=val/,val.csv: ILSVRC12's validation images of these classes"}
RECIPES: dict[str, Recipe] = {
    f"nct-tiny-{noise}": Recipe("train nct", TINY, TINY_SETTINGS, "Tables 2 and 6")
    for noise in ("clean", "sym20", "sym50", "asym45")
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
        ILSVRC,
    ),
}
"""By name. Noise is put into the labels with `reteach noise --kind symmetric` and `--kind pair`."""

ARAZO = "the authors' code (Arazo et al. 2019)"
YU = "the authors' code (co-teaching+, Yu et al. 2019)"
RERUN = "ours, as a rerun of DivideMix has it (Aliinton/ConfidenceTracking)"


def _divide_mix(drop_at: float, weight_decay: float, epochs: int, lr: float) -> Settings:
    return {
        "epochs": (2 * epochs, f"{RERUN}: {epochs} for each network"),
        "batch-size": (32, RERUN),
        "optimizer": ("sgd", "paper (DivideMix), Section 4"),
        "nesterov": (False, "paper (DivideMix), Section 4: momentum 0.9"),
        "lr": (lr, RERUN),
        "weight-decay": (weight_decay, RERUN),
        "schedule": ("drop", RERUN),
        "drop-at": (drop_at, f"{RERUN}: at half"),
        "plain-share": (1 / epochs, f"{RERUN}: one epoch"),
        "alpha": (0.5, RERUN),
        "unlabeled-weight": (0.0, RERUN),
        "precision": ("bf16", "ours, for speed"),
    }


RIVALS: dict[str, Recipe] = (
    {
        f"rivals-tiny-{noise}-m-correction": Recipe(
            "train m-correction",
            TINY,
            {
                "model": ("preact_resnet18_arazo", ARAZO),
                "epochs": (300, ARAZO),
                "batch-size": (128, ARAZO),
                "optimizer": ("sgd", ARAZO),
                "nesterov": (False, f"{ARAZO}: momentum 0.9"),
                "lr": (0.1, ARAZO),
                "weight-decay": (1e-4, ARAZO),
                "schedule": ("multistep", ARAZO),
                "milestones": ((100 / 300, 250 / 300), f"{ARAZO}: at 100 and 250"),
                "alpha": (32.0, ARAZO),
                "plain-share": (105 / 300, f"{ARAZO}: 105 epochs"),
                "balance": (1.0, "paper (Arazo et al.), Section 3.2"),
                "augment": ("crop-flip", ARAZO),
                "precision": ("bf16", "ours, for speed"),
            },
            "Table 2",
        )
        for noise in ("sym20", "sym50", "asym45")
    }
    | {
        f"rivals-tiny-{noise}-co-teaching-plus": Recipe(
            "train co-teaching",
            TINY,
            {
                "model": ("preact_resnet18", f"{YU}: PreActResNet-18"),
                "epochs": (400, f"{YU}: 200 for each network"),
                "batch-size": (128, YU),
                "optimizer": ("adam", YU),
                "lr": (1e-3, YU),
                "schedule": ("cosine", "ours; theirs is constant for 80 epochs, then linear to 0"),
                "forget": (rate, "ours: the noise that is put in"),
                "forget-epochs": (10.0, YU),
                "disagreement": (20.0, YU),
                "augment": ("crop-flip", "ours, as NCT"),
                "precision": ("bf16", "ours, for speed"),
            },
            "Table 2",
        )
        for noise, rate in (("sym20", 0.2), ("sym50", 0.5), ("asym45", 0.45))
    }
    | {
        "rivals-clothing1m-divide-mix": Recipe(
            "train divide-mix",
            CLOTHING,
            FINETUNE
            | {
                "model": ("resnet50", SECTION),
                "pretrained": (True, SECTION),
                "balanced-epoch": (1000, f"{RERUN}: 1,000 batches of balanced classes"),
            }
            | _divide_mix(40 / 80, 1e-3, 80, 0.002),
            "beside Table 4",
        ),
        "rivals-webvision50-divide-mix": Recipe(
            "train divide-mix",
            WEBVISION50,
            {"model": ("inception_resnet_v2", SECTION)} | _divide_mix(50 / 100, 5e-4, 100, 0.01),
            "beside Table 3",
            ILSVRC,
        ),
    }
)
"""Of the rivals that are methods here. Of Table 1's, mixup and M-correction, with `examples/nct_cifar.py`."""
