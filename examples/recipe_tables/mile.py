"""MILe: ImageNet and WebVision from scratch, fine-tuning of self-supervised weights."""

from __future__ import annotations

from . import FINETUNE, IMAGENET, Recipe, Settings

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
TUNE: Settings = FINETUNE | {
    "epochs": (20, "ours; the paper is silent"),
    "batch-size": (256, "ours; the paper is silent"),
    "lr": (0.01, "ours; the paper is silent"),
    "head-lr-scale": (10, "ours; the paper is silent"),
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


def _model(name: str) -> Settings:
    return {"model": (name, "paper, Section 4.1")}


IMAGENET_METHODS: dict[str, tuple[str, Settings]] = {
    "softmax": ("softmax", {}),
    "sigmoid": ("sigmoid", SIGMOID),
    "elr": ("elr", {}),
    "mile": ("mile", CONTINUING | CYCLE),
    "mile-algorithm1": ("mile", ALGORITHM1),
}

INIT = {"init": "weights of MoCo-v2, SimCLR, BYOL or SwAV, as published"}
SK1 = {"init": "SimCLR-v2's r50_1x_sk1, as converted to PyTorch"}
ALL_IMAGES = {"unlabeled": "all training images of ImageNet"}
TEACHERS = {
    "distilled": "a run of --model resnet50x2_sk1 --init r50_2x_sk1.pth on the same fraction",
    "self-distilled": "the run of finetune-…-sk1-softmax on the same fraction",
}


def _passes(fraction: float) -> int:
    """Steps of 20 passes over the labelled images and all images of ImageNet."""
    return round(20 * (round(fraction * IMAGENET) + IMAGENET) / 256)


def _sk1(table: str, fraction: float) -> Settings:
    return {
        "model": ("resnet50_sk1", "paper, Section 4.2: R50 (1x+SK)"),
        "fraction": (fraction, f"paper, {table}"),
    } | TUNE


RECIPES: dict[str, Recipe] = (
    {
        f"imagenet-{short}-{name}": Recipe(
            f"train {method}", IMAGENET, _model(model) | HUNDRED | STEPS | settings, "Table 1"
        )
        for short, model in (("r18", "resnet18"), ("r50", "resnet50"))
        for name, (method, settings) in IMAGENET_METHODS.items()
    }
    | {
        f"webvision-{short}-{name}": Recipe(
            f"train {method}",
            WEBVISION,
            _model(model) | STEPS | WEB | settings,
            "Table 2",
            {"also-val": "imagenet=val/,val.csv: ImageNet's validation images"},
        )
        for short, model in (("r50", "resnet50"), ("r50d", "resnet50d"))
        for name, method, settings in (
            ("sigmoid", "sigmoid", SIGMOID),
            ("mile", "mile", CONTINUING | CYCLE),
        )
    }
    | {
        f"finetune-{fraction:g}-{name}": Recipe(
            f"train {method}",
            IMAGENET,
            {"model": ("resnet50", "paper, Section 4.2"), "fraction": (fraction, "paper, Table 3")}
            | TUNE
            | settings,
            "Table 3",
            INIT,
        )
        for fraction in (0.01, 0.1, 1.0)
        for name, method, settings in (
            ("softmax", "softmax", {}),
            ("sigmoid", "sigmoid", SIGMOID),
            # 1% has 1,001 steps in 20 epochs, no room for 2,000 + 2,000: cycles by default
            ("mile", "mile", CONTINUING | (CYCLE if fraction == 1 else {})),
        )
    }
    | {
        f"finetune-{fraction:g}-sk1-{name}": Recipe(
            f"train {method}", IMAGENET, _sk1("Table 3", fraction) | settings, "Table 3", SK1
        )
        for fraction in (0.01, 0.1, 1.0)
        for name, method, settings in (
            ("softmax", "softmax", {}),
            ("mile", "mile", CONTINUING | (CYCLE if fraction == 1 else {})),
        )
    }
    | {
        f"selfsup-{fraction:g}-{name}": Recipe(
            "train distill",
            IMAGENET,
            _sk1("Table 4", fraction) | {"target": ("soft", "paper, Section 4.2, of SimCLR-v2")},
            "Table 4",
            SK1 | ALL_IMAGES | {"teacher": teacher},
            unlabeled=IMAGENET,
        )
        for fraction in (0.01, 0.1)
        for name, teacher in TEACHERS.items()
    }
    | {
        f"selfsup-{fraction:g}-mile": Recipe(
            "train mile",
            IMAGENET,
            {flag: found for flag, found in _sk1("Table 4", fraction).items() if flag != "epochs"}
            | {"steps": (_passes(fraction), "ours: as many as the distilled rows have")}
            | CONTINUING
            | CYCLE,
            "Table 4",
            SK1 | ALL_IMAGES,
        )
        for fraction in (0.01, 0.1)
    }
)
"""By name."""
