"""Class activation maps: against their definition, and on pictures whose answer is known."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reteach.analysis.cam import cam, heat
from reteach.errors import UserError
from reteach.models.class_heads import ClassHead
from reteach.models.q2l import QueryHead
from reteach.models.tokens import TokenHead

GRID, CELL = 6, 4


class Colours(nn.Module):
    """Features are the mean colours of cells; whatever is given stands behind them."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, CELL, CELL)
        self.head = head

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stem(x).relu()

    def forward_head(self, x: Tensor) -> Tensor:
        return self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with a red blob, a blue one, or both; (N, 3, H, W), (N, 2) present, (N, 2, 2) cell of each."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.randn(n, 3, GRID * CELL, GRID * CELL, generator=generator)
    there = torch.rand(n, 2, generator=generator) < 0.5
    spots = torch.randperm(GRID * GRID, generator=generator)
    cells = torch.empty(n, 2, 2, dtype=torch.long)
    for i in range(n):
        spots = torch.randperm(GRID * GRID, generator=generator)[:2]
        cells[i] = torch.stack([spots // GRID, spots % GRID], 1)
        for c, colour in enumerate((0, 2)):
            if there[i, c]:
                r, k = (cells[i, c] * CELL).tolist()
                x[i, colour, r : r + CELL, k : k + CELL] += 1
    return x, there, cells


def trained(head: nn.Module, steps: int = 150, rate: float = 5e-3) -> Colours:
    torch.manual_seed(0)
    model = Colours(head)
    x, there, _ = blobs(256, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        rows = torch.arange(64) + 64 * (step % 4)
        loss = F.binary_cross_entropy_with_logits(model(x[rows]), there[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def hits(model: nn.Module, method: str) -> float:
    """How often the map of a class that is there has its top at the blob."""
    x, there, cells = blobs(64, seed=1)
    maps = cam(model, x, [0, 1], method)  # type: ignore[arg-type]
    assert maps.shape == (64, 2, GRID, GRID)
    top = maps.flatten(2).argmax(-1)
    right = top == cells[..., 0] * GRID + cells[..., 1]
    return right[there].float().mean().item()


def pooled(pool: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(8, 2))


def token_head() -> nn.Module:
    torch.manual_seed(0)
    return ClassHead(TokenHead(8, 2, width=16, depth=1, heads=2, dropout=0.0))


def query_head() -> nn.Module:
    torch.manual_seed(0)
    return ClassHead(QueryHead(8, 2, width=32, encoders=0, decoders=1, heads=2, dropout=0.0))


def test_with_average_pooling_it_is_the_class_activation_map() -> None:
    model = Colours(pooled(nn.AdaptiveAvgPool2d(1))).double()
    x = blobs(3, seed=0)[0].double()
    features = model.forward_features(x)
    linear = model.head[-1]
    assert isinstance(linear, nn.Linear)
    definition = torch.einsum("bfhw,cf->bchw", features, linear.weight) / GRID**2
    for method in ("gradient", "grad-cam"):
        torch.testing.assert_close(
            cam(model, x, [1, 0], method), definition[:, [1, 0]].float().detach()
        )
    total = cam(model, x, [0, 1]).sum((-2, -1)).double()
    torch.testing.assert_close(total, (model(x) - linear.bias).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["gradient", "grad-cam"])
@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
def test_finds_the_blob_behind_pooling(pool: type[nn.Module], method: str) -> None:
    assert hits(trained(pooled(pool(1))), method) > 0.95


@pytest.mark.parametrize("head", [token_head, query_head])
def test_finds_the_blob_behind_a_transformer(head: object) -> None:
    model = trained(head(), steps=250, rate=2e-3)  # type: ignore[operator]
    assert hits(model, "attention") > 0.95
    x = blobs(2, seed=1)[0]
    assert torch.equal(cam(model, x, [1]), cam(model, x, [1], "attention"))
    assert cam(model, x, [1], "grad-cam").shape == (2, 1, GRID, GRID)


def test_attention_maps_are_shares_of_the_image() -> None:
    model = Colours(query_head())
    maps = cam(model, blobs(4, seed=0)[0], [1], "attention")
    assert maps.shape == (4, 1, GRID, GRID)
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(4, 1))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_networks_of_timm_have_maps(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).train()
    mode = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(2, 3, 160, 160)
    maps = cam(model, x, [4, 0, 2])
    assert maps.shape[:2] == (2, 3)
    assert maps.shape[2] > 1
    assert maps.isfinite().all()
    assert (maps.std((-2, -1)) > 0).all()
    alone = cam(model, x[1:], [0])
    torch.testing.assert_close(alone[0, 0], maps[1, 1], rtol=1e-4, atol=1e-6)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, mode[key]) for key, value in model.state_dict().items())
    frozen = model.requires_grad_(False)
    torch.testing.assert_close(cam(frozen, x, [4, 0, 2]), maps)


def test_heat_is_a_picture_between_nought_and_one() -> None:
    maps = torch.tensor([[[[-1.0, 0.0], [0.0, 4.0]], [[-1.0, -2.0], [-1.0, 0.0]]]])
    shown = heat(maps, (8, 8))
    assert shown.shape == (1, 2, 8, 8)
    assert shown.min() == 0
    assert shown[0, 0].max() == 1
    assert shown[0, 0].flatten().argmax() >= 54  # the corner below right
    assert shown[0, 1].max() == 0  # nothing speaks for it


def test_what_has_no_map_is_said() -> None:
    with pytest.raises(UserError, match="no feature map"):
        cam(nn.Linear(3, 2), torch.zeros(1, 3), [0])
    with pytest.raises(UserError, match="no class tokens"):
        cam(Colours(pooled(nn.AdaptiveAvgPool2d(1))), blobs(1, 0)[0], [0], "attention")
