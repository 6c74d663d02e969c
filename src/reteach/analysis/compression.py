"""How compressed a network's features are: how hard it is to fit random labels on top of them.

NCT's Section 5.2 (Sarfraz et al. 2021; after Lamb et al. 2019): the features of a trained network are
frozen, and a perceptron with two hidden layers of 400 and 200 units is trained on them to tell random
binary labels. The lower its training accuracy after the same effort, the less of each single image the
features still hold. Silent in the paper, and chosen here: Adam at 1e-3, batches of 128, features
standardised.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.loading.stream import Scan
from ..engine.evaluate import outputs
from ..errors import UserError
from ..models.features import pooled
from ..rng import fold

WIDTHS = (400, 200)
BATCH = 128
RATE = 1e-3


def features(model: nn.Module, scan: Scan) -> Tensor:
    """(M, D) float32 on the CPU: what the output layer of a network sees, for each readable image.

    Raises:
        UserError: the network cannot be asked for its features as timm's can.
    """
    found = [out.cpu() for _, out in outputs(pooled(model), scan)]
    if not found:
        raise UserError("none of the images can be read")
    return torch.cat(found)


def fit_random_labels(x: Tensor, epochs: int, seed: int) -> NDArray[np.float64]:
    """Training accuracy after each epoch of a 400-200 perceptron on random binary labels.

    Args:
        x: (M, D) frozen features.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed, "compression"))
        labels = torch.randint(0, 2, (len(x),))
        scaled = (x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-6)
        sizes = (x.shape[1], *WIDTHS)
        layers: list[nn.Module] = []
        for width, then in pairwise(sizes):
            layers += [nn.Linear(width, then), nn.ReLU()]
        probe = nn.Sequential(*layers, nn.Linear(sizes[-1], 2))
        optimizer = torch.optim.Adam(probe.parameters(), RATE)
        curve = np.empty(epochs)
        for epoch in range(epochs):
            for rows in torch.split(torch.randperm(len(x)), BATCH):
                loss = F.cross_entropy(probe(scaled[rows]), labels[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
            with torch.no_grad():
                curve[epoch] = (probe(scaled).argmax(-1) == labels).double().mean()
    return curve
