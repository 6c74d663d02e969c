"""ReaL: the loss, the schedule and, with --labels of cleaned ones, the data of ImageNet training."""

from __future__ import annotations

from . import IMAGENET, Recipe, Settings

TABLES = "Tables 2 and 4, Figure 8"
SILENT = "ours; the paper is silent"
COMMON: Settings = {
    "batch-size": (256, SILENT),
    "lr": (0.1, SILENT),
    "precision": ("bf16", "ours, for speed"),
}
LOSSES: dict[str, Settings] = {
    "softmax": {},
    "sigmoid": {
        "class-sum": (True, "ours: the mean over 1,000 classes at this rate stays at chance"),
        "prior-bias": (True, "ours, for the same reason"),
    },
}

RECIPES: dict[str, Recipe] = {
    f"real-r{depth}-{loss}-{epochs}": Recipe(
        f"train {loss}",
        IMAGENET,
        {
            "model": (f"resnet{depth}", f"paper, {TABLES}"),
            "epochs": (epochs, f"paper, {TABLES}"),
        }
        | COMMON
        | settings,
        TABLES,
    )
    for depth in (50, 101, 152)
    for loss, settings in LOSSES.items()
    for epochs in (90, 270, 900)
}
"""By name. The rows with clean data take --labels of `reteach relabel clean --folds 10 --rule agreement`."""
