"""Mean average precision and example-averaged F1, beside torchmetrics and scikit-learn.

All get the same scores, torchmetrics and ours in batches of 512, as an evaluation does; scikit-learn gets
them whole.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.house import Contender, Contest, timed
from reteach.metrics.f1 import ExampleF1
from reteach.metrics.ranking import MeanAveragePrecision

IMAGES, CLASSES, BATCH, THRESHOLD = 40_000, 80, 512, 0.5

Scores, Truth = NDArray[np.float32], NDArray[np.bool_]


def generate(images: int, classes: int) -> tuple[Scores, Truth]:
    """Scores that say something about labels as rare as COCO's."""
    draw = np.random.default_rng(0)
    truth = draw.random((images, classes)) < draw.uniform(0.002, 0.1, classes)
    logits = draw.normal(-3, 1.5, (images, classes)) + 2.5 * truth
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def in_batches(metric: Any, scores: Any, truth: Any) -> Any:
    """The metric, updated with everything."""
    for start in range(0, len(scores), BATCH):
        metric.update(scores[start : start + BATCH], truth[start : start + BATCH])
    return metric


def mean_average_precision(folder: Path) -> Contest:
    """A row; the results of torchmetrics are in single precision."""
    scores, truth = generate(IMAGES, CLASSES)
    found: dict[str, Any] = {}

    def torchmetrics() -> Contender:
        import torch
        from torchmetrics.classification import MultilabelAveragePrecision

        tensors = torch.from_numpy(scores), torch.from_numpy(truth).long()

        def work() -> Any:
            metric = MultilabelAveragePrecision(CLASSES, average="none")
            return in_batches(metric, *tensors).compute().double().numpy()

        return timed(work, partial(found.__setitem__, "torchmetrics"))

    def sklearn() -> Contender:
        from sklearn.metrics import average_precision_score

        def work() -> Any:
            return average_precision_score(truth, scores, average=None)

        return timed(work, partial(found.__setitem__, "scikit-learn"))

    def ours() -> Any:
        return in_batches(MeanAveragePrecision(), scores, truth).per_class()

    return Contest(
        f"mAP of {IMAGES:,} images × {CLASSES} classes, per class and exact",
        timed(ours, partial(found.__setitem__, "reteach")),
        {"torchmetrics": torchmetrics, "scikit-learn": sklearn},
        note=partial(_apart, found),
    )


def example_f1(folder: Path) -> Contest:
    """A row: at one threshold, averaged over the images."""
    scores, truth = generate(IMAGES, CLASSES)
    found: dict[str, Any] = {}

    def torchmetrics() -> Contender:
        import torch
        from torchmetrics.classification import MultilabelF1Score

        tensors = torch.from_numpy(scores)[..., None], torch.from_numpy(truth).long()[..., None]

        def work() -> Any:
            metric = MultilabelF1Score(
                CLASSES,
                THRESHOLD,
                average="micro",
                multidim_average="samplewise",
                zero_division=1.0,
            )
            return in_batches(metric, *tensors).compute().double().mean().item()

        return timed(work, partial(found.__setitem__, "torchmetrics"))

    def sklearn() -> Contender:
        from sklearn.metrics import f1_score

        def work() -> Any:
            return f1_score(truth, scores > THRESHOLD, average="samples", zero_division=1.0)

        return timed(work, partial(found.__setitem__, "scikit-learn"))

    def ours() -> Any:
        return in_batches(ExampleF1(THRESHOLD), scores, truth).compute()

    return Contest(
        f"example-averaged F1 of {IMAGES:,} images × {CLASSES} classes at one threshold",
        timed(ours, partial(found.__setitem__, "reteach")),
        {"torchmetrics": torchmetrics, "scikit-learn": sklearn},
        note=partial(_apart, found),
    )


def _apart(found: dict[str, Any]) -> str:
    ours = found.pop("reteach")
    apart = {name: float(np.abs(other - ours).max()) for name, other in found.items()}
    assert max(apart.values()) < 1e-4, apart
    return "Largest difference: " + ", ".join(f"{name} {d:.0e}" for name, d in apart.items())
