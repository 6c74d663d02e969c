"""The output layer: found in networks of several families, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from reteach.errors import UserError
from reteach.models.heads import SMALLEST, classifier_of, set_prior_bias


@pytest.mark.parametrize(
    "name", ["reteach_tiny", "test_resnet", "test_vit", "test_convnext", "test_efficientnet"]
)
def test_the_output_layer_makes_the_logits(name: str) -> None:
    model = timm.create_model(name, num_classes=5).eval()
    head = classifier_of(model)
    assert head.out_features == 5
    nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.arange(5.0))
    x = torch.rand(2, *model.pretrained_cfg["input_size"])
    torch.testing.assert_close(model(x), torch.arange(5.0).expand(2, 5))


def test_other_endings_are_refused() -> None:
    with pytest.raises(UserError, match="'reteach_tiny' does not end in one linear layer"):
        classifier_of(timm.create_model("reteach_tiny", num_classes=0))
    with pytest.raises(UserError, match="tuple"):  # a classifier and a distillation head
        classifier_of(
            timm.create_model(
                "deit_tiny_distilled_patch16_224", img_size=32, depth=1, num_classes=3
            )
        )
    with pytest.raises(UserError, match="'ReLU' does not end"):
        classifier_of(nn.ReLU())


def test_scores_start_at_the_prior() -> None:
    model = timm.create_model("reteach_tiny", num_classes=4)
    head = classifier_of(model)
    weight = head.weight.clone()
    set_prior_bias(model, np.array([0.0, 0.1, 0.5, 1.0]))
    expected = torch.tensor([SMALLEST, 0.1, 0.5, 1 - SMALLEST])
    torch.testing.assert_close(head.bias.sigmoid(), expected)
    assert torch.isfinite(head.bias).all()
    assert torch.equal(head.weight, weight)
    assert head.bias.requires_grad


def test_bad_priors() -> None:
    model = timm.create_model("reteach_tiny", num_classes=3)
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        set_prior_bias(model, np.array([0.1, 0.2]))
    for bad in (np.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="probabilities"):
            set_prior_bias(model, np.array([0.1, 0.2, bad]))
    model.head = nn.Linear(256, 3, bias=False)
    with pytest.raises(UserError, match="no bias"):
        set_prior_bias(model, np.full(3, 0.1))
