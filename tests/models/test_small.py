"""The small networks keep timm's conventions and learn what depends on position."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from reteach.models import small

SIZES = {
    "reteach_tiny": (8, 16, 17, 32),
    "reteach_mid": (28, 32, 48),
    "reteach_mean": (28, 32, 48),
    "reteach_small": (28, 32, 84, 96),
    "reteach_max": (28, 32, 84, 96),
}
assert set(SIZES) == set(small.default_cfgs)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_conventions_of_timm(name: str, channels: int) -> None:
    model = timm.create_model(name, num_classes=7, in_chans=channels).eval()
    for size in SIZES[name]:
        x = torch.rand(2, channels, size, size)
        features = model.forward_features(x)
        assert features.shape[:2] == (2, model.num_features)
        hidden = model.forward_head(features, pre_logits=True)
        assert hidden.shape == (2, model.head_hidden_size)
        logits = model(x)
        assert logits.shape == (2, 7)
        torch.testing.assert_close(logits, model.get_classifier()(hidden))
    model.reset_classifier(3)
    assert model.num_classes == model.get_classifier().out_features == 3
    model.reset_classifier(0)
    torch.testing.assert_close(model(x), model.forward_head(model.forward_features(x), True))
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == channels


@pytest.mark.parametrize("name", SIZES)
def test_dropout_is_active_in_training_only(name: str) -> None:
    model = timm.create_model(name, num_classes=2, drop_rate=0.5)
    x = model.forward_features(torch.rand(4, 3, 32, 32))
    assert not torch.equal(model.forward_head(x), model.forward_head(x))
    model.eval()
    assert torch.equal(model.forward_head(x), model.forward_head(x))


def test_tiny_learns_which_cell_is_meant() -> None:
    """Two patterns stand in random cells; the label is that of the first cell."""
    torch.manual_seed(0)
    patterns = (torch.rand(4, 8, 8) > 0.5).float()
    cells = torch.randint(4, (256, 4))
    x = patterns[cells].view(256, 2, 2, 8, 8).transpose(2, 3).reshape(256, 1, 16, 16)
    model: nn.Module = timm.create_model("reteach_tiny", num_classes=4, in_chans=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = torch.arange(step * 64, step * 64 + 64) % 192
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), cells[rows, 0]).backward()
        optimizer.step()
    found = model.eval()(x[192:]).argmax(1)
    assert (found == cells[192:, 0]).float().mean() > 0.9
