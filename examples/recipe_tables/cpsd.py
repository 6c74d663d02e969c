"""CPSD: MS-COCO and NUS-WIDE, ten teachers of few classes and a student, each beside its baseline."""

from __future__ import annotations

from . import FINETUNE, Recipe, Settings

COCO = 82_081
NUS = 125_449
"""Labelled training images (Section 4.1)."""
CODE = "the authors' code"
SECTION = "paper, Section 4.1"

COMMON: Settings = FINETUNE | {
    "pretrained": (True, f"{SECTION}: weights of ImageNet-1K"),
    "batch-size": (32, f"{SECTION} (the authors' code: 24)"),
    "optimizer": ("adam", SECTION),
    "weight-decay": (1e-4, SECTION),
    "lr": (1e-5, CODE),
    "warmup": (0.2, "ours, for the code's one cycle"),
    "average": (0.9997, CODE),
    "augment": ("crop", "ours: Cutout and RandAugment go with it; the code crops nothing"),
    "min-crop": (1.0, "ours: the whole area"),
    "cutout": (0.5, CODE),
    "randaugment": (9, "ours; the code has RandAugment"),
    "resize": ("square", CODE),
    "precision": ("bf16", "ours, for speed"),
}
TEACHERS: Settings = {
    "subsets": (5, "paper, Section 4.3: k = 5"),
    "tau": (3.0, "paper, Section 4.1 (the authors' code: 2)"),
    "teacher-epochs": (20, SECTION),
    "epochs": (280, f"{SECTION}: 20 for each of ten teachers, 80 for the student"),
}
QUERY2LABEL: Settings = {
    "gamma-neg": (2.0, CODE),
    "shift": (0.0, CODE),
}
NETWORKS: dict[str, tuple[str, Settings]] = {
    "r101": ("resnet101", {}),
    "r101tf": ("resnet101_tf", {}),
    "q2l": ("q2l_resnet101", QUERY2LABEL),
    "tresnetl": ("tresnet_l", {}),
    "resnext50": ("resnext50_32x4d.fb_swsl_ig1b_ft_in1k", {}),
}
RUNS = [
    *(("coco", COCO, network, 448, "Tables 1 and 3") for network in NETWORKS),
    ("coco", COCO, "r101tf", 576, "Table 1"),
    *(("nus", NUS, network, 448, "Table 2") for network in ("r101tf", "tresnetl")),
]

RECIPES: dict[str, Recipe] = {
    f"{method}-{data}-{network}{'' if size == 448 else f'-{size}'}": Recipe(
        f"train {method}",
        images,
        {
            "model": (NETWORKS[network][0], SECTION),
            "image-size": (size, f"paper, {shows}"),
        }
        | COMMON
        | NETWORKS[network][1]
        | more,
        shows,
    )
    for data, images, network, size, shows in RUNS
    for method, more in (
        ("cpsd", TEACHERS),
        ("asl", {"epochs": (80, "ours: as long as the student")}),
    )
}
"""By name. Table 3's other rows are cpsd with --subsets 1 (SD), --sides co (CGPD) and --sides dis (DGPD);
Figure 3 with other --subsets, and --sides random."""
