"""Small pictures for reports: an image with its given labels, the predicted set and the truth."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.dataset import Dataset
from ..data.sources.videos import still
from ..labels import LabelSet, Rows
from ..records.runs import Example


def data_url(pixels: NDArray[np.uint8], side: int = 160) -> str:
    """(H, W, 1 or 3) uint8 as an inline picture of at most ``side`` pixels; tiny ones are enlarged.

    Of a video (T, H, W, 3) it shows the middle frame; of features nothing can be shown: "".
    """
    if pixels.dtype != np.uint8:
        return ""
    pixels = still(pixels)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = max(image.size) <= side // 2
    image = image.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "PNG" if small else "JPEG", **({} if small else {"quality": 80}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def sample_rows(n: int, count: int, seed: int = 0) -> Rows:
    """A few rows out of n, the same every time."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:count])


def predicted_sets(
    scores: NDArray[np.float32], classes: tuple[str, ...], threshold: float, single: bool
) -> list[list[tuple[str, float]]]:
    """The predicted classes of each image with their scores, best first.

    A softmax model predicts its first choice; a sigmoid model all classes above the threshold.
    """
    out = []
    for row in scores:
        order = np.argsort(-row, kind="stable")
        keep = order[:1] if single else order[row[order] > threshold]
        out.append([(classes[c], round(float(row[c]), 4)) for c in keep])
    return out


def examples(
    dataset: Dataset,
    rows: Rows,
    predicted: list[list[tuple[str, float]]],
    given: LabelSet | None = None,
) -> tuple[Example, ...]:
    """The pictures of ``rows`` as a report wants them; ``predicted`` goes with ``rows``."""
    items = dataset.subset(rows).items
    truth = dataset.labels.take(rows).names()
    named = given.take(rows).names() if given is not None else truth
    return tuple(
        Example(
            items[i],
            data_url(dataset.source.read(int(dataset.rows[row]))),
            tuple(named[i]),
            tuple(predicted[i]),
            tuple(truth[i]),
        )
        for i, row in enumerate(rows.tolist())
    )
