"""What is memorised, and how compressed features are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import toys
from reteach.analysis.compression import features, fit_random_labels
from reteach.analysis.memorisation import Memorisation
from reteach.engine.learner import Predictor
from reteach.errors import UserError
from reteach.labels import Single
from reteach.models import zoo


def test_right_and_wrong_labels_are_judged_apart():
    data = toys.dataset(60)
    clean = data.labels.index.copy()
    clean[:20] = (clean[:20] + 1) % 3
    clean[50:55] = -1  # not known: left out
    monitor = Memorisation.of(toys.scan(data), Single(clean, toys.CLASSES))
    model = toys.network(1).eval()
    found = monitor(Predictor((model,), "softmax"))
    x = torch.cat([batch for _, batch in toys.scan(data)])
    with torch.no_grad():
        logits = model(x).double().numpy()
    for name, rows in (("right", [*range(20, 50), *range(55, 60)]), ("wrong", range(20))):
        losses, hits = [], []
        for row in rows:
            z, y = logits[row], data.labels.index[row]
            losses.append(np.log(np.exp(z).sum()) - z[y])
            hits.append(z.argmax() == y)
        fit = found[f"train {name}"].compute()
        assert fit["n"] == len(losses)
        assert fit["accuracy"] == pytest.approx(np.mean(hits))
        assert fit["cross_entropy"] == pytest.approx(np.mean(losses))


def test_at_most_so_many_of_each_kind():
    data = toys.dataset(60)
    clean = data.labels.index.copy()
    clean[:20] = (clean[:20] + 1) % 3
    found = Memorisation.of(toys.scan(data), Single(clean, toys.CLASSES), most=7)(
        toys.learner().predictor("softmax")
    )
    assert [fit.n for fit in found.values()] == [7, 7]


def test_random_labels_fit_rich_features_and_not_poor_ones():
    generator = torch.Generator().manual_seed(0)
    rich = torch.randn(300, 64, generator=generator)
    poor = rich[:3][torch.arange(300) % 3]  # three different images as far as the features tell
    curves = [fit_random_labels(x, epochs=12, seed=0) for x in (rich, poor)]
    assert curves[0][-1] > 0.95
    assert curves[1][-1] < 0.65
    assert np.array_equal(curves[0], fit_random_labels(rich, epochs=12, seed=0))
    assert not np.array_equal(curves[0], fit_random_labels(rich, epochs=12, seed=1))


def test_features_are_what_the_output_layer_sees():
    model = zoo.create("reteach_tiny", 3, in_chans=1, seed=0)
    x = features(model, toys.scan())
    assert x.shape == (40, 64)
    whole = torch.cat([batch for _, batch in toys.scan()])
    with torch.no_grad():
        assert torch.allclose(model.head(x), model.eval()(whole), atol=1e-6)
    with pytest.raises(UserError, match="has no features that could be looked at"):
        features(toys.network(0), toys.scan())
