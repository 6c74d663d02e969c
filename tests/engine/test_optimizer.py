"""The optimisers of the settings, beside their equations step by step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reteach.engine.optimizer import optimizer_of
from reteach.errors import UserError
from reteach.options.shared import Training
from tests.options.test_options_matter import trained

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.03


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_nesterovs_or_plain_momentum(nesterov):
    """v ← 0.9 v + g; the step is along v, and with Nesterov's along g + 0.9 v (Sutskever et al. 2013)."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    optimizer = optimizer_of(model, Training(nesterov=nesterov, weight_decay=DECAY))
    w, v = model.weight.detach().clone(), torch.zeros(2, 3, dtype=torch.float64)
    for _ in range(4):
        g = torch.randn(2, 3, dtype=torch.float64)
        model.weight.grad = g.clone()
        optimizer.step()
        g = g + DECAY * w
        v = MOMENTUM * v + g
        w = w - RATE * (g + MOMENTUM * v if nesterov else v)
        torch.testing.assert_close(model.weight.detach(), w)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_plain_momentum_is_refused_where_there_is_none(optimizer):
    with pytest.raises(
        UserError, match=f"--no-nesterov has no effect with --optimizer {optimizer}"
    ):
        trained("softmax", {"optimizer": optimizer, "nesterov": False})
